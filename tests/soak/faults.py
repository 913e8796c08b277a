#!/usr/bin/env python3
"""What the world around a pool does wrong: packets are lost, a disk fills up, a clock jumps, bytes rot in a pack.

    faults.py [loss] [full] [clock] [damage]

Each is a check of its own with daemons of its own; all run, whatever became of the others. Never may a read give
wrong bytes, never may a put claim copies that are not there, never may anything hang or panic. What needs root, or
a package, is skipped where it is not.
"""

import collections
import ctypes
import fcntl
import glob
import heapq
import itertools
import json
import os
import random
import re
import selectors
import shutil
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from content import content, tree
from damage import Parts, packs
from daemons import Cluster, Daemon, Item, run_checks
from full_disk import Disk
from program import DAMAGE, DONE, FAILED, NOT_FOUND, SHORT, Broken, Program, Skipped, Trial

MIB = 1 << 20
# How long a command may take when the network is good, when it is not, and a read when nobody answers.
GOOD = 60
BAD = 240 if SHORT else 900
NOBODY = 30
# What a bad network does to packets: the share that is lost, and by how many seconds the others are late.
LOSS, DELAY = 0.2, 0.3


def need_root():
    """Why this cannot be tried here, or nothing."""
    return None if os.geteuid() == 0 and shutil.which("ip") else "this needs root and ip(8)"


def no_panic(check, cluster):
    """No daemon panics, and no service of one ends."""
    for daemon in cluster.daemons + cluster.lost:
        log = daemon.log.read_text(errors="replace") if daemon.log.exists() else ""
        check.expect("panicked" not in log, "no daemon panics", daemon, log[-2000:])
        daemon.measure()
    for daemon in cluster.daemons:
        services = daemon.status()["services"] if daemon.up else {}
        restarts = {name: health for name, health in services.items() if health["restarts"] or not health["running"]}
        check.expect(not restarts, "no service of a daemon fails", daemon, restarts)


def said(outcome):
    """What a command with --json printed, also when it failed."""
    return json.loads(outcome.out) if outcome.out.strip() else {}


def put(daemon, item, folder, copies, seconds=GOOD):
    """Puts an item and gives how that ended and the copies that are claimed; it must print a URL whatever the copies."""
    path = item.make(folder)
    item.writer = daemon.name
    outcome = daemon.run("put", "--replicas", str(copies), "--json", path, seconds=seconds)
    if item.files:
        shutil.rmtree(path)
    else:
        path.unlink()
    claim = said(outcome)
    item.url = claim.get("url")
    return outcome, claim.get("copies") or 0


def until(seconds, condition, pause=0.5):
    """Waits until something is so; gives the seconds that it took, or None."""
    began = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - began
        if time.monotonic() > began + seconds:
            return None
        time.sleep(pause)


# ---- packets are lost

