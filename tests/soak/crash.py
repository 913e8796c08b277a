#!/usr/bin/env python3
"""Kills commands at random moments; nothing that was acknowledged may be lost.

Each round starts a command that writes, kills it (SIGKILL) somewhere within the time that such a command was
seen to take, and then opens the store with another command, which needs no help. Every URL that was ever
printed and not unpinned must open and be right. The seed makes the same commands again; the moment at which
a kill meets the program is the machine's.
"""

import json
import subprocess
import time
from dataclasses import dataclass

from content import content, difference, digest, make_tree, tree
from program import DONE, NOT_FOUND, SHORT, Broken, Outcome, Program, Trial, remove

ROUNDS = 20 if SHORT else 200
MOST = 1_500_000_000
LARGEST = 60_000_000
FLAGS = [[], [], [], ["--bare"], ["--parity", "none"], ["--bare", "--parity", "none"], ["--no-pin"],
         ["--parity", "5+3"], ["--hash", "blake3"], ["--tuple", "2"], ["--hash", "blake3", "--bare", "--no-pin"]]


@dataclass
class Stored:
    """Something whose URL was printed, and how to make its content again."""
    name: str
    url: str
    seed: str
    size: int
    # Pinned ones must open. Kept ones were never pinned: they must open until collection has run. Loose ones
    # may be gone, but what opens must be right.
    state: str

    def is_tree(self):
        return self.size < 0


