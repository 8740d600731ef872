#!/usr/bin/env bash
# node-files.sh N: the settings of containerd, of the network of pods, of kubelet and kube-proxy.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

number=$1
name=node-$number
data=$cluster/$name
cri='plugins."io.containerd.grpc.v1.cri"'

cat >"$data/containerd.toml" <<TOML
version = 2
[$cri]
sandbox_image = "$pause_image"
# Not every machine lets its root lower these scores.
restrict_oom_score_adj = true
disable_apparmor = true
[$cri.containerd]
snapshotter = "$(cat "$cluster/snapshotter")"
[$cri.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[$cri.containerd.runtimes.runc.options]
SystemdCgroup = false
[$cri.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$data/cni"
TOML

# A wire for each pod, and everything routed: no bridge, so that what comes back for a Service goes
# the way it came. Nothing is behind the nodes, so that no address is translated.
cat >"$data/cni/10-pods.conflist" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.$number.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON

# For pods that do not ask for the cluster's names.
echo "nameserver $host_address" >"$data/resolv.conf"
cat >"$data/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /$(basename "$cluster")/$name
enforceNodeAllocatable: []
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [$dns_address]
resolvConf: $data/resolv.conf
volumePluginDir: /var/lib/kubelet/volume-plugins
# So often it is looked whether a pod is as it should be, and the control plane hears of the node.
syncFrequency: 1s
nodeStatusUpdateFrequency: 1s
nodeLeaseDurationSeconds: 4
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $cluster/keys/ca.crt}
authorization: {mode: Webhook}
# The disk is the machine's, and so is the room on it.
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 50Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
YAML

cat >"$data/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: $name
clusterCIDR: $pod_range
clientConnection: {kubeconfig: $cluster/keys/kube-proxy.kubeconfig}
# Limits of the whole machine: they stay.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {syncPeriod: 10s, minSyncPeriod: 100ms}
YAML
