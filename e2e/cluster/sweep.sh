#!/usr/bin/env bash
# Removes what clusters leave whose owner was killed. Sourced.
# shellcheck disable=SC2154 # What is not set here is set by lib.sh or by whoever sources this.

# remove_cluster FOLDER: once its last process has ended. Its files go in the background: on a disk
# that is told of each (`discard`), tens of thousands take most of a minute.
remove_cluster() {
  local removed
  if [ -e "$1/alive" ]; then
    flock --timeout 30 "$1/alive" true || return
  fi
  remove_cgroups "$(basename "$1")" || return
  removed=$clusters/removed-$(basename "$1")
  mv -T "$1" "$removed" || return
  remove_later "$removed"
}

# Nobody waits for its end, not even for that of a pipe.
remove_later() {
  setsid rm -rf --one-file-system "$1" </dev/null >/dev/null 2>&1 7>&- 8>&- 9>&- &
}

# Of all whose owner is gone. Call it with $clusters/lock held.
sweep() {
  local folder
  for folder in "$clusters"/millstream-*/; do
    folder=${folder%/}
    if [ -d "$folder" ] && ! has_owner "$folder"; then
      remove_cluster "$folder" || echo "error: $folder is left over" >&2
    fi
  done
  for folder in "$clusters"/removed-*/; do
    [ ! -d "$folder" ] || remove_later "${folder%/}"
  done
  if [ -L "$clusters/default" ] && [ ! -e "$clusters/default" ]; then
    rm "$clusters/default"
  fi
}