class Crash:
    def __init__(self, trial):
        self.trial, self.chance = trial, trial.chance
        self.program = Program(trial.folder / "home")
        self.stored = {}
        self.sources = {}
        self.rates = {}
        self.round = 0
        self.puts = 0

    # ---- what is put

    def sizes(self):
        """Sizes of what one put stores; -1 stands for a directory."""
        def size():
            # Half of them are large, the others of every order of magnitude.
            if self.chance.random() < 0.5:
                return self.chance.randint(1024, LARGEST)
            return min(LARGEST, int(2 ** self.chance.uniform(10, LARGEST.bit_length())))

        return [-1 if self.chance.random() < 0.2 else size() for _ in range(self.chance.choice([1, 1, 1, 2, 4]))]

    def make(self, sizes):
        """Writes files and directories to be put and gives their paths and the bytes in them."""
        folder = self.trial.folder / "source"
        remove(folder)
        folder.mkdir()
        paths, total = [], 0
        self.puts += 1
        for number, size in enumerate(sizes):
            name = f"p{self.puts}-{number}" + (".tree" if size < 0 else ".bin")
            seed = f"{self.trial.seed}/{name}"
            if size < 0:
                make_tree(folder / name, seed)
                total += sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
            else:
                (folder / name).write_bytes(content(seed, size))
                total += size
            self.sources[name] = (seed, size)
            paths.append(folder / name)
        return paths, total

    def remember(self, url, kept):
        """Notes a URL that was printed or is listed."""
        name = url.rsplit("/", 1)[1]
        if name not in self.stored:
            seed, size = self.sources[name]
            self.stored[name] = Stored(name, url, seed, size, "kept" if kept else "pinned")

    # ---- what is checked

    def verify(self, stored):
        """Opens one URL; what comes out must be what went in."""
        out = self.trial.folder / "out"
        if stored.is_tree():
            outcome = self.program.run("get", stored.url, "-o", out)
        else:
            outcome = self.program.run("get", stored.url, "-o", "-")
        if stored.state == "loose" and outcome.code == NOT_FOUND:
            return
        promise = f"a URL that was printed opens ({stored})"
        self.trial.check(outcome.code == DONE, promise, outcome)
        if stored.is_tree():
            want = self.trial.folder / "want"
            make_tree(want, stored.seed)
            wanted, found = tree(want), tree(out)
            self.trial.check(wanted == found, f"a directory comes back as it was ({stored})",
                             *difference(wanted, found))
            remove(want)
            remove(out)
        else:
            wanted = digest(content(stored.seed, stored.size))
            self.trial.check(digest(outcome.out) == wanted, f"the bytes are right ({stored})",
                             f"wanted sha256 {wanted}, got {len(outcome.out)} bytes of {digest(outcome.out)}")

    def sample(self):
        """The last few and some of the older."""
        must = [stored for stored in self.stored.values() if stored.state != "loose"]
        loose = [stored for stored in self.stored.values() if stored.state == "loose"]
        older = must[:-3]
        return must[-3:] + self.chance.sample(older, min(2, len(older))) + loose[-1:]

    def compare_list(self):
        """The URL database must know everything that was printed, and pins must be as they were left."""
        listed = {}
        for line in self.program.done("ls", "--json").lines:
            line = json.loads(line)
            listed[line["url"].rsplit("/", 1)[1]] = line
            # Recorded, but killed before it was printed.
            self.remember(line["url"], not line["pinned"])
        for stored in self.stored.values():
            line = listed.get(stored.name)
            # What is gone may be forgotten.
            if line is None and stored.state == "loose":
                continue
            self.trial.check(line is not None, "what was printed is listed", stored)
            self.trial.check(line["url"] == stored.url, "a URL is listed as it was printed", stored, line)
            self.trial.check(line["pinned"] == (stored.state == "pinned"), "pins stay as they were", stored, line)

    # ---- what is killed

    def expected(self, kind, amount):
        base, rate = self.rates[kind]
        return base + rate * amount

    def note(self, kind, amount, seconds):
        """Learns from a command that was not killed."""
        base = min(self.rates.get(kind, (seconds, 0))[0], seconds)
        self.rates[kind] = (base, (seconds - base) / max(amount, 1))

    def bytes(self):
        return json.loads(self.program.done("stats", "--json").out)["bytes"]

    def calibrate(self):
        """Lets each kind of command end once, so that its time is known."""
        for sizes in [[1000], [30_000_000, -1]]:
            paths, amount = self.make(sizes)
            outcome = self.program.done("put", *paths)
            for url in outcome.lines:
                self.remember(url, False)
            self.note("put", amount, outcome.seconds)
        for kind in (["gc"], ["repair", "index"], ["verify", "--heal"], ["unpin", *outcome.lines[:1]]):
            outcome = self.program.done(*kind)
            self.note(kind[0], self.bytes(), outcome.seconds)
        self.stored["p2-0.bin"].state = "loose"
        for stored in list(self.stored.values()):
            self.verify(stored)

    def unpin(self, share):
        """Unpins such a share of what is pinned."""
        pinned = [stored for stored in self.stored.values() if stored.state == "pinned"]
        chosen = self.chance.sample(pinned, int(len(pinned) * share))
        if chosen:
            self.program.done("unpin", *(stored.url for stored in chosen))
        for stored in chosen:
            stored.state = "loose"

    def command(self):
        """The command of this round: its kind, its arguments, and a measure of its work."""
        kind = self.chance.choices(["put", "gc", "repair", "verify", "unpin"], [55, 20, 10, 10, 5])[0]
        if kind == "put":
            paths, amount = self.make(self.sizes())
            return kind, ["put", *self.chance.choice(FLAGS), *paths], amount
        if kind == "gc":
            self.unpin(self.chance.choice([0.05, 0.1, 0.3]))
            for stored in self.stored.values():
                if stored.state == "kept":
                    stored.state = "loose"
            return kind, ["gc"], self.bytes()
        if kind == "unpin":
            pinned = [stored for stored in self.stored.values() if stored.state == "pinned"]
            chosen = self.chance.sample(pinned, min(2, len(pinned)))
            if chosen:
                return kind, ["unpin", *(stored.url for stored in chosen)], self.bytes()
            kind = "repair"
        return kind, {"repair": ["repair", "index"], "verify": ["verify", "--heal"]}[kind], self.bytes()

    def kill(self, kind, arguments, amount):
        """Runs a command and kills it; gives when, and whether it was still running."""
        moment = self.chance.uniform(0, 1.25 * self.expected(kind, amount))
        if kind == "repair" and self.chance.random() < 0.6:
            # The old index goes right at the start; most kills would come after that.
            moment = self.chance.uniform(0, self.rates[kind][0])
        with open(self.trial.folder / "stdout", "w+b") as out, open(self.trial.folder / "stderr", "w+b") as err:
            started = time.monotonic()
            process = self.program.start(*arguments, stdout=out, stderr=err)
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.kill()
            code = process.wait()
            seconds = time.monotonic() - started
            out.seek(0)
            err.seek(0)
            outcome = Outcome(tuple(self.program.command(*arguments)), code, out.read(),
                              err.read().decode(errors="replace"), seconds)
        if code == 0:
            self.note(kind, amount, seconds)
        elif code > 0:
            raise Broken("a command that is not killed succeeds", outcome)
        elif "panicked" in outcome.err:
            raise Broken("no command panics", outcome)
        return outcome

    def open(self):
        """The command that follows a kill; it must open the store with no help."""
        kind = self.chance.choice(["ls", "stats", "info", "get", "put", "verify", "gc"])
        if kind == "put":
            paths, _ = self.make([1000])
            self.remember(self.program.put(*paths), False)
        elif kind in ("info", "get"):
            stored = self.chance.choice([stored for stored in self.stored.values() if stored.state == "pinned"])
            if kind == "get":
                self.verify(stored)
            else:
                self.program.done("info", stored.url)
        else:
            self.program.done(kind)
        if kind == "gc":
            for stored in self.stored.values():
                stored.state = "loose" if stored.state == "kept" else stored.state
        return kind

    def one_round(self):
        kind, arguments, amount = self.command()
        outcome = self.kill(kind, arguments, amount)
        whole = outcome.out[:outcome.out.rfind(b"\n") + 1].decode().splitlines()
        if kind == "put":
            for url in whole:
                self.remember(url, "--no-pin" in arguments)
        if kind == "unpin":
            # Either both files have it or it did not happen; the list says which, and it must not change again.
            listed = {line["url"]: line["pinned"] for line in
                      map(json.loads, self.program.done("ls", "--json").lines)}
            for stored in self.stored.values():
                if stored.url in arguments and not listed.get(stored.url):
                    stored.state = "loose"
        opener = self.open()
        self.compare_list()
        checked = self.sample()
        for stored in checked:
            self.verify(stored)
        used = self.bytes()
        if used > MOST:
            self.unpin(0.5)
            self.program.done("gc")
            for stored in self.stored.values():
                stored.state = "loose" if stored.state == "kept" else stored.state
        pinned = sum(stored.state == "pinned" for stored in self.stored.values())
        end = "ended after" if outcome.code == 0 else "killed after"
        self.trial.holds(f"{self.round}: {kind} {end} {outcome.seconds:.3f} s, {len(whole) if kind == 'put' else 0} "
                         f"URLs printed; then {opener}; {len(checked)} of {pinned} pinned read, {used >> 20} MiB")

    def finish(self):
        for stored in self.stored.values():
            self.verify(stored)
        self.trial.holds(f"all {len(self.stored)} URLs are as they should be")
        self.program.done("verify", seconds=600)
        self.trial.holds("verify finds nothing")
        pinned = [stored for stored in self.stored.values() if stored.state == "pinned"]
        for at in range(0, len(pinned), 50):
            self.program.done("unpin", *(stored.url for stored in pinned[at:at + 50]))
        outcome = self.program.done("gc")
        self.trial.check(self.bytes() < 1 << 20, "with nothing pinned, gc gives all room back", outcome,
                         f"{self.bytes()} bytes are left")
        self.trial.holds("with nothing pinned, gc gives all room back")


def main():
    with Trial("crash") as trial:
        crash = Crash(trial)
        crash.calibrate()
        trial.holds(", ".join(f"{kind} takes {base + rate * 1e8:.2f} s for 100 MB"
                              for kind, (base, rate) in crash.rates.items()))
        for _ in range(ROUNDS):
            crash.round += 1
            crash.one_round()
        crash.finish()


if __name__ == "__main__":
    main()
