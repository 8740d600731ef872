#!/usr/bin/env bash
# enter.sh [--node NAME] COMMAND...: runs a command inside the sandbox, where the cluster's
# addresses are; with --node on a node, where its pods are. kubectl and helm are on the PATH, and
# KUBECONFIG is set. Files are where they are outside, but for /run, and on a node /var/lib and
# /var/log.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

way=()
if [ "${1:-}" = --node ]; then
  node=${2:-}
  [ -e "$cluster/$node/pid" ] || die "there is no node '$node': they are node-0, node-1 and node-2"
  # That number is one of the sandbox.
  way=(nsenter --target "$(cat "$cluster/$node/pid")" --net --mount)
  shift 2
fi
[ $# -gt 0 ] || die "usage: enter.sh [--node NAME] COMMAND..."

use_cluster
# The folder that this was called in is entered anew: it is to be the sandbox's.
# shellcheck disable=SC2016 # That shell expands it.
exec nsenter --target "$(cat "$cluster/pid")" --net --mount --pid "${way[@]}" \
  bash -c 'cd "$0" && exec "$@"' "$PWD" "$@"
