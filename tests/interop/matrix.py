"""Stores and reads across DHT implementations: every hub, writer and reader, for peers, immutable and mutable values.

In a cell the hub starts first. The writer knows only the hub, stores, and leaves. Then the reader starts, knowing only
the hub, and must find what was stored. All of it is on the loopback address. Prints a line a cell, then the sums, and
fails when a cell fails that is not known to be impossible.

The foreign clients are those that setup.sh installs. The implementation under test takes part when $OFFS names its
program.
"""

import argparse
import hashlib
import json
import os
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from line_protocol import join

CELL_SECONDS = 60
WHATS = ("peers", "immutable", "mutable")
IPV4, IPV6 = "127.0.0.1", "::1"

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("OFFS_CACHE") or Path.home() / ".cache") / "offs-interop"
PYTHON = str(CACHE / "venv/bin/python")

# Test 1 of RFC 8032, section 7.1.
SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SEQ = 1


class Unsupported(Exception):
    """The client cannot do what the cell asks for."""


@dataclass
class Item:
    """What one cell stores and looks for."""

    ip: str
    info_hash: str = field(default_factory=lambda: secrets.token_hex(20))
    port: int = field(default_factory=lambda: 1024 + secrets.randbelow(64512))
    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    value: str = field(default_factory=lambda: f"value {secrets.token_hex(16)}")

    def immutable_target(self):
        value = self.value.encode()
        return hashlib.sha1(b"%d:%s" % (len(value), value)).hexdigest()

    def mutable_target(self):
        return hashlib.sha1(bytes.fromhex(KEY) + self.salt.encode()).hexdigest()


class Implementation(ABC):
    """Nodes of one implementation in one cell. To add one: these four methods, and a line in IMPLEMENTATIONS."""

    whats = WHATS
    ips = (IPV4,)

    def __init__(self, ip, deadline):
        self.ip = ip
        self.deadline = deadline

    @abstractmethod
    def start_hub(self):
        """Starts a node that knows nobody, and gives its address, `IP:PORT`."""

    @abstractmethod
    def write(self, what, hub, item):
        """Starts a node that knows the hub, has it store the item, and ends it."""

    @abstractmethod
    def read(self, what, hub, item):
        """Starts a node that knows the hub, has it look for the item, ends it, and tells whether it was found."""

    @abstractmethod
    def stop(self):
        """Ends everything that this object started."""


class LineImplementation(Implementation):
    """An implementation behind a program that speaks the line protocol."""

    command = []

    def __init__(self, ip, deadline):
        super().__init__(ip, deadline)
        self.processes = []

    def start_hub(self):
        return self._start([])[1]

    def write(self, what, hub, item):
        process, _ = self._start(["--bootstrap", hub])
        if what == "peers":
            self._ask(process, cmd="announce", info_hash=item.info_hash, port=item.port)
        elif what == "immutable":
            answer = self._ask(process, cmd="put_immutable", value=item.value)
            require("target", answer["target"], item.immutable_target())
        else:
            answer = self._ask(process, cmd="put_mutable", seed=SEED, salt=item.salt, seq=SEQ, value=item.value)
            require("key", answer["key"], KEY)
            require("target", answer["target"], item.mutable_target())
        end(process)

    def read(self, what, hub, item):
        process, _ = self._start(["--bootstrap", hub])
        if what == "peers":
            found = join(item.ip, item.port) in self._ask(process, cmd="get_peers", info_hash=item.info_hash)["peers"]
        elif what == "immutable":
            answer = self._ask(process, cmd="get_immutable", target=item.immutable_target())
            found = answer["value"] == item.value
        else:
            answer = self._ask(process, cmd="get_mutable", key=KEY, salt=item.salt)
            found = (answer["value"], answer["seq"]) == (item.value, SEQ)
        end(process)
        return found

    def stop(self):
        for process in self.processes:
            end(process)

    def _start(self, options):
        process = subprocess.Popen(
            [*self.command, "--listen", join(self.ip, free_port(self.ip)), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # a buffer would hide what has come from select
        )
        self.processes.append(process)
        return process, self._answer(process)["address"]

    def _ask(self, process, **command):
        process.stdin.write(json.dumps(command).encode() + b"\n")
        answer = self._answer(process)
        if answer["ok"]:
            return answer
        raise (Unsupported if answer["error"] == "unsupported" else RuntimeError)(answer["error"])

    def _answer(self, process):
        left = max(0, self.deadline - time.monotonic())
        if not select.select([process.stdout], [], [], left)[0]:
            raise TimeoutError("no answer in the time of the cell")
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command[-1]} ended")
        return json.loads(line)


