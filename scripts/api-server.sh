# shellcheck shell=bash
# A real API server, without nodes and controllers, for the script that sources this: `kubectl`
# asks it as its admin, in the namespace plants, which takes what restricted Pod Security takes;
# `$scratch` is a folder; `$token-operator` is the token of what the chart calls the operator there,
# as the release ms; `others` are processes that end with it. All is gone when the script ends.
#
# It needs etcd (Debian's etcd-server), openssl, and helm, kube-apiserver and kubectl, as
# `make cluster-tools` installs them. Everything listens on loopback.

die() {
  echo "$(basename "$0" .sh): $*" >&2
  exit 1
}

tools=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/tools
kubernetes=$(find "$tools" -maxdepth 1 -name 'kubernetes-*' 2>/dev/null | sort -V | tail -1)
[ -x "$kubernetes/kube-apiserver" ] || die "kube-apiserver is missing: make cluster-tools"
helm=$(find "$tools" -maxdepth 2 -path '*/helm-*/helm' 2>/dev/null | sort -V | tail -1)
[ -x "$helm" ] || die "helm is missing: make cluster-tools"
for command in etcd openssl; do
  command -v "$command" >/dev/null || die "$command is missing: install it"
done

scratch=$(mktemp -d)
etcd='' server=''
others=()
finish() {
  kill -CONT "$server" "${others[@]}" 2>/dev/null || true
  [ "${#others[@]}" = 0 ] || kill -KILL "${others[@]}" 2>/dev/null || true
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$etcd" ] || kill "$etcd" 2>/dev/null || true
  wait
  rm -rf "$scratch"
}
trap finish EXIT

port=${MILLSTREAM_CHECK_PORT:-18443}
store=http://127.0.0.1:$((port + 1))
token=$(openssl rand -hex 16)

etcd --data-dir "$scratch/etcd" --listen-client-urls "$store" --advertise-client-urls "$store" \
  --listen-peer-urls "http://127.0.0.1:$((port + 2))" \
  --initial-advertise-peer-urls "http://127.0.0.1:$((port + 2))" \
  --initial-cluster "default=http://127.0.0.1:$((port + 2))" >"$scratch/etcd.log" 2>&1 &
etcd=$!
openssl ecparam -name prime256v1 -genkey -noout -out "$scratch/key.pem"
groups=system:serviceaccounts,system:serviceaccounts:plants,system:authenticated
cat >"$scratch/tokens" <<EOF
$token,admin,admin,system:masters
$token-operator,system:serviceaccount:plants:ms-millstream,operator,"$groups"
EOF
"$kubernetes/kube-apiserver" --etcd-servers "$store" --bind-address 127.0.0.1 \
  --secure-port "$port" --cert-dir "$scratch/certs" --token-auth-file "$scratch/tokens" \
  --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
  --service-account-issuer https://localhost --service-account-key-file "$scratch/key.pem" \
  --service-account-signing-key-file "$scratch/key.pem" \
  --disable-admission-plugins ServiceAccount >"$scratch/server.log" 2>&1 &
server=$!

kubectl() {
  "$kubernetes/kubectl" --server "https://127.0.0.1:$port" --insecure-skip-tls-verify \
    --token "$token" --cache-dir "$scratch/cache" --namespace plants "$@"
}

ready=''
for _ in $(seq 240); do
  kill -0 "$server" 2>/dev/null || break
  if kubectl get --raw /readyz >/dev/null 2>&1; then
    ready=yes
    break
  fi
  sleep 0.5
done
[ -n "$ready" ] || die "no API server: $(tail -n 5 "$scratch/etcd.log" "$scratch/server.log")"

# As the namespaces of jobs may be: what a job's pods are must pass.
kubectl create namespace plants >/dev/null
kubectl label namespace plants pod-security.kubernetes.io/enforce=restricted \
  pod-security.kubernetes.io/warn=restricted >/dev/null

# as_operator: what the chart makes in the namespace plants, but for the operator itself, and the
# `$scratch/kubeconfig` with which that asks.
as_operator() {
  "$helm" template ms charts/millstream --namespace plants >"$scratch/made.yaml"
  kubectl apply --server-side -f "$scratch/made.yaml" >/dev/null
  # There is nobody here who would make pods of it.
  kubectl delete deployment ms-millstream >/dev/null
  kubectl wait --for=condition=Established --timeout=60s crd/streamjobs.millstream.dev >/dev/null
  cat >"$scratch/kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: here
  cluster: {server: "https://127.0.0.1:$port", insecure-skip-tls-verify: true}
users:
- name: operator
  user: {token: "$token-operator"}
contexts:
- name: here
  context: {cluster: here, user: operator, namespace: plants}
current-context: here
EOF
}
