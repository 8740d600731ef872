#!/usr/bin/env bash
# Fetches the demo's data: public records from the npm package vega-datasets, at one version.
#
# Writes into the cache directory, or into $MILLSTREAM_DATA_DIR, and prints that directory, alone,
# on stdout. What is there already and has the right checksum is not fetched again.
#
# The package is BSD-3-Clause; the files taken from it are works of the US government (NOAA weather,
# FAA bird strikes and airports, USGS earthquakes), free of copyright.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/install.sh

version=3.2.1
archive_sha256=6f72fda460a9863fae5fcb32f85bcd49e1761fdea6dc6cf9f4962472881cc5a3
files="
0845078a290b48e3149ab8639966824110a251db4e06fc144c06ebb534af23be  seattle-weather.csv
27219f1ca8dbd94c9b6f4b9f4f52ab2f1eb33dfdcf719cd9fc6481ed50b74549  weather.csv
3433511ab963755ec1a573420af962e713e66691c07c068f5a247e6891912311  seattle-weather-hourly-normals.csv
45777edf69984b37599e73dbfb34dbc976055243547407214261a4fcb9466462  birdstrikes.csv
903c7169e6d558eefb95295fe2947ec8503135fbb855ea5c737cf4a90ea603ad  airports.csv
a42702a83ffbae679f95d1fa53e2cae0bae13b21e599a68cdd50a44fc52129f7  earthquakes.json
"

# complete <dir>: whether every file is there, unharmed.
complete() {
  [ -d "$1" ] || return 1
  (cd "$1" && sed '/^$/d' <<<"$files" | sha256sum --check --status 2>/dev/null)
}

# fetch <dir>: downloads the package, checks it, and moves its files into <dir>.
fetch() {
  local dir=$1 archive
  ensure_command npm npm
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/millstream-data.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
  npm pack --silent --pack-destination "$scratch" "vega-datasets@$version" >/dev/null ||
    die "npm could not fetch vega-datasets@$version: check that its registry can be reached"
  archive=$scratch/vega-datasets-$version.tgz
  echo "$archive_sha256  $archive" | sha256sum --check --status ||
    die "vega-datasets-$version.tgz does not have the expected sha256: fetched something else"
  tar -xzf "$archive" -C "$scratch"
  complete "$scratch/package/data" || die "a file of vega-datasets-$version has another checksum"
  mkdir -p "$dir"
  local name
  for name in $(printf '%s' "$files" | awk '{ print $2 }'); do
    mv "$scratch/package/data/$name" "$dir/$name"
  done
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/millstream
dir=${MILLSTREAM_DATA_DIR:-$cache/data/vega-datasets-$version}
if ! complete "$dir"; then
  echo "fetching vega-datasets $version from the npm registry" >&2
  fetch "$dir"
fi
echo "$dir"