class Air:
    """Network namespaces that reach each other only through this process, which loses packets and is late."""

    def __init__(self, seed, count):
        self.names = [f"offs{os.getpid()}air{number}" for number in range(count)]
        self.ips = [f"10.77.0.{number + 1}" for number in range(count)]
        self.chance = random.Random(f"air {seed}")
        # The share of packets that is lost, and by how many seconds the rest is late.
        self.loss, self.delay = 0.0, 0.0
        self.carried = self.lost = 0
        self.made, self.tuns, self.thread = [], {}, None
        self.ending = os.pipe()

    def ip(self, *arguments, space=None):
        where = ["-n", space] if space else []
        return subprocess.run(["ip", *where, *arguments], check=True, capture_output=True, text=True, timeout=20)

    def open_tun(self, space):
        """A device in a namespace, whose packets come out of a file of ours."""
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(fd):
            # Only this thread goes there.
            if libc.setns(fd, 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")

        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{space}", os.O_RDONLY)
        try:
            enter(there)
            try:
                tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                # TUNSETIFF; IP packets and nothing before them.
                fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"air", 0x1001))
            finally:
                enter(own)
        finally:
            os.close(own)
            os.close(there)
        return tun

    def __enter__(self):
        try:
            for name, ip in zip(self.names, self.ips):
                self.ip("netns", "add", name)
                self.made.append(name)
                self.tuns[bytes(map(int, ip.split(".")))] = self.open_tun(name)
                self.ip("link", "set", "lo", "up", space=name)
                self.ip("addr", "add", f"{ip}/24", "dev", "air", space=name)
                self.ip("link", "set", "air", "mtu", "1500", "up", space=name)
            self.thread = threading.Thread(target=self.carry, daemon=True)
            self.thread.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        os.write(self.ending[1], b"x")
        if self.thread:
            self.thread.join(timeout=10)
        for tun in self.tuns.values():
            os.close(tun)
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20, check=False)
        for end in self.ending:
            os.close(end)

    def carry(self):
        """Takes packets out of each device and puts them into the one that they are for."""
        ready, waiting, number = selectors.DefaultSelector(), [], itertools.count()
        ready.register(self.ending[0], selectors.EVENT_READ)
        for tun in self.tuns.values():
            ready.register(tun, selectors.EVENT_READ)
        while True:
            pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in ready.select(pause):
                if key.fd == self.ending[0]:
                    return
                self.take(key.fd, waiting, number)
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, _, tun, packet = heapq.heappop(waiting)
                try:
                    os.write(tun, packet)
                except OSError:
                    # A device whose queue is full loses it, as any network does.
                    self.lost += 1

    def take(self, tun, waiting, number):
        for _ in range(64):
            try:
                packet = os.read(tun, 65536)
            except OSError:
                return
            to = self.tuns.get(packet[16:20]) if packet[0] >> 4 == 4 else None
            if to is None:
                continue
            self.carried += 1
            if self.chance.random() < self.loss:
                self.lost += 1
            else:
                heapq.heappush(waiting, (time.monotonic() + self.delay, next(number), to, packet))


class Reads:
    """Reads that may fail, if they say so; what they gave, and how long they took."""

    def __init__(self, check, folder):
        self.check, self.folder = check, folder
        self.good, self.failed, self.words = [], [], collections.Counter()

    def one(self, about, daemon, item, seconds=BAD):
        outcome, wrong = daemon.read(item, self.folder, seconds)
        if wrong is None:
            self.good.append(outcome.seconds)
            return True
        in_words = isinstance(outcome.code, int) and outcome.code in (FAILED, NOT_FOUND) and "offs: " in outcome.err
        self.check.expect(in_words and wrong == f"exit {outcome.code}",
                          f"{about}: a read is right or ends with 1 or 4 and words, within {seconds} s",
                          f"{item} by {daemon}: {wrong}", outcome)
        self.failed.append(outcome.seconds)
        for line in outcome.err.splitlines():
            if line.startswith(("offs: ", "  caused by: ")):
                self.words[re.sub(r"[0-9A-Za-z:]{40,}", "...", f"exit {outcome.code}, {line.strip()}")] += 1
        return False

    def all(self, about, pairs, workers=4, seconds=BAD):
        with ThreadPoolExecutor(workers) as pool:
            done = list(pool.map(lambda pair: self.one(about, *pair, seconds), pairs))
        times = [f"{len(some)} {what}" + (f" in {min(some):.1f} to {max(some):.1f} s" if some else "")
                 for what, some in (("were right", self.good), ("failed", self.failed))]
        self.check.say(f"{about}: of {len(done)} reads {' and '.join(times)}")
        for words, count in self.words.most_common(4):
            self.check.say(f"  {count} times {words}")
        return sum(done)


def opens_from(cluster, item, copies, about):
    """Holds a claim against the disks: any peers of which one must have each block open it, with nobody else there."""
    check = cluster.check
    others = [daemon for daemon in cluster.daemons if daemon.name != item.writer]
    if not copies:
        return
    for group in itertools.combinations(others, len(others) - copies + 1):
        for daemon in group:
            daemon.serve()
        if len(group) > 1:
            cluster.all_reach(group)
        outcome, wrong = group[0].read(item, cluster.folder)
        check.expect(wrong is None, f"{about}: copies that were claimed are there",
                     f"{item}: {copies} claimed, opened by {', '.join(map(str, group))}: {wrong}", outcome)
        for daemon in group:
            daemon.kill()


