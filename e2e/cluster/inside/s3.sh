#!/usr/bin/env bash
# s3.sh start|kill: SeaweedFS as an S3 endpoint at the address of the control plane, with a bucket
# `snapshots`. The key `writer` with the secret `writer-secret` may do all, `reader` with
# `reader-secret` may read. As testkit/src/s3.rs has it, which is for tests without a cluster.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$cluster_scripts/inside/server.sh"

data=$cluster/s3
mkdir -p "$data/tmp"
scripts=$cluster_scripts/../../scripts
weed=$tools/seaweedfs-$(sed -n 's/^seaweedfs_version=//p' "$scripts/tools.sh")/weed

write_identities() {
  cat >"$data/identities.json" <<JSON
{"identities": [
  {"name": "writer", "actions": ["Admin", "Read", "Write", "List"],
   "credentials": [{"accessKey": "writer", "secretKey": "writer-secret"}]},
  {"name": "reader", "actions": ["Read", "List"],
   "credentials": [{"accessKey": "reader", "secretKey": "reader-secret"}]}
]}
JSON
}

# ask_filer METHOD PATH STATUS: past S3, where no signature is asked for.
ask_filer() {
  local status
  exec 3<>"/dev/tcp/$host_address/8888" || return
  printf '%s %s HTTP/1.0\r\nContent-Length: 1\r\n\r\nx' "$1" "$2" >&3
  read -r _ status _ <&3 || return
  exec 3>&-
  [ "$status" = "$3" ]
}

has_bucket() {
  ask_filer POST /buckets/snapshots/ 201 || ask_filer POST /buckets/snapshots/ 409
}

# Ready is whoever has taken an object.
takes_objects() {
  ask_filer PUT /buckets/snapshots/ready 201 && ask_filer DELETE /buckets/snapshots/ready 204 &&
    exec 3<>"/dev/tcp/$host_address/8333"
}

start() {
  if ! is_running; then
    write_identities
    # It keeps sockets in /tmp, and looks for settings at home.
    export HOME=$data
    launch s3 unshare --mount bash -c 'mount --bind tmp /tmp && exec "$@"' weed \
      "$weed" mini -dir="$data" -s3.config="$data/identities.json" \
      -ip="$host_address" -ip.bind=0.0.0.0 -admin.ui=false -webdav=false \
      -s3.iam=false -s3.autoCreateBucket=false -s3.port.iceberg=0 -s3.port.lance=0 \
      -master.telemetry=false -master.volumeSizeLimitMB=64 -volume.max=64
  fi
  ready "S3 has its bucket" has_bucket
  ready "S3 is ready" takes_objects
  echo "http://$host_address:8333"
}

case "${1:-}" in
  start) start ;;
  kill) kill_it ;;
  *) die "usage: s3.sh start|kill" ;;
esac
