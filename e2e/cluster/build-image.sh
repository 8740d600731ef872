#!/usr/bin/env bash
# build-image.sh FOLDER TARGET BUILT NAME FILE.tar: builds a stage of the Dockerfile in a folder,
# with what `COPY --from=build` copies taken from BUILT: so the stage is the real one, and holds
# what cargo has built already. The file is for import.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ $# = 5 ] || die "usage: build-image.sh FOLDER TARGET BUILT NAME FILE.tar"
folder=$(realpath "$1") target=$2 built=$(realpath "$3") name=$4 file=$(realpath "$5")
"$cluster_scripts/base-images.sh" >/dev/null

buildah() { "$cluster_scripts/buildah.sh" "$@"; }

# No name in the store: two that build the same one do not meet.
id=$(mktemp)
trap 'rm -f "$id" "$file.$$"' EXIT
buildah build --quiet --pull-never --layers=false --build-context "build=$built" \
  --target "$target" --iidfile "$id" --file "$folder/Dockerfile" "$folder" >&2
buildah push --quiet "$(cat "$id")" "docker-archive:$file.$$:$name"
buildah rmi "$(cat "$id")" >/dev/null
mv -T "$file.$$" "$file"
