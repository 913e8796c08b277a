#!/usr/bin/env python3
"""Damages each part of a home in each way and runs each command on it.

Never may wrong bytes come out, never may a command panic, and what one damage cannot destroy must be there
after it: blocks that are whole, what parity can rebuild, and everything when only the index is damaged.
"""

import itertools
import json
import os
import re
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

from content import content, difference, digest, make_tree, tree
from program import DAMAGE, DONE, SHORT, Broken, Program, Trial, remove

ACTIONS = ["flip", "truncate", "delete", "swap", "older"]
COMMANDS = ["get", "info", "ls", "verify", "verify --heal", "put", "gc", "stats", "repair index"]
SECTIONS = ["pack header", "record header", "payload", "table", "trailer"]
PLACES = [*(f"{section} of {pack}" for section in SECTIONS for pack in ("sealed pack", "copies pack")),
          *(f"{section} of open pack" for section in SECTIONS[:3]), "sealed pack", "copies pack", "open pack",
          "index table", "index manifest", "index CURRENT", "index log", "index",
          "config.toml", "urls", "urls.copy", "urls and urls.copy"]
# Any one damage here leaves every file readable: at once, or after `repair index`.
INDEX = [place for place in PLACES if place.startswith("index")]


# ---- The parts of a pack (docs/format.md, section 8)

@dataclass
class Parts:
    """Where the parts of one pack lie: lists of (offset, length), and the scores of the records."""
    places: dict
    scores: list
    sealed: bool
    kind: int

    @classmethod
    def of(cls, path):
        data = path.read_bytes()
        trailer = data[-64:]
        sealed = trailer[:8] == b"OFFSEAL1"
        end = struct.unpack_from(">Q", trailer, 16)[0] if sealed else len(data)
        headers, payloads, scores, at = [], [], [], 64
        while at + 64 <= end and data[at:at + 4] == b"OREC":
            length = struct.unpack_from(">I", data, at + 8)[0]
            headers.append((at, 64))
            payloads.append((at + 64, length))
            name = {0x12: "sha256", 0x1E: "blake3"}[data[at + 4]]
            scores.append(f"{name}:{data[at + 16:at + 48].hex()}")
            at += 64 + length
        places = {"pack header": [(0, 64)], "record header": headers, "payload": payloads}
        if sealed:
            places["table"], places["trailer"] = [(end, len(data) - 64 - end)], [(len(data) - 64, 64)]
        return cls(places, scores, sealed, data[12])


def packs(home):
    return sorted((home / "store/packs").glob("*.pack"))


def index_files(home, place):
    index = home / "store/index"
    found = {"index table": "*.sst", "index manifest": "MANIFEST-*", "index CURRENT": "CURRENT",
             "index log": "*.log"}[place]
    return sorted(index.glob(found))


