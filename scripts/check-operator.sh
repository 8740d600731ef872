#!/usr/bin/env bash
# Two operators with the chart's rights against a real API server, of which one works: when the
# other one takes over, and that it does not before the first has stopped. There are no nodes here,
# so no job gets further than its objects.
#
#     scripts/check-operator.sh PROGRAM
#
# It needs what scripts/api-server.sh names, and takes two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?the program of the operator}

. scripts/api-server.sh

fail() {
  tail -n 20 "$scratch"/operator-*.log >&2
  die "$*"
}

as_operator

declare -A pid
# start NAME: an operator, whose log goes on.
start() {
  KUBECONFIG=$scratch/kubeconfig "$program" --namespace plants --pod-name "$1" \
    --lease ms-millstream --health "127.0.0.1:$((port + 10 + ${1#operator-}))" \
    --worker-image w:1 >>"$scratch/$1.log" 2>&1 &
  pid[$1]=$!
  others+=($!)
}

# says NAME TEXT SECONDS SINCE: a line of its log behind that many.
says() {
  for _ in $(seq $(($3 * 10))); do
    if tail -n +"$(($4 + 1))" "$scratch/$1.log" | grep "$2" >/dev/null; then return; fi
    sleep 0.1
  done
  fail "$1 has not said '$2' in $3 s"
}

lines() {
  wc -l <"$scratch/$1.log"
}

# leads NAME OTHER: by their words and by that of the lease.
leads() {
  local holder last
  holder=$(kubectl get lease ms-millstream -o jsonpath='{.spec.holderIdentity}')
  [ "${holder%%_*}" = "$1" ] || fail "$1 leads, and the lease is held by '$holder'"
  last=$(grep -E ' leads |has lost|ends;' "$scratch/$2.log" | tail -1) || true
  case $last in *' leads '*) fail "$2 leads, too" ;; esac
}

# shows NAME LINE: among its metrics.
shows() {
  curl --silent --fail --max-time 5 "http://127.0.0.1:$((port + 10 + ${1#operator-}))/metrics" \
    >"$scratch/metrics" || fail "$1 shows no metrics"
  grep -q "^millstream_operator_$2\$" "$scratch/metrics" ||
    fail "$1 does not show '$2': $(cat "$scratch/metrics")"
}

touch "$scratch/operator-1.log" "$scratch/operator-2.log"
start operator-1
says operator-1 ' leads ' 10 0
start operator-2
says operator-2 'waits for the lease' 10 0
leads operator-1 operator-2
kubectl apply -f - >/dev/null <<EOF
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: counts}
spec: {snapshots: {store: "s3://bucket/prefix"}}
EOF
kubectl wait --for=create --timeout=10s statefulset/counts >/dev/null || fail "no StatefulSet"
kubectl wait --for=condition=SpecValid --timeout=10s sj/counts >/dev/null || fail "no status"
# tells REASON COUNT: so many events of the job have this reason.
tells() {
  local told
  for _ in $(seq 50); do
    told=$(kubectl get events.events.k8s.io -o json | grep -c "\"reason\": \"$1\"") || true
    [ "$told" != "$2" ] || return 0
    sleep 0.1
  done
  fail "$told events say '$1', and not $2"
}

tells Pending 1
kubectl patch sj/counts --type merge --patch '{"spec":{"image":"a b"}}' >/dev/null
tells Invalid 1
kubectl patch sj/counts --type merge --patch '{"spec":{"image":null}}' >/dev/null
kubectl wait --for=condition=SpecValid --timeout=10s sj/counts >/dev/null || fail "not valid again"
kubectl patch sj/counts --type merge --patch '{"spec":{"image":"a b"}}' >/dev/null
kubectl wait --for=condition=SpecValid=false --timeout=10s sj/counts >/dev/null || fail "valid"
sleep 1
tells Invalid 1
kubectl get events.events.k8s.io -o json | grep -q '"count": 2' || fail "an event is not folded"
shows operator-1 'leader 1'
shows operator-1 'jobs{phase="Pending"} 1'
shows operator-1 'coordinators 1'
shows operator-1 'api_requests_total{method="PUT"} [1-9].*'
shows operator-2 'leader 0'
shows operator-2 'coordinators 0'

echo "check-operator: one ends"
since=$(lines operator-2)
kill -TERM "${pid[operator-1]}"
says operator-2 ' leads ' 5 "$since"
says operator-1 'has released' 5 0
leads operator-2 operator-1
start operator-1

echo "check-operator: the API server is away"
since=$(lines operator-2)
kill -STOP "$server"
says operator-2 'has lost the lease' 12 "$since"
shows operator-2 'leader 0'
shows operator-2 'coordinators 0'
since=$(lines operator-2)
kill -CONT "$server"
first=''
for _ in $(seq 250); do
  [ "$(grep -c ' leads ' "$scratch/operator-1.log")" != 2 ] || first=operator-1 second=operator-2
  if tail -n +$((since + 1)) "$scratch/operator-2.log" | grep ' leads ' >/dev/null; then
    first=operator-2 second=operator-1
  fi
  [ -z "$first" ] || break
  sleep 0.1
done
[ -n "$first" ] || fail "nobody leads"
leads "$first" "$second"

echo "check-operator: one hangs for a while"
since=$(lines "$second")
kill -STOP "${pid[$first]}"
says "$second" ' leads ' 20 "$since"
since=$(lines "$first")
kill -CONT "${pid[$first]}"
says "$first" 'has lost the lease' 3 "$since"
leads "$second" "$first"

echo "check-operator: one is killed"
since=$(lines "$first")
kill -KILL "${pid[$second]}"
wait "${pid[$second]}" 2>/dev/null || true
says "$first" ' leads ' 20 "$since"

if grep -i forbidden "$scratch"/operator-*.log; then fail "a right is missing"; fi
echo "check-operator: one works at a time, by $("$kubernetes/kube-apiserver" --version)"
