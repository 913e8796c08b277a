#!/usr/bin/env python3
"""Twelve daemons in one pool lose disks, are cut in halves, and are restarted; nothing that was put may be lost.

    cluster.py [kills] [partition] [rolling]

Each is a check of its own with daemons of its own; all run, whatever became of the others.
"""

import collections
import os
import shutil
import subprocess
import sys
import threading
import time

from daemons import GRACE, REPLICAS, Cluster, Item, run_checks
from program import SHORT, Trial

DAEMONS = 12
LOST = 3
MIB = 1 << 20
# Bytes of all files of a check, and pairs of a file and a daemon that are read.
TOTAL = 60 * MIB if SHORT else 2048 * MIB
PAIRS = 400 if SHORT else 1500
# How long the pool may take to see who is gone (a greeting comes every minute) and to repair.
SEEING = GRACE + 100
REPAIRING = GRACE + (150 if SHORT else 1200)
ROLLING_FILES = 150 if SHORT else 600


def items(trial, prefix, total):
    """Files of many sizes, and directories."""
    sizes = [1, 1, 1000, 100 << 10, 100 << 10, 131072, 131073]
    largest = 12 * MIB if SHORT else 200 * MIB
    while (left := total - sum(sizes)) > 0:
        sizes.append(min(left, trial.chance.choice([100 << 10, MIB, 3 * MIB, trial.chance.randrange(1, largest)])))
    named = [Item(f"{prefix}{number}.bin", f"{trial.seed}/{prefix}{number}", size) for number, size in enumerate(sizes)]
    files = 300 if SHORT else 2000
    named += [Item(f"{prefix}-tree{number}", f"{trial.seed}/{prefix}tree{number}", files * 1500, files) for number in (1, 2)]
    trial.chance.shuffle(named)
    return named


def pairs(trial, daemons, named, most=PAIRS):
    """Daemons and what they are to read, in any order; every daemon and every item comes at least once."""
    every = [(daemon, item) for item in named for daemon in daemons]
    trial.chance.shuffle(every)
    if len(every) <= most:
        return every
    must = [(trial.chance.choice(daemons), item) for item in named]
    return must + every[:most - len(must)]


def whole(trial, cluster, count=DAEMONS, **settings):
    """So many daemons in one pool, of which each sees all."""
    began = time.monotonic()
    for _ in range(count):
        cluster.add(**settings)
    cluster.pool(cluster.daemons)
    took, seen = cluster.all_live(60)
    cluster.check.expect(took is not None, "everybody sees everybody within 60 s after the joins", seen)
    cluster.check.say(f"{count} daemons in one pool after {time.monotonic() - began:.1f} s (grace {GRACE} s, "
                      f"{REPLICAS} replicas)")


# ---- disks are lost

