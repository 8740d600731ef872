#!/usr/bin/env bash
# cut.sh NODE: cuts the wire of node-1 or node-2. The control plane and the pods elsewhere do not
# reach it any more, nor it them; what runs on it runs on.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

number=$(node_number "${1:-}")
nsenter --target "$(cat "$cluster/pid")" --net ip link set "node-$number" down
