#!/usr/bin/env bash
# The first process of the sandbox: starts all parts of the cluster, says when it is ready, and
# stays. With it everything ends that runs in the sandbox. Started by serve.sh.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$cluster_scripts/inside/daemon.sh"
. "$cluster_scripts/inside/control-plane.sh"
inside=$cluster_scripts/inside

# The host's sockets and locks are out of sight.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
"$inside/network.sh"
"$inside/certificates.sh"

start_etcd
start_api_server
for number in "${nodes[@]}"; do
  own_network=(--net)
  [ "$number" != 0 ] || own_network=()
  unshare --mount "${own_network[@]}" "$inside/node.sh" "$number" </dev/null &
  echo $! >"$cluster/node-$number/pid"
done
for number in "${nodes[@]:1}"; do
  wait_for 10 "node-$number has a network" test -e "$cluster/node-$number/waits"
  "$inside/link.sh" "$number"
done

use_cluster
wait_for 120 "the API server is ready" kubectl get --raw /readyz
start_controller_manager
start_scheduler
"$inside/dns.sh"
daemon coredns coredns -conf "$cluster/Corefile"

all_ready() {
  local states='{.items[*].status.conditions[?(@.type=="Ready")].status}'
  [ "$(kubectl get nodes --output jsonpath="$states")" = "True True True" ]
}
wait_for 180 "all nodes are Ready" all_ready
wait_for 60 "pods can be made" kubectl get serviceaccount default
wait_for 60 "names are resolved" timeout 2 "$inside/ask-dns.sh" kubernetes.default.svc.cluster.local
touch "$cluster/ready"
# Collects what ends here, until it is killed.
while :; do
  wait || true
  sleep 1
done
