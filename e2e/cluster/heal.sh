#!/usr/bin/env bash
# heal.sh NODE: joins the wire again that cut.sh has cut.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

number=$(node_number "${1:-}")
"$cluster_scripts/enter.sh" "$cluster_scripts/inside/link.sh" "$number"
