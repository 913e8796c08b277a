#!/usr/bin/env python3
"""How fast a file comes from peers, beside rsync and sendme on the same file and machine.

One daemon has the file; then three, of which each has all of its blocks. The reader is a member with an empty home and
no daemon, so that it does nothing else. Everything is on stable storage at the end of each: the others are followed
by a sync of what they wrote. Each is done in turn, several rounds, and the best counts.

Environment: OFFS, the program; LINK_MIB, the size of the file (default 1024); LINK_ROUNDS (default 3); SENDME, the
program of that name, which is left out when it is not there, as rsync is.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/soak"))
from daemons import Check, Cluster  # noqa: E402
from program import Program, Trial, remove  # noqa: E402

MIB = int(os.environ.get("LINK_MIB", "1024"))
ROUNDS = int(os.environ.get("LINK_ROUNDS", "3"))
SENDME = shutil.which(os.environ.get("SENDME", "sendme"))


def synced(command, path, **more):
    """Seconds until a command has made a file and it is on stable storage."""
    remove(path) if path.is_dir() else path.unlink(missing_ok=True)
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    subprocess.run(["sync", "-d", path], check=True)
    return time.monotonic() - began


def settle(cluster, seconds=120):
    """Waits until nobody has anything to copy."""
    took, waiting = cluster.repaired(seconds)
    if took is None:
        sys.exit(f"the daemons are not done: {waiting}")


class Reader:
    """A member with an empty home and no daemon."""

    def __init__(self, cluster, name):
        self.daemon = cluster.add()
        cluster.invite(cluster.daemons[0], self.daemon)
        self.daemon.end()
        cluster.daemons.remove(self.daemon)
        cluster.lost.append(self.daemon)
        self.program, self.kept = Program(self.daemon.home), cluster.folder / name
        remove(self.daemon.home / "store")
        shutil.copytree(self.daemon.home, self.kept)

    def get(self, url, out):
        """Seconds to get a file, when none of its blocks is here."""
        remove(self.daemon.home)
        shutil.copytree(self.kept, self.daemon.home)
        out.unlink(missing_ok=True)
        return self.program.done("get", url, "-o", out, seconds=300).seconds


class Rsync:
    """A daemon of rsync's on loopback."""

    def __init__(self, cluster, source):
        self.port = cluster.free_port()
        config = cluster.folder / "rsyncd.conf"
        config.write_text(f"use chroot = no\naddress = 127.0.0.1\nport = {self.port}\nuid = {os.getuid()}\ngid = {os.getgid()}\n[files]\npath = {source.parent}\n")
        self.process = subprocess.Popen(["rsync", "--daemon", "--no-detach", "--config", config])
        self.source = source
        time.sleep(0.5)

    def get(self, out):
        return synced(["rsync", "-W", f"rsync://127.0.0.1:{self.port}/files/{self.source.name}", out], out)

    def end(self):
        self.process.terminate()
        self.process.wait()


class Sendme:
    """`sendme send`, which gives out a ticket; no relay and no discovery is used."""

    def __init__(self, cluster, source):
        self.folder = cluster.folder / "sendme"
        self.folder.mkdir()
        environment = {**os.environ, "HOME": str(self.folder)}
        self.process = subprocess.Popen([SENDME, "send", "--no-progress", "--relay", "disabled", "--ticket-type", "addresses", source],
                                        cwd=self.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.source, self.environment = source, environment
        for line in self.process.stdout:
            if found := re.search(r"sendme receive (\S+)", line):
                self.ticket = found[1]
                return
        sys.exit("sendme gives no ticket")

    def get(self):
        # It receives into the folder that it runs in.
        out = self.folder / "out"
        remove(out)
        out.mkdir()
        command = [SENDME, "receive", "--no-progress", "--relay", "disabled", self.ticket]
        began = time.monotonic()
        subprocess.run(command, cwd=out, env=self.environment, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=300)
        subprocess.run(["sync", "-d", out / self.source.name], check=True)
        return time.monotonic() - began

    def end(self):
        self.process.kill()
        self.process.wait()


def main(trial):
    with Cluster(trial, "link", Check("link")) as cluster:
        source, out = trial.folder / "source", trial.folder / "out"
        with open(source, "wb") as file:
            for _ in range(MIB):
                file.write(os.urandom(1 << 20))
        cluster.add().done("pool", "create", "link")
        one = cluster.daemons[0]
        url = one.done("put", source, seconds=300).lines[0]
        readers = [("offs from one peer", Reader(cluster, "one"))]
        best, others = {}, []
        if shutil.which("rsync"):
            others.append(("rsync from rsyncd", Rsync(cluster, source)))
        if SENDME:
            others.append(("sendme", Sendme(cluster, source)))
        ways = [(readers[0][0], lambda: readers[0][1].get(url, out))] + [
            (name, (lambda other=other: other.get(out)) if isinstance(other, Rsync) else other.get) for name, other in others]
        rounds(ways, best)
        for _, other in others:
            other.end()
        for _ in range(2):
            cluster.invite(one, cluster.add())
        settle(cluster)
        three = Reader(cluster, "three")
        rounds([("offs from one peer, again", lambda: alone(cluster, readers[0][1], url, out)),
                ("offs from three peers", lambda: three.get(url, out))], best)
        if out.read_bytes() != source.read_bytes():
            sys.exit("what came is not what was put")
    first = best["offs from one peer"]
    for name, seconds in best.items():
        print(f"{name:28} {seconds:7.2f} s {MIB * 1.048576 / seconds:7.0f} MB/s  {seconds / first:5.2f} times offs from one peer")


def alone(cluster, reader, url, out):
    """Reads from the first daemon while the others are stopped."""
    for daemon in cluster.daemons[1:]:
        daemon.end()
    seconds = reader.get(url, out)
    for daemon in cluster.daemons[1:]:
        daemon.serve()
    cluster.all_live(60)
    return seconds


def rounds(ways, best):
    for _ in range(ROUNDS):
        for name, way in ways:
            seconds = way()
            print(f"    {name}: {seconds:.2f} s", flush=True)
            best[name] = min(best.get(name, seconds), seconds)


if __name__ == "__main__":
    with Trial("link") as running:
        main(running)
