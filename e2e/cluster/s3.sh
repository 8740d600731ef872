#!/usr/bin/env bash
# s3.sh start|kill: an S3 endpoint (SeaweedFS) in the sandbox. `start` waits until it is ready and
# prints where pods and the sandbox reach it; after `kill` (as kill -9) it has the data that it had.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

if [ "${1:-}" = start ]; then
  "$cluster_scripts/../../scripts/tools.sh"
fi
exec "$cluster_scripts/enter.sh" "$cluster_scripts/inside/s3.sh" "$@"
