#!/usr/bin/env bash
# Gives the definitions below crds/ to a real API server, and the objects below
# operator/tests/objects after them: it takes what is valid, and says of the rest what each file
# says that it says. Also what the operator makes of a job is tried, and what the chart installs,
# for restricted Pod Security too.
#
# It needs what scripts/api-server.sh names.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/api-server.sh

failures=0
fail() {
  echo "check-crds: $*" >&2
  failures=$((failures + 1))
}

kubectl apply --server-side -f crds/ >"$scratch/applied" 2>&1 || die "$(cat "$scratch/applied")"
if grep -i warning "$scratch/applied"; then fail "the API server warns of the definitions"; fi
kubectl wait --for=condition=Established --timeout=60s crd/streamjobs.millstream.dev \
  crd/streamsnapshots.millstream.dev >/dev/null

# objects FILE: its documents, as a file each.
objects() {
  rm -rf "$scratch/objects"
  mkdir "$scratch/objects"
  csplit --quiet --elide-empty-files --digits 3 --prefix "$scratch/objects/" "$1" '/^---$/' '{*}'
}

# first OBJECT: its comment.
comment() {
  sed -n 's/^# //p' "$1" | head -1
}

checked=0
# refused OBJECT VERB: the API server does not take it, and says why.
refused() {
  local says
  says=$(comment "$1")
  says=${says#*: }
  checked=$((checked + 1))
  if kubectl "$2" --dry-run=server -f "$1" >"$scratch/said" 2>&1; then
    fail "taken, and should be refused with '$says': $(cat "$1")"
  elif ! grep -qF -- "$says" "$scratch/said"; then
    fail "refused, but not with '$says': $(cat "$scratch/said")"
  fi
}

objects operator/tests/objects/valid.yaml
for object in "$scratch"/objects/*; do
  checked=$((checked + 1))
  kubectl create --dry-run=server --validate=strict -f "$object" >"$scratch/said" 2>&1 ||
    fail "refused: $(comment "$object"): $(cat "$scratch/said")"
done
# What is to be edited.
kubectl apply -f "$scratch/objects/000" >/dev/null
kubectl apply -f "$(grep -l StreamSnapshot "$scratch"/objects/*)" >/dev/null

objects operator/tests/objects/refused.yaml
for object in "$scratch"/objects/*; do
  refused "$object" create
done
objects operator/tests/objects/refused_edits.yaml
for object in "$scratch"/objects/*; do
  refused "$object" apply
done

# Columns, scale, status with conditions that merge by type.
kubectl scale sj/averages --replicas 3 >/dev/null
[ "$(kubectl get sj/averages -o jsonpath='{.spec.workers}')" = 3 ] || fail "no scale"
status='{"status":{"phase":"Running","ready":"3/3","restarts":1,"lag":{"records":7},
  "conditions":[{"type":"Ready","status":"True","reason":"AsExpected","message":"",
  "lastTransitionTime":"2026-11-26T12:00:00Z"}]}}'
kubectl patch sj/averages --subresource status --type merge --patch "$status" >/dev/null
kubectl wait --for=condition=Ready --timeout=5s sj/averages >/dev/null || fail "no condition"
kubectl get sj >"$scratch/columns"
head -1 "$scratch/columns" | grep -qE '^NAME +PHASE +READY +SNAPSHOT +LAG +RESTARTS +AGE$' ||
  fail "other columns: $(cat "$scratch/columns")"
[ "$(kubectl get sj/averages -o jsonpath='{.spec.snapshots.interval}')" = 10s ] ||
  fail "no defaults"

# What is made of a job is taken, and no pod of it is against restricted Pod Security. A field that
# this Kubernetes does not know is for later ones: here it would be refused.
uid=$(kubectl get sj/averages -o jsonpath='{.metadata.uid}')
for golden in operator/tests/golden/*/objects.yaml; do
  sed -e "s/^\( *uid: \).*/\1$uid/" -e '/fieldOfALaterKubernetes:/,+1d' "$golden" \
    >"$scratch/made.yaml"
  checked=$((checked + 1))
  kubectl create --dry-run=server --validate=strict -f "$scratch/made.yaml" >"$scratch/said" 2>&1 ||
    fail "$golden: $(cat "$scratch/said")"
  # The sidecar of the large one is the user's own.
  if grep -i 'warning' "$scratch/said" | grep -v '"log-shipper"'; then
    fail "$golden: the API server warns"
  fi
done

# What the chart installs, for all namespaces and for one.
for values in crds.keep=true 'watchNamespaces={plants}'; do
  "$helm" template ms charts/millstream --namespace plants --set "$values" >"$scratch/made.yaml"
  checked=$((checked + 1))
  # The definitions have been there since above, by another manager: they are applied, not created.
  kubectl apply --server-side --force-conflicts --dry-run=server --validate=strict \
    -f "$scratch/made.yaml" >"$scratch/said" 2>&1 || fail "chart, $values: $(cat "$scratch/said")"
  if grep -i 'warning' "$scratch/said"; then fail "chart, $values: the API server warns"; fi
done

# What the operator may do then, and may not: "yes" or "no", verb, resource, namespace,
# and what is below the resource.
rights() {
  while read -r answer verb resource namespace below; do
    [ -n "$answer" ] || continue
    checked=$((checked + 1))
    [ "$(kubectl auth can-i "$verb" "$resource" --namespace "$namespace" --subresource "$below" \
      --as system:serviceaccount:plants:ms-millstream 2>/dev/null)" = "$answer" ] ||
      fail "$values: may the operator $verb $resource $below in $namespace? not '$answer'"
  done
}
everywhere='
yes patch streamjobs.millstream.dev plants
yes patch streamjobs.millstream.dev plants status
yes update streamjobs.millstream.dev plants finalizers
no patch streamjobs.millstream.dev plants scale
yes patch statefulsets.apps plants
yes create jobs.batch plants
yes delete persistentvolumeclaims plants
yes delete pods plants
yes list events.events.k8s.io plants
yes update leases.coordination.k8s.io/ms-millstream plants
no update leases.coordination.k8s.io/another plants
no create streamjobs.millstream.dev plants
no delete streamjobs.millstream.dev plants
no create persistentvolumeclaims plants
no create pods plants
no get secrets plants
no get configmaps plants
no get nodes plants
no patch customresourcedefinitions.apiextensions.k8s.io plants
no update leases.coordination.k8s.io/ms-millstream default'
for values in crds.keep=true 'watchNamespaces={plants}'; do
  "$helm" template ms charts/millstream --namespace plants --set "$values" \
    --set crds.install=false >"$scratch/made.yaml"
  kubectl apply --server-side -f "$scratch/made.yaml" >/dev/null
  rights <<<"$everywhere"
  elsewhere=yes
  [ "$values" = crds.keep=true ] || elsewhere=no
  rights <<<"$elsewhere patch statefulsets.apps default"
  kubectl delete -f "$scratch/made.yaml" >/dev/null 2>&1
done

[ "$failures" = 0 ] || die "$failures of $checked answers are not as they should be"
echo "check-crds: $checked answers are as they should be, by" \
  "$("$kubernetes/kube-apiserver" --version)"
