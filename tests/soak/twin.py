#!/usr/bin/env python3
"""The program and the Python twin read each other's files, for every way to store one.

Needs the Python packages `cryptography` and `blake3`; `tests/twin.sh` sees to them.
"""

import itertools
import os
import sys

from content import content, difference, make_tree, tree
from program import HERE, Broken, Program, Trial, remove

sys.path.insert(0, str(HERE.parent.parent / "fixtures" / "twin"))
import offs_twin as twin  # noqa: E402

SIZES = [0, 1, 131_008, 131_073, 3_000_000]
PARITIES = ["16+4", "none", "5+3"]


def options(bare, parity, code, algorithm):
    """The twin's way to say how a file is stored."""
    k, m = map(int, parity.split("+")) if parity != "none" else (16, 0)
    return twin.Options(not bare, twin.ALGORITHMS[algorithm], 3, twin.CODES[code] if m else 0, k, m)


class Pair:
    """One way to store a file, tried in both directions."""

    def __init__(self, trial, sources, bare, parity, code, algorithm):
        self.trial, self.sources = trial, sources
        self.options = options(bare, parity, code, algorithm)
        self.label = f"{'bare' if bare else 'sealed'}, parity {parity}, {code}, {algorithm}"
        self.flags = ["--parity", parity, "--code", code, "--hash", algorithm] + ["--bare"] * bare
        self.program = Program(trial.folder / "home")
        self.out = trial.folder / "out"

    def compare(self, name, what, *seen):
        """Compares what came out with the source and removes it."""
        source = self.sources[name]
        if source.is_dir():
            wanted, found = tree(source), tree(self.out)
            right, seen = wanted == found, [*seen, *difference(wanted, found)]
            remove(self.out)
        else:
            right = self.out.read_bytes() == source.read_bytes()
            self.out.unlink()
        if not right:
            raise Broken(f"{what} of {name}, {self.label}: the same bytes", *seen)

    def twin_puts(self):
        """The twin stores, the program opens."""
        packs = self.program.home / "store/packs"
        packs.mkdir(parents=True)
        fresh = map(twin.Fresh, itertools.count(self.trial.seed * 1000))
        urls = {}
        for number, (name, source) in enumerate(self.sources.items()):
            store = twin.Store(packs)
            if source.is_dir():
                data, kind = twin.store_directory(os.fsencode(source), self.options, store, fresh), twin.DIRECTORY
            else:
                data, kind = source.read_bytes(), twin.FILE
            reference, _ = twin.write_file(data, kind, self.options, store, next(fresh))
            media = "offsystem/directory" if kind else "application/octet-stream"
            urls[name] = twin.make_url(media, len(data), reference, name)
            # Sealed packs and open ones.
            store.finish(number % 2 == 0)
        self.program.done("repair", "index")
        for name, url in urls.items():
            outcome = self.program.done("get", url, "-o", self.out)
            self.compare(name, "twin put, offs get", outcome)
        remove(self.program.home)
        return len(urls)

    def program_puts(self):
        """The program stores, the twin opens."""
        outcome = self.program.done("put", *self.flags, *self.sources.values())
        urls = dict(zip(self.sources, outcome.lines, strict=True))
        for number, (name, url) in enumerate(urls.items()):
            if number == len(urls) // 2:
                # From here on its packs are sealed.
                self.program.done("gc")
            try:
                _, length, reference, _, path = twin.parse_url(url)
                store = twin.Store(self.program.home / "store/packs")
                kind, data = twin.read_file(reference, store)
                twin.check(len(data) == length, "length")
                if kind == twin.DIRECTORY:
                    twin.restore_directory(data, path, store, self.out)
                else:
                    self.out.write_bytes(data)
            except twin.Refused as refused:
                raise Broken(f"offs put, twin get of {name}, {self.label}: the twin opens it", url, refused) from None
            self.compare(name, "offs put, twin get", url)
        remove(self.program.home)
        return len(urls)


def main():
    passed = failed = 0
    with Trial("twin") as trial:
        sources = {}
        for size in SIZES:
            sources[f"{size}.bin"] = trial.folder / f"{size}.bin"
            sources[f"{size}.bin"].write_bytes(content(f"{trial.seed}/{size}", size))
        sources["folder"] = trial.folder / "folder"
        make_tree(sources["folder"], trial.seed, large=1_200_000)
        ways = [(bare, parity, code, algorithm)
                for bare, parity, code, algorithm in itertools.product(
                    (False, True), PARITIES, ("leopard", "novelpoly"), ("sha256", "blake3"))
                if parity != "none" or code == "leopard"]
        for way in ways:
            pair = Pair(trial, sources, *way)
            before = failed
            for direction in (pair.twin_puts, pair.program_puts):
                try:
                    passed += direction()
                except Broken as broken:
                    failed += 1
                    print(f"  BROKEN {broken.args[0]}")
                    for seen in broken.args[1:]:
                        print("    " + str(seen).replace("\n", "\n    "))
                    remove(pair.program.home)
            if failed == before:
                trial.holds(pair.label)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
