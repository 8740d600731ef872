#!/usr/bin/env bash
# A cluster for as long as standard input is open: starts it, prints where it is, and takes all of
# it away when standard input is closed, at a signal, and when whoever started this is killed.
#
# Standard output is for programs: lines of NAME=VALUE, then READY. What a person wants to read goes
# to standard error. A cluster that does not start says why, and exits with 1.
#
# Everything runs in a sandbox of namespaces, which ends with this process, in whatever way that
# ends. Beside it there are a folder and cgroups: they are removed here, or, after kill -9, by the
# next one.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$cluster_scripts/inside/cgroups.sh"
. "$cluster_scripts/sweep.sh"

[ "$(id -u)" -eq 0 ] || die "a cluster needs root: its nodes are namespaces, its pods containers"
for folder in "$clusters" "$cluster_scripts"; do
  [[ ! "$folder" =~ ^(/run|/var/lib|/var/log)/ ]] ||
    die "nodes do not see $folder: they have a /run, /var/lib and /var/log of their own"
done
[ -d /sys/fs/cgroup ] || die "there are no cgroups in /sys/fs/cgroup"
"$cluster_scripts/../../scripts/cluster-tools.sh" </dev/null
pause_file=$("$cluster_scripts/base-images.sh" </dev/null)

# Two that start at once: the other one's folder is not swept before it is locked.
mkdir -p "$clusters"
exec 9>"$clusters/lock"
flock 9
sweep
cluster=$(mktemp -d "$clusters/millstream-XXXXXX")
exec 7>"$cluster/owner" 8>"$cluster/alive"
flock 7
flock 8
exec 9>&-
echo $$ >"$cluster/owner.pid"

tear_down() {
  trap '' TERM INT HUP
  if [ -n "${sandbox:-}" ]; then
    kill -9 "$sandbox" 2>/dev/null || true
    wait "$sandbox" 2>/dev/null || true
  fi
  exec 8>&-
  remove_cluster "$cluster" || echo "error: $cluster could not be removed" >&2
}
trap tear_down EXIT
# bash 5.2 may crash where a trap exits while `read` waits.
stop=no
trap 'stop=yes' TERM INT HUP

mkdir "$cluster/keys" "$cluster/logs"
for number in "${nodes[@]}"; do
  mkdir -p "$cluster/node-$number/"{lib,log,cni}
  make_cgroup "$(basename "$cluster")/node-$number"
done
echo "$pause_file" >"$cluster/pause-image"
if [ "$(stat -f -c %T "$cluster")" = overlayfs ]; then echo native; else echo overlayfs; fi \
  >"$cluster/snapshotter"

# `owner` is not for the sandbox, `alive` is: it is locked until its last process has ended.
setpriv --pdeathsig KILL \
  unshare --net --mount --pid --fork --mount-proc --kill-child \
  env MILLSTREAM_CLUSTER="$cluster" "$cluster_scripts/inside/sandbox.sh" \
  </dev/null >"$cluster/logs/sandbox" 2>&1 7>&- &
sandbox=$!

announce() {
  pgrep -P "$sandbox" >"$cluster/pid"
  echo "MILLSTREAM_CLUSTER=$cluster"
  echo "KUBECONFIG=$cluster/kubeconfig"
  echo "KUBECACHEDIR=$cluster/kube-cache"
  echo "AUDIT_LOG=$cluster/audit.log"
  echo "ADDRESS=$host_address"
  echo "READY"
}

# Standard input is looked at and the sandbox is, in turn: so often each second.
look_every=0.2
while kill -0 "$sandbox" 2>/dev/null; do
  [ "$stop" = no ] || exit 143
  if [ -e "$cluster/ready" ] && [ ! -e "$cluster/pid" ]; then
    announce
    look_every=1
  fi
  status=0
  read -r -t "$look_every" _ || status=$?
  # Over 128: nothing came in that time. Else it is closed.
  [ "$status" -eq 0 ] || [ "$status" -gt 128 ] || exit 0
done
# Ctrl-C is for all of a terminal's processes.
[ "$stop" = no ] || exit 143
echo "the cluster has ended; the last lines of its logs:" >&2
tail -n 5 "$cluster/logs/"* >&2
exit 1
