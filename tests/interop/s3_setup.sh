#!/bin/sh
# Installs the clients of S3 that s3.py runs into $OFFS_CACHE/offs-s3 (default: ~/.cache/offs-s3): aws-cli, boto3 and
# s3cmd by pip, the Rust clients by cargo; rclone, restic and s3fs by Debian's packages. Quick when all is there.
#
# With S3_REFERENCE=1 also two servers to try the script itself on: s3s-fs and moto.
# S3_FEATURES says which Rust clients are built beside object_store: "sdk opendal" unless it is set, some hundred crates.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${OFFS_CACHE:-$HOME/.cache}/offs-s3
mkdir -p "$cache"

missing=""
command -v rclone >/dev/null 2>&1 || missing="$missing rclone"
command -v restic >/dev/null 2>&1 || missing="$missing restic"
command -v s3fs >/dev/null 2>&1 || missing="$missing s3fs"
command -v fusermount >/dev/null 2>&1 || command -v fusermount3 >/dev/null 2>&1 || missing="$missing fuse"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
command -v cargo >/dev/null 2>&1 || { echo "Rust is needed: install it with rustup" >&2; exit 1; }
if [ -n "$missing" ]; then
    line="apt-get install -y$missing"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "run: sudo $line" >&2
        exit 1
    fi
    # shellcheck disable=SC2086
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing; } >/dev/null ||
        { echo "failed: $line" >&2; exit 1; }
fi

# The versions that the expectations of s3.py were made with.
awscli=1.46.3
boto3=1.44.8
s3cmd=2.4.0
if ! "$cache/venv/bin/python" -c "
import awscrt
from importlib.metadata import version
assert (version('awscli'), version('boto3'), version('s3cmd')) == ('$awscli', '$boto3', '$s3cmd')" 2>/dev/null; then
    python3 -m venv "$cache/venv"
    nice -n 15 "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        "awscli==$awscli" "boto3[crt]==$boto3" "s3cmd==$s3cmd"
fi

CARGO_TARGET_DIR=$cache/target nice -n 15 cargo build --quiet --release --locked --no-default-features \
    --features "${S3_FEATURES-sdk opendal}" --manifest-path "$here/s3-clients/Cargo.toml"

[ "${S3_REFERENCE:-0}" = 1 ] || exit 0

s3s=0.14.1
if [ ! -x "$cache/s3s/bin/s3s-fs" ]; then
    CARGO_TARGET_DIR=$cache/target-s3s nice -n 15 cargo install --quiet --locked s3s-fs --version "$s3s" \
        --features binary --root "$cache/s3s"
    rm -rf "$cache/target-s3s"
fi

moto=5.2.5
if [ ! -x "$cache/moto/bin/moto_server" ]; then
    python3 -m venv "$cache/moto"
    nice -n 15 "$cache/moto/bin/python" -m pip install --quiet --disable-pip-version-check "moto[server]==$moto"
fi
