"""Daemons of one pool, each with a home of its own, and checks that go on after a promise was broken.

Beside what program.py reads, the environment says: OFFS_GRACE, seconds before a silent peer's share moves
(default 5); OFFS_REPLICAS, peers that hold each block (default 3).
"""

import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from content import content, difference, digest, make_tree, tree
from program import DONE, Broken, Outcome, Program, remove

GRACE = int(os.environ.get("OFFS_GRACE", "5"))
REPLICAS = int(os.environ.get("OFFS_REPLICAS", "3"))
# How long a daemon may take to answer after it was started, and to end after it was asked to.
STARTING = 30
ENDING = 30
# Seen broken promises are printed so many times a check; the rest is counted.
PRINTED = 4


class Item:
    """A file or a directory that was put, and how to make its content again."""

    def __init__(self, name, seed, size, files=0):
        self.name, self.seed, self.size, self.files = name, seed, size, files
        self.url = self.writer = self.digest = None

    def __str__(self):
        what = f"directory of {self.files} files" if self.files else f"{self.size} bytes"
        return f"{self.name} ({what}, put by {self.writer})"

    def make(self, folder):
        """Writes it into a folder and gives its path."""
        path = folder / self.name
        if self.files:
            make_small_files(path, self.seed, self.files)
            self.digest = tree(path)
        else:
            data = content(self.seed, self.size)
            path.write_bytes(data)
            self.digest = digest(data)
        return path


def make_small_files(top, seed, count):
    """A directory with many small files and what make_tree makes."""
    make_tree(top, seed, large=2 << 20)
    (top / "many").mkdir()
    for number in range(count):
        (top / "many" / f"{number}").write_bytes(content(f"{seed}/many/{number}", number * 37 % 3000))


