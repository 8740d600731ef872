#!/usr/bin/env bash
# kubectl.sh ARGUMENTS...: kubectl on the cluster, as its admin.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_cluster

use_cluster
exec nsenter --target "$(cat "$cluster/pid")" --net kubectl "$@"
