#!/usr/bin/env bash
# node.sh N: a node: containerd, kubelet and kube-proxy, which see a machine of their own. Runs in a
# mount namespace of its own, all but node-0 in a network namespace, too. Started by sandbox.sh.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$cluster_scripts/inside/daemon.sh"

number=$1
name=node-$number
data=$cluster/$name

# Whatever these programs write to the places they are made for goes to the node's folder.
mount --bind "$data/lib" /var/lib
mount --bind "$data/log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock

# The kubelet wants these values, and would set them, for the whole machine. It may see them.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=$data/${setting//\//.}
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done

if [ "$number" != 0 ]; then
  touch "$data/waits"
  wait_for 10 "$name has a wire" ip link show eth0
  ip link set lo up
  ip address add "$(node_address "$number")/24" dev eth0
  ip link set eth0 up
  ip route add default via "10.240.$number.1"
  sysctl -q -w net.ipv4.ip_forward=1
fi

"$cluster_scripts/inside/node-files.sh" "$number"
daemon "containerd-$number" containerd --config "$data/containerd.toml"
wait_for 60 "containerd runs on $name" ctr version
"$cluster_scripts/inside/load.sh" <"$(cat "$cluster/pause-image")"

daemon "kubelet-$number" kubelet --config="$data/kubelet.yaml" --hostname-override="$name" \
  --kubeconfig="$cluster/keys/$name.kubeconfig" --node-ip="$(node_address "$number")" \
  --container-runtime-endpoint=unix:///run/containerd/containerd.sock
daemon "kube-proxy-$number" kube-proxy --config="$data/kube-proxy.yaml"
while :; do
  wait || true
  sleep 1
done