class Pool(Cluster):
    def all_reach(self, group, seconds=90):
        """Waits until each of these reaches the others."""
        wanted = {daemon.peer for daemon in group}

        def reached():
            return all(wanted - {daemon.peer} <= {peer["peer"] for peer in daemon.status()["peers"] if peer["reachable"]}
                       for daemon in group)

        if until(seconds, reached, 0.2) is None:
            raise Broken(f"daemons that were started reach each other within {seconds} s", *map(str, group))

    def peer(self, space=None, ip="127.0.0.1", **settings):
        """A daemon with other settings than most."""
        address = f"{ip}:{self.free_port()}"
        daemon = self.add(space=space, ip=ip, configured=config(address, **settings))
        daemon.address = address
        return daemon


def config(address, grace=5, replicas=3, rate="256MiB", first=""):
    return (f'{first}\n[http]\non = false\n[peers]\nlisten = "{address}"\nlan = false\ngrace = {grace}\nreplicas = {replicas}\n'
            f'repair_rate = "{rate}"\n')


def loss(trial, check):
    """A fifth of all packets is lost and the rest is 0.3 s late."""
    if why := need_root():
        return why
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    try:
        air = Air(trial.seed, 3).__enter__()
    except (subprocess.SubprocessError, OSError) as error:
        return f"no network namespaces with devices here: {getattr(error, 'stderr', None) or error}"
    try:
        with Pool(trial, "loss", check) as cluster:
            return lossy(trial, check, cluster, air)
    finally:
        air.__exit__()


def lossy(trial, check, cluster, air):
    # With one holder for each block most of what is read is elsewhere.
    for space, ip in zip(air.names, air.ips):
        cluster.peer(space, ip, grace=900, replicas=1)
    cluster.pool(cluster.daemons)
    cluster.all_reach(cluster.daemons)
    writer, *others = cluster.daemons
    sizes = [1000, 400_000] if SHORT else [1, 1000, 100_000, 400_000, MIB]
    before = [Item(f"clean{number}.bin", f"{trial.seed}/clean{number}", size) for number, size in enumerate(sizes)]
    before.append(Folder("clean-tree", f"{trial.seed}/clean-tree", 0, 20))
    for item in before:
        writer.put_copies(item, cluster.folder, 1)
    silent = Item("silent.bin", f"{trial.seed}/silent", 400_000 if SHORT else MIB)
    writer.put_copies(silent, cluster.folder, 1)
    air.loss, air.delay, air.carried, air.lost = LOSS, DELAY, 0, 0
    # Puts, all of it under loss, beside reads of what was put before.
    puts = [(1000, 1), (100_000, 2)] if SHORT else [(1000, 1), (1000, 2), (200_000, 1), (200_000, 2), (MIB, 2)]
    during = [Item(f"lossy{number}.bin", f"{trial.seed}/lossy{number}", size) for number, (size, _) in enumerate(puts)]
    reads = Reads(check, cluster.folder)
    with ThreadPoolExecutor(2) as pool:
        read = pool.submit(reads.all, "loss", [(daemon, item) for daemon in others for item in before], 8)
        claims = [put_lossy(check, cluster, writer, item, copies) for item, (_, copies) in zip(during, puts)]
        read.result()
    check.say(f"loss: {air.lost} of {air.carried} packets were lost")
    no_panic(check, cluster)
    # Against the disks, one after the other.
    air.loss, air.delay = 0.0, 0.0
    for daemon in cluster.daemons:
        daemon.kill()
    for item, claimed in zip(during, claims):
        opens_from(cluster, item, claimed, "loss")
    check.say(f"loss: {sum(claims)} copies of {len(claims)} items were claimed, and are there after a kill")
    for daemon in cluster.daemons:
        daemon.serve()
    cluster.all_reach(cluster.daemons)
    air.loss, air.delay = LOSS, DELAY
    Reads(check, cluster.folder).all("loss, what was put under it", [(daemon, item) for daemon in others for item in during], 8)
    # Nobody answers any more; to find that out takes no longer than to read would.
    air.loss = 1.0
    nobody = Reads(check, cluster.folder)
    lonely = Item("lonely.bin", f"{trial.seed}/lonely", 1000)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(nobody.all, "nobody answers", [(daemon, silent) for daemon in others], 4, NOBODY)
        claimed = put_lossy(check, cluster, writer, lonely, 1)
        read.result()
    check.expect(claimed == 0, "nobody answers: a put claims no copies", claimed)
    for peer in writer.status()["peers"]:
        check.say(f"nobody answers: {writer} says of {peer['peer'][:8]}: reachable {peer['reachable']}, heard {peer['heard']} s ago, "
                  f"{peer['trouble']}")
    # What is there opens again when the network is good again.
    air.loss, air.delay = 0.0, 0.0
    pairs = [(daemon, item) for daemon in others for item in [*before, *during, silent, lonely]]
    began, last = time.monotonic(), None
    while pairs and time.monotonic() < began + 90:
        done = [(pair, pair[0].read(pair[1], cluster.folder)) for pair in pairs]
        pairs = [pair for pair, (_, wrong) in done if wrong is not None]
        last = [outcome for _, (outcome, wrong) in done if wrong is not None]
    check.say(f"loss: {time.monotonic() - began:.1f} s after the network is good again, {len(pairs)} reads fail")
    check.expect(not pairs, "loss: everything opens within 90 s after the network is good again",
                 *(f"{item} by {daemon}" for daemon, item in pairs[:3]), *(last or [])[:3])
    no_panic(check, cluster)
    return None


