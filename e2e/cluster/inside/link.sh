#!/usr/bin/env bash
# link.sh N: the wire to a node with a network of its own, and the way to its pods. To run again
# after it was cut: cutting it takes the way away.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

number=$1
wire=node-$number
if ! ip link show "$wire" >/dev/null 2>&1; then
  ip link add "$wire" type veth peer name eth0 netns "$(cat "$cluster/node-$number/pid")"
  ip address add "10.240.$number.1/24" dev "$wire"
fi
ip link set "$wire" up
ip route replace "10.244.$number.0/24" via "$(node_address "$number")"
