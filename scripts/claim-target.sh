#!/usr/bin/env bash
# claim-target.sh FOLDER: says whose build folder this is. Called by the Makefile.
#
# Several checkouts build into one folder. Cargo takes what another one has built there for its own
# where that is newer than the sources here. So a checkout that comes after another touches its
# sources: what is theirs is then built anew, the dependencies are not.
set -euo pipefail
cd "$(dirname "$0")/.."

owner=$1/.checkout
if [ "$(cat "$owner" 2>/dev/null)" != "$PWD" ]; then
  mkdir -p "$1"
  find . -path ./.git -prune -o -type f -exec touch -c {} +
  echo "$PWD" >"$owner"
fi
