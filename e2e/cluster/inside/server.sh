#!/usr/bin/env bash
# A server that tests start and kill, beside the cluster: none that comes back by itself. Sourced.
#
# Its files are in $data, its process id in $data/pid, its output in logs/NAME.
# shellcheck disable=SC2154 # What is not set here is set by lib.sh or by whoever sources this.

is_running() {
  [ -e "$data/pid" ] && kill -0 "$(cat "$data/pid")" 2>/dev/null
}

# Whoever called may wait for the end of a pipe: a server that stays is not to hold it open.
close_the_rest() {
  local descriptor
  for descriptor in "/proc/$BASHPID/fd/"*; do
    descriptor=${descriptor##*/}
    [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
  done
}

# launch NAME COMMAND...
launch() {
  local name=$1
  shift
  cd "$data" || die "there is no $data"
  (
    close_the_rest
    exec setsid "$@"
  ) </dev/null >>"$cluster/logs/$name" 2>&1 &
  echo $! >"$data/pid"
}

kill_it() {
  if is_running; then
    kill -9 "$(cat "$data/pid")"
    ended() { ! is_running; }
    wait_for 10 "$(basename "$data") has ended" ended
  fi
  rm -f "$data/pid"
}

# ready WHAT COMMAND...: waits until the server answers as it should; fails where it ends before.
ready() {
  local what=$1
  shift
  answers() { "$@" || ! is_running; }
  wait_for 120 "$what" answers "$@"
  is_running || die "$(basename "$data") has ended; its log: $cluster/logs/$(basename "$data")"
}
