#!/usr/bin/env bash
# rocksdb.sh FOLDER: builds RocksDB into a folder, unless it is there. Called by the Makefile.
#
# Each profile and each set of features would compile its C++ anew, which takes ten minutes and more
# on two cores. Checks and tests share this one, with few optimisations; `cargo build` outside the
# Makefile compiles its own. The sources are those of the crate that Cargo.lock names.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/install.sh

folder=$1
if [ -e "$folder/librocksdb.a" ]; then
  exit
fi
version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
[ -n "$version" ] || die "Cargo.lock names no librocksdb-sys"
need_toolchain
need_rocksdb

echo "building RocksDB $version: this takes some minutes, once" >&2
mkdir -p "$folder"
scratch=$(mktemp -d "$folder/scratch.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/src"
touch "$scratch/src/lib.rs"
cat >"$scratch/Cargo.toml" <<TOML
[package]
name = "rocksdb-alone"
version = "0.0.0"
edition = "2024"

[dependencies.librocksdb-sys]
version = "=$version"
default-features = false
features = ["bindgen-runtime", "lz4"]

[profile.dev]
opt-level = 1
debug = false

[workspace]
TOML
# Nothing that is set for the checks may keep it from being compiled.
env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$scratch/target" \
  cargo build --quiet --manifest-path "$scratch/Cargo.toml" >&2 ||
  die "RocksDB $version could not be built"
built=$(find "$scratch/target" -name librocksdb.a -print -quit)
[ -n "$built" ] || die "librocksdb-sys $version was built, but left no librocksdb.a"
# At once, for two of these may run.
mv "$built" "$folder/librocksdb.a"