class Daemon(Program):
    """`offs serve` with one home, and the commands that talk to it."""

    def __init__(self, folder, name, address, settings="", space=None):
        super().__init__(folder / name)
        self.name, self.address, self.space = name, address, space
        self.log = folder / f"{name}.log"
        self.settings = settings
        self.process = self.peer = None
        # A read through a daemon counts when it was up all the time.
        self.up, self.starts = False, 0
        self.memory = self.files = 0
        self.prefix = []

    def __str__(self):
        return self.name

    def configure(self, text=None):
        self.home.mkdir(parents=True)
        text = text or (f'[http]\non = false\n[peers]\nlisten = "{self.address}"\nlan = false\ngrace = {GRACE}\n'
                        f'replicas = {REPLICAS}\nrepair_rate = "256MiB"\n{self.settings}')
        (self.home / "config.toml").write_text(text)

    def begin(self):
        """Starts the daemon without waiting for it."""
        space = ["ip", "netns", "exec", self.space] if self.space else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*space, *self.prefix, *self.command("serve")], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        self.starts += 1

    def ready(self, seconds=STARTING):
        """Waits until it answers."""
        until = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise Broken("a daemon that is started runs", f"{self} ended with {self.process.returncode}", self.tail())
            if (self.home / "control").exists():
                outcome = self.run("status", "--json", seconds=seconds)
                if outcome.code == DONE and json.loads(outcome.out)["daemon"]:
                    status = json.loads(outcome.out)
                    self.peer, self.pid = status["peer"], status["daemon"]
                    self.up = True
                    return status
            if time.monotonic() > until:
                raise Broken(f"a daemon answers within {seconds} s", self, self.tail())
            time.sleep(0.02)

    def serve(self):
        self.begin()
        return self.ready()

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def measure(self):
        """Notes the most memory that it had, and how many files are open."""
        if not self.process or self.process.poll() is not None:
            return
        try:
            lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
            peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
            self.memory = max(self.memory, peak << 10)
            self.files = len(os.listdir(f"/proc/{self.pid}/fd"))
        except (OSError, StopIteration, AttributeError):
            pass

    def kill(self):
        """SIGKILL."""
        self.up = False
        self.measure()
        if self.process and self.process.poll() is None:
            # Under strace or ip the daemon is a process of its own.
            for pid in {getattr(self, "pid", None), self.process.pid} - {None}:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if self.process:
            self.process.wait(timeout=30)

    def lose(self):
        """SIGKILL, and its disk is gone too."""
        self.kill()
        remove(self.home)

    def end(self):
        """SIGTERM; gives the seconds that it took."""
        self.up = False
        self.measure()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:
            raise Broken(f"a daemon ends within {ENDING} s after SIGTERM", self, self.tail()) from None
        if code != 0:
            raise Broken("a daemon ends with 0 after SIGTERM", f"{self}: {code}", self.tail())
        if (self.home / "control").exists():
            raise Broken("a daemon that ended leaves no socket", self.home / "control")
        return time.monotonic() - began

    def status(self):
        return json.loads(self.done("status", "--json", seconds=60).out)

    def put_copies(self, item, folder, copies=2, seconds=300):
        """Puts an item with so many copies; gives how that ended."""
        path = item.make(folder)
        item.writer = self.name
        outcome = self.done("put", "--replicas", str(copies), "--json", path, seconds=seconds)
        said = json.loads(outcome.out)
        item.url = said["url"]
        remove(path) if item.files else path.unlink()
        if not isinstance(said["copies"], int) or said["copies"] < copies:
            raise Broken("a put that ends with 0 says that the copies are there", outcome)
        return outcome

    def read(self, item, folder, seconds=120):
        """Opens an item; gives how that ended and what is wrong with it, if anything."""
        try:
            if not item.files:
                outcome = self.run("get", item.url, "-o", "-", seconds=seconds)
                if outcome.code == DONE and digest(outcome.out) != item.digest:
                    return outcome, f"{len(outcome.out)} bytes of sha256 {digest(outcome.out)}, not {item.digest}"
            else:
                out = folder / f"out-{self.name}-{item.name}-{time.monotonic_ns()}"
                outcome = self.run("get", item.url, "-o", out, seconds=seconds)
                found = tree(out) if outcome.code == DONE else item.digest
                remove(out)
                if found != item.digest:
                    return outcome, "\n".join(difference(item.digest, found))
        except Broken as broken:
            return broken.args[-1], broken.args[0]
        # A few bytes say enough.
        short = Outcome(outcome.command, outcome.code, outcome.out[:100], outcome.err, outcome.seconds)
        return short, None if outcome.code == DONE else f"exit {outcome.code}"


class Check:
    """A named check: what is broken is printed at once, and the check goes on."""

    def __init__(self, name):
        self.name, self.broken, self.printed = name, [], {}

    def say(self, what):
        print(f"    {what}", flush=True)

    def expect(self, true, promise, *seen):
        if true:
            return True
        self.broken.append(promise)
        count = self.printed[promise] = self.printed.get(promise, 0) + 1
        if count <= PRINTED:
            print(f"  BROKEN {self.name}: {promise}", flush=True)
            for what in seen:
                print("      " + str(what).replace("\n", "\n      "), flush=True)
        return False

    def verdict(self):
        """A line for each promise that was broken."""
        return [f"{promise} ({self.broken.count(promise)} times)" for promise in dict.fromkeys(self.broken)]


def run_checks(trial, checks):
    """Runs each check to its end, whatever became of the others; the script fails if one did."""
    failed = []
    for name, body in checks:
        check = Check(name)
        began = time.monotonic()
        print(f"  {name}", flush=True)
        try:
            skipped = body(trial, check)
        except Broken as broken:
            skipped = None
            check.expect(False, broken.args[0], *broken.args[1:])
        except subprocess.TimeoutExpired as error:
            skipped = None
            check.expect(False, "everything ends in time", error)
        seconds = time.monotonic() - began
        if check.broken:
            failed += [f"{name}: {line}" for line in check.verdict()]
            print(f"  FAILED {name} after {seconds:.0f} s", flush=True)
        elif skipped:
            print(f"  SKIPPED {name}: {skipped}", flush=True)
        else:
            trial.holds(f"{name} in {seconds:.0f} s")
    if failed:
        raise Broken(f"{len(failed)} promises", *failed)


