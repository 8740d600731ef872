#!/usr/bin/env bash
# The network of the sandbox: an address for the control plane. Nothing leads out of it.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

ip link set lo up
ip address add "$host_address/32" dev lo
# Nothing is there: kube-proxy turns what is sent to a Service before it gets so far.
ip route add "$service_range" dev lo src "$host_address"
sysctl -q -w net.ipv4.ip_forward=1
