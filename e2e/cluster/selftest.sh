#!/usr/bin/env bash
# Brings a cluster up and shows that it has what the e2e tests rely on; a second one beside it is
# killed with kill -9. At the end nothing may be left of either. Fails loudly, and says where.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$cluster_scripts/inside/cgroups.sh"
cd "$cluster_scripts"
unset MILLSTREAM_CLUSTER

started=$SECONDS
say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }
fail() {
  say "FAILED: $*"
  if [ -e "${MILLSTREAM_CLUSTER:-}/ready" ]; then
    k get pods --output wide || true
    k get events | tail -n 20 || true
  fi
  exit 1
}
# expect WHAT COMMAND...: that it succeeds.
expect() {
  local what=$1 output
  shift
  output=$("$@" 2>&1) || fail "$what: $* says: $output"
  say "$what"
}
# soon SECONDS WHAT COMMAND...: that it succeeds within this time; prints how long that took.
soon() {
  local begin=$EPOCHREALTIME limit=$1 what=$2
  shift 2
  local until=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || fail "$what: not in $limit s; $* says: $("$@" 2>&1 || true)"
    sleep 0.1
  done
  say "$what ($(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }") s)"
}
k() { ./kubectl.sh --namespace selftest "$@"; }

scratch=$(mktemp -d)
trap 'exec 5>&- 6>&-; wait; rm -rf "$scratch"' EXIT
trap 'fail "line $LINENO"' ERR

# What a cluster must leave as it was.
look_at_host() {
  cat /proc/self/mounts
  ip -oneline link | cut -d ' ' -f 2
  ip route
  cat /proc/net/ip_tables_names /proc/sys/net/ipv4/ip_forward /proc/sys/vm/overcommit_memory \
    /proc/sys/vm/panic_on_oom /proc/sys/kernel/panic /proc/sys/kernel/panic_on_oops \
    /proc/sys/kernel/keys/root_max* /proc/sys/net/netfilter/nf_conntrack_max 2>/dev/null || true
  ls /run /var/lib /var/log /etc
}
./down.sh
look_at_host >"$scratch/before"

# serve NAME DESCRIPTOR: starts a cluster that lives until the descriptor is closed.
serve() {
  mkfifo "$scratch/$1.in"
  ./serve.sh <"$scratch/$1.in" >"$scratch/$1" 5>&- 6>&- &
  eval "exec $2>\"\$scratch/$1.in\""
}
# One that has ended has said why.
has_started() { grep -qx READY "$scratch/$1" || ! kill -0 "$2" 2>/dev/null; }
folder_of() { sed -n 's/^MILLSTREAM_CLUSTER=//p' "$scratch/$1"; }

serve first 5
first=$!
soon 300 "a cluster of three nodes is Ready" has_started first "$first"
kill -0 "$first" || fail "the cluster has ended"
export MILLSTREAM_CLUSTER
MILLSTREAM_CLUSTER=$(folder_of first)
cluster=$MILLSTREAM_CLUSTER

image=millstream.local/greet:selftest
mkdir "$scratch/built"
cc -O -static -o "$scratch/built/greet" selftest/greet.c
expect "an image is built from a Dockerfile" \
  ./build-image.sh selftest worker "$scratch/built" "$image" "$scratch/greet.tar"
expect "all nodes have it" ./import.sh "$scratch/greet.tar"

k apply --filename selftest/peers.yaml >/dev/null
are_ready() { [ "$(k get statefulset peers --output jsonpath='{.status.readyReplicas}')" = 3 ]; }
soon 60 "a StatefulSet of three pods is Ready" are_ready
nodes_of_pods() { k get pods --output jsonpath='{.items[*].spec.nodeName}' | xargs -n 1 | sort -u; }
[ "$(nodes_of_pods | wc -l)" = 3 ] || fail "the pods are on $(nodes_of_pods)"
say "there is one on each node"

pod_address() { k get pod "$1" --output jsonpath='{.status.podIP}'; }
# greeting POD HOST PORT: what answers there, asked from a pod.
greeting() { k exec "$1" -- timeout 5 bash -c "cat </dev/tcp/$2/$3"; }
greets() { [ "$(greeting "$1" "$2.peers.selftest.svc" 8080)" = "$2 greets $(pod_address "$1")" ]; }
for from in 0 1 2; do
  for to in 0 1 2; do
    soon 10 "peers-$from reaches peers-$to by name" greets "peers-$from" "peers-$to"
  done
done
answers_of_service() {
  for _ in {1..20}; do greeting peers-0 any-peer 80; done | sort -u | wc -l
}
[ "$(answers_of_service)" = 3 ] || fail "$(answers_of_service) pods answer for their Service"
say "a Service is answered by all three"

pods=/api/v1/namespaces/selftest/pods
api() { k exec --stdin peers-1 -- bash -s "$1" "$pods" <selftest/api.sh; }
for address in "$api_address" kubernetes.default.svc; do
  answer=$(api "$address")
  [[ "$answer" == "HTTP/1.0 200 OK"*'"name":"peers-1"'* ]] ||
    fail "the API at $address says: ${answer:0:1000}"
  say "a pod asks the API at $address"
