#!/bin/sh
# Makes a package for Debian of the program that OFFS names, and prints where it is.
#
# cargo-deb is installed into $OFFS_CACHE/offs-deb (default: ~/.cache/offs-deb) the first time.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
tool=${OFFS_CACHE:-$HOME/.cache}/offs-deb
[ -x "$tool/bin/cargo-deb" ] ||
    CARGO_TARGET_DIR=$tool/target cargo install --quiet --locked cargo-deb --root "$tool"
work=$top/target/deb
rm -rf "$work"
mkdir -p "$work/man"
cp "$OFFS" "$work/offs"
strip --strip-debug "$work/offs"
"$work/offs" man "$work/man"
for shell in bash:offs.bash zsh:_offs fish:offs.fish; do
    "$work/offs" completions "${shell%%:*}" > "$work/${shell#*:}"
done
sed 's,/usr/local/bin/,/usr/bin/,' "$top/packaging/offs.service" > "$work/offs.service"
cd "$top"
CARGO_TARGET_DIR=$top/target "$tool/bin/cargo-deb" deb --quiet --no-build --no-strip --output "$top/target/"
ls "$top"/target/*.deb