def put_lossy(check, cluster, writer, item, copies):
    """Puts an item over a bad network; gives the copies that are claimed."""
    outcome, claimed = put(writer, item, cluster.folder, copies, BAD)
    check.say(f"loss: put of {item.size} bytes with {copies} copies: exit {outcome.code} after {outcome.seconds:.1f} s, "
              f"{claimed} claimed; {' '.join(outcome.err.split())[:100]}")
    right = outcome.code == DONE and claimed >= copies or outcome.code == FAILED and claimed < copies
    check.expect(right and item.url, "loss: a put says how many copies there are", outcome)
    return claimed


class Folder(Item):
    """A directory with few small files, which one stored file holds."""

    def make(self, folder):
        path = folder / self.name
        path.mkdir()
        for number in range(self.files):
            (path / f"{number}").write_bytes(content(f"{self.seed}/{number}", number * 97))
        self.digest = tree(path)
        return path


# ---- a disk is full

FULL_DISK = 60


def full(trial, check):
    """A peer whose disk fills up says so, keeps what it has, gives it to others, and takes more when it can."""
    if why := need_root():
        return why
    with Pool(trial, "full", check) as cluster:
        try:
            disk = Disk(cluster.folder / "disk", FULL_DISK)
        except Skipped as skipped:
            return str(skipped)
        with disk:
            try:
                return filled(trial, check, cluster, disk)
            finally:
                # Nobody may use the disk when it goes.
                for daemon in cluster.daemons:
                    daemon.kill()


def count(daemon, item):
    """The copies of an item, as its daemon counts them."""
    return said(daemon.done("replicate", item.url, "--count", "--json", seconds=GOOD))