done
[ "$(k logs peers-2)" = "peers-2 greets" ] || fail "the logs are: $(k logs peers-2)"
say "exec and logs work"

refused=$(k run privileged --image x --privileged 2>&1) && fail "it is taken: $refused"
[[ "$refused" == *'violates PodSecurity "restricted:latest"'* ]] || fail "$refused"
say "a namespace that is restricted takes no privileged pod"

# users_of VERB: who has done that with pods.
users_of() {
  local what="select(.verb == \"$1\" and .objectRef.resource == \"pods\").user.username"
  jq -r "$what" "$cluster/audit.log" | sort -u
}
[[ "$(users_of list)" == *system:serviceaccount:selftest:peers* ]] ||
  fail "the audit log does not have what the pod asked for, but only $(users_of list)"
[[ "$(users_of watch)" != *system:node* ]] || fail "the audit log has what $(users_of watch) did"
say "the audit log has what the pod asked for, and not what kubelets do"

kafka=$(./kafka.sh start)
ask_kafka() { k exec --stdin peers-1 -- bash -s "${kafka%:*}" "${kafka#*:}" <inside/ask-kafka.sh; }
expect "a pod asks Kafka at $kafka" ask_kafka
expect "Kafka is killed" ./kafka.sh kill
ask_kafka >/dev/null 2>&1 && fail "a killed Kafka answers"
expect "Kafka starts again" ./kafka.sh start
expect "a pod asks it again" ask_kafka
s3=$(./s3.sh start)
# 403: it wants a signature.
ask_s3() {
  local request='GET /snapshots HTTP/1.0\r\n\r\n'
  k exec peers-2 -- bash -c "exec 3<>/dev/tcp/${1//://}; printf '$request' >&3; head -n 1 <&3" |
    grep -q ' 403 '
}
expect "a pod asks S3 at $s3" ask_s3 "${s3#http://}"

pod_on() { k get pods --field-selector "spec.nodeName=$1" --output name | cut -d / -f 2; }
lost=$(pod_on node-1)
other=$(pod_on node-2)
readiness='{.status.conditions[?(@.type=="Ready")].status}'
is() { [ "$(k get node "$1" --output jsonpath="$readiness")" = "$2" ]; }
./cut.sh node-1
soon 20 "node-1 is NotReady after it was cut off" is node-1 Unknown
is_terminating() { k get pod "$1" --output jsonpath='{.metadata.deletionTimestamp}' | grep -q .; }
soon 20 "its pod is to go" is_terminating "$lost"
processes_there() { ./enter.sh --node node-1 ctr --namespace k8s.io task list | grep -c RUNNING; }
# The pod, and its pause.
[ "$(processes_there)" = 2 ] || fail "there run $(processes_there) processes"
say "its process runs on"
greets "$other" "$lost" 2>/dev/null && fail "it is reached"
k delete pod "$lost" --force --grace-period 0 >/dev/null 2>&1
soon 20 "$lost is Ready elsewhere after it was deleted by force" are_ready
[ "$(pod_on node-1)" = "" ] || fail "$lost came back to the lost node"
soon 10 "it is reached there" greets "$other" "$lost"
./heal.sh node-1
soon 60 "node-1 is Ready after it was joined again" is node-1 True
is_idle() { [ "$(processes_there)" = 0 ]; }
soon 90 "the process that ran on is gone" is_idle

./enter.sh pkill -9 kube-apiserver
soon 60 "the API server comes back when it is killed" k get nodes

serve second 6
second=$!
soon 300 "a second cluster is Ready beside it" has_started second "$second"
kill -0 "$second" || fail "the second cluster has ended"
# No word about its end.
disown "$second"
second_folder=$(folder_of second)
second_pid=$(cat "$second_folder/pid")
kill -9 "$second"
ended() { ! kill -0 "$second_pid"; }
soon 10 "kill -9 of its owner ends it" ended
./down.sh
[ ! -e "$second_folder" ] || fail "$second_folder is left over"
expect "the first cluster does not mind" k get nodes

exec 5>&-
gone() { ! kill -0 "$first"; }
soon 20 "a cluster is gone when its standard input is closed" gone
are_removed() { ! compgen -G "$clusters/removed-*"; }
soon 300 "its files are, too" are_removed
for folder in "$cluster" "$second_folder"; do
  [ ! -e "$folder" ] || fail "$folder is left over"
  name=$(basename "$folder")
  while read -r hierarchy; do
    [ ! -e "$hierarchy/$name" ] || fail "$hierarchy/$name is left over"
  done < <(cgroup_hierarchies)
  ! pgrep --full "$name" >&2 || fail "these processes are left over"
done
exec 6>&-
rm "$scratch"/*.in
look_at_host >"$scratch/after"
diff "$scratch/before" "$scratch/after" || fail "the machine is not as it was"
say "nothing is left of them"
