#!/usr/bin/env python3
"""Hostile URLs, names, directories and roots: refused quickly, with little memory, and nothing written outside.

The directories and roots are made with the Python twin, which needs the packages `cryptography` and `blake3`.
"""

import errno
import json
import os
import sys

from content import content, tree
from program import DAMAGE, DONE, FAILED, HERE, NOT_FOUND, USAGE, Program, Skipped, Trial, remove

PROJECT = HERE.parent.parent
SECONDS = 10
BOUND = 256 << 20
VECTORS = PROJECT / "fixtures" / "vectors"
# The reference that the vectors use; no block is behind it, so it is replaced by one that can be read.
SCORE = bytes.fromhex("12") + bytes(range(32))
SEALED = b"\1" + SCORE + bytes(range(32, 64))
BARE = b"\0" + SCORE


def urls(trial):
    """Texts that are no URLs end in exit code 2 and make no store."""
    bad = json.loads((VECTORS / "urls.json").read_text())["bad"]
    program = Program(trial.folder / "home")
    passed = 0
    for vector in bad:
        url = vector["url"]
        if "\0" in url:
            continue
        # A text may start with a dash.
        for command in ("get", "info", "pin"):
            outcome = program.run(command, "--", url, seconds=SECONDS)
            trial.check(outcome.code == USAGE, f"a URL refused for its {vector['reason']} ends with exit code 2",
                        outcome)
            trial.check(outcome.err.strip(), "a refusal has words", outcome)
        passed += 1
    trial.holds(f"{passed} bad URLs are refused by get, info and pin; {len(bad) - passed} have a zero byte, which "
                f"cannot be passed to a program")