def filled(trial, check, cluster, disk):
    for number in range(3):
        daemon = Daemon(cluster.folder, f"d{number + 1}", f"127.0.0.1:{cluster.free_port()}")
        if number == 2:
            daemon.home = disk.at / "home"
        daemon.configure()
        cluster.daemons.append(daemon)
        daemon.serve()
    writer, other, small = cluster.daemons
    cluster.pool(cluster.daemons)
    cluster.all_reach(cluster.daemons)
    made = itertools.count()

    def item(size, files=0):
        number = next(made)
        return Item(f"f{number}.bin", f"{trial.seed}/f{number}", size, files)

    fitting = [item(1000), item(3 * MIB)]
    for some in fitting:
        writer.put_copies(some, cluster.folder)
    claims, told = {some: 2 for some in fitting}, set()

    def put_one(size, about):
        some = item(size)
        outcome, claimed = put(writer, some, cluster.folder, 2)
        right = outcome.code == DONE and claimed >= 2 or outcome.code == FAILED and claimed < 2
        check.expect(right and some.url, f"full: {about}: a put says how many copies there are", outcome)
        if outcome.code == FAILED:
            told.update(line for line in outcome.err.splitlines() if small.peer[:8] in line)
        claims[some] = claimed
        return outcome

    outcome = None
    for _ in range(30):
        outcome = put_one(trial.chance.randrange(MIB, 4 * MIB), "while it fills")
        if outcome.code != DONE:
            break
    check.expect(outcome.code == FAILED, "full: a put that lacks a copy ends with 1", outcome)
    check.say(f"full: {len(claims) - 1} items had both copies, with {disk.free() / MIB:.1f} MiB of {FULL_DISK} free the next "
              f"ended with {outcome.code} after {outcome.seconds:.1f} s and {claims[max(claims, key=lambda some: int(some.name[1:-4]))]} copies")
    put_one(1000, "when it is full")
    put_one(2 * MIB, "when it is full")
    check.expect(any("room" in line or "full" in line for line in told), "full: a peer without room says so to who gives it something", told)
    for line in sorted(told):
        check.say(f"  {line}")

    def says():
        return next(peer for peer in writer.status()["peers"] if peer["peer"] == small.peer)

    seen = []
    until(4, lambda: seen.append(says()["full"]), 0.2)
    check.say(f"full: its peers' status calls it full {sum(seen)} of {len(seen)} times in the 4 s after it refused something; "
              f"free it says {says()['free']} bytes")
    ballast = disk.fill()
    check.expect(disk.free() < 4096, "the disk has no byte left", disk.free())
    put_one(1000, "with no byte left")
    put_one(2 * MIB, "with no byte left")
    own = item(MIB)
    outcome, _ = put(small, own, cluster.folder, 2)
    check.expect(outcome.code == FAILED and own.url is None, "full: a put through a daemon without room ends with 1", outcome)
    check.expect("free" in outcome.err or "space" in outcome.err, "full: it says that there is no room", outcome)
    check.say(f"full: a put through it: {outcome.err.splitlines()[0]}")
    for some in claims:
        outcome, wrong = small.read(some, cluster.folder)
        check.expect(wrong is None, "full: a peer without room opens what it has and what others have", f"{some}: {wrong}", outcome)
    no_panic(check, cluster)
    counted = {some: count(writer, some) for some in claims}
    for some, claimed in claims.items():
        check.expect(counted[some]["copies"] >= claimed, "full: what was claimed is still counted", some, claimed, counted[some])
    # Against the disks. To start takes some room, so what others took is given back.
    ballast.unlink()
    left = disk.free()
    for daemon in cluster.daemons:
        daemon.kill()
    for some in claims:
        opens_from(cluster, some, claims[some], "full")
    check.say(f"full: {sum(claims.values())} copies of {len(claims)} items were claimed, and are there after a kill")
    # It goes on giving: another one has lost its store, and the writer is away.
    shutil.rmtree(other.home / "store")
    small.serve()
    other.serve()
    cluster.all_reach([small, other])
    for some, claimed in claims.items():
        if claimed == 2:
            outcome, wrong = other.read(some, cluster.folder)
            check.expect(wrong is None, "full: a peer without room gives what it has", f"{some}: {wrong}", outcome)
    status = small.status()
    check.say(f"full: {status['repairs_waiting']} repairs wait at it, {disk.free() / MIB:.1f} MiB are free, {left / MIB:.1f} before")
    writer.serve()
    cluster.all_reach(cluster.daemons)
    # Room again.
    disk.resize(6 * FULL_DISK)
    began = time.monotonic()
    took = until(150, lambda: all(count(writer, some)["short"] == 0 and count(writer, some)["at"].get(small.peer) ==
                                  count(writer, some)["blocks"] for some in claims), 2)
    if check.expect(took is not None, "full: copies arrive within 150 s after there is room again",
                    *(f"{some}: {count(writer, some)}" for some in claims), small.status()):
        check.say(f"full: everything has its copies {took:.1f} s after there is room again")
    put_one(MIB, "when there is room again")
    check.expect(list(claims.values())[-1] == 2, "full: when there is room again, a put has its copies", claims)
    no_panic(check, cluster)
    for daemon in cluster.daemons:
        daemon.kill()
    if took is not None:
        small.serve()
        for some in claims:
            outcome, wrong = small.read(some, cluster.folder)
            check.expect(wrong is None, "full: with room again it has everything alone", f"{some}: {wrong}", outcome)
    return None


# ---- the clock jumps

YEAR = 365 * 86400
CLOCK_GRACE = 3
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")


class Clock:
    """What one process takes for the time; its monotonic clock goes on as it was."""

    def __init__(self, at):
        self.file = at
        self.ahead(0)
        self.prefix = ["env", f"LD_PRELOAD={FAKETIME[0]}", f"FAKETIME_TIMESTAMP_FILE={at}", "FAKETIME_NO_CACHE=1",
                       "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"]

    def ahead(self, seconds):
        # Never half-written: the process reads it at each look at the clock.
        part = self.file.with_name("part")
        part.write_text(f"{seconds:+d}s\n")
        part.rename(self.file)

    def shows(self):
        """How far ahead it is, in seconds."""
        shown = subprocess.run([*self.prefix, "date", "+%s"], capture_output=True, text=True, timeout=20, check=True)
        return int(shown.stdout) - int(time.time())