class Matrix:
    """A home, an older copy of it, and what every URL in it must give."""

    def __init__(self, trial):
        self.trial = trial
        self.home, self.older = trial.folder / "home", trial.folder / "older"
        self.wanted = {}
        self.pinned = []
        self.scratch = trial.folder / "cells"
        self.scratch.mkdir()
        self.prepare()

    def prepare(self):
        program = Program(self.home)
        self.home.mkdir(0o700)
        (self.home / "config.toml").write_text('[put]\nparity = "4+2"\n')
        self.put(program, "small", 3000)
        self.put(program, "medium", 700_000)
        self.put(program, "bare", 300_000, "--bare")
        # Nothing in these packs may be garbage: verify does not read what nobody needs.
        program.done("gc")
        shutil.copytree(self.home, self.older)
        (self.home / "config.toml").write_text('reserve = "1MiB"\n\n[put]\nparity = "16+4"\n')
        make_tree(self.trial.folder / "tree", self.trial.seed, large=1_100_000)
        url = program.put(self.trial.folder / "tree")
        self.wanted[url] = tree(self.trial.folder / "tree")
        self.pinned.append(url)
        self.put(program, "default", 900_000)
        self.put(program, "loose", 200_000, "--no-pin", pinned=False)
        program.done("gc")
        self.put(program, "late", 500_000, "--hash", "blake3", "--parity", "2+1")
        self.put(program, "tiny", 10)
        program.done("verify")
        # The index is to have more than one table, and something in its log.
        for url in self.wanted:
            self.check_get(program, url, must=url in self.pinned)
        self.parts = {path.name: Parts.of(path) for path in packs(self.home)}
        for kind, sealed in itertools.product((0, 1), (True, False)):
            self.trial.check(any(parts.kind == kind and parts.sealed == sealed for parts in self.parts.values()),
                             "the prepared home has packs of both kinds, sealed and open",
                             {name: (parts.kind, parts.sealed) for name, parts in self.parts.items()})

    def put(self, program, name, size, *flags, pinned=True):
        path = self.trial.folder / f"{name}.bin"
        data = content(f"{self.trial.seed}/{name}", size)
        path.write_bytes(data)
        url = program.put(*flags, path)
        self.wanted[url] = digest(data)
        if pinned:
            self.pinned.append(url)

    # ---- what is checked

    def check_get(self, program, url, must=False):
        """Gets a URL: right bytes, or an error with words. Gives whether it could be read."""
        wanted = self.wanted[url]
        if isinstance(wanted, dict):
            out = program.home.parent / "out"
            outcome = program.run("get", url, "-o", out)
            right = outcome.code != DONE or tree(out) == wanted
            seen = difference(wanted, tree(out)) if outcome.code == DONE and not right else []
            if outcome.code == DONE:
                remove(out)
            elif out.exists():
                raise Broken("a failed get leaves nothing under the output's name", outcome)
        else:
            outcome = program.run("get", url, "-o", "-")
            right = outcome.code != DONE or digest(outcome.out) == wanted
            seen = [f"wanted sha256 {wanted}, got {digest(outcome.out)}"]
        if not right:
            raise Broken("what comes out is right", outcome, *seen)
        if outcome.code != DONE and "offs: " not in outcome.err:
            raise Broken("a failure has words", outcome)
        if must and outcome.code != DONE:
            raise Broken("this file can be read", outcome)
        return outcome.code == DONE

    def readable(self, program):
        """The URLs that can be read, all of them checked."""
        return {url for url in self.wanted if self.check_get(program, url)}

    # ---- what is damaged

    def target(self, home, place, dice):
        """The file, and the part of it, that `place` stands for: path, offset, length, number of the record."""
        if place.endswith("pack"):
            section, _, pack = place.rpartition(" of ")
            kind, sealed = {"sealed pack": (0, True), "copies pack": (1, True), "open pack": (0, False)}[pack]
            # The oldest one, which the older copy has as well.
            name = next(name for name, parts in sorted(self.parts.items())
                        if (parts.kind, parts.sealed) == (kind, sealed))
            path = home / "store/packs" / name
            if not section:
                return path, 0, path.stat().st_size, None
            parts = self.parts[name].places[section]
            number = dice.randrange(len(parts))
            return path, *parts[number], number
        if place in INDEX and place != "index":
            found = index_files(home, place)
            path = max(found, key=lambda path: path.stat().st_size)
        else:
            path = home / {"index": "store/index"}.get(place, place)
        return path, 0, path.stat().st_size, None

    def damage(self, home, place, action, dice):
        """Does it and gives a description and the score of the record that was hit, or None where it cannot be done."""
        if place == "urls and urls.copy":
            done = [self.damage(home, name, action, Random(7)) for name in ("urls", "urls.copy")]
            return done[0] and (f"both: {done[0][0]}", None)
        path, offset, length, number = self.target(home, place, dice)
        score = None
        if number is not None and "header of" not in place.replace("record header", ""):
            score = self.parts[path.name].scores[number]
        if path.is_dir():
            return self.damage_index(home, path, action, dice)
        if action in ("delete", "swap", "older") and " of " in place:
            # Such a section has no file of its own: it is blanked, exchanged with another pack's, or left.
            if action == "older":
                return None
            data = bytearray(path.read_bytes())
            if action == "delete":
                data[offset:offset + length] = bytes(length)
                path.write_bytes(data)
                return f"{path.name}: {length} bytes at {offset} are zero", score
            return self.swap_section(home, path, place, offset, length, data), score
        if length == 0:
            return None
        if action == "flip":
            at, bit = offset + dice.randrange(length), dice.randrange(8)
            data = bytearray(path.read_bytes())
            data[at] ^= 1 << bit
            path.write_bytes(data)
            return f"{path.name}: bit {bit} of byte {at}", score
        if action == "truncate":
            os.truncate(path, offset + length // 2)
            return f"{path.name}: cut at {offset + length // 2}", score
        if action == "delete":
            path.unlink()
            return f"{path.name}: deleted", score
        if action == "swap":
            other = self.other(home, path)
            if other is None:
                return None
            if path.suffix != other.suffix or path.name == "config.toml":
                shutil.copyfile(other, path)
                return f"{path.name}: replaced by {other.name}", score
            spare = path.with_name("spare")
            path.rename(spare)
            other.rename(path)
            spare.rename(other)
            return f"{path.name} and {other.name}: exchanged", score
        old = self.older / path.relative_to(home)
        if place in INDEX:
            found = index_files(self.older, place)
            old = found[0] if found else old
        if not old.exists():
            return None
        shutil.copyfile(old, path)
        return f"{path.name}: replaced by an older {old.name}", score

    def damage_index(self, home, path, action, dice):
        files = sorted(child for child in path.iterdir() if child.stat().st_size)
        if action == "flip":
            child = dice.choice([child for child in files if not child.name.startswith("LOG")])
            data = bytearray(child.read_bytes())
            for _ in range(20):
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            child.write_bytes(data)
            return f"{child.name}: 20 bits", None
        if action == "truncate":
            for child in files:
                os.truncate(child, child.stat().st_size // 2)
            return "every file of the index: cut in half", None
        if action == "delete":
            shutil.rmtree(path)
            return "index: deleted", None
        if action == "swap":
            # Half of it is from an older one.
            for child in files:
                old = self.older / "store/index" / child.name
                if dice.random() < 0.5 and old.exists():
                    shutil.copyfile(old, child)
            return "index: half of its files replaced by older ones", None
        shutil.rmtree(path)
        shutil.copytree(self.older / "store/index", path)
        return "index: replaced by an older one", None

    def other(self, home, path):
        """Another file of the same kind."""
        if path.suffix == ".pack":
            kind = self.parts[path.name].kind
            found = [other for other in packs(home) if other != path and self.parts[other.name].kind == kind]
        elif path.parent == home:
            # The two lists are the same; a file of another kind is what could lie there by mistake.
            found = [home / ("urls" if path.name == "config.toml" else "config.toml")]
        else:
            found = [other for other in sorted(path.parent.glob("*" + path.suffix if path.suffix else "[!L]*"))
                     if other != path and other.is_file() and other.name not in ("LOG", "LOCK", "urls", "urls.copy")]
        return found[0] if found else None

    def swap_section(self, home, path, place, offset, length, data):
        section = place.rpartition(" of ")[0]
        other = self.other(home, path)
        places = self.parts[other.name].places.get(section) if other else None
        if not places:
            return None
        at, size = places[-1]
        size = min(size, length)
        theirs = bytearray(other.read_bytes())
        data[offset:offset + size], theirs[at:at + size] = theirs[at:at + size], data[offset:offset + size]
        path.write_bytes(data)
        other.write_bytes(theirs)
        return f"{size} bytes at {offset} of {path.name} and at {at} of {other.name}: exchanged"

    # ---- one cell

    def cell(self, number, place, action, command):
        """Damages a copy of the home, runs the command, and looks at everything."""
        folder = self.scratch / str(number)
        folder.mkdir()
        home = folder / "home"
        shutil.copytree(self.home, home)
        dice = Random(f"{self.trial.seed} {number}")
        done = self.damage(home, place, action, dice)
        if done is None:
            remove(folder)
            return None
        what, score = done
        if what is None:
            remove(folder)
            return None
        try:
            codes = self.judge(Program(home), place, action, command, score, folder)
        except Broken as broken:
            raise Broken(f"{broken.args[0]} [{place}, {action}: {what}; then {command}; cell {number}]",
                         *broken.args[1:]) from None
        remove(folder)
        return f"{place}, {action} ({what}), {command}: exit {codes}"

    def judge(self, program, place, action, command, score, folder):
        before = None
        if command == "gc":
            # What could be read before gc must be readable after it; reading itself may change a home.
            shutil.copytree(program.home, folder / "before/home")
            before = self.readable(Program(folder / "before/home"))
        url = self.pinned[number_of(program) % len(self.pinned)]
        arguments = {"get": ["get", url, "-o", "-"], "info": ["info", url],
                     "put": ["put", self.trial.folder / "medium.bin"]}.get(command, command.split())
        if command == "get":
            self.check_get(program, url)
            codes = ["-"]
        else:
            outcome = program.run(*arguments)
            codes = [outcome.code]
            if command == "put" and outcome.code == DONE:
                got = program.run("get", outcome.lines[0], "-o", "-")
                if place in INDEX and got.code == DAMAGE and "repair index" in got.err:
                    # A put asks the index less than a get does.
                    program.done("repair", "index")
                    got = program.done("get", outcome.lines[0], "-o", "-")
                if got.code != DONE:
                    raise Broken("what was just put can be read", got)
                if digest(got.out) != digest((self.trial.folder / "medium.bin").read_bytes()):
                    raise Broken("what was just put is right", got)
            if outcome.code != DONE and "offs: " not in outcome.err:
                raise Broken("a failure has words", outcome)
        if place == "config.toml":
            # Without settings, or with older ones, everything is still there.
            shutil.copyfile(self.home / "config.toml", program.home / "config.toml")
        readable = self.readable(program)
        if before is not None and (place, action) != ("urls and urls.copy", "older"):
            self.after_gc(program, before, readable, place, codes)
        if place in INDEX:
            codes.append(program.done("repair", "index").code)
            self.all_pinned(program)
            codes.append(program.done("verify").code)
        elif "pack" not in place:
            # Two older lists that agree look like a home in which the later commands never ran.
            if (place, action) != ("urls and urls.copy", "older"):
                self.all_pinned(program)
                self.pins(program, codes)
        elif place.startswith(("pack header", "record header", "table", "trailer")) and action in ("flip", "delete"):
            # The blocks themselves are whole.
            self.all_pinned(program)
            program.run("verify", "--heal")
            self.all_pinned(program)
            codes.append(program.done("verify").code)
        elif place.startswith("payload") and action in ("flip", "delete"):
            self.payload(program, command, score, codes)
        else:
            heal = program.run("verify", "--heal", "--json")
            codes.append(heal.code)
            report = json.loads(heal.out) if heal.out else {}
            now = self.readable(program)
            if not readable <= now:
                raise Broken("healing makes nothing worse", heal, *sorted(readable - now))
            claimed = {line["url"] for line in report.get("urls", []) if not line["error"] and not line["missing"]}
            if not claimed & set(self.pinned) <= now:
                raise Broken("what verify calls whole can be read", heal, *sorted(claimed - now))
        return codes

    def after_gc(self, program, before, after, place, codes):
        lost = (before & set(self.pinned)) - after
        if lost and place in INDEX:
            # The packs still have it all.
            program.done("repair", "index")
            lost -= self.readable(program)
        if lost:
            raise Broken(f"gc drops nothing that is pinned (it ended with {codes[0]})", *sorted(lost))

    def pins(self, program, codes):
        """The list says what is pinned, or says that it has lost records."""
        outcome = program.run("ls", "--json")
        codes.append(outcome.code)
        listed = {line["url"] for line in map(json.loads, outcome.lines) if line["pinned"]}
        if outcome.code != DAMAGE and not set(self.pinned) <= listed:
            raise Broken("a pin that is lost is said to be lost", outcome, *sorted(set(self.pinned) - listed))

    def all_pinned(self, program):
        for url in self.pinned:
            self.check_get(program, url, must=True)

    def payload(self, program, command, score, codes):
        """One block is damaged: verify names it, heal brings it back, and then all is well."""
        if command not in ("verify", "verify --heal", "gc", "repair index", "put"):
            found = program.run("verify")
            # A root has been healed already by whoever read it.
            if found.code == DAMAGE:
                if score not in found.out.decode() + found.err:
                    raise Broken(f"verify names the damaged block {score}", found)
            elif found.code != DONE:
                raise Broken("verify finds the damage", found)
            codes.append(found.code)
        elif command == "verify":
            if codes[0] != DAMAGE:
                raise Broken("verify finds the damage", f"it ended with {codes[0]}", score)
        heal = program.run("verify", "--heal")
        codes.append(heal.code)
        self.all_pinned(program)
        again = program.run("verify")
        codes.append(again.code)
        if again.code != DONE:
            raise Broken("after healing verify finds nothing", heal, again)


def garbage(trial):
    """A pack that is mostly garbage and whose table has one wrong entry: gc rewrites it, or leaves it alone."""
    home, source = trial.folder / "garbage", trial.folder / "kept.bin"
    program = Program(home)
    source.write_bytes(content(f"{trial.seed}/kept", 400_000))
    kept = program.put("--parity", "none", source)
    (trial.folder / "dropped.bin").write_bytes(content(f"{trial.seed}/dropped", 3_000_000))
    dropped = program.put(trial.folder / "dropped.bin")
    program.done("gc")
    program.done("unpin", dropped)
    pack = packs(home)[0]
    offset, length = Parts.of(pack).places["table"][0]
    for entry in trial.chance.sample(range(length // 49), 4 if SHORT else 12):
        copy = Program(trial.folder / "copy")
        shutil.copytree(home, copy.home)
        data = bytearray(pack.read_bytes())
        data[offset + 49 * entry + trial.chance.randrange(49)] ^= 1 << trial.chance.randrange(8)
        (copy.home / "store/packs" / pack.name).write_bytes(data)
        collected = copy.run("gc")
        got = copy.run("get", kept, "-o", "-")
        trial.check(got.code == DONE and got.out == source.read_bytes(),
                    f"gc keeps what is pinned when entry {entry} of a pack's table is damaged", collected, got)
        remove(copy.home)
    trial.holds("gc keeps what is pinned in packs that are mostly garbage and whose tables are damaged")


def number_of(program):
    """The cell's number, which its folder is named after."""
    return int(re.fullmatch(r"\d+", program.home.parent.name)[0])


def main():
    with Trial("damage") as trial:
        garbage(trial)
        matrix = Matrix(trial)
        trial.holds(f"a home with {len(matrix.wanted)} URLs in packs {', '.join(sorted(matrix.parts))}")
        cells = list(enumerate(itertools.product(PLACES, ACTIONS, COMMANDS)))
        if SHORT:
            cells = trial.chance.sample(cells, len(cells) // 3)
        only = os.environ.get("CELL")
        if only:
            cells = [(number, cell) for number, cell in cells if number in map(int, only.split(","))]
        with ThreadPoolExecutor(2) as pool:
            for line in pool.map(lambda cell: matrix.cell(cell[0], *cell[1]), cells):
                if line:
                    trial.holds(line)


if __name__ == "__main__":
    main()
