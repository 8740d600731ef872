#!/usr/bin/env bash
# kafka.sh start|kill: a Kafka broker in the sandbox. `start` waits until it is ready and prints
# where pods and the sandbox reach it; after `kill` (as kill -9) it has the data that it had.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

if [ "${1:-}" = start ]; then
  "$cluster_scripts/../../scripts/tools.sh"
fi
exec "$cluster_scripts/enter.sh" "$cluster_scripts/inside/kafka.sh" "$@"
