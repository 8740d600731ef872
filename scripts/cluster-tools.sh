#!/usr/bin/env bash
# Installs what e2e/cluster runs: Kubernetes, helm and CoreDNS, built from their Go modules, and the
# Debian packages around them.
#
# Into the cache directory, a folder for each version; what is there already is left alone. The
# first time takes about 15 CPU-minutes. A binary is moved into place when it is whole, so whoever
# waits for one need not wait for the rest. Two of these at once: the second waits for the first.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/install.sh
. scripts/cluster-versions.sh

# Everything that Go fetches and makes lies here, and goes when all binaries are there.
go_cache=$tools/../go
export GOPATH=$go_cache GOMODCACHE=$go_cache/mod GOCACHE=$go_cache/build
export GOFLAGS="-modcacherw -buildvcs=false -trimpath" GOWORK=off CGO_ENABLED=0 GOOS="" GOARCH=""

need_packages() {
  ensure_command etcd etcd-server
  ensure_command containerd containerd runc
  [ -x /usr/lib/cni/bridge ] || apt_install "the CNI plugins" containernetworking-plugins
  ensure_command iptables iptables
  ensure_command ip iproute2
  ensure_command conntrack conntrack
  ensure_command jq jq
  ensure_command openssl openssl
  ensure_command nsenter util-linux
  ensure_command cc gcc libc6-dev
  ensure_command buildah buildah
  ensure_command mmdebstrap mmdebstrap
}

# Go, new enough for what is built here. Debian 12 has none that is.
need_go() {
  local has
  command -v go >/dev/null ||
    die "'go' is missing: install Go $go_needed or newer from https://go.dev/dl"
  has=$(go env GOVERSION)
  has=${has#go}
  if [ "$(printf '%s\n' "$go_needed" "$has" | sort -V | head -n 1)" != "$go_needed" ]; then
    die "Go is $has ($(command -v go)), and Kubernetes needs $go_needed or newer:" \
      "install it from https://go.dev/dl and put it first on the PATH"
  fi
}

# place FILE FOLDER: moves a binary to where it is looked for, at once.
place() {
  mkdir -p "$2"
  mv "$1" "$2/.$(basename "$1").$$"
  mv -T "$2/.$(basename "$1").$$" "$2/$(basename "$1")"
}

# install_module FOLDER MODULE@VERSION [NAME=VALUE]...: a program that is a module of its own, with
# variables of its sources set.
install_module() {
  local folder=$1 module=$2 name variable flags="-s -w"
  shift 2
  name=$(basename "${module%@*}")
  for variable in "$@"; do
    flags+=" -X $variable"
  done
  if [ -x "$folder/$name" ]; then
    return
  fi
  need_go
  echo "building $name: this takes some minutes, once" >&2
  GOBIN=$scratch go install -ldflags "$flags" "$module" >&2 || die "go could not build $module"
  place "$scratch/$name" "$folder"
}

# install_kubernetes NAME...: commands of Kubernetes.
install_kubernetes() {
  local name version=k8s.io/component-base/version
  local flags="-s -w -X $version.gitVersion=v$kubernetes_version"
  flags+=" -X $version.gitMajor=$kubernetes_major -X $version.gitMinor=$kubernetes_minor"
  for name in "$@"; do
    if [ -x "$kubernetes/$name" ]; then
      continue
    fi
    need_go
    echo "building $name $kubernetes_version: this takes some minutes, once" >&2
    go build -C scripts/kubernetes -mod=readonly -ldflags "$flags" -o "$scratch/$name" \
      "k8s.io/kubernetes/cmd/$name" >&2 ||
      die "go could not build $name $kubernetes_version"
    place "$scratch/$name" "$kubernetes"
  done
}

need_packages
kubernetes_major=${kubernetes_version%%.*}
kubernetes_minor=$(cut -d. -f2 <<<"$kubernetes_version")

mkdir -p "$tools"
exec 9>"$tools/cluster-tools.lock"
flock 9
scratch=$(mktemp -d "$tools/scratch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# helm takes a chart for one of this Kubernetes, also where it asks none.
install_module "$helm" "helm.sh/helm/v3/cmd/helm@v$helm_version" \
  "helm.sh/helm/v3/internal/version.version=v$helm_version" \
  "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=$kubernetes_major" \
  "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$kubernetes_minor" \
  "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=$kubernetes_major" \
  "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$kubernetes_minor"
install_kubernetes kube-apiserver kubectl
install_kubernetes kube-controller-manager kube-scheduler kubelet kube-proxy
install_module "$coredns" "github.com/coredns/coredns@v$coredns_version"
rm -rf "$go_cache"