def clock(trial, check):
    """A member's clock jumps a year ahead and then to a year ago; nobody minds but invitations."""
    if not FAKETIME:
        return "libfaketime is not installed (Debian: faketime)"
    with Pool(trial, "clock", check) as cluster:
        false = Clock(cluster.folder / "clock")
        false.ahead(YEAR)
        if abs(false.shows() - YEAR) > 60:
            return "libfaketime does not work here"
        false.ahead(0)
        for _ in range(3):
            cluster.peer(grace=CLOCK_GRACE)
        first, _, odd = cluster.daemons
        odd.end()
        odd.prefix = false.prefix
        odd.serve()
        cluster.pool(cluster.daemons)
        cluster.all_reach(cluster.daemons)
        named = [Item(f"c{number}.bin", f"{trial.seed}/c{number}", size) for number, size in enumerate([1000, MIB])]
        for item, daemon in zip(named, (first, odd)):
            daemon.put_copies(item, cluster.folder, seconds=GOOD)
        for jump, name in ((YEAR, "a year ahead"), (-YEAR, "a year ago")):
            before = [(maker, asked, invitation(maker)) for maker in ((first,) if SHORT else (first, odd))
                      for asked in (first, odd)]
            false.ahead(jump)
            jumped(trial, check, cluster, named, odd, name)
            invitations(check, cluster, odd, name, before)
        if not SHORT:
            false.ahead(0)
            jumped(trial, check, cluster, named, odd, "right again")
        no_panic(check, cluster)
        # Who has it on disk must find it there when it starts with a wrong clock, too.
        for jump in (YEAR,) if SHORT else (YEAR, -YEAR):
            odd.end()
            false.ahead(jump)
            odd.serve()
            cluster.all_reach(cluster.daemons)
            for item in named:
                outcome, wrong = odd.read(item, cluster.folder)
                check.expect(wrong is None, "clock: a daemon that starts at a wrong time reads right", f"{item}: {wrong}", outcome)
        for daemon in cluster.daemons:
            daemon.end()
            outcome = daemon.run("verify", seconds=GOOD)
            check.expect(outcome.code == DONE, "clock: verify finds nothing afterwards", outcome)
        return None


def jumped(trial, check, cluster, named, odd, name):
    """After a jump everything goes on; nobody is given up."""
    count = len(cluster.daemons)
    members = sorted(line.split()[0] for line in cluster.daemons[0].done("pool", "members").lines)
    began, worst = time.monotonic(), (count, count)
    while time.monotonic() < began + CLOCK_GRACE + 3:
        for daemon in cluster.daemons:
            status = daemon.status()
            reached = sum(peer["reachable"] for peer in status["peers"]) + 1
            worst = min(worst, (status["live"], reached))
            check.expect(status["live"] == count and reached == count, f"clock: {name}: nobody is given up",
                         f"{daemon}: {status['live']} live, {reached} reached of {count}", status["peers"])
            troubles = [peer["trouble"] for peer in status["peers"] if peer["trouble"]]
            check.expect(not troubles, f"clock: {name}: nobody distrusts anybody", daemon, troubles)
        time.sleep(0.5)
    for daemon in cluster.daemons:
        seen = sorted(line.split()[0] for line in daemon.done("pool", "members").lines)
        check.expect(seen == members and len(seen) == count, f"clock: {name}: members are members", daemon, seen, members)
    for daemon in (odd, trial.chance.choice([daemon for daemon in cluster.daemons if daemon is not odd])):
        item = Item(f"c{len(named)}.bin", f"{trial.seed}/c{len(named)}", trial.chance.randrange(1, 2 * MIB))
        began = time.monotonic()
        daemon.put_copies(item, cluster.folder, seconds=GOOD)
        named.append(item)
        check.expect(time.monotonic() - began < 20, f"clock: {name}: puts take no longer", time.monotonic() - began)
    cluster.read_all([(daemon, item) for daemon in cluster.daemons for item in named], f"clock: {name}: everything opens right")
    check.say(f"clock: {name}: at least {worst[0]} of {count} were live and {worst[1]} reached")


