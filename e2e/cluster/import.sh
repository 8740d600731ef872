#!/usr/bin/env bash
# import.sh IMAGE.tar...: gives images to all nodes. Pods that use them say `imagePullPolicy: Never`
# or `IfNotPresent`: there is no registry.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

[ $# -gt 0 ] || die "usage: import.sh IMAGE.tar..."
for image in "$@"; do
  [ -r "$image" ] || die "$image cannot be read"
  running=()
  for number in "${nodes[@]}"; do
    "$cluster_scripts/enter.sh" --node "node-$number" "$cluster_scripts/inside/load.sh" <"$image" &
    running+=($!)
  done
  for number in "${nodes[@]}"; do
    wait "${running[$number]}" || die "node-$number did not take $image"
  done
done
