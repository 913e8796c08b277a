#!/bin/bash
# Shows the program at work in a temporary home: put, get, compare, look, put again.
#
#   OFFS=path/to/offs tools/demo.sh [FILE-OR-DIRECTORY]
#
# Without an argument it makes a file of 300 MB. Everything it writes is in one temporary directory, which it
# removes at the end; the argument is only read. It fails when anything that comes back differs.
set -euo pipefail

offs=$(realpath -- "${OFFS:?say in OFFS where the program is, or run make demo}")
work=$(mktemp -d "${TMPDIR:-/tmp}/offs-demo.XXXXXX")
export OFFS_HOME=$work/home
url=''

clean_up() {
    # A restored directory may be one that even its owner may not write.
    [ ! -d "$work/back" ] || find "$work/back" -type d -exec chmod u+rwx {} + || true
    rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }

# Prints a command as one would type it, with $url for the URL.
show() {
    local word text=''
    for word in "$@"; do
        if [ -n "$url" ] && [ "$word" = "$url" ]; then
            word='"$url"'
        elif [[ ! $word =~ ^[A-Za-z0-9_./:=+-]+$ ]]; then
            word="'${word//\'/\'\\\'\'}'"
        fi
        text+=" $word"
    done
    printf '$%s\n' "$text"
}

run_offs() {
    show offs "$@"
    "$offs" "$@"
}

stored_bytes() { "$offs" stats --json | sed -n 's/.*"bytes":\([0-9]*\).*/\1/p'; }

# A number of bytes, and how many times the content that is.
so_much() {
    awk -v bytes="$1" -v size="$size" 'BEGIN {
        printf "%.1f MB", bytes / 1e6
        if (size >= 1000000) printf ", which is %.2f times the content", bytes / size
    }'
}

if [ $# -gt 0 ] && [ -n "$1" ]; then
    source=$(realpath -- "$1")
else
    source="$work/a demo file.bin"
    say 'A file of 300 MB of random bytes, which nothing can compress.'
    printf "$ head -c 300000000 /dev/urandom > '%s'\n" "$source"
    head -c 300000000 /dev/urandom > "$source"
fi
[ -f "$source" ] || [ -d "$source" ] || { echo "$source is neither a file nor a directory" >&2; exit 1; }
[ "$work" = "${work#"$source"/}" ] || { echo "$source contains the temporary directory $work" >&2; exit 1; }

size=$(du -s -B1 --apparent-size -- "$source" | cut -f1)
free=$(df -P -B1 -- "$work" | awk 'NR == 2 { print $4 }')
# Twice the content and its parity in an empty store, once more in a warm one, and the copy that comes back.
need=$((size * 5 + (64 << 20)))
if [ "$free" -lt "$need" ]; then
    echo "this needs $((need >> 20)) MiB in $work, but only $((free >> 20)) MiB are free; set TMPDIR to another disk" >&2
    exit 1
fi

say 'The home is a temporary one; without OFFS_HOME it would be in ~/.local/share/offs.'
printf '$ export OFFS_HOME=%s\n' "$OFFS_HOME"

say 'Put it. The URL is printed when the data is on stable storage.'
run_offs put "$source" | tee "$work/url"
url=$(tail -n 1 "$work/url")
first=$(stored_bytes)

say 'Get it back by that URL, and compare.'
run_offs get "$url" -o "$work/back"
if [ -d "$source" ]; then
    compare=(diff -r --no-dereference)
else
    compare=(cmp)
fi
show "${compare[@]}" "$source" "$work/back"
if ! "${compare[@]}" "$source" "$work/back"; then
    echo 'THEY DIFFER' >&2
    exit 1
fi
echo 'They are the same.'

say 'What is it, and how much of it is here?'
run_offs info "$url"

say 'And the store?'
run_offs stats

say 'Put the same again. It gets a key and a URL of its own, but its randomizers are here already.'
run_offs put "$source"
second=$(($(stored_bytes) - first))
cat <<TEXT

The content has $(awk -v size="$size" 'BEGIN { printf "%.1f MB", size / 1e6 }').
The empty store grew by  $(so_much "$first").
The warm store grew by   $(so_much "$second").
TEXT
if [ "$size" -ge 1000000 ]; then
    echo 'For every 16 blocks of content there are 4 of parity, and any 16 of the 20 give the others.'
fi

say 'Where everything was; it is removed now.'
show ls "$OFFS_HOME" "$OFFS_HOME/store"
ls "$OFFS_HOME" "$OFFS_HOME/store"
printf '\nThe program is %s\n' "$offs"