def invitation(member):
    return member.done("pool", "invite").lines[0]


def invitations(check, cluster, odd, name, before):
    """Brings invitations, made before and after the jump, to one whose clock is right and to the one whose is not.

    The clock of whoever is asked says whether it has expired, and whoever it lets in is a member for all.
    """
    first, ahead = cluster.daemons[0], name == "a year ahead"
    made = [(maker, asked, invitation(maker)) for maker in (first, odd) for asked in (first, odd)]
    # By the clock of who is asked; the one whose clock jumped makes some that are over or far ahead for others.
    for when, some in (("before", before), ("after", made)):
        for maker, asked, text in some:
            late = ahead and asked is odd and not (when == "after" and maker is odd)
            late = late or not ahead and when == "after" and maker is odd and asked is not odd
            names = {first: "one whose clock is right", odd: "the one whose clock jumped"}
            about = f"clock: {name}: an invitation made {when} it by {names[maker]}, brought to {names[asked]}"
            outcome = bring(check, cluster, text, asked, about)
            check.expect(outcome.code == (FAILED if late else DONE), f"{about}: is {'refused' if late else 'taken'}", outcome)
            check.expect(not late or "expired" in outcome.err, f"{about}: the message says that it has expired", outcome)
            check.say(f"{about}: {'let in' if outcome.code == DONE else outcome.err.splitlines()[0][-40:]}")


def bring(check, cluster, text, asked, about):
    """A newcomer brings an invitation to one member, and leaves again when it was let in and all know it."""
    newcomer = Program(cluster.folder / f"new{time.monotonic_ns()}")
    newcomer.home.mkdir()
    (newcomer.home / "config.toml").write_text(f'[http]\non = false\n[peers]\nlisten = "127.0.0.1:{cluster.free_port()}"\nlan = false\n')
    outcome = newcomer.run("pool", "join", text, "--address", asked.address, seconds=GOOD)
    if outcome.code == DONE:
        count = len(cluster.daemons)
        for joined in (1, 0):
            counts = [[]]

            def same():
                counts[0] = [daemon.status()["pool"]["members"] for daemon in cluster.daemons]
                return counts[0] == [count + joined] * count

            check.expect(until(20, same, 0.2) is not None, f"{about}: within 20 s all know who {'joined' if joined else 'left'}",
                         counts[0])
            if joined:
                newcomer.done("pool", "leave", seconds=GOOD)
    return outcome


# ---- bytes rot while repair is under way

# What a status says of what is left to do.
LEFT = ("live", "blocks", "peers_to_look_through", "repairs_waiting", "repaired", "endangered", "pushes_waiting")


