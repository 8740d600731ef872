#!/usr/bin/env bash
# Lints the chart, and renders it with every value that it has: each shows in what is rendered, and
# what is no value is refused. It needs helm, as `make cluster-tools` installs it.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
  echo "check-chart: $*" >&2
  exit 1
}

tools=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/tools
helm=$(find "$tools" -maxdepth 2 -path '*/helm-*/helm' 2>/dev/null | sort -V | tail -1)
[ -x "$helm" ] || die "helm is missing: make cluster-tools"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

failures=0
fail() {
  echo "check-chart: $*" >&2
  failures=$((failures + 1))
}

render() {
  "$helm" template ms charts/millstream --namespace millstream-system \
    --kube-version 1.34.3 "$@" >"$scratch/made" 2>"$scratch/said"
}

seen=()
# shows VALUE... -- TEXT: with these values the text is rendered, and without them it is not.
shows() {
  local values=()
  while [ "$1" != -- ]; do
    values+=(--set-json "$1")
    seen+=("${1%%=*}")
    shift
  done
  render || fail "not rendered: $(cat "$scratch/said")"
  if grep -qF -- "$2" "$scratch/made"; then fail "shows '$2' without ${values[*]}"; fi
  render "${values[@]}" || fail "${values[*]}: not rendered: $(cat "$scratch/said")"
  grep -qF -- "$2" "$scratch/made" || fail "${values[*]}: does not show '$2'"
}

# hides VALUE -- TEXT: with this value the text is gone, and without it it is there.
hides() {
  seen+=("${1%%=*}")
  render || fail "not rendered: $(cat "$scratch/said")"
  grep -qF -- "$3" "$scratch/made" || fail "does not show '$3' without $1"
  render --set-json "$1" || fail "$1: not rendered: $(cat "$scratch/said")"
  if grep -qF -- "$3" "$scratch/made"; then fail "$1: shows '$3'"; fi
}

# refused VALUE: is none.
refused() {
  if render --set-json "$1"; then fail "$1 is taken"; fi
}

"$helm" lint --strict --quiet charts/millstream >"$scratch/said" 2>&1 ||
  fail "$(cat "$scratch/said")"

digest=sha256:$(printf '%064d' 7)
shows 'image.repository="r.example/o"' -- 'image: r.example/o:'
shows 'image.tag="9"' -- 'image: registry.example/millstream/operator:9'
shows "image.digest=\"$digest\"" -- "image: registry.example/millstream/operator@$digest"
shows 'image.pullPolicy="Always"' -- 'imagePullPolicy: Always'
shows 'imagePullSecrets=[{"name":"keys"}]' -- '- name: keys'
shows 'workerImage.repository="r.example/w"' -- '--worker-image=r.example/w:'
shows 'workerImage.tag="9"' -- '--worker-image=registry.example/millstream/worker:9'
shows "workerImage.digest=\"$digest\"" -- \
  "--worker-image=registry.example/millstream/worker@$digest"
hides 'workerImage.repository=""' -- '--worker-image'
shows 'workerFsGroup=1234567890' -- '--worker-fs-group=1234567890'
hides 'workerFsGroup=null' -- '--worker-fs-group'
shows 'replicas=2' -- 'replicas: 2'
shows 'watchNamespaces=["plants","farms"]' -- '--watch-namespaces=plants,farms'
shows 'watchNamespaces=["plants"]' -- 'namespace: plants'
hides 'watchNamespaces=["plants"]' -- 'kind: ClusterRoleBinding'
hides 'crds.install=false' -- 'kind: CustomResourceDefinition'
hides 'crds.keep=false' -- 'helm.sh/resource-policy: keep'
hides 'rbac.aggregateToDefaultRoles=false' -- 'aggregate-to-edit'
shows 'serviceAccount.name="sa"' -- 'serviceAccountName: sa'
shows 'serviceAccount.annotations={"a":"bee"}' -- 'a: bee'
shows 'logFormat="text"' -- '--log-format=text'
shows 'logFilter="debug"' -- 'value: "debug"'
shows 'resources.limits.memory="1Gi"' -- 'memory: 1Gi'
shows 'resources.requests={"cpu":"77m","memory":"78Mi"}' -- 'cpu: 77m'
for probe in liveness readiness; do
  for field in periodSeconds timeoutSeconds failureThreshold; do
    shows "probes.$probe.$field=77" -- "$field: 77"
  done
done
hides 'metrics.service=false' -- 'name: ms-millstream-metrics'
shows 'metrics.serviceMonitor.enabled=true' -- 'kind: ServiceMonitor'
shows 'metrics.serviceMonitor.enabled=true' 'metrics.serviceMonitor.interval="7s"' -- 'interval: 7s'
shows 'metrics.serviceMonitor.enabled=true' 'metrics.serviceMonitor.labels={"release":"p"}' -- \
  'release: p'
hides 'networkPolicy.enabled=false' -- 'kind: NetworkPolicy'
hides 'podDisruptionBudget.enabled=false' -- 'kind: PodDisruptionBudget'
shows 'podLabels={"team":"plants"}' -- 'team: plants'
shows 'podAnnotations={"note":"bee"}' -- 'note: bee'
shows 'nodeSelector={"pool":"ops"}' -- 'pool: ops'
shows 'tolerations=[{"key":"ops"}]' -- '- key: ops'
shows 'affinity={"nodeAffinity":{"a":1}}' -- 'nodeAffinity:'
shows 'priorityClassName="high"' -- 'priorityClassName: high'

refused 'replica=2'
refused 'replicas="two"'
refused 'replicas=-1'
refused 'replicas=6'
refused 'image.tag="a b"'
refused 'watchNamespaces="plants"'
refused 'crds.keep="yes"'
refused 'metrics.serviceMonitor.interval="often"'

# Each value of values.yaml is above. Lists and mappings that are empty there are values themselves.
"$helm" show values charts/millstream | grep -v '^ *#' >"$scratch/values"
path=()
while IFS= read -r line; do
  [ -n "$line" ] || continue
  indent=${line%%[! ]*}
  depth=$((${#indent} / 2))
  name=${line#"$indent"}
  path=("${path[@]:0:depth}" "${name%%:*}")
  [ -n "${name#*:}" ] || continue
  value=$(IFS=. && echo "${path[*]}")
  is_seen=''
  for other in "${seen[@]}"; do
    case $value in "$other" | "$other".*) is_seen=yes ;; esac
  done
  [ -n "$is_seen" ] || fail "nothing here shows what $value does"
done <"$scratch/values"

[ "$failures" = 0 ] || die "$failures values do not do what they should"
echo "check-chart: every value shows in what is rendered, by $("$helm" version --short)"
