#!/bin/sh
# Runs one workload on Flink: run.sh WORKLOAD RECORDS. Prints one line of JSON.
here=$(dirname "$0")
exec java -Xmx6g -XX:+UseParallelGC \
    --add-opens=java.base/java.util=ALL-UNNAMED \
    --add-opens=java.base/java.lang=ALL-UNNAMED \
    --add-opens=java.base/java.time=ALL-UNNAMED \
    -cp "$here/target/classes:$(cat "$here/target/classpath.txt")" bench.FlinkPeer "$@"
