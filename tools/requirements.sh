#!/bin/sh
# Installs what the build lacks, or says the exact line to run.
set -eu
missing=""
command -v cargo >/dev/null 2>&1 || { echo "Rust is needed: install it with rustup" >&2; exit 1; }
command -v cc >/dev/null 2>&1 || missing="$missing gcc"
command -v c++ >/dev/null 2>&1 || missing="$missing g++"
# RocksDB's bindings are made by bindgen, which loads libclang.
# (libclang-cpp, which Mesa brings along, is another library and does not do.)
find /usr/lib /usr/lib64 /usr/local/lib \( -name 'libclang.so*' -o -name 'libclang-[0-9]*.so*' \) 2>/dev/null | grep -q . ||
    missing="$missing libclang-dev"
[ -z "$missing" ] && exit 0
line="apt-get install -y$missing"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing" >&2
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    # shellcheck disable=SC2086
    { apt-get update -qq && apt-get install -y -qq $missing; } >/dev/null || { echo "failed: $line" >&2; exit 1; }
else
    echo "the build needs$missing; run: sudo $line" >&2
    exit 1
fi
