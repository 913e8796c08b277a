#!/bin/sh
# Installs what the test of the page needs: Chromium by Debian's package, and into $OFFS_CACHE/offs-browser (default:
# ~/.cache/offs-browser) what drives it, checks it for accessibility and reads QR codes. Quick when all is there.
set -eu
cache=${OFFS_CACHE:-$HOME/.cache}/offs-browser
mkdir -p "$cache"

missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
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

wanted="playwright==1.65.2 axe-playwright-python==0.1.8 zxing-cpp==3.1.1 pillow==13.0.0"
if [ "$(cat "$cache/installed" 2>/dev/null)" != "$wanted" ] ||
    ! "$cache/venv/bin/python" -c 'import axe_playwright_python, PIL, playwright, zxingcpp' 2>/dev/null; then
    python3 -m venv "$cache/venv"
    # shellcheck disable=SC2086
    "$cache/venv/bin/python" -m pip install --quiet --disable-pip-version-check $wanted
    echo "$wanted" >"$cache/installed"
fi
