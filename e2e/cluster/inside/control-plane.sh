#!/usr/bin/env bash
# Starts etcd, the API server, the controller manager and the scheduler. Sourced by sandbox.sh.
# shellcheck disable=SC2154 # What is not set here is set by lib.sh or by whoever sources this.

start_etcd() {
  # Nothing here is to outlive the machine: no fsync.
  daemon etcd etcd --name=etcd --data-dir="$cluster/etcd" --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 \
    --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster=etcd=http://127.0.0.1:2380 --log-level=warn
}

start_api_server() {
  local keys=$cluster/keys
  daemon kube-apiserver kube-apiserver \
    --advertise-address="$host_address" --secure-port=6443 \
    --etcd-servers=http://127.0.0.1:2379 \
    --service-cluster-ip-range="$service_range" \
    --client-ca-file="$keys/ca.crt" --token-auth-file="$keys/tokens.csv" \
    --tls-cert-file="$keys/kube-apiserver.crt" --tls-private-key-file="$keys/kube-apiserver.key" \
    --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$keys/service-account.key" \
    --service-account-signing-key-file="$keys/service-account.key" \
    --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$keys/kubelet-client.crt" \
    --kubelet-client-key="$keys/kubelet-client.key" \
    --allow-privileged=true --profiling=false \
    --audit-policy-file="$cluster_scripts/inside/audit-policy.yaml" \
    --audit-log-path="$cluster/audit.log" --audit-log-maxsize=1024
}

# A node is NotReady after it has been silent for five seconds, not forty. The controllers may ask
# for as much as the machine gives: at their defaults, a thousand pods take minutes.
start_controller_manager() {
  local keys=$cluster/keys
  daemon kube-controller-manager kube-controller-manager \
    --kubeconfig="$keys/kube-controller-manager.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 --root-ca-file="$keys/ca.crt" \
    --service-account-private-key-file="$keys/service-account.key" \
    --use-service-account-credentials=true --profiling=false \
    --kube-api-qps=500 --kube-api-burst=1000 --concurrent-statefulset-syncs=20 \
    --node-monitor-period=1s --node-monitor-grace-period=5s
}

start_scheduler() {
  daemon kube-scheduler kube-scheduler --kubeconfig="$cluster/keys/kube-scheduler.kubeconfig" \
    --leader-elect=false --bind-address=127.0.0.1 --profiling=false
}
