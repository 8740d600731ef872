#!/usr/bin/env bash
# Finds what Millstream's scripts need, and installs the missing Debian packages where it may.
#
# Sourced by the other scripts, which call the functions for what they need. Run by itself it checks
# the toolchain, what the features kafka and rocksdb are built with, and everything the demo needs.

# Where Cargo.toml lies: whoever sources this may change the directory afterwards.
install_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Prints a message and fails: `die "what is wrong and what to do"`.
die() {
  echo "error: $*" >&2
  exit 1
}

# ensure_command <command> <debian package>...: returns when the command is there. Installs the
# packages as root on a system with apt; elsewhere says what to install.
ensure_command() {
  local command=$1
  shift
  if command -v "$command" >/dev/null; then
    return
  fi
  apt_install "'$command'" "$@"
  hash -r
  command -v "$command" >/dev/null || die "$* is installed, but '$command' is not on the PATH"
}

# ensure_library <name for pkg-config> <debian package>...: the same for the headers of a library.
ensure_library() {
  local library=$1
  shift
  ensure_command pkg-config pkg-config
  if pkg-config --exists "$library"; then
    return
  fi
  apt_install "the headers of '$library'" "$@"
  pkg-config --exists "$library" || die "$* is installed, but pkg-config does not find '$library'"
}

# apt_install <what is missing> <debian package>...
apt_install() {
  local missing=$1
  shift
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "missing: $missing (Debian: apt-get install $*)"
  fi
  echo "installing $* for $missing" >&2
  apt_update_once
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
    die "apt-get could not install $*: install $missing by hand"
}

apt_updated=no

# The package lists may be old or, in a slim image, absent.
apt_update_once() {
  if [ "$apt_updated" = no ]; then
    apt-get update -qq >&2 || die "apt-get update failed: check the package sources"
    apt_updated=yes
  fi
}

# The two prerequisites of the build: cargo, of the version that Cargo.toml names, and a C compiler.
need_toolchain() {
  command -v cargo >/dev/null || die "'cargo' is missing: install Rust from https://rustup.rs"
  need_rust
  command -v cc >/dev/null || ensure_command cc gcc libc6-dev
  ensure_command make make
}

# That rustc, which cargo calls, is of the version that Cargo.toml names, or newer. An older cargo
# stops at its first look at Cargo.toml or Cargo.lock, with a message about their format.
need_rust() {
  local needed has
  needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$install_root/Cargo.toml")
  has=$("${RUSTC:-rustc}" --version 2>/dev/null) ||
    die "'${RUSTC:-rustc}' does not run, which cargo needs: install Rust from https://rustup.rs"
  # As in `rustc 1.95.0 (59807616e 2026-04-14)`, or `rustc 1.97.0-nightly (..)`.
  has=$(awk '{ sub(/-.*/, "", $2); print $2 }' <<<"$has")
  if [ "$(printf '%s\n' "$needed" "$has" | sort -V | head -n 1)" != "$needed" ]; then
    die "Rust is $has ($(command -v "${RUSTC:-rustc}")), and Millstream needs $needed or newer:" \
      "\`rustup update stable\`, or install it from https://rustup.rs and put it first on the PATH"
  fi
}

# What the feature `kafka` is built with beyond the toolchain: librdkafka has C++ in it, and speaks
# TLS by OpenSSL.
need_kafka() {
  ensure_command g++ g++
  ensure_library openssl libssl-dev
}

# What the feature `rocksdb` is built with beyond the toolchain: RocksDB is C++, and its header is
# read by libclang.
need_rocksdb() {
  ensure_command g++ g++
  if ! find_libclang; then
    apt_install "the library 'libclang'" libclang-dev
    find_libclang || die "libclang-dev is installed, but there is no libclang.so: set LIBCLANG_PATH"
  fi
}

# Whether there is a libclang where bindgen looks for it. libclang-cpp is another library.
find_libclang() {
  local place
  for place in "${LIBCLANG_PATH:-}" /usr/lib/llvm-*/lib /usr/lib64 /usr/lib /usr/lib/*-linux-gnu; do
    if compgen -G "$place/libclang.so*" || compgen -G "$place/libclang-[0-9]*"; then
      return
    fi
  done >/dev/null
  return 1
}

# What the demo needs beyond the toolchain: a client of the npm registry for its data.
need_demo() {
  ensure_command npm npm
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  need_toolchain
  need_kafka
  need_rocksdb
  need_demo
  echo "everything is there"
fi