class Libtorrent(LineImplementation):
    command = [PYTHON, str(HERE / "libtorrent_peer.py")]
    ips = (IPV4, IPV6)


class BittorrentDht(LineImplementation):
    command = ["node", str(HERE / "bittorrent_dht_peer.mjs")]


class Mainline(LineImplementation):
    command = [str(CACHE / "target/debug/mainline_peer")]


class Aria2(LineImplementation):
    command = [PYTHON, str(HERE / "aria2_peer.py")]
    whats = ("peers",)


class Offs(Implementation):
    """The program named by $OFFS, with its own commands."""

    ips = (IPV4, IPV6)

    def __init__(self, ip, deadline):
        super().__init__(ip, deadline)
        self.home = Path(tempfile.mkdtemp(prefix="offs-interop-"))
        self.hub = None

    def start_hub(self):
        bind = join(self.ip, free_port(self.ip))
        command = [*self._command(), "serve", "--bind", bind, "--json"]
        self.hub = subprocess.Popen(command, stdout=subprocess.PIPE)
        return json.loads(self.hub.stdout.readline())["listening"][0]

    def write(self, what, hub, item):
        if what == "peers":
            self._run(hub, "announce", item.info_hash, "--port", str(item.port))
        elif what == "immutable":
            require("target", self._run(hub, "put", item.value)["target"], item.immutable_target())
        else:
            key = self.home / "key"
            key.write_text(SEED)
            answer = self._run(
                hub, "put", "--key", str(key), "--salt", item.salt, "--seq", str(SEQ), item.value
            )
            require("key", answer["key"], KEY)
            require("target", answer["target"], item.mutable_target())

    def read(self, what, hub, item):
        if what == "peers":
            return join(item.ip, item.port) in self._run(hub, "get-peers", item.info_hash)["peers"]
        if what == "immutable":
            return self._run(hub, "get", item.immutable_target())["value"] == item.value
        answer = self._run(hub, "get", "--key", KEY, "--salt", item.salt)
        return (answer["value"], answer["seq"]) == (item.value, SEQ)

    def stop(self):
        if self.hub:
            self.hub.terminate()
            self.hub.wait(10)
            self.hub.stdout.close()
        shutil.rmtree(self.home)

    def _command(self):
        return [os.environ["OFFS"], "--home", str(self.home), "dht"]

    def _run(self, hub, *arguments):
        command = [*self._command(), *arguments, "--bootstrap", hub, "--json"]
        left = max(0, self.deadline - time.monotonic())
        done = subprocess.run(command, capture_output=True, text=True, timeout=left)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)


IMPLEMENTATIONS = {
    "libtorrent": Libtorrent,
    "bittorrent-dht": BittorrentDht,
    "mainline": Mainline,
    "aria2": Aria2,
    **({"offs": Offs} if "OFFS" in os.environ else {}),
}


def impossible(hub, writer, reader):
    """Why the clients themselves cannot do a cell; None for one that must work."""
    if hub == "mainline":
        for guest in (writer, reader):
            if guest in ("libtorrent", "bittorrent-dht"):
                return f"mainline answers no transaction ids but of 4 bytes, {guest} sends 2"
    if hub == "aria2" and writer == "mainline":
        return "mainline asks for the token of an announce with the get of BEP 44, which aria2 does not know"
    return None


