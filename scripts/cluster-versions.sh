#!/usr/bin/env bash
# The versions of what e2e/cluster runs, and where each is installed; they stand here alone.
# shellcheck disable=SC2034

tools=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/tools

# As in scripts/kubernetes/go.mod. Not 1.35 or later: their kubelet refuses cgroup v1.
kubernetes_version=1.34.3
helm_version=3.19.5
coredns_version=1.12.4
# The newest that go.mod of any of them asks for.
go_needed=1.24.0

kubernetes=$tools/kubernetes-$kubernetes_version
helm=$tools/helm-$helm_version
coredns=$tools/coredns-$coredns_version

# Images of our own: a change of their making changes the number.
pause_version=1
pause=$tools/pause-$pause_version
pause_image=millstream.local/pause:$pause_version
# As Dockerfiles name it.
debian_image=docker.io/library/debian:bookworm-slim
