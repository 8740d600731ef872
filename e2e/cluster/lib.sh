#!/usr/bin/env bash
# What the scripts of this folder share: where things lie, how to wait, how to get in. Sourced.
# shellcheck disable=SC2034

cluster_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$cluster_scripts/../../scripts/install.sh"
. "$cluster_scripts/../../scripts/cluster-versions.sh"
# Before others of the same name that the machine may have.
export PATH=$kubernetes:$helm:$coredns:$PATH

# Each cluster has a folder here while it runs. `default` is a link to the one of `make cluster-up`.
clusters=$(dirname "$tools")/clusters
cluster=${MILLSTREAM_CLUSTER:-$clusters/default}

# use_cluster: what kubectl and helm are told. What they remember of a cluster is this one's: others
# have the same address.
use_cluster() {
  export MILLSTREAM_CLUSTER=$cluster KUBECONFIG=$cluster/kubeconfig KUBECACHEDIR=$cluster/kube-cache
}

# node-0 shares its network with the control plane; the others have one of their own.
nodes=(0 1 2)

# node_address N: the address of a node.
node_address() {
  if [ "$1" = 0 ]; then echo 10.240.0.1; else echo "10.240.$1.2"; fi
}
host_address=10.240.0.1
service_range=10.96.0.0/16
api_address=10.96.0.1
dns_address=10.96.0.10
pod_range=10.244.0.0/16

# node_number NAME: the number of a node that can be cut off, by its name.
node_number() {
  [[ "$1" =~ ^node-[12]$ ]] || die "'$1' is not node-1 or node-2: only these can be cut off"
  echo "${1#node-}"
}

# has_owner FOLDER: whether the process runs that started the cluster.
has_owner() {
  [ -e "$1/owner" ] && ! flock --shared --nonblock "$1/owner" true
}

# runs FOLDER: whether a cluster does, and is ready.
runs() {
  [ -e "$1/ready" ] && has_owner "$1"
}

# need_cluster: that the cluster runs, whose folder is $cluster.
need_cluster() {
  runs "$cluster" ||
    die "no cluster runs in $cluster: start one by \`make cluster-up\`, or set MILLSTREAM_CLUSTER"
}

# wait_for SECONDS WHAT COMMAND...: waits until a command succeeds.
wait_for() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || die "waited in vain until $what; the logs: $cluster/logs"
    sleep 0.1
  done
}
