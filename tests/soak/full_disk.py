#!/usr/bin/env python3
"""Fills the disk, and fills a store up to its capacity; nothing that was acknowledged may be lost.

The disk is a small file system in memory, which only root can mount.
"""

import errno
import json
import os
import subprocess
import time

from content import content, digest
from program import DONE, FAILED, NOT_FOUND, Program, Skipped, Trial

MIB = 1 << 20


class Disk:
    """A small file system in memory."""

    def __init__(self, at, mib=96):
        self.at = at
        at.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "offs-full-disk", str(at)]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode:
            raise Skipped(f"a file system cannot be mounted here: {mounted.stderr.strip()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.at)], check=True)

    def resize(self, mib):
        subprocess.run(["mount", "-o", f"remount,size={mib}m", str(self.at)], check=True)

    def free(self):
        state = os.statvfs(self.at)
        return state.f_bavail * state.f_frsize

    def fill(self):
        """Takes all room that is left; gives the file to remove again."""
        ballast = self.at / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return ballast


class Shelf:
    """What is in a store, and how to make it again."""

    def __init__(self, trial, program):
        self.trial, self.program, self.made, self.urls = trial, program, 0, {}

    def source(self, size):
        self.made += 1
        seed = f"{self.trial.seed}/{self.made}"
        path = self.trial.folder / f"f{self.made}.bin"
        path.write_bytes(content(seed, size))
        return path, seed

    def put(self, size, *flags, kill=None):
        """Puts one file; with `kill`, kills the command after so many seconds. Gives the URL and the outcome."""
        path, seed = self.source(size)
        if kill is None:
            outcome = self.program.run("put", *flags, path)
            lines = outcome.lines
        else:
            process = self.program.start("put", *flags, path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            time.sleep(kill)
            process.kill()
            out, _ = process.communicate()
            lines, outcome = out[:out.rfind(b"\n") + 1].decode().splitlines(), None
        path.unlink()
        for url in lines:
            self.urls[url] = (seed, size)
        return (lines or [None])[0], outcome

    def put_until_full(self):
        """Puts files until one fails; gives that outcome."""
        for _ in range(200):
            url, outcome = self.put(self.trial.chance.randint(MIB, 9 * MIB))
            if url is None:
                self.trial.check(outcome.code == FAILED, "a put that lacks room ends with exit code 1", outcome)
                return outcome
        raise AssertionError("it is never full")

    def all_open(self, promise):
        for url, (seed, size) in self.urls.items():
            outcome = self.program.done("get", url, "-o", "-")
            self.trial.check(digest(outcome.out) == digest(content(seed, size)), promise, url, outcome.err)

    def unpin(self, share):
        """Unpins such a share of all."""
        urls = sorted(self.urls)
        chosen = self.trial.chance.sample(urls, max(1, int(len(urls) * share)))
        self.program.done("unpin", *chosen)
        for url in chosen:
            del self.urls[url]

    def unpin_unknown(self):
        """Unpins what a killed put had recorded and not yet printed."""
        listed = [json.loads(line) for line in self.program.done("ls", "--json").lines]
        unknown = [line["url"] for line in listed if line["pinned"] and line["url"] not in self.urls]
        if unknown:
            self.program.done("unpin", *unknown)


def full_disk(trial, disk, kills):
    """Fills the disk, looks at everything, makes room, goes on."""
    trial.check(disk.free() > 90 * MIB, "the disk is empty at first", disk.free())
    program = Program(disk.at / "home")
    shelf = Shelf(trial, program)
    if kills:
        # Commands killed on the way to the end of the disk and at it.
        for _ in range(4):
            shelf.put(4 * MIB, kill=trial.chance.uniform(0, 0.1))
            program.done("stats")
    outcome = shelf.put_until_full()
    said = outcome.err.lower()
    trial.check("free" in said or "space" in said or "full" in said, "the message says that the disk is full", outcome)
    trial.holds(f"a full disk ends a put with: {outcome.err.splitlines()[0]}")
    if kills:
        for _ in range(6):
            shelf.put(9 * MIB, kill=trial.chance.uniform(0, 0.05))
            program.done("stats")
        shelf.unpin_unknown()
    shelf.all_open("what was stored before the disk was full opens")
    trial.holds(f"all {len(shelf.urls)} files that were acknowledged open")

    ballast = disk.fill()
    for command in (["ls"], ["stats"], ["verify"], ["get", next(iter(shelf.urls)), "-o", "-"], ["gc"]):
        outcome = program.run(*command)
        trial.check(outcome.code in (DONE, FAILED), "with no byte left a command works or says why not", outcome)
        trial.check(outcome.code == DONE or len(outcome.err) > 20, "a failure has words", outcome)
    url, outcome = shelf.put(MIB)
    trial.check(outcome.code == FAILED, "with no byte left a put ends with exit code 1", outcome)
    output_fails(trial, disk, shelf)
    ballast.unlink()
    shelf.all_open("what was stored opens after the disk had no byte left")
    trial.holds("with no byte left nothing is lost")

    for share in (0.5, 1):
        shelf.unpin(share)
        if kills:
            for _ in range(5):
                process = program.start("gc", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(trial.chance.uniform(0, 0.05))
                process.kill()
                process.wait()
                shelf.all_open("a killed gc on a full disk loses nothing")
        before = disk.free()
        outcome = program.run("gc")
        # To rewrite a pack takes room; gc may lack it, but then it must not use up what is left either.
        seen = [outcome, f"{before} bytes free before, {disk.free()} after"]
        trial.check(outcome.code == DONE or share < 1 and outcome.code == FAILED,
                    f"gc on a full disk works when {share:.0%} is unpinned", *seen)
        after = program.run("stats")
        trial.check(after.code == DONE, "after gc on a full disk the store opens", *seen, after)
        shelf.all_open("gc on a full disk keeps what is pinned")
        trial.holds(f"{share:.0%} unpinned, gc: {before >> 20} MiB free before, {disk.free() >> 20} MiB now")
    # What is pinned may need blocks of what is not, so only this is promised: with nothing pinned there is room.
    url, outcome = shelf.put(4 * MIB)
    trial.check(url is not None, "after unpin and gc, puts work again", outcome, f"{disk.free() >> 20} MiB free")
    outcome = shelf.put_until_full()
    shelf.all_open("puts after gc are right")
    trial.holds(f"after unpin and gc, puts work again until the disk is full again: {len(shelf.urls)} files")


def output_fails(trial, disk, shelf):
    """`get -o` on the full disk: no file under its name and nothing half-written."""
    # Its home is elsewhere, so that only the output lacks room.
    other = Shelf(trial, Program(trial.folder / "other"))
    url, outcome = other.put(3 * MIB)
    trial.check(url is not None, "there is room elsewhere", outcome)
    path = trial.folder / "tree"
    (path / "inner").mkdir(parents=True, exist_ok=True)
    (path / "inner/file").write_bytes(content("tree", 3 * MIB))
    tree = other.program.put(path)
    before = sorted(os.listdir(disk.at))
    for url in (url, tree):
        outcome = other.program.run("get", url, "-o", disk.at / "out")
        trial.check(outcome.code == FAILED, "output to a full disk ends with exit code 1", outcome)
        trial.check("out" in outcome.err or "space" in outcome.err, "the message names the cause", outcome)
        trial.check(sorted(os.listdir(disk.at)) == before, "failed output leaves nothing behind",
                    outcome, before, sorted(os.listdir(disk.at)))
    trial.holds("output to a full disk fails and leaves nothing behind")


def capacity(trial):
    """A store with a capacity: pins fill it, what is not pinned makes way."""
    home = trial.folder / "bounded"
    home.mkdir()
    (home / "config.toml").write_text('capacity = "64MiB"\n')
    program = Program(home)
    packs = home / "store/packs"

    def used():
        return sum(path.stat().st_size for path in packs.iterdir())

    shelf = Shelf(trial, program)
    outcome = shelf.put_until_full()
    said = outcome.err
    trial.check("capacity" in said or "64" in said, "the message names the capacity", outcome)
    trial.holds(f"pins fill the capacity: {said.splitlines()[0]}")
    trial.check(used() <= 64 * MIB + MIB, "a store does not pass its capacity", used())
    shelf.all_open("what was stored before the capacity was reached opens")
    trial.holds(f"all {len(shelf.urls)} files that were acknowledged open, in {used() >> 20} MiB")

    # What is pinned may need blocks of what is not, so all of it is unpinned.
    shelf.unpin(1)
    program.done("gc")
    trial.check(used() < MIB, "after unpin, gc empties the store", f"{used()} bytes used")
    pinned_url, outcome = shelf.put(6 * MIB)
    trial.check(pinned_url is not None, "after unpin and gc, puts work again", outcome)
    trial.holds("after unpin and gc, puts work again")

    # What is not pinned goes when room is needed, what is pinned stays.
    loose = Shelf(trial, program)
    for number in range(12):
        url, outcome = loose.put(5 * MIB, "--no-pin")
        trial.check(url is not None, "files that are not pinned make way for new ones", outcome, f"number {number}",
                    f"{used()} bytes used")
        trial.check(used() <= 64 * MIB + MIB, "a store does not pass its capacity", used())
        got = program.done("get", url, "-o", "-")
        seed, size = loose.urls[url]
        trial.check(digest(got.out) == digest(content(seed, size)), "what was just put opens", url)
    gone = 0
    for url, (seed, size) in loose.urls.items():
        outcome = program.run("get", url, "-o", "-")
        if outcome.code == DONE:
            trial.check(digest(outcome.out) == digest(content(seed, size)), "what is still here is right", url)
        else:
            trial.check(outcome.code == NOT_FOUND, "what was evicted is not found", outcome)
            gone += 1
    trial.check(gone > 0, "12 files of 5 MiB do not fit, so some went", f"{used()} bytes used")
    shelf.all_open("eviction does not touch what is pinned")
    trial.holds(f"{gone} of {len(loose.urls)} files that are not pinned were evicted, the pinned one stayed")
    # Pins, too, make them go.
    for _ in range(3):
        url, outcome = shelf.put(4 * MIB)
        trial.check(url is not None, "pinned files evict those that are not", outcome, f"{used()} bytes used")
    shelf.all_open("all that is pinned stays")
    program.done("verify")
    trial.holds("pinned files evict those that are not")

    # Without gc: a put makes the room itself of what was unpinned.
    outcome = shelf.put_until_full()
    shelf.unpin(1)
    url, outcome = shelf.put(4 * MIB)
    trial.check(url is not None, "after unpin, a put makes room by itself", outcome, f"{used()} bytes used")
    shelf.all_open("what is put into room just made is right")
    trial.holds("after unpin, a put makes room by itself")


def main():
    with Trial("full-disk") as trial:
        if os.geteuid() == 0:
            for kills in (False, True):
                with Disk(trial.folder / f"disk{int(kills)}") as disk:
                    full_disk(trial, disk, kills)
                    trial.holds(f"full disk{', with commands killed' if kills else ''}")
        capacity(trial)
        if os.geteuid() != 0:
            raise Skipped("the rest needs root, to mount a file system of its own")


if __name__ == "__main__":
    main()