def require(name, got, expected):
    if got != expected:
        raise RuntimeError(f"{name} {got}, not {expected}")


GIVEN = set()
GIVING = threading.Lock()


def free_port(ip):
    """A port that is free for both TCP and UDP, and that no other cell was given."""
    while True:
        port = some_port(ip)
        with GIVING:
            if port not in GIVEN:
                GIVEN.add(port)
                return port


def some_port(ip):
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((ip, 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind((ip, port))
            except OSError:
                continue
            return port


def end(process):
    """Ends a program by the end of its input; by force when it does not."""
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def run(ip, hub, writer, reader, what):
    """Runs a cell: `ok`, `unsupported`, or `FAILED` with the reason."""
    deadline = time.monotonic() + CELL_SECONDS
    item = Item(ip)
    started = []

    def implementation(name):
        started.append(IMPLEMENTATIONS[name](ip, deadline))
        return started[-1]

    role = "hub"
    try:
        address = implementation(hub).start_hub()
        role = "writer"
        implementation(writer).write(what, address, item)
        role = "reader"
        return "ok" if implementation(reader).read(what, address, item) else "FAILED: the reader found nothing"
    except Unsupported:
        return f"unsupported: the {role} cannot"
    except Exception as error:  # the other cells are still of interest
        return f"FAILED: {role}: {error}"
    finally:
        for each in started:
            each.stop()


def cells(names):
    """All cells of these implementations: (ip, hub, writer, reader, what)."""
    for ip in (IPV4, IPV6):
        for roles in product(names, repeat=3):
            if any(ip not in IMPLEMENTATIONS[name].ips for name in roles):
                continue
            # aria2 is slow, and among others of its kind proves little: one of it a cell.
            if roles.count("aria2") > 1:
                continue
            for what in WHATS:
                if all(what in IMPLEMENTATIONS[name].whats for name in roles):
                    yield ip, *roles, what


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = tuple(IMPLEMENTATIONS)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="no other implementations")
    parser.add_argument("--with", dest="including", choices=names, help="only cells with this one in some role")
    parser.add_argument("--what", nargs="+", choices=WHATS, default=WHATS)
    parser.add_argument("--jobs", type=int, default=4, help="cells at a time (default 4)")
    parser.add_argument("--impossible", action="store_true", help="only the cells known to be impossible, and run them")
    return parser.parse_args()


def main():
    options = arguments()
    sums = Counter()
    begin = time.monotonic()
    wanted = [
        cell for cell in cells(options.only)
        if cell[4] in options.what
        and (not options.including or options.including in cell[1:4])
        and (not options.impossible or impossible(*cell[1:4]))
    ]

    def result(cell):
        ip, *roles, what = cell
        reason = impossible(*roles)
        start = time.monotonic()
        found = run(ip, *roles, what) if options.impossible or not reason else f"unsupported: {reason}"
        if found.startswith("FAILED") and not options.impossible:
            # The clients have time limits of their own, which a busy machine does not always keep.
            again = run(ip, *roles, what)
            found = f"ok: at the second try; the first {found}" if again == "ok" else again
        return found, time.monotonic() - start

    # Nearly all of the time of a cell goes by waiting.
    with ThreadPoolExecutor(options.jobs) as pool:
        for (ip, *roles, what), (found, seconds) in zip(wanted, pool.map(result, wanted)):
            verdict, _, why = found.partition(": ")
            sums[verdict] += 1
            print(
                *roles,
                what + (" [::1]" if ip == IPV6 else ""),
                f"{verdict} {seconds:.1f} s",
                *([f"({why})"] if why else []),
                flush=True,
            )
    print(*(f"{count} {verdict}," for verdict, count in sorted(sums.items())), f"{time.monotonic() - begin:.0f} s")
    # Among the impossible cells, one that works is the news.
    sys.exit(1 if sums["ok" if options.impossible else "FAILED"] else 0)


if __name__ == "__main__":
    main()
