#!/usr/bin/env bash
# daemon NAME COMMAND...: keeps a program running, as an init system would. Sourced.
#
# Whatever ends is started again after a second, so that a test may kill any of them. Its output is
# in the folder of the cluster, logs/NAME.
# shellcheck disable=SC2154 # What is not set here is set by lib.sh or by whoever sources this.
daemon() {
  local name=$1 log=$cluster/logs/$1
  shift
  (
    while :; do
      "$@" >>"$log" 2>&1 </dev/null || true
      echo "-- $name ended, and is started again" >>"$log"
      sleep 1
    done
  ) &
}