class Cluster:
    """Several daemons; all that it started ends with it."""

    def __init__(self, trial, name, check):
        self.trial, self.check, self.chance = trial, check, trial.chance
        self.folder = trial.folder / name
        self.folder.mkdir()
        self.daemons = []
        self.lost = []
        # Not by the seed, so that several runs of the same seed do not meet.
        self.port = 15000 + os.getpid() * 37 % 15000

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for daemon in self.daemons + self.lost:
            try:
                daemon.kill()
            except subprocess.TimeoutExpired:
                pass
        if os.environ.get("KEEP") != "1":
            remove(self.folder)

    def free_port(self):
        """A port that nobody listens on, below those that connections are made from."""
        while True:
            self.port += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.port))
                    return self.port
                except OSError:
                    pass

    def add(self, space=None, ip="127.0.0.1", configured=None):
        """A daemon that is started and belongs to no pool yet."""
        name = f"d{len(self.daemons) + len(self.lost) + 1}"
        daemon = Daemon(self.folder, name, f"{ip}:{self.free_port()}", space=space)
        daemon.configure(configured)
        self.daemons.append(daemon)
        daemon.serve()
        return daemon

    def pool(self, daemons, name="cluster"):
        """Makes one pool of them; everybody may invite, as any of them may be lost."""
        daemons[0].done("pool", "create", name)
        for daemon in daemons[1:]:
            self.invite(daemons[0], daemon)

    def invite(self, member, newcomer):
        text = member.done("pool", "invite", "--admin").lines[0]
        return newcomer.done("pool", "join", text)

    def lose(self, daemons):
        for daemon in daemons:
            daemon.lose()
            self.daemons.remove(daemon)
            self.lost.append(daemon)

    def all_live(self, seconds, daemons=None):
        """Waits until everybody sees everybody; gives the seconds that it took, or None, and what was seen."""
        daemons = daemons or self.daemons
        began = time.monotonic()
        while True:
            statuses = [daemon.status() for daemon in daemons]
            reached = [(status["live"], sum(peer["reachable"] for peer in status["peers"]) + 1) for status in statuses]
            if all(live == len(daemons) and reachable >= live for live, reachable in reached):
                return time.monotonic() - began, reached
            if time.monotonic() > began + seconds:
                return None, reached
            time.sleep(0.5)

    def repaired(self, seconds, steady=8):
        """Waits until everybody sees those that are there, and nobody has anything left to repair, for a while."""
        began, since = time.monotonic(), None
        while True:
            statuses = {daemon.name: daemon.status() for daemon in self.daemons}
            for daemon in self.daemons:
                daemon.measure()
            waiting = {name: state for name, status in statuses.items()
                       if any((state := {"live": status["live"], "looked": status["looked_seconds_ago"],
                                         **{key: status[key] for key in ("repairs_waiting", "endangered", "pushes_waiting")}})[key]
                              for key in ("repairs_waiting", "endangered", "pushes_waiting"))
                       or status["live"] != len(self.daemons) or status["looked_seconds_ago"] is None}
            now = time.monotonic()
            since = None if waiting else since or now
            if since and now - since >= steady:
                return since - began, statuses
            if now - began > seconds:
                return None, waiting
            time.sleep(1)

    def put_all(self, items, writers, copies=2):
        """Puts the items, each through one of the writers, and says how long that took."""
        began, slowest = time.monotonic(), 0
        for item in items:
            outcome = self.chance.choice(writers).put_copies(item, self.folder, copies)
            slowest = max(slowest, outcome.seconds)
        size = sum(item.size for item in items)
        seconds = time.monotonic() - began
        self.check.say(f"{len(items)} items of {size >> 20} MiB put in {seconds:.1f} s, the slowest in {slowest:.2f} s")

    def read_all(self, pairs, promise, workers=2):
        """Opens each item through its daemon; nothing may fail."""
        began, slowest, failures, size = time.monotonic(), (0, ""), 0, 0
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            reads = pool.map(lambda pair: (*pair, *pair[0].read(pair[1], self.folder)), pairs)
            for daemon, item, outcome, wrong in reads:
                size += item.size
                slowest = max(slowest, (outcome.seconds, f"{item} by {daemon}"))
                failures += wrong is not None
                self.check.expect(wrong is None, promise, f"{item} by {daemon}: {wrong}", outcome)
        seconds = time.monotonic() - began
        self.check.say(f"{len(pairs)} reads of {size >> 20} MiB in {seconds:.1f} s, {failures} failed; "
                       f"the slowest took {slowest[0]:.2f} s ({slowest[1]})")
        return failures

    def settled(self, items, promise, gone=0.0, seconds=60):
        """What counting says when the status says that there is nothing to do; and if it does not agree, when it does.

        Of three peers that are lost at once, all three were the holders of one block in C(12, 3) = 220, and of one in
        C(10, 3) = 120 the second time. Parity makes up for those when the file is read, but a parity block is not
        read, and who pinned the file may be lost too: `gone` is the share of blocks of which nobody has to have a copy.
        """
        began = time.monotonic()
        most = gone * sum(self.blocks_of(item) for item in items) if gone else 0
        short = self.count(items, None)
        while short > most and time.monotonic() < began + seconds:
            time.sleep(5)
            short = self.count(items, None)
        if not self.check.expect(short <= most, f"{promise}, {seconds} s later at the latest", f"{short} blocks are short"):
            return
        if (took := time.monotonic() - began) > 5:
            self.check.say(f"every block had its copies {took:.0f} s after nothing waited")

    def blocks_of(self, item):
        """Blocks that an item needs."""
        outcome = self.daemons[0].run("replicate", item.url, "--count", "--json")
        return json.loads(outcome.out)["blocks"] if outcome.code == DONE else 0

    def count(self, items, promise):
        """Counts the copies of each item; without a promise only to know. Gives how many blocks are short."""
        short = blocks = 0
        least = None
        for item in items:
            daemon = self.chance.choice(self.daemons)
            outcome = daemon.run("replicate", item.url, "--count", "--json")
            if not self.check.expect(outcome.code == DONE, "copies can be counted", item, outcome):
                continue
            said = json.loads(outcome.out)
            short, blocks = short + said["short"], blocks + said["blocks"]
            least = said["copies"] if least is None else min(least, said["copies"])
            if promise:
                self.check.expect(said["short"] == 0, promise, f"{item}, counted by {daemon}: {said['short']} of "
                                  f"{said['blocks']} blocks are short, the least has {said['copies']}; failed {said['failed']}")
        self.check.say(f"counted: {blocks} blocks of {len(items)} items, {short} short, the least has {least} other copies")
        return short

    def figures(self):
        """Most memory of each daemon, and the files that are open."""
        for daemon in self.daemons:
            daemon.measure()
        memory = sorted((daemon.memory >> 20, daemon.name) for daemon in self.daemons + self.lost)
        files = sorted((daemon.files, daemon.name) for daemon in self.daemons)
        self.check.say(f"peak RSS {memory[0][0]} to {memory[-1][0]} MiB (most {memory[-1][1]}); "
                       f"open files {files[0][0]} to {files[-1][0]}")
        for daemon in self.daemons + self.lost:
            log = daemon.log.read_text(errors="replace") if daemon.log.exists() else ""
            self.check.expect("panicked" not in log, "no daemon panics", daemon, log[-2000:])
            unusual = [line for line in log.splitlines() if "takes links" not in line]
            if unusual:
                self.check.say(f"{daemon} said {len(unusual)} lines, the first: {unusual[0][:300]}")
        for daemon in self.daemons:
            services = daemon.status()["services"] if daemon.up else {}
            restarts = {name: health for name, health in services.items() if health["restarts"] or not health["running"]}
            self.check.expect(not restarts, "no service of a daemon fails", daemon, restarts)
            troubles = {peer["peer"][:8]: peer["trouble"] for peer in (daemon.status()["peers"] if daemon.up else [])
                        if peer["trouble"] and peer["reachable"]}
            self.check.expect(not troubles, "nobody distrusts a peer that did nothing wrong", daemon, troubles)