def damage(trial, check):
    """A peer is lost, and while the others copy its share the disk of one of them damages what it has."""
    with Pool(trial, "damage", check) as cluster:
        for _ in range(4):
            # The capacity makes the packs small, so that some are sealed.
            cluster.peer(grace=4, rate="512KiB", first='capacity = "128MiB"')
        cluster.pool(cluster.daemons)
        cluster.all_reach(cluster.daemons)
        writer = cluster.daemons[0]
        sizes = [1000, 200_000, MIB, 3 * MIB] if SHORT else [1, 1000, 200_000, MIB, 3 * MIB, 8 * MIB]
        read = [Item(f"r{number}.bin", f"{trial.seed}/r{number}", size) for number, size in enumerate(sizes)]
        # What a daemon reads it keeps; what shows that the repair was real is not read before.
        unread = [Item(f"u{number}.bin", f"{trial.seed}/u{number}", size) for number, size in enumerate(sizes)]
        for item in read + unread:
            writer.put_copies(item, cluster.folder)
        took, seen = cluster.repaired(GOOD, 2)
        check.expect(took is not None, "damage: everything is given away before", seen)
        victim = trial.chance.choice(cluster.daemons[1:])
        cluster.lose([writer])
        began = time.monotonic()

        def under_way():
            return any(daemon.status()["repairs_waiting"] for daemon in cluster.daemons)

        if not check.expect(until(15, under_way, 0.1) is not None,
                            "damage: the others begin to copy the share of who was lost soon after the grace time",
                            *(f"{daemon}: { {key: daemon.status()[key] for key in LEFT} }" for daemon in cluster.daemons)) and not SHORT:
            # A minute after the start everything is compared.
            until(60, under_way, 0.1)
        what = rot(trial, check, victim)
        check.say(f"damage: {time.monotonic() - began:.1f} s after {writer} was lost, with "
                  f"{[daemon.status()['repairs_waiting'] for daemon in cluster.daemons]} repairs waiting: {victim}: {what}")
        # One copy of each block is whole somewhere, so everything opens everywhere, at any time.
        promise = "damage: while it is repaired, everything opens right from everybody"
        cluster.read_all([(daemon, item) for daemon in cluster.daemons for item in read], promise)
        took, seen = cluster.repaired(200, 3)
        check.expect(took is not None, "damage: repair finishes within 200 s", seen)
        check.say(f"damage: repair finished {time.monotonic() - began:.1f} s after the loss")
        no_panic(check, cluster)
        for daemon in cluster.daemons:
            daemon.end()
            outcome = daemon.run("verify", seconds=GOOD)
            if daemon is not victim:
                check.expect(outcome.code == DONE, "damage: no wrong bytes were copied to others", daemon, outcome)
                continue
            names = "damaged" in outcome.out.decode() or "missing" in outcome.out.decode()
            check.expect(outcome.code == DONE or outcome.code == DAMAGE and names, "damage: verify names what is damaged", outcome)
            check.say(f"damage: verify of {daemon}: exit {outcome.code}, {len(outcome.lines)} lines, the last: {outcome.lines[-1]}")
            outcome = daemon.run("verify", "--heal", seconds=GOOD)
            check.expect(outcome.code == DONE, "damage: verify --heal mends it", outcome)
            check.say(f"damage: verify --heal: {outcome.lines[-1]}; {outcome.err.strip()}")
            outcome = daemon.run("verify", seconds=GOOD)
            check.expect(outcome.code == DONE, "damage: after verify --heal nothing is damaged", outcome)
        for daemon in cluster.daemons:
            daemon.serve()
        cluster.all_reach(cluster.daemons)
        took, seen = cluster.repaired(GOOD, 3)
        check.expect(took is not None, "damage: after verify --heal repair finishes", seen)
        asker = next(daemon for daemon in cluster.daemons if daemon is not victim)
        counts = [count(asker, item) for item in read + unread]
        check.say(f"damage: afterwards {sum(said['short'] for said in counts)} of {sum(said['blocks'] for said in counts)} blocks lack a copy")
        for item in read + unread:
            outcome = asker.run("replicate", item.url, "--copies", "2", seconds=GOOD)
            check.expect(outcome.code == DONE, "damage: replicate makes up for what was damaged", outcome)
        cluster.read_all([(daemon, item) for daemon in cluster.daemons for item in unread + read],
                         "damage: afterwards everything opens right from everybody")
        no_panic(check, cluster)
        return None


def rot(trial, check, victim):
    """Flips bits in the payloads of several records, and cuts a pack that is sealed; says what was done."""
    parts = {path: Parts.of(path) for path in packs(victim.home)}
    blocks = {path: some for path, some in parts.items() if some.kind == 0 and some.places["payload"]}
    sealed = [path for path, some in blocks.items() if some.sealed]
    check.expect(sealed, "the pack that is cut is sealed", {path.name: some.sealed for path, some in parts.items()})
    cut = trial.chance.choice(sealed)
    payloads = [(path, place) for path, some in blocks.items() if path != cut for place in some.places["payload"]]
    hit = trial.chance.sample(payloads, min(8, len(payloads)))
    for path, (offset, length) in hit:
        with open(path, "r+b") as file:
            at = offset + trial.chance.randrange(length)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << trial.chance.randrange(8)]))
    size = cut.stat().st_size
    os.truncate(cut, size // 2)
    return (f"a bit in each of {len(hit)} payloads of {len({path for path, _ in hit})} packs; {cut.name} cut from "
            f"{size} to {size // 2} bytes")


CHECKS = {"loss": loss, "full": full, "clock": clock, "damage": damage}


def main():
    names = sys.argv[1:] or list(CHECKS)
    if unknown := set(names) - set(CHECKS):
        sys.exit(f"there is no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    with Trial("faults") as trial:
        run_checks(trial, [(name, CHECKS[name]) for name in names])


if __name__ == "__main__":
    main()
