#!/usr/bin/env bash
# buildah.sh ARGUMENTS...: buildah with a store of its own in the cache directory, so that no image
# here is ever taken for one of the same name elsewhere. What it mounts is gone when it ends, and so
# is what it keeps in places that are the machine's.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

images=$(dirname "$tools")/images
mkdir -p "$images"
driver=overlay
[ "$(stat -f -c %T "$images")" != overlayfs ] || driver=vfs
export BUILDAH_ISOLATION=chroot
places='mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib'
exec unshare --mount bash -c "$places && exec \"\$@\"" \
  buildah buildah --root "$images/store" --runroot /run/buildah --storage-driver "$driver" "$@"
