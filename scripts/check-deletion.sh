#!/usr/bin/env bash
# An operator with the chart's rights against a real API server: what goes with a job or a savepoint
# is deleted before it, by a batch Job. There are no nodes and no controllers here: how an errand
# ends is written by this script, into a pod of its own.
#
#     scripts/check-deletion.sh PROGRAM
#
# It needs what scripts/api-server.sh names, and takes a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:?the program of the operator}

. scripts/api-server.sh

fail() {
  tail -n 20 "$scratch/operator.log" >&2
  die "$*"
}

as_operator
KUBECONFIG=$scratch/kubeconfig "$program" --namespace plants --pod-name operator \
  --health "127.0.0.1:$((port + 10))" --worker-image w:1 >"$scratch/operator.log" 2>&1 &
others+=($!)

# until SECONDS WHAT COMMAND..: until it succeeds.
until_so() {
  local what=$2
  for _ in $(seq $(($1 * 5))); do
    if "${@:3}" >/dev/null 2>&1; then return; fi
    sleep 0.2
  done
  fail "$what: not in $1 s"
}

# has OBJECT JSONPATH TEXT: a field of it has this in it.
has() {
  kubectl get "$1" -o "jsonpath={$2}" | grep -F -e "$3"
}

lacks() {
  ! kubectl get "$1" -o "jsonpath={$2}" | grep -F -e "$3"
}

gone() {
  ! kubectl get "$1"
}

told() {
  kubectl get events.events.k8s.io -o json | grep -F "\"reason\": \"$1\""
}

# ends JOB CODE MESSAGE: a pod of this batch Job has ended so.
ends() {
  kubectl get "job.batch/$1" -o json | python3 -c '
import json, sys
job = json.load(sys.stdin)
name, meta = job["metadata"]["name"], job["spec"]["template"]["metadata"]
labels = dict(meta["labels"], **{"batch.kubernetes.io/job-name": name})
owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
print(json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": job["spec"]["template"]["spec"],
    "metadata": {"name": sys.argv[1], "labels": labels, "ownerReferences": [owner]}}))
' "$1-$2" | kubectl create -f - >/dev/null
  kubectl patch "pod/$1-$2" --subresource=status --type=merge --patch "{\"status\": {
    \"phase\": \"Failed\", \"containerStatuses\": [{\"name\": \"worker\", \"image\": \"w:1\",
    \"imageID\": \"w\", \"ready\": false, \"restartCount\": 0, \"state\": {\"terminated\": {
    \"exitCode\": $2, \"finishedAt\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",
    \"message\": \"$3\"}}}]}}" >/dev/null
}

job() {
  cat <<EOF
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: counts}
spec: {snapshots: {store: "s3://bucket/prefix", onDelete: $1}}
EOF
}

echo "check-deletion: the finalizer is there while the spec says so"
job Delete | kubectl apply -f - >/dev/null
until_so 10 "a finalizer" has sj/counts .metadata.finalizers millstream.dev/snapshots
until_so 10 "a StatefulSet" has statefulset/counts .spec.replicas 1
job Retain | kubectl apply -f - >/dev/null
until_so 10 "no finalizer" lacks sj/counts .metadata.finalizers millstream.dev/snapshots
job Delete | kubectl apply -f - >/dev/null
until_so 10 "a finalizer again" has sj/counts .metadata.finalizers millstream.dev/snapshots

echo "check-deletion: a job waits for its snapshots, and says why"
kubectl delete sj/counts --wait=false >/dev/null
until_so 10 "the phase" has sj/counts .status.phase Deleting
until_so 10 "no pods" has statefulset/counts .spec.replicas 0
until_so 10 "an errand" has job.batch/counts-delete '.spec.template.spec.containers[0].args' \
  '"snapshots","delete","s3://bucket/prefix/plants/counts/","--yes","--if-there"'
first=$(kubectl get job.batch/counts-delete -o 'jsonpath={.metadata.uid}')
ends counts-delete 1 'error: the key is wrong'
until_so 10 "the reason" has sj/counts .status.conditions 'could not be deleted: the key is wrong'
until_so 30 "an event" told SnapshotsNotDeleted
until_so 10 "another errand" lacks job.batch/counts-delete .metadata.uid "$first"
until_so 10 "another errand" has job.batch/counts-delete .metadata.name counts-delete
ends counts-delete 0 ''
until_so 10 "the end of the job" gone sj/counts

echo "check-deletion: so does a savepoint of a job that is gone"
kubectl apply -f - >/dev/null <<EOF
apiVersion: millstream.dev/v1alpha1
kind: StreamSnapshot
metadata: {name: before}
spec: {jobRef: {name: counts}, onDelete: Delete}
EOF
until_so 10 "a finalizer" has ssnap/before .metadata.finalizers millstream.dev/snapshots
uri=s3://bucket/prefix/plants/counts/log/00000000000000000007.json
kubectl patch ssnap/before --subresource=status --type=merge --patch "{\"status\": {
  \"phase\": \"Completed\", \"uri\": \"$uri\", \"store\": {\"store\": \"s3://bucket/prefix\"}}}" \
  >/dev/null
errand=snapshot-$(kubectl get ssnap/before -o 'jsonpath={.metadata.uid}')
kubectl delete ssnap/before --wait=false >/dev/null
until_so 10 "an errand" has "job.batch/$errand" '.spec.template.spec.containers[0].args' \
  "\"snapshots\",\"delete\",\"$uri\",\"--yes\",\"--if-there\",\"--job-is-gone\""
ends "$errand" 0 ''
until_so 10 "the end of the savepoint" gone ssnap/before

echo "check-deletion: a namespace that goes waits for nothing"
kubectl create namespace going >/dev/null
job Delete | kubectl apply --namespace going -f - >/dev/null
in_going() {
  kubectl get --namespace going sj/counts -o 'jsonpath={.metadata.finalizers}' | grep -F snapshots
}
until_so 10 "a finalizer" in_going
kubectl delete namespace going --wait=false >/dev/null
kubectl delete --namespace going sj/counts --wait=false >/dev/null
gone_there() {
  ! kubectl get --namespace going sj/counts
}
until_so 10 "the end of the job" gone_there
grep -q 'the snapshots stay in s3://bucket/prefix/going/counts/' "$scratch/operator.log" ||
  fail "nobody says where the snapshots are"
echo "check-deletion: all is as it should be"
