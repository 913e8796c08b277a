#!/bin/sh
# Compares put and get with the disk, the hash, cp, restic and borg, all in one run and several times over.
#
#     OFFS=path/to/offs SIZE=1073741824 PASSES=5 benches/compare.sh
#
# The store is warm: it has blocks to serve as randomizers, and they are in memory, like the file that is put.
# The median of the passes counts, because disks that are shared are twice as fast at one moment as at another; what
# is compared comes close together. Each step starts with nothing of the others waiting to be written, and what it made
# is removed after it, so 20 times SIZE of free disk suffice. BENCH_DIR says on which disk (else TMPDIR).
set -eu
export LC_ALL=C
offs=$(command -v "${OFFS:-offs}") || { echo "there is no program ${OFFS:-offs}; name it in OFFS" >&2; exit 1; }
case $offs in /*) ;; *) offs=$PWD/$offs ;; esac
size=${SIZE:-1073741824}
passes=${PASSES:-5}
missing=
command -v restic >/dev/null || missing="$missing restic"
command -v borg >/dev/null || missing="$missing borgbackup"
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
    else
        echo "this needs$missing; run: sudo apt-get install -y$missing" >&2
        exit 1
    fi
fi

work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/offs-compare-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
cd "$work"
free=$(df -Pk . | awk 'NR == 2 { print $4 * 1024 }')
awk "BEGIN { exit !($free < 8 * $size) }" && { echo "too little free disk: $free bytes" >&2; exit 1; }
export RESTIC_PASSWORD=compare RESTIC_CACHE_DIR="$work/restic-cache" BORG_BASE_DIR="$work/borg-base"
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
head -c "$size" /dev/urandom >file
half=$((size / 2))
head -c "$half" file >first
tail -c "$half" file >second
{ cat file; head -c $((size / 4)) file; } >file-and-quarter
wanted=$(sha256sum <file)

# measure NAME COMMAND...: seconds of a command.
measure() {
    name=$1
    shift
    sync
    start=$(date +%s.%N)
    "$@" >log 2>&1 || { echo "$name failed:" >&2; cat log >&2; exit 1; }
    end=$(date +%s.%N)
    seconds=$(awk "BEGIN { printf \"%.3f\", $end - $start }")
    echo "  $name: $seconds s" >&2
    echo "$name $seconds" >>seconds
}
median() { awk -v name="$1" '$1 == name { print $2 }' seconds | sort -n | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }
packs() { du -sB1 --apparent-size "$1/store/packs" | cut -f1; }
warm() { cat "$1"/store/packs/* >/dev/null; }
same() { [ "$(sha256sum <"$1")" = "$wanted" ] || { echo "$1 is not what went in" >&2; exit 1; }; }
both_halves() {
    "$@" first &
    "$@" second
    wait
}
copy() { cp file copy && sync; }
put() { "$offs" --home "$@" file >url; }
get() { "$offs" --home "$1" get "$(cat url)" -o out && sync; }
restic_backup() { restic -q -r restic init && restic -q -r restic backup file && sync; }
restic_restore() { restic -q -r restic restore latest --target restored && sync; }
borg_create() { borg init -e none borg && borg create -C none borg::one file && sync; }
borg_extract() { (mkdir extracted && cd extracted && borg extract ../borg::one) && sync; }

pass=0
while [ "$pass" -lt "$passes" ]; do
    pass=$((pass + 1))
    echo "pass $pass of $passes, $size bytes" >&2
    measure put-empty put empty put --parity none
    packs empty >added-empty
    rm -r empty
    for _ in 1 2 3; do put home put --parity none; done
    measure hash both_halves openssl dgst -sha256
    measure sha256sum both_halves sha256sum
    measure write dd if=file of=copy bs=1M conv=fdatasync
    rm copy
    before=$(packs home)
    warm home
    measure put-plain put home put --parity none
    after=$(packs home)
    echo $((after - before)) >added-plain
    measure write-more dd if=file-and-quarter of=copy bs=1M conv=fdatasync
    rm copy
    warm home
    measure put-parity put home put
    echo $(($(packs home) - after)) >added-parity
    measure cp copy
    rm copy
    measure get-first get home
    same out
    rm out
    measure get get home
    same out
    rm -r home out

    measure restic-backup restic_backup
    measure restic-restore restic_restore
    same restored/file
    rm -rf restic restored restic-cache
    measure borg-create borg_create
    measure borg-extract borg_extract
    same extracted/file
    rm -rf borg extracted borg-base
done

row() { printf '%-44s %8.2f s  %7.0f MB/s\n' "$2" "$(median "$1")" "$(awk "BEGIN { print $size / 1e6 / $(median "$1") }")"; }
ratio() { printf '%-44s %8.2f\n' "$1" "$(awk "BEGIN { print $2 / $3 }")"; }
per_byte() { printf '%-44s %8.3f\n' "$1" "$(awk "BEGIN { print $(cat "$2") / $size }")"; }
slower() { awk "BEGIN { print ($(median "$1") > $(median "$2")) ? $(median "$1") : $(median "$2") }"; }
echo
echo "$size random bytes, $(nproc) cores, median of $passes; $(restic version | cut -d' ' -f1,2), $(borg --version)"
echo "borg without encryption (-e none) and without compression (-C none), which is to its advantage"
echo
row write 'write it (dd, fdatasync)'
row write-more 'write a quarter more, for parity'
row hash 'hash it (both halves at once, openssl)'
row sha256sum 'hash it (both halves at once, sha256sum)'
row cp 'cp + sync'
row put-empty 'offs put, no parity, empty store'
row put-plain 'offs put, no parity, warm store'
row put-parity 'offs put, default parity, warm store'
row restic-backup 'restic backup, new repository'
row borg-create 'borg create, new repository'
row get-first 'offs get + sync, first after the put'
row get 'offs get + sync'
row restic-restore 'restic restore + sync'
row borg-extract 'borg extract + sync'
echo
echo 'seconds over seconds; below 1, offs is faster'
ratio 'put, no parity / slower of write, openssl' "$(median put-plain)" "$(slower write hash)"
ratio 'put, default / slower of write, openssl' "$(median put-parity)" "$(slower write-more hash)"
ratio 'put, no parity / slower of write, sha256sum' "$(median put-plain)" "$(slower write sha256sum)"
ratio 'put, default / slower of write, sha256sum' "$(median put-parity)" "$(slower write-more sha256sum)"
ratio 'put, no parity / restic backup' "$(median put-plain)" "$(median restic-backup)"
ratio 'put, no parity / borg create' "$(median put-plain)" "$(median borg-create)"
ratio 'put, default / restic backup' "$(median put-parity)" "$(median restic-backup)"
ratio 'put, default / borg create' "$(median put-parity)" "$(median borg-create)"
ratio 'first get / restic restore' "$(median get-first)" "$(median restic-restore)"
ratio 'first get / borg extract' "$(median get-first)" "$(median borg-extract)"
ratio 'get / cp + sync' "$(median get)" "$(median cp)"
ratio 'get / restic restore' "$(median get)" "$(median restic-restore)"
ratio 'get / borg extract' "$(median get)" "$(median borg-extract)"
echo
echo 'bytes added to the store for each byte put'
per_byte 'warm store, no parity' added-plain
per_byte 'warm store, default parity' added-parity
per_byte 'empty store, no parity' added-empty
