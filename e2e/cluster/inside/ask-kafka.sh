#!/usr/bin/env bash
# ask-kafka.sh HOST PORT: whether a broker's coordinators of groups and of transactions answer.
# Speaks so much of Kafka's protocol as that takes.
set -euo pipefail

# number BYTES VALUE, text STRING: as the protocol has them, for printf's %b.
number() {
  printf "%0$(($1 * 2))x" "$2" | sed 's/../\\x&/g'
}
text() {
  printf '%s%s' "$(number 2 "${#1}")" "$1"
}

# ask API VERSION BODY: asks over a connection of its own; prints the answer's bytes behind its
# length and its number, as decimals.
ask() {
  local request size
  request=$(number 2 "$1")$(number 2 "$2")$(number 4 1)$(text ask)$3
  size=$(printf '%b' "$request" | wc -c)
  exec 3<>"/dev/tcp/$host/$port"
  printf '%b' "$(number 4 "$size")$request" >&3
  size=$((16#$(head -c 4 <&3 | od -An -tx1 | tr -d ' ')))
  head -c "$size" <&3 | od -An -v -tu1 | tr -s ' \n' ' ' | cut -d ' ' -f 6-
  exec 3>&-
}

# fine BYTES...: the error behind the first four bytes is none.
fine() {
  [ "$5" = 0 ] && [ "$6" = 0 ]
}

host=$1 port=$2
name=$(text ask-kafka)
# FindCoordinator, of a group and of a transaction: this makes the broker set up their topics.
ask 10 1 "$name$(number 1 0)" >/dev/null
ask 10 1 "$name$(number 1 1)" >/dev/null
# OffsetFetch of no topics; InitProducerId with a time-out of a minute.
# shellcheck disable=SC2046
fine $(ask 9 2 "$name$(number 4 0)")
# shellcheck disable=SC2046
fine $(ask 22 1 "$name$(number 4 60000)")
