#!/usr/bin/env bash
# kafka.sh start|kill: a Kafka broker at the address of the control plane. As testkit/src/kafka.rs
# has it, which is for tests without a cluster.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
. "$cluster_scripts/inside/server.sh"

data=$cluster/kafka
mkdir -p "$data"
libs=$tools/kafka-$(sed -n 's/^kafka_version=//p' "$cluster_scripts/../../scripts/tools.sh")/libs

write_settings() {
  # Records are kept whatever time they carry: by default those of a year ago would go at once.
  cat >"$data/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://$host_address:9092,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://$host_address:9092
controller.quorum.voters=1@127.0.0.1:9093
log.dirs=$data/data
auto.create.topics.enable=false
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
CONF
}

java_class() {
  local class=$1
  shift
  exec java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$libs/*" "$class" "$@"
}

start() {
  if ! is_running; then
    if [ ! -e "$data/data" ]; then
      write_settings
      # Any identity does: the broker is alone in its cluster.
      (java_class kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg \
        -c "$data/server.properties") >>"$cluster/logs/kafka" 2>&1
    fi
    export LOG_DIR=$data
    export -f java_class
    export libs
    launch kafka bash -c 'java_class kafka.Kafka server.properties'
  fi
  # Its coordinators of groups and of transactions load for a while after it listens.
  ready "Kafka is ready" timeout 10 "$cluster_scripts/inside/ask-kafka.sh" "$host_address" 9092
  echo "$host_address:9092"
}

case "${1:-}" in
  start) start ;;
  kill) kill_it ;;
  *) die "usage: kafka.sh start|kill" ;;
esac
