"""Cells of s3.py: one promise of the server as one client sees it, and what cells are given to work with."""

import os
import random
import secrets
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from s3_wire import Wire

MIB = 1 << 20
CACHE = Path(os.environ.get("OFFS_CACHE") or Path.home() / ".cache") / "offs-s3"
VENV = CACHE / "venv/bin"
LISTED = 3000  # keys of the bucket that the listing cells share

# What a key may hold and clients get wrong. The names of directories in them end where a path of a file may not.
ODD_NAMES = {
    "space": "a b  c", "plus": "a+b", "percent": "100%", "encoded": "a%20b%2Fc", "question": "what?x=1",
    "hash": "a#b", "ampersand": "a&b=c;d", "quotes": "'a' \"b\"", "unicode": "grüße/日本語/naïve", "emoji": "🦀/🎉.txt",
    "decomposed": "e\u0301", "composed": "é", "dots": "a..b/...", "tilde": "~a~", "brackets": "[a]{b}(c)<d>",
    "backslash": "a\\b", "star": "a*b|c^d`e", "colon": "a:b@c,d!e$f", "equals": "=a==", "slash-inside": "x//y",
    "slash-first": "/abc", "slashes-first": "//abc", "slash-last": "abc/", "slashes-last": "abc//",
    "long": "l" * 1024, "long-parts": "/".join(["p" * 200] * 5), "newline": "a\nb", "tab": "a\tb",
}


# Those that programs can say and show in a line.
PLAIN_NAMES = {label: key for label, key in ODD_NAMES.items() if label not in ("newline", "tab")}


class Failed(Exception):
    """The server did not keep what the cell asks for."""


class Unsupported(Exception):
    """The client, or this machine, cannot do what the cell asks for."""


class Cells(dict):
    """The cells of one client, by name, in the order of their making."""

    def __init__(self, client):
        super().__init__()
        self.client = client

    def cell(self, function=None, *, seconds=120, long=False, name=None):
        """Makes a cell of a function that takes a Site."""
        def make(function):
            function.seconds, function.long = seconds, long
            self[name or function.__name__.replace("_", "-")] = function
            return function
        return make(function) if function else make


@dataclass
class Site:
    """The server under test, and a folder for the cell."""

    endpoint: str
    access: str
    secret: str
    ca: str | None
    folder: Path
    listed: str | None  # the bucket with LISTED keys
    pid: int | None  # of the server, when it is known
    long: bool

    @property
    def wire(self):
        if not hasattr(self, "_wire"):
            self._wire = Wire(self.endpoint, self.access, self.secret, self.ca)
        return self._wire

    def bucket(self, name=None):
        """Makes a bucket with a name of its own."""
        name = name or f"cell-{secrets.token_hex(8)}"
        answer = self.wire.ask("PUT", name)
        if answer.status != 200:
            raise Failed(f"no bucket: {answer}")
        return name

    def put(self, bucket, key, body=b"content", headers=(), **more):
        answer = self.wire.ask("PUT", bucket, key, headers=headers, body=body, **more)
        if answer.status != 200:
            raise Failed(f"put {key[:60]!r}: {answer}")
        return answer

    def get(self, bucket, key, wanted, **more):
        answer = self.wire.ask("GET", bucket, key, **more)
        if answer.status not in (200, 206):
            raise Failed(f"get {key[:60]!r}: {answer}")
        same(f"content of {key[:60]!r}", answer.body, wanted)
        return answer

    def absent(self, bucket, key):
        answer = self.wire.ask("HEAD", bucket, key)
        same(f"status of {key[:60]!r}, which must not be there,", answer.status, 404)

    def memory(self):
        """The server's resident bytes; None when it is not ours."""
        return resident(self.pid) if self.pid else None


def resident(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS")), None)


def short(value):
    value = repr(value)
    return value if len(value) <= 160 else f"{value[:150]}... ({len(value)} characters)"


def same(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what} is {short(got)}, not {short(wanted)}")


def among(what, got, wanted):
    if got not in wanted:
        raise Failed(f"{what} is {short(got)}, none of {short(list(wanted))}")


def check(true, what):
    if not true:
        raise Failed(what)


def refused(answer, status, *codes):
    """An answer is this error: its status, and one of these codes. None of them says that the body is not looked at."""
    if answer is None:
        raise Failed(f"the connection was closed instead of {status} {' or '.join(codes)}")
    statuses = status if isinstance(status, tuple) else (status,)
    if answer.status not in statuses or codes and answer.code not in codes:
        raise Failed(f"got {answer}, not {status} {' or '.join(codes)}")


def bytes_of(size, seed=0):
    """Bytes that no server can make smaller; the same ones for the same seed."""
    return random.Random(f"{seed}/{size}").randbytes(size)


@contextmanager
def deadline(seconds):
    """Ends the block after some time; for the main thread."""
    def late(*_):
        raise TimeoutError(f"no end within {seconds} s")
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run(*command, env=None, seconds=100, fails=False, data=None, cwd=None, text=True):
    """Runs a client's program to its end, with everything that it started, and gives its output.

    With `fails`, it must not succeed, and the output is what it said on both streams.
    """
    command = [str(part) for part in command]
    process = subprocess.Popen(
        command, env=env, cwd=cwd, stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(data, timeout=seconds)
    except BaseException as error:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failed(f"{' '.join(command)[:120]}: no end within {seconds} s") from None
        raise
    said = (err or out).decode(errors="replace").strip()
    if fails:
        check(process.returncode != 0, f"{' '.join(command)[:160]} succeeded")
        return (out + err).decode(errors="replace")
    if process.returncode:
        raise Failed(f"{' '.join(command)[:160]}: exit {process.returncode}: {said[-400:]}")
    return out.decode(errors="replace") if text else out


def needs(program):
    found = shutil.which(program)
    if not found:
        raise Unsupported(f"{program} is not installed")
    return found


def make_tree(folder):
    """A directory with files of several sizes and names."""
    files = {"one.txt": b"one", "empty": b"", "sub/two.bin": bytes_of(100_000, 2), "sub/deep/three": bytes_of(3, 3),
             "with space/a+b & c.txt": b"odd", "grüße/日本.txt": "日本".encode(), "big.bin": bytes_of(9 * MIB, 9),
             **{f"many/{number:03}": b"%d" % number for number in range(60)}}
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


def read_tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_tree(what, got, wanted):
    lacking, more = wanted.keys() - got.keys(), got.keys() - wanted.keys()
    check(not lacking, f"{what}: {short(sorted(lacking))} are lacking")
    check(not more, f"{what}: {short(sorted(more))} are too much")
    other = [name for name in wanted if got[name] != wanted[name]]
    check(not other, f"{what}: {short(other)} have other content")


def at_once(count, work):
    """Runs work(number) in so many threads at the same moment, and gives what each returned."""
    made, failed, gate = [None] * count, [], threading.Barrier(count)

    def one(number):
        gate.wait()
        try:
            made[number] = work(number)
        except Exception as error:
            failed.append(error)
    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return made


def until(true, seconds, what):
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        check(time.monotonic() < end, what)
        time.sleep(0.05)
