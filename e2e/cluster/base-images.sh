#!/usr/bin/env bash
# Makes the images that all others here are made from, unless they are there: Debian under the name
# in our Dockerfile, and the pause image. No registry is asked. Prints the file of the pause image.
set -euo pipefail
cd "$(dirname "$0")"
. ./lib.sh

mkdir -p "$tools"
exec 9>"$tools/base-images.lock"
flock 9
scratch=$(mktemp -d "$tools/scratch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# make_image NAME FILES.tar OPTIONS...: an image of these files alone.
make_image() {
  local name=$1 files=$2 container
  shift 2
  container=$(./buildah.sh from scratch)
  ./buildah.sh add --quiet "$container" "$files" / >/dev/null
  [ $# -eq 0 ] || ./buildah.sh config "$@" "$container"
  ./buildah.sh commit --quiet --rm "$container" "$name" >/dev/null
}

# What is in it: an image of another one is made anew. Debian's own has libstdc++6 by apt.
packages=ca-certificates,libstdc++6
has_packages() {
  local format='{{index .OCIv1.Config.Labels "packages"}}'
  [ "$(./buildah.sh inspect --type image --format "$format" "$debian_image" 2>&1)" = "$packages" ]
}

if ! has_packages; then
  echo "making the image of Debian: this takes a minute, once" >&2
  mmdebstrap --quiet --variant=essential --include="$packages" \
    bookworm "$scratch/debian.tar" >&2 ||
    die "mmdebstrap could not fetch Debian: check that its archive can be reached"
  make_image "$debian_image" "$scratch/debian.tar" --cmd bash --label "packages=$packages"
fi

if [ ! -e "$pause/pause.tar" ]; then
  mkdir "$scratch/root"
  cc -Os -static -s -o "$scratch/root/pause" pause/pause.c
  tar -C "$scratch/root" -cf "$scratch/files.tar" pause
  make_image "$pause_image" "$scratch/files.tar" --entrypoint '["/pause"]' --user 65535:65535
  ./buildah.sh push --quiet "$pause_image" "docker-archive:$scratch/pause.tar:$pause_image"
  mkdir -p "$pause"
  mv -T "$scratch/pause.tar" "$pause/pause.tar"
fi
echo "$pause/pause.tar"
