#!/bin/sh
# The program and the Python twin read each other's files. Takes the program from $OFFS (default: offs).
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
venv=${OFFS_CACHE:-$HOME/.cache}/offs-twin-venv
python=$venv/bin/python
if ! "$python" -c 'import cryptography, blake3' 2>/dev/null; then
    python3 -m venv "$venv" || {
        echo "Python's venv is needed: apt-get install -y python3-venv" >&2
        exit 1
    }
    "$python" -m pip install --quiet --disable-pip-version-check cryptography blake3
fi
exec "$python" "$here/soak/twin.py"
