#!/usr/bin/env bash
# Keys and certificates of a cluster, a token for each component, and a kubeconfig for each token.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

cd "$cluster/keys"

make_key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

# sign NAME SUBJECT EXTENSIONS: a certificate of the cluster's authority.
sign() {
  make_key "$1"
  openssl req -new -key "$1.key" -subj "$2" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" -days 2 \
      -extfile <(echo "$3") -out "$1.crt" 2>>openssl.log
}

make_key ca
openssl req -x509 -new -key ca.key -subj /CN=millstream-e2e -days 2 -out ca.crt
names=IP:127.0.0.1,IP:$host_address,IP:$api_address,DNS:localhost,DNS:kubernetes
names+=,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
sign kube-apiserver /CN=kube-apiserver "subjectAltName=$names"
# What the API server shows to kubelets.
sign kubelet-client /O=system:masters/CN=kubelet-client extendedKeyUsage=clientAuth
make_key service-account

# component NAME USER [GROUP]: a token, and a kubeconfig with it.
component() {
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$2,$2,\"${3:-}\"" >>tokens.csv
  cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: millstream-e2e
  cluster:
    server: https://$host_address:6443
    certificate-authority-data: $(base64 -w 0 ca.crt)
users:
- name: $1
  user: {token: $token}
contexts:
- name: millstream-e2e
  context: {cluster: millstream-e2e, user: $1}
current-context: millstream-e2e
YAML
}

component admin admin system:masters
component kube-controller-manager system:kube-controller-manager
component kube-scheduler system:kube-scheduler
component kube-proxy system:kube-proxy
component coredns coredns
for number in "${nodes[@]}"; do
  component "node-$number" "system:node:node-$number" system:nodes
done
mv admin.kubeconfig ../kubeconfig
