#!/usr/bin/env bash
# Stops the cluster of up.sh, and removes what is left of others whose owner was killed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$cluster_scripts/inside/cgroups.sh"
. "$cluster_scripts/sweep.sh"

folder=$(readlink -f "$clusters/default" || true)
if [ -e "$folder/owner.pid" ] && has_owner "$folder"; then
  kill "$(cat "$folder/owner.pid")"
  gone() { [ ! -e "$folder" ]; }
  wait_for 60 "the cluster is gone" gone
fi
if [ -d "$clusters" ]; then
  exec 9>"$clusters/lock"
  flock 9
  sweep
fi
