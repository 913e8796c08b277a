#!/usr/bin/env python3
"""The memory of put and get must not grow with the file: at most 256 MiB for 100 MiB and for 10 GiB alike.

(Short: 1 GiB in place of 10.)
"""

import hashlib
import itertools
import os
import random
import shutil
import subprocess
import time

from program import SHORT, Program, Trial, remove

MIB = 1 << 20
BOUND = 256 * MIB
CHUNK = 64 * MIB
SIZES = [100 * MIB, (1 << 30) if SHORT else (10 << 30)]
# What a put leaves on the disk is at most about this many times the file.
ROOM = 3


def stream(seed, size):
    """Bytes that do not repeat: one random chunk, its byte values put in another order each time."""
    chance = random.Random(seed)
    chunk = chance.randbytes(CHUNK)
    for start in range(0, size, CHUNK):
        order = list(range(256))
        chance.shuffle(order)
        yield chunk.translate(bytes(order))[:size - start]


class Measured:
    """A command that data flows through, whose time and memory are measured."""

    def __init__(self, trial, program, *arguments):
        self.trial, self.program = trial, program
        self.error = open(trial.folder / "stderr", "w+b")
        self.started = time.monotonic()
        self.process = program.start(*arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.error)

    def end(self, what, size):
        """Waits for it and checks how it ended."""
        code = self.process.wait()
        seconds = time.monotonic() - self.started
        self.error.seek(0)
        error = self.error.read().decode(errors="replace")
        self.trial.check(code == 0, f"{what} of {size} bytes succeeds", f"exit {code}", error)
        peak = int(self.program.peak.read_text())
        self.trial.check(peak <= BOUND, f"{what} of {size >> 20} MiB takes at most {BOUND >> 20} MiB of memory",
                         f"it took {peak >> 20} MiB")
        self.trial.holds(f"{what} of {size >> 20} MiB: {peak >> 20} MiB of memory, {seconds:.1f} s, "
                         f"{size / seconds / MIB:.0f} MiB/s")


def main():
    with Trial("memory") as trial:
        for size in SIZES:
            free = shutil.disk_usage(trial.folder).free
            while size * ROOM > free and size > MIB:
                size //= 2
                print(f"  {free >> 20} MiB of disk are free, so {size >> 20} MiB are tried", flush=True)
            program = Program(trial.folder / "home", peak=trial.folder / "peak")
            chunks = stream(trial.seed, size)
            first = next(chunks)
            put = Measured(trial, program, "put", "-")
            wanted = hashlib.sha256()
            try:
                for chunk in itertools.chain([first], chunks):
                    wanted.update(chunk)
                    put.process.stdin.write(chunk)
                put.process.stdin.close()
            except BrokenPipeError:
                pass
            url = put.process.stdout.read().decode().strip()
            put.end("put", size)
            get = Measured(trial, program, "get", url, "-o", "-")
            get.process.stdin.close()
            found = hashlib.sha256()
            while chunk := get.process.stdout.read(MIB):
                found.update(chunk)
            get.end("get", size)
            trial.check(found.digest() == wanted.digest(), "what comes out is right",
                        f"wanted sha256 {wanted.hexdigest()}, got {found.hexdigest()}")
            packs = sum(os.path.getsize(path) for path in (program.home / "store/packs").iterdir())
            trial.holds(f"the bytes are right; the packs take {packs / size:.2f} bytes for each")
            remove(program.home)


if __name__ == "__main__":
    main()
