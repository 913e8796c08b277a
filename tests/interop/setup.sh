#!/bin/sh
# Installs the foreign DHT clients into $OFFS_CACHE/offs-interop (default: ~/.cache/offs-interop), aria2 and Node.js
# by Debian's packages. Quick when all is there.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${OFFS_CACHE:-$HOME/.cache}/offs-interop
mkdir -p "$cache"

missing=""
command -v aria2c >/dev/null 2>&1 || missing="$missing aria2"
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
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

libtorrent=2.1.1
if ! "$cache/venv/bin/python" -c "
import cryptography, libtorrent
assert libtorrent.__version__.startswith('$libtorrent')" 2>/dev/null; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check "libtorrent==$libtorrent" cryptography
fi

bittorrent_dht=11.0.12
if ! grep -qs "\"version\": \"$bittorrent_dht\"" "$cache/npm/node_modules/bittorrent-dht/package.json"; then
    mkdir -p "$cache/npm"
    npm install --silent --no-audit --no-fund --no-save --prefix "$cache/npm" "bittorrent-dht@$bittorrent_dht"
fi

CARGO_TARGET_DIR=$cache/target nice -n 15 cargo build --quiet --locked --manifest-path "$here/mainline_peer/Cargo.toml"
