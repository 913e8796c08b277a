#!/usr/bin/env python3
"""A directory of 10,000 small files goes in and out quickly and takes little room; odd names and times survive."""

import os
import shutil
import time

from content import content, difference, tree
from program import Program, Trial, remove

FILES = 10_000
SIZE = 1024
ROOM = 40 << 20
RATE = 2_000
TRIES = 3


def many(trial):
    """Speed and room."""
    top = trial.folder / "many"
    for number in range(FILES):
        path = top / f"{number % 100:02}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(f"{trial.seed}/{number}", SIZE))
    wanted = tree(top)
    puts, gets = [], []
    for _ in range(TRIES):
        program = Program(trial.folder / "home")
        started = time.monotonic()
        url = program.put(top)
        puts.append(FILES / (time.monotonic() - started))
        packs = program.home / "store/packs"
        used = sum(path.stat().st_blocks * 512 for path in packs.iterdir())
        trial.check(used <= ROOM, f"{FILES} files of {SIZE} bytes take at most {ROOM >> 20} MiB",
                    f"they take {used / 2**20:.1f} MiB", *packs.iterdir())
        out = trial.folder / "out"
        started = time.monotonic()
        program.done("get", url, "-o", out)
        gets.append(FILES / (time.monotonic() - started))
        found = tree(out)
        trial.check(found == wanted, "the directory comes back as it was", *difference(wanted, found))
        remove(out)
        remove(program.home)
    trial.holds(f"{FILES} files of {SIZE} bytes take {used / 2**20:.1f} MiB in packs and come back as they were")
    for what, rates in (("in", puts), ("out", gets)):
        shown = ", ".join(f"{rate:.0f}" for rate in rates)
        trial.check(max(rates) >= RATE, f"at least {RATE} files a second go {what}", f"files a second: {shown}")
        trial.holds(f"files a second {what}: {shown}")


def odd(trial):
    """Everything that a name, a mode, a time or a link may be."""
    top = os.fsencode(trial.folder / "odd")
    os.mkdir(top)
    names = [b"with spaces", b" leading", b"trailing ", b"new\nline", b"tab\tand\rreturn", b"not utf-8 \xff\xfe\x80",
             "ümläut 日本 \N{COMBINING ACUTE ACCENT}".encode(), b"-dash", b"--", b"...", b".hidden", b"back\\slash",
             b"quote'\"", b"\x01\x7f", b"%41", b"a" * 255, b"*?[", b"CON", b"semi;colon&", b"~"]
    for number, name in enumerate(names):
        with open(os.path.join(top, name), "wb") as file:
            file.write(content(f"{trial.seed}/odd {number}", number * 777))
        os.mkdir(os.path.join(top, b"in " + name[:200]))
        with open(os.path.join(top, b"in " + name[:200], name), "wb") as file:
            file.write(name)
    os.mkdir(os.path.join(top, b"empty directory"))
    open(os.path.join(top, b"empty file"), "wb").close()
    for mode in (0o400, 0o444, 0o600, 0o644, 0o755, 0o777, 0o500):
        with open(os.path.join(top, b"mode %o" % mode), "wb") as file:
            file.write(b"%o" % mode)
        os.chmod(os.path.join(top, b"mode %o" % mode), mode)
    deep = top
    for level in range(60):
        deep = os.path.join(deep, b"level %d" % level)
        os.mkdir(deep)
    with open(os.path.join(deep, b"bottom"), "wb") as file:
        file.write(b"deep")
    for name, target in [(b"to file", b"with spaces"), (b"dangling", b"nowhere/at all"), (b"to directory", b"."),
                         (b"absolute", b"/etc/passwd"), (b"upwards", b"../../.."), (b"odd \xff", b"\xff\xfe"),
                         (b"to itself", b"to itself"), (b"long", b"x" * 4000)]:
        os.symlink(target, os.path.join(top, name))
    sizes = {b"at 1 MiB": 1 << 20, b"below 1 MiB": (1 << 20) - 1, b"block": 131072, b"block + 1": 131073}
    for name, size in sizes.items():
        with open(os.path.join(top, name), "wb") as file:
            file.write(content(f"{trial.seed}/{name}", size))
    os.mkdir(os.path.join(top, b"closed directory"))
    with open(os.path.join(top, b"closed directory", b"file"), "wb") as file:
        file.write(b"inside")
    # Times last: what is made in a directory changes its own. Before 1970 and after 2106 too.
    times = [0, 1, 10**18 + 123456789, -1, -10**18 - 1, 2**33 * 10**9 + 7, 1_700_000_000_999_999_999]
    number = 0
    for at, folders, files in os.walk(top, topdown=False):
        for path in [os.path.join(at, name) for name in sorted(files + folders)] + [at]:
            stamp = times[number % len(times)] + (number if number % 2 else 0)
            os.utime(path, ns=(stamp, stamp), follow_symlinks=False)
            number += 1
    closed = os.path.join(top, b"closed directory")
    os.chmod(closed, 0o500)
    wanted = tree(top)
    for flags in ([], ["--bare"], ["--parity", "none"]):
        program = Program(trial.folder / "home")
        url = program.put(*flags, os.fsdecode(top))
        out = trial.folder / "out"
        program.done("get", url, "-o", out)
        found = tree(out)
        trial.check(found == wanted, f"odd names, modes, times and links come back as they were {flags}",
                    *difference(wanted, found))
        remove(out)
        # One file out of it, by its path.
        outcome = program.done("get", url.rstrip("/") + "/in%20-dash/-dash", "-o", "-")
        trial.check(outcome.out == b"-dash", "a path inside a directory URL opens its file", outcome)
        remove(program.home)
        trial.holds(f"{len(wanted)} odd names, modes, times and links come back as they were {flags}")


def closed(trial):
    """A directory that may not even be written by its owner. Root may write everything, so it is not root's."""
    folder = trial.folder / "ordinary"
    folder.mkdir()
    program = Program(folder / "home")
    top = folder / "closed"
    (top / "inner").mkdir(parents=True)
    (top / "inner/file").write_bytes(b"read only")
    (top / "file").write_bytes(b"read only, too")
    for path in (top / "inner/file", top / "file", top / "inner", top):
        path.chmod(0o500 if path.is_dir() else 0o400)
    settings = {"cwd": folder}
    if os.geteuid() == 0:
        settings.update(user=65534, group=65534, extra_groups=[])
        # Somewhere where an ordinary user can run it.
        program.path = shutil.copy(program.path, str(folder / "offs"))
        trial.folder.chmod(0o755)
        for at, folders, files in os.walk(folder):
            for path in [at, *(os.path.join(at, name) for name in folders + files)]:
                os.chown(path, 65534, 65534)
    outcome = program.done("put", top, **settings)
    wanted = tree(top)
    before = sorted(os.listdir(folder))
    outcome = program.done("get", outcome.lines[0], "-o", folder / "out", **settings)
    found = tree(folder / "out")
    trial.check(found == wanted, "a directory that may not be written comes back as it was",
                *difference(wanted, found))
    trial.check(sorted(os.listdir(folder)) == sorted([*before, "out"]), "nothing else is left", os.listdir(folder))
    trial.holds("a directory that its owner may not write comes back as it was")


def main():
    with Trial("small-files") as trial:
        odd(trial)
        closed(trial)
        many(trial)


if __name__ == "__main__":
    main()
