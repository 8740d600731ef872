#!/usr/bin/env bash
# Starts a cluster that stays until down.sh, and says how to use it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
unset MILLSTREAM_CLUSTER
cluster=$clusters/default

if runs "$cluster"; then
  echo "the cluster runs already"
else
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # Here, so that what they say is seen; the server then finds all there.
  "$cluster_scripts/../../scripts/cluster-tools.sh"
  "$cluster_scripts/base-images.sh" >/dev/null
  echo "starting; this takes half a minute"
  # Its standard input is a pipe that it holds open itself: it is never closed.
  mkfifo "$scratch/never"
  setsid "$cluster_scripts/serve.sh" <>"$scratch/never" >"$scratch/said" 2>"$scratch/errors" &
  server=$!
  trap 'kill "$server" 2>/dev/null || true; rm -rf "$scratch"; exit 1' INT TERM
  until grep -qx READY "$scratch/said"; do
    if ! kill -0 "$server" 2>/dev/null; then
      cat "$scratch/errors" >&2
      die "the cluster did not start"
    fi
    sleep 0.2
  done
  ln -sfn "$(sed -n 's/^MILLSTREAM_CLUSTER=//p' "$scratch/said")" "$cluster"
fi
cat <<TEXT
A Kubernetes $kubernetes_version of three nodes, in a sandbox of its own. To use it:

  e2e/cluster/kubectl.sh get nodes     kubectl
  make cluster-shell                   a shell inside, with kubectl and helm
  e2e/cluster/import.sh IMAGE.tar      gives an image to the nodes
  e2e/cluster/cut.sh node-1            cuts a node off; heal.sh node-1 ends that
  e2e/cluster/kafka.sh start           a Kafka broker, for pods, too; s3.sh start: an S3 endpoint
  make cluster-down                    takes all of it away
TEXT
