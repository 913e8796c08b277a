#!/bin/sh
# Runs the fuzz targets, two at a time, FUZZ_SECONDS each: all of them, or those named as arguments.
# Ends with an error when one of them finds something, and names the input that shows it.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top/fuzz"
seconds=${FUZZ_SECONDS:-300}
target_dir=${CARGO_TARGET_DIR:-$HOME/.cache/offs-target}-fuzz
all="off_url reference score record root directory file pack message node entry saved"
targets=${*:-$all}

# The sanitizers need a nightly compiler, or a stable one that is told to act like it.
if cargo +nightly --version >/dev/null 2>&1; then
    toolchain=+nightly
else
    toolchain=
    export RUSTC_BOOTSTRAP=1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz" >&2
    cargo install --locked cargo-fuzz >&2 || {
        echo "tools/fuzz.sh: cargo-fuzz cannot be installed (cargo install --locked cargo-fuzz)" >&2
        exit 1
    }
fi

# Most bytes of an input of each target.
max_len() {
    case $1 in
        off_url) echo 17000 ;;
        reference | score | record) echo 256 ;;
        root | file | pack | message | node | entry | saved) echo 4096 ;;
        directory) echo 65536 ;;
        *) echo "tools/fuzz.sh: no target $1, only $all" >&2; return 1 ;;
    esac
}
for target in $targets; do max_len "$target" >/dev/null; done

python3 seed.py
for target in $targets; do
    # shellcheck disable=SC2086
    cargo $toolchain fuzz build --target-dir "$target_dir" "$target" >&2
done
host=$(rustc -vV | sed -n 's/^host: //p')
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
trap 'exit 1' HUP INT TERM
# A stripe of a file is large for the sanitizer, which otherwise keeps 256 MiB of what was freed.
export ASAN_OPTIONS="${ASAN_OPTIONS:-quarantine_size_mb=32}"

run() {
    target=$1
    log=$logs/$target.log
    found=artifacts/$target/
    mkdir -p "corpus/$target" "$found"
    code=0
    "$target_dir/$host/release/$target" "corpus/$target" -artifact_prefix="$found" -max_total_time="$seconds" \
        -max_len="$(max_len "$target")" -rss_limit_mb=1024 -timeout=10 -detect_leaks=0 -print_final_stats=1 \
        >"$log" 2>&1 &
    pid=$!
    wait "$pid" || code=$?
    # A target that was stopped by a finding leaves the directory of its packs behind.
    rm -rf "/dev/shm/offs-fuzz-pack-$pid" "${TMPDIR:-/tmp}/offs-fuzz-pack-$pid"
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: .*/\1/p' "$log" | tail -n 1)
    figures="${runs:-0} executions, coverage ${coverage:-unknown}"
    if [ "$code" = 0 ]; then
        echo "$target: $figures, ok"
        return
    fi
    artifact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    why=$(grep -m 1 -A 1 -E "panicked at|^==[0-9]+== *ERROR" "$log" | tr '\n' ' ' || true)
    echo "$target: $figures, FINDING fuzz/${artifact:-(no artifact, exit code $code)}"
    echo "    $why"
    echo "    again: cd fuzz && cargo $toolchain fuzz run $target $artifact"
    cp "$log" "artifacts/$target/last.log"
    : >"$logs/finding"
}

set -f
# shellcheck disable=SC2086
set -- $targets
while [ $# -gt 0 ]; do
    run "$1" &
    shift
    if [ $# -gt 0 ]; then
        run "$1" &
        shift
    fi
    wait
done
[ ! -e "$logs/finding" ]
