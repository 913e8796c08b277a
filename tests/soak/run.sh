#!/bin/sh
# Runs the soak scripts, or those named as arguments, one after the other.
#
#     OFFS=path/to/offs SOAK=short tests/soak/run.sh [crash full_disk ...]
#
# SOAK=full (the default) is the long form, SOAK=short takes some minutes. OFFS_SEED repeats a run.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=${OFFS_CACHE:-$HOME/.cache}/offs-twin-venv/bin/python
# It has the packages that the twin needs; without it, what needs them is skipped.
[ -x "$python" ] || python=python3
if [ $# -eq 0 ]; then
    set -- crash full_disk memory small_files damage hostile dht_probe truth s3
    # A dozen daemons take their time even with little to store, and so does a bad network.
    [ "${SOAK:-full}" = short ] || set -- "$@" cluster faults
fi
passed=0
failed=''
for name in "$@"; do
    name=$(basename "$name" .py)
    if "$python" "$here/$name.py"; then
        passed=$((passed + 1))
    else
        failed="$failed $name"
    fi
done
# shellcheck disable=SC2086
echo "$passed passed, $(printf '%s\n' $failed | grep -c .) failed${failed:+:$failed}"
[ -z "$failed" ]