def kills(trial, check):
    """Any three homes are lost, twice; what is there opens everywhere, and the repair is done when it is said to be."""
    with Cluster(trial, "kills", check) as cluster:
        whole(trial, cluster)
        # What a daemon reads stays there, so what shows the second time that the repair was real is not read before.
        first, second = items(trial, "a", TOTAL // 2), items(trial, "b", TOTAL // 2)
        writers = trial.chance.sample(cluster.daemons, 5)
        cluster.put_all(first + second, writers)
        for turn, (read, counted) in enumerate([(first, first + second), (first + second, second)], 1):
            lost = trial.chance.sample(cluster.daemons, LOST)
            waiting = sum(daemon.status()["pushes_waiting"] for daemon in cluster.daemons)
            cluster.lose(lost)
            check.say(f"loss {turn}: {', '.join(map(str, lost))} are gone ({sum(daemon in writers for daemon in lost)} "
                      f"wrote), {waiting} pushes waited")
            if turn == 1:
                # At once, while the dead still have their share.
                cluster.read_all(pairs(trial, cluster.daemons, read), f"loss {turn}: every URL opens from every survivor at once")
            else:
                cluster.read_all(pairs(trial, cluster.daemons, second), f"loss {turn}: every URL not read before opens from every survivor")
                cluster.read_all(pairs(trial, cluster.daemons, first), f"loss {turn}: every URL opens from every survivor")
            newcomer = cluster.add()
            member = trial.chance.choice(cluster.daemons[:-1])
            began = time.monotonic()
            joined = cluster.invite(member, newcomer)
            check.say(f"{newcomer}: {joined.lines[0][:40]}... in {time.monotonic() - began:.2f} s")
            cluster.read_all([(newcomer, item) for item in read], f"loss {turn}: every URL opens from a newcomer")
            took, seen = cluster.repaired(REPAIRING)
            promise = (f"loss {turn}: within {REPAIRING} s everybody sees the {len(cluster.daemons)} that are there "
                       f"and has nothing to repair")
            if check.expect(took is not None, promise, *(seen.items() if took is None else [])):
                done = sum(status["repaired"] for status in seen.values())
                check.say(f"loss {turn}: repaired {took:.1f} s after the newcomer had read all ({done} blocks)")
            cluster.settled(counted, f"loss {turn}: when nothing waits, every block has its copies", gone=0.03)
            cluster.figures()


# ---- the network is cut

class Halves:
    """Two network namespaces and the cable between them."""

    def __init__(self):
        self.names = [f"offs{os.getpid()}{side}" for side in "ab"]
        self.ips = ["10.77.23.1", "10.77.23.2"]
        self.made = []

    def ip(self, *arguments, space=None):
        where = ["-n", space] if space else []
        return subprocess.run(["ip", *where, *arguments], check=True, capture_output=True, text=True, timeout=20)

    def __enter__(self):
        try:
            for name in self.names:
                self.ip("netns", "add", name)
                self.made.append(name)
            self.ip("link", "add", "cable", "netns", self.names[0], "type", "veth", "peer", "name", "cable",
                    "netns", self.names[1])
            for name, ip in zip(self.names, self.ips):
                self.ip("link", "set", "lo", "up", space=name)
                self.ip("addr", "add", f"{ip}/24", "dev", "cable", space=name)
                self.ip("link", "set", "cable", "up", space=name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)

    def plug(self, state):
        # One side sees that the network is gone, the other only silence.
        self.ip("link", "set", "cable", state, space=self.names[0])


def partition(trial, check):
    """Both halves go on while they do not see each other, and have everything when they do again."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "this needs root and ip(8)"
    try:
        halves = Halves().__enter__()
    except (subprocess.SubprocessError, OSError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', None) or error}"
    try:
        with Cluster(trial, "partition", check) as cluster:
            return cut(trial, check, cluster, halves)
    finally:
        halves.__exit__()


def cut(trial, check, cluster, halves):
    for number in range(DAEMONS):
        cluster.add(space=halves.names[number % 2], ip=halves.ips[number % 2])
    cluster.pool(cluster.daemons)
    took, seen = cluster.all_live(60)
    check.expect(took is not None, "everybody sees everybody within 60 s after the joins", seen)
    sides = [cluster.daemons[0::2], cluster.daemons[1::2]]
    before = items(trial, "before", TOTAL // 4)
    cluster.put_all(before, cluster.daemons)
    halves.plug("down")
    check.say("the cable is out")
    during = []
    for side, daemons in zip("ab", sides):
        # At once, when nobody has noticed.
        some = items(trial, f"during-{side}", TOTAL // 8)
        cluster.put_all(some, daemons)
        cluster.read_all(pairs(trial, daemons, some, 60), f"cut: side {side} reads what it wrote")
        during.append(some)
    began = time.monotonic()
    seen = []
    while time.monotonic() < began + SEEING:
        seen = [daemon.status()["live"] for daemon in cluster.daemons]
        if all(live == DAEMONS // 2 for live in seen):
            break
        time.sleep(1)
    check.expect(all(live == DAEMONS // 2 for live in seen), f"cut: each side sees its own 6 within {SEEING} s", seen)
    check.say(f"cut: {seen} live {time.monotonic() - began:.0f} s after the writes")
    for side, daemons, some in zip("ab", sides, during):
        late = items(trial, f"late-{side}", TOTAL // 8)
        cluster.put_all(late, daemons)
        cluster.read_all(pairs(trial, daemons, late, 60), f"cut: side {side} reads what it wrote late")
        some += late
    halves.plug("up")
    began = time.monotonic()
    # The first read across, as soon as it goes.
    across, tries = during[1][0], 0
    while True:
        tries += 1
        outcome, wrong = sides[0][0].read(across, cluster.folder)
        if wrong is None or time.monotonic() > began + SEEING:
            break
        time.sleep(0.5)
    check.expect(wrong is None, f"healed: a read across goes within {SEEING} s", across, outcome)
    check.say(f"healed: the first read across went {time.monotonic() - began:.1f} s after, try {tries}")
    took, seen = cluster.all_live(SEEING)
    check.expect(took is not None, f"healed: everybody sees everybody within {SEEING} s", seen)
    check.say(f"healed: {seen} live and reachable {time.monotonic() - began:.0f} s after")
    cluster.read_all(pairs(trial, cluster.daemons, before + during[0] + during[1]), "healed: every URL opens everywhere")
    took, seen = cluster.repaired(REPAIRING)
    check.expect(took is not None, f"healed: within {REPAIRING} s nobody has anything to repair", *(seen.items() if took is None else []))
    cluster.settled(before + during[0] + during[1], "healed: every block has its copies")
    cluster.figures()


# ---- everybody is restarted

class Readers(threading.Thread):
    """Reads through daemons that are up, again and again, until it is told to stop."""

    def __init__(self, cluster, todo, lock, tally):
        super().__init__(daemon=True)
        self.cluster, self.todo, self.lock, self.tally = cluster, todo, lock, tally
        self.stop = threading.Event()

    def next(self):
        """A read that was not made before, through a daemon that is up."""
        with self.lock:
            for _ in range(len(self.todo)):
                daemon, item = pair = self.todo.popleft()
                self.todo.append(pair)
                if daemon.up:
                    return daemon, item, daemon.starts
        return None

    def run(self):
        while not self.stop.is_set():
            found = self.next()
            if not found:
                time.sleep(0.05)
                continue
            daemon, item, starts = found
            outcome, wrong = daemon.read(item, self.cluster.folder, seconds=60)
            with self.lock:
                counts = daemon.up and daemon.starts == starts
                self.tally["slowest"] = max(self.tally["slowest"], outcome.seconds)
                if wrong is None:
                    self.tally["good"] += 1
                elif counts:
                    self.tally["failed"].append((daemon, item, wrong, outcome))
                else:
                    self.tally["torn"] += 1
                    self.tally["torn_how"].add((outcome.code, outcome.err.strip()[-200:]))


def rolling(trial, check):
    """One after the other is asked to end and started again, while the others are read from."""
    with Cluster(trial, "rolling", check) as cluster:
        whole(trial, cluster)
        named = [Item(f"r{number}.bin", f"{trial.seed}/r{number}", trial.chance.randrange(1, 700_000))
                 for number in range(ROLLING_FILES)]
        cluster.put_all(named, cluster.daemons)
        every = [(daemon, item) for daemon in cluster.daemons for item in named]
        trial.chance.shuffle(every)
        tally = {"good": 0, "torn": 0, "failed": [], "slowest": 0, "torn_how": set()}
        lock = threading.Lock()
        todo = collections.deque(every)
        readers = [Readers(cluster, todo, lock, tally) for _ in range(3)]
        for reader in readers:
            reader.start()
        ends, starts, began = [], [], time.monotonic()
        fetched = 0
        try:
            for turn in range(1 if SHORT else 3):
                order = list(cluster.daemons)
                trial.chance.shuffle(order)
                for daemon in order:
                    time.sleep(trial.chance.uniform(0, 2))
                    fetched += daemon.status()["fetched"]
                    ends.append(daemon.end())
                    at = time.monotonic()
                    daemon.serve()
                    starts.append(time.monotonic() - at)
        finally:
            for reader in readers:
                reader.stop.set()
            for reader in readers:
                reader.join(timeout=90)
        fetched += sum(daemon.status()["fetched"] for daemon in cluster.daemons)
        check.say(f"{len(ends)} restarts in {time.monotonic() - began:.1f} s: SIGTERM took {min(ends):.2f} to {max(ends):.2f} s, "
                  f"the start {min(starts):.2f} to {max(starts):.2f} s")
        check.say(f"{tally['good']} reads were right ({fetched} blocks came from peers), {len(tally['failed'])} failed, "
                  f"{tally['torn']} failed whose own daemon was stopped; the slowest took {tally['slowest']:.2f} s")
        for code, how in list(tally["torn_how"])[:3]:
            check.say(f"  a read whose daemon was stopped: exit {code}, {how}")
        for daemon, item, wrong, outcome in tally["failed"]:
            check.expect(False, "rolling: no read fails", f"{item} by {daemon}: {wrong}", outcome)
        check.expect(tally["good"] >= 10 * len(ends) // 2, "rolling: there were enough reads to tell", tally["good"])
        took, seen = cluster.all_live(SEEING)
        check.expect(took is not None, f"rolling: everybody sees everybody within {SEEING} s", seen)
        cluster.read_all(pairs(trial, cluster.daemons, named, 150), "rolling: every URL opens afterwards")
        cluster.figures()


CHECKS = {"kills": kills, "partition": partition, "rolling": rolling}


def main():
    names = sys.argv[1:] or list(CHECKS)
    if unknown := set(names) - set(CHECKS):
        sys.exit(f"there is no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    with Trial("cluster") as trial:
        run_checks(trial, [(name, CHECKS[name]) for name in names])


if __name__ == "__main__":
    main()