def long_arguments(trial):
    """Arguments of any length that the system passes on."""
    program = Program(trial.folder / "home", peak=trial.folder / "peak")
    start = "off:v4/text/plain/5/16M8iZdid8rWZ3q3QzxJE18ZyxCS1RwNuUhbA6WxcH3XoC/"
    source = trial.folder / "source"
    source.write_bytes(b"12345")
    for size in (16_384, 131_000, 1 << 20, 10_000_000):
        said = []
        for arguments in (["get", start + "a" * size], ["get", start + "%41" * (size // 3)], ["info", "x" * size],
                          ["pin", start + "a?" + "q" * size], ["put", source, "--name", "n" * size],
                          ["put", source, "--type", "t/" + "t" * size], ["get", start, "-o", "o" * size]):
            try:
                outcome = program.run(*arguments, seconds=SECONDS)
            except OSError as error:
                if error.errno != errno.E2BIG:
                    raise
                said.append("not passed on by the system")
                continue
            trial.check(outcome.code in (FAILED, USAGE, NOT_FOUND), f"an argument of {size} bytes is refused", outcome)
            trial.check(len(outcome.err) < 2 * size + 4096 and outcome.err.strip(), "a refusal is short", outcome)
            within(trial, program, outcome)
            said.append(f"exit {outcome.code}")
        trial.holds(f"arguments of {size} bytes: {', '.join(said)}")
    many = [start + "a" * 100_000] * 100
    try:
        outcome = program.run("pin", *many, seconds=SECONDS)
        trial.check(outcome.code == USAGE, "10 MB of arguments are refused", outcome)
        within(trial, program, outcome)
        trial.holds("10 MB of arguments: exit 2")
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        trial.holds("10 MB of arguments: not passed on by the system")
    trial.check(not program.run("ls").out, "nothing of it is listed")
    remove(program.home)


def within(trial, program, outcome):
    """Little memory."""
    peak = int(program.peak.read_text())
    trial.check(peak <= BOUND, f"it takes at most {BOUND >> 20} MiB of memory", outcome, f"it took {peak >> 20} MiB")
    return peak


def load_twin():
    sys.path.insert(0, str(PROJECT / "fixtures" / "twin"))
    try:
        import blake3  # noqa: F401
        import cryptography  # noqa: F401
        import offs_twin
    except ImportError as error:
        raise Skipped(f"the rest needs the Python package {error.name}; tests/twin.sh installs it") from None
    return offs_twin


class Nest:
    """A store with hostile things in it, and the places that nothing may be written to."""

    def __init__(self, trial, twin):
        self.trial, self.twin = trial, twin
        self.program = Program(trial.folder / "nest", peak=trial.folder / "peak")
        self.packs = self.program.home / "store/packs"
        # An empty home, so that packs which come from elsewhere are not taken for one that lost its URLs.
        self.program.done("ls")
        self.store = twin.Store(self.packs)
        self.options = twin.Options()
        self.seeds = iter(range(trial.seed * 10_000, (trial.seed + 1) * 10_000))
        self.parent = trial.folder / "parent"
        self.scratch = self.parent / "scratch"
        (self.parent / "outside").mkdir(parents=True)
        (self.parent / "outside/secret").write_bytes(b"untouched")
        self.scratch.mkdir()
        self.packed = content("packed", 100)
        self.sealed, self.bare = (self.file(self.packed, sealed) for sealed in (True, False))

    def file(self, data, sealed=True, kind=0):
        options = self.options if sealed else self.twin.Options(sealed=False)
        return self.twin.write_file(data, kind, options, self.store, self.fresh())[0]

    def fresh(self):
        return self.twin.Fresh(next(self.seeds))

    def directory(self, data):
        """Stores a directory object as it is and gives its URL."""
        return self.twin.make_url("offsystem/directory", len(data), self.file(data, kind=1), "d")

    def root(self, length, tuples, hash=bytes(32), kind=0, **ways):
        """Stores a root whose fields are chosen freely and gives its URL and its reference."""
        twin = self.twin
        options = twin.Options(**ways)
        fresh = self.fresh()
        key = fresh.key() if options.sealed else None
        root = twin.ROOT.pack(b"OFF4", 1, kind, options.algorithm, options.t, options.code, options.k, options.m,
                              0, 0, length, hash, 0) + tuples
        root += fresh.padding(twin.B - len(root))
        name = self.store.put(options.algorithm, twin.encipher(key, 1, 0, 0, root), root=True)
        reference = bytes([options.sealed]) + name + (key or b"")
        media = "offsystem/directory" if kind else "application/octet-stream"
        return twin.make_url(media, length, reference, "r"), reference

    def finish(self):
        self.store.finish(True)
        self.program.done("repair", "index")

    def places(self):
        """Everything around the output, without the times of directories."""
        return {path: entry[:2] + entry[3:] if entry[0] == "directory" else entry
                for path, entry in tree(self.parent).items() if path not in (b".", b"scratch")}

    def refused(self, what, url, commands=(["get"], ["get", "-o", "out"]), codes=(FAILED, DAMAGE, NOT_FOUND)):
        """Runs commands on it: refused, quickly, with little memory, nothing left."""
        peak, seconds = 0, 0.0
        for command in commands:
            before = self.places()
            outcome = self.program.run(*command, url, cwd=self.scratch, seconds=SECONDS)
            self.trial.check(outcome.code in codes, f"{what} is refused", outcome)
            self.trial.check("offs: " in outcome.err or outcome.code == DONE, "a refusal has words", outcome)
            peak = max(peak, within(self.trial, self.program, outcome))
            seconds = max(seconds, outcome.seconds)
            after = self.places()
            self.trial.check(before == after, f"{what} writes nothing", outcome,
                             *sorted(before.items() ^ after.items()))
        return f"{what}: exit {outcome.code}, {peak >> 20} MiB, {seconds:.2f} s"


def directories(trial, nest):
    """The directory objects of the vectors, with packed files that can be read."""
    vectors = json.loads((VECTORS / "directories.json").read_text())

    def stored(vector):
        data = bytes.fromhex(vector["object"])
        return vector["name"], nest.directory(data.replace(SEALED, nest.sealed).replace(BARE, nest.bare))

    good = [stored(vector) for vector in vectors["good"]]
    bad = [stored(vector) for vector in vectors["bad"]]
    nest.finish()
    opened = 0
    for name, url in good:
        outcome = nest.program.run("get", url, "-o", "out", cwd=nest.scratch, seconds=SECONDS)
        within(trial, nest.program, outcome)
        opened += outcome.code == DONE
        remove(nest.scratch / "out")
    # Lengths that the one packed file does not have, and names too long for the disk, cannot be restored.
    trial.check(opened >= len(good) // 2, "good directories open, so bad ones are refused for what is bad in them",
                f"{opened} of {len(good)}")
    trial.holds(f"{opened} of {len(good)} good directories open")
    for name, url in bad:
        said = nest.refused(f"a directory with {name}", url)
    trial.holds(f"{len(bad)} hostile directories are refused and leave nothing, the last with {said}")


def escapes(trial, nest):
    """Links that point outside, and entries below them."""
    twin = nest.twin
    stamp = {"mtime": 0, "nsec": 0}

    def entry(path, kind, **more):
        return {"path": path, "kind": kind, "mode": 0o755, **stamp, **more}

    def url(*entries):
        head = {"entries": len(entries) + 1, "packed": nest.sealed, "packed length": 100}
        return nest.directory(twin.write_directory(head, [entry(b"", b"d"), *entries]))

    outside = os.fsencode(nest.parent / "outside")
    below = []
    for target in (outside, b"../outside", b"../../outside", b".", b".."):
        for path, more in ((b"x/evil", {"kind": b"f", "at": 0, "size": 10}), (b"x/secret", {"kind": b"d"}),
                           (b"x/evil", {"kind": b"l", "target": b"y"})):
            below.append((f"an entry {path.decode()} of kind {more['kind'].decode()} below a link to {target.decode()}",
                          url(entry(b"x", b"l", target=target), entry(path, **more))))
    secret = url(entry(b"x", b"l", target=outside + b"/secret"), entry(b"x", b"f", at=0, size=10))
    below.append(("a file over a link to a file outside", secret))
    # A link alone may point anywhere: it is made, and not followed.
    link = url(entry(b"x", b"l", target=outside), entry(b"y", b"l", target=b"../../outside/secret"))
    absurd, reference = nest.root(1 << 60, nest.fresh().padding(twin.B - 64)[:twin.Options().levels(1 << 60)[-1][1] * 96])
    data = twin.write_directory({"entries": 2, "packed": reference, "packed length": 1 << 60},
                                [entry(b"", b"d"), entry(b"huge", b"f", at=0, size=1 << 60)])
    huge = nest.directory(data)
    nest.finish()
    for what, hostile in below:
        trial.holds(nest.refused(what, hostile))
    before = {path: entry for path, entry in nest.places().items() if path.startswith(b"outside")}
    outcome = nest.program.done("get", link, "-o", "links", cwd=nest.scratch)
    after = {path: entry for path, entry in nest.places().items() if path.startswith(b"outside")}
    trial.check(before == after, "a link that points outside is not followed", outcome)
    trial.check(os.readlink(nest.scratch / "links/x") == os.fsdecode(outside), "the link is made", outcome)
    remove(nest.scratch / "links")
    trial.holds("links that point outside are made and not followed")
    trial.holds(nest.refused("a file of 2^60 bytes inside a packed file of 2^60 bytes", huge))


def roots(trial, nest):
    """Roots that promise more than there is."""
    twin = nest.twin
    size = twin.B

    def tuples(length, one, **ways):
        return one * twin.Options(**ways).levels(length)[-1][1]

    absurd = []
    for label, ways in (("default parity", {}), ("no parity", {"code": 0, "m": 0}),
                        ("parity 1+128", {"k": 1, "m": 128}), ("tuples of 8", {"t": 8}), ("bare", {"sealed": False})):
        width = 32 * twin.Options(**ways).t
        for kind in (0, 1):
            url, _ = nest.root(1 << 60, tuples(1 << 60, nest.fresh().padding(width), **ways), kind=kind, **ways)
            absurd.append((f"a {'directory' if kind else 'file'} of 2^60 bytes and no blocks, {label}", url))
    past, _ = nest.root((1 << 60) + 1, b"")
    # All tuples name one block, thrice each: its XOR with itself twice is the block.
    block = content("block", size)
    name = nest.store.put(0x12, block)
    same, _ = nest.root(3 * size, tuples(3 * size, 3 * name[1:], sealed=False, code=0, m=0),
                        hash=twin.blake3(3 * block), sealed=False, code=0, m=0)
    wrong, _ = nest.root(3 * size, tuples(3 * size, 3 * name[1:], sealed=False),
                         hash=twin.blake3(b"something else"), sealed=False)
    long, _ = nest.root(3 * size, tuples(3 * size, 3 * name[1:], sealed=False, code=0, m=0),
                        hash=twin.blake3(3 * block), sealed=False, code=0, m=0)
    long = long.replace(f"/{3 * size}/", f"/{3 * size - 1}/")
    nest.finish()
    for what, url in absurd:
        trial.holds(nest.refused(what, url))
        # That nothing is here can be told from the root; a walk over all of it would never end.
        trial.holds(nest.refused(f"to pin or to heal {what}", url, [["pin"], ["verify"], ["verify", "--heal"]]))
        trial.holds(nest.refused(f"to say how much is here of {what}", url, [["info"], ["info", "--json"]],
                                 codes=(DONE, FAILED, DAMAGE, NOT_FOUND)))
    trial.check(nest.program.run("get", past, "-o", "-").code == USAGE, "a URL above 2^60 bytes is no URL")
    outcome = nest.program.run("get", same, "-o", "-", seconds=SECONDS)
    trial.check(outcome.code != DONE or outcome.out == 3 * block, "what comes out of one block is right", outcome)
    within(trial, nest.program, outcome)
    trial.holds(f"a file whose tuples all name one block: exit {outcome.code}, and right if there is anything")
    trial.holds(nest.refused("a file whose tuples all name one block, with a wrong hash", wrong))
    trial.holds(nest.refused("a URL with another length than the root's", long))
    trial.holds("a root that names itself cannot be made: it would have to contain its own hash")
    outcome = nest.program.run("gc", seconds=SECONDS)
    trial.check(outcome.code == DONE, "none of these stops a collection", outcome)
    trial.holds("none of these was pinned or stops a collection")


def main():
    with Trial("hostile") as trial:
        urls(trial)
        long_arguments(trial)
        twin = load_twin()
        for part in (directories, escapes, roots):
            nest = Nest(trial, twin)
            part(trial, nest)
            remove(nest.program.home)
            remove(nest.parent)


if __name__ == "__main__":
    main()
