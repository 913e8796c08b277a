"""The program under test, run as a user would, and the trial that a script puts it to.

Every script reads from the environment: OFFS, the program (default `offs`); OFFS_SEED, a number that makes
the same random choices again; SOAK, `full` (default) or `short`; TMPDIR, where a folder is made and removed;
KEEP=1, to leave that folder when a promise is broken.
"""

import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

SHORT = os.environ.get("SOAK", "full") == "short"
HERE = pathlib.Path(__file__).resolve().parent
DONE, FAILED, USAGE, DAMAGE, NOT_FOUND = range(5)


class Broken(Exception):
    """A promise that the program did not keep; the arguments say which and what was seen."""


class Skipped(Exception):
    """Something that this machine cannot try; the argument says why."""


def binary():
    """The program's path; it must hold in every directory."""
    name = os.environ.get("OFFS", "offs")
    found = shutil.which(name)
    if not found:
        sys.exit(f"there is no program {name}; name it in OFFS")
    return os.path.abspath(found)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""
    command: tuple
    code: int
    out: bytes
    err: str
    seconds: float

    @property
    def lines(self):
        return self.out.decode().splitlines()

    def __str__(self):
        line = shlex.join(argument if len(argument) < 300 else argument[:300] + "..." for argument in self.command)
        out = self.out if len(self.out) < 2000 else self.out[:2000] + b"..."
        return f"$ {line}\nexit {self.code} after {self.seconds:.2f} s\nstdout: {out!r}\nstderr: {self.err.strip()[-4000:]}"


class Program:
    """`offs` with one home directory."""

    def __init__(self, home, peak=None):
        self.home = pathlib.Path(home)
        self.path = binary()
        # Where the most memory that a command took is written to, if it is to be measured.
        self.peak = peak

    def command(self, *arguments):
        meter = [sys.executable, str(HERE / "meter.py"), str(self.peak)] if self.peak else []
        return [*meter, self.path, "--home", str(self.home), *map(os.fspath, arguments)]

    def start(self, *arguments, **settings):
        """Starts a command; its end is the caller's to see to."""
        settings = {"stdin": subprocess.DEVNULL, "process_group": 0 if self.peak else None, **settings}
        return subprocess.Popen(self.command(*arguments), **settings)

    def run(self, *arguments, seconds=120, **settings):
        """Runs a command to its end; it must not panic, not hang, and end with an exit code that is documented."""
        started = time.monotonic()
        command = tuple(self.command(*arguments))
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            if self.peak:
                # The program is a child of the one that measures it.
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            out, err = process.communicate()
            outcome = Outcome(command, process.returncode, out, err.decode(errors="replace"), seconds)
            raise Broken(f"a command ends within {seconds} s", outcome) from None
        outcome = Outcome(command, process.returncode, out, err.decode(errors="replace"), time.monotonic() - started)
        if "panicked" in outcome.err:
            raise Broken("no command panics", outcome)
        if outcome.code not in range(5):
            raise Broken("the exit code is 0 to 4", outcome)
        return outcome

    def done(self, *arguments, **settings):
        """Runs a command that must succeed."""
        outcome = self.run(*arguments, **settings)
        if outcome.code != DONE:
            raise Broken("this command succeeds", outcome)
        return outcome

    def put(self, *arguments, **settings):
        """Stores one thing and gives its URL."""
        return self.done("put", *arguments, **settings).lines[0]


class Trial:
    """One script's run: its seed, its folder, its checks. Ends the process with the result."""

    def __init__(self, name):
        self.name = name
        given = os.environ.get("OFFS_SEED")
        self.seed = int(given) if given else int.from_bytes(os.urandom(4), "big")
        self.chance = random.Random(self.seed)
        self.held = 0

    def __enter__(self):
        print(f"{self.name}: OFFS_SEED={self.seed} SOAK={'short' if SHORT else 'full'}", flush=True)
        # The folder goes when the script is asked to end, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        binary()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"offs-{self.name}-"))
        self.started = time.monotonic()
        return self

    def holds(self, what):
        """Says that a check was passed."""
        self.held += 1
        print(f"  ok {what}", flush=True)

    def check(self, true, promise, *seen):
        if not true:
            raise Broken(promise, *seen)

    def __exit__(self, kind, error, trace):
        seconds = time.monotonic() - self.started
        keep = kind is not None and kind is not Skipped and os.environ.get("KEEP") == "1"
        if keep:
            print(f"  kept {self.folder}")
        else:
            remove(self.folder)
        if kind is Skipped:
            print(f"{self.name}: skipped: {error}", flush=True)
            return True
        if kind is Broken:
            print(f"  BROKEN {error.args[0]}")
            for seen in error.args[1:]:
                print("    " + str(seen).replace("\n", "\n    "))
            print(f"{self.name}: failed after {self.held} checks; again with: OFFS_SEED={self.seed} "
                  f"SOAK={'short' if SHORT else 'full'} OFFS={binary()} {sys.executable} {' '.join(sys.argv)}",
                  flush=True)
            sys.exit(1)
        if kind is None:
            print(f"{self.name}: {self.held} checks held in {seconds:.0f} s", flush=True)
        return False


def remove(folder):
    """Removes a folder, with directories in it that may not be written."""
    for at, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(at, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
