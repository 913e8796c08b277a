#!/bin/sh
# Compiles RocksDB's C++ once for this machine and prints the directory of the library.
#
# Cargo would compile it again, for twenty minutes, whenever a change of any dependency changes the features
# of a crate that RocksDB's build script uses. So it is built on its own, with the version in Cargo.lock,
# and the build of the program links it through ROCKSDB_LIB_DIR (docs/decisions/0011-one-release-profile.md).
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cache=${OFFS_CACHE:-$HOME/.cache}
version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$top/Cargo.lock")
[ -n "$version" ] || { echo "tools/rocksdb.sh: Cargo.lock names no librocksdb-sys" >&2; exit 1; }
library=$cache/offs-rocksdb/$version
if [ ! -f "$library/librocksdb.a" ]; then
    echo "compiling RocksDB $version, once for this machine (ten to thirty minutes on two cores)" >&2
    work=$cache/offs-rocksdb/build
    mkdir -p "$work/src" "$library"
    printf '' > "$work/src/lib.rs"
    cat > "$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-library"
version = "0.0.0"
edition = "2024"

[dependencies.librocksdb-sys]
version = "=${version%%+*}"
default-features = false
features = ["bindgen-runtime"]

[workspace]
TOML
    (cd "$work" && CARGO_TARGET_DIR="$work/target" cargo build --release >&2)
    built=$(ls -t "$work"/target/release/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)
    cp "$built" "$library/librocksdb.a.new"
    mv "$library/librocksdb.a.new" "$library/librocksdb.a"
    rm -rf "$work"
fi
echo "$library"
