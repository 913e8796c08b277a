#!/usr/bin/env python3
"""A put that ends with 0 says that so many peers have everything; it must be so on their disks.

Each round puts something with copies, and the moment that the command has ended the writer is killed and its
home deleted, and the peers are killed too. Each of them, or as many together as are needed to have a copy of each
block, is then started with nobody else there, and must open the URL. Every other round asks
`replicate --count` before, and that claim is held against it as well. SIGKILL leaves what is in the page cache,
so one round under strace looks whether everything that is claimed was synced before.
"""

import itertools
import json
import re
import shutil
import time

from daemons import Cluster, Item, run_checks
from program import DONE, SHORT, Broken, Trial

ROUNDS = 10 if SHORT else 100
# Members that are gone for ever pile up in a pool; after so many rounds there is a new one.
ROUNDS_OF_A_POOL = 5 if SHORT else 10
REACHING = 90


def item(trial, number):
    """What this round puts."""
    size = trial.chance.choice([1, 1000, 100 << 10, 131073, trial.chance.randrange(1 << 20, 6 << 20)])
    files = 60 if trial.chance.random() < 0.2 else 0
    return Item(f"t{number}", f"{trial.seed}/t{number}", size if not files else 3 << 20, files)


def all_reach(cluster):
    """Waits until everybody reaches everybody; gives the seconds that it took."""
    began = time.monotonic()
    while True:
        lacking = {}
        for daemon in cluster.daemons:
            reached = {peer["peer"] for peer in daemon.status()["peers"] if peer["reachable"]}
            lacking[daemon.name] = [other.name for other in cluster.daemons if other is not daemon and other.peer not in reached]
        if not any(lacking.values()):
            return time.monotonic() - began
        if time.monotonic() > began + REACHING:
            raise Broken(f"daemons that were started reach each other within {REACHING} s", lacking)
        time.sleep(0.2)


class Rounds:
    def __init__(self, trial, check):
        self.trial, self.check, self.chance = trial, check, trial.chance
        self.opened = self.alone = self.counted = 0
        self.slow = {"put": 0, "reach": 0, "read": 0, "start": 0}
        self.memory = 0

    def note(self, what, seconds):
        self.slow[what] = max(self.slow[what], seconds)

    def one(self, cluster, number):
        """One put, one claim, and what became of it."""
        count = self.chance.choice([3, 4])
        while len(cluster.daemons) < count:
            newcomer = cluster.add()
            cluster.invite(self.chance.choice(cluster.daemons[:-1]), newcomer)
        for daemon in cluster.daemons[count:]:
            cluster.lose([daemon])
        self.note("reach", all_reach(cluster))
        writer = self.chance.choice(cluster.daemons)
        peers = [daemon for daemon in cluster.daemons if daemon is not writer]
        copies = self.chance.choice(range(2, len(peers) + 1))
        # As many as that are needed for a copy of each block.
        needed = len(peers) - copies + 1
        put = item(self.trial, number)
        path = put.make(cluster.folder)
        put.writer = writer.name
        ask = self.chance.choice(peers) if number % 2 else None
        outcome = writer.run("put", "--replicas", str(copies), "--json", path)
        claim = counted = None
        if outcome.code == DONE and ask:
            # A peer that asks may fetch what it lacks, so it comes after the put's own claim and is another one.
            counted = ask.run("replicate", json.loads(outcome.out)["url"], "--count", "--json")
            statuses = {daemon.name: daemon.status()["blocks"] for daemon in peers}
        # The moment it is claimed: first all die, then the home goes.
        for daemon in cluster.daemons:
            daemon.kill()
        cluster.lose([writer])
        self.note("put", outcome.seconds)
        if not self.check.expect(outcome.code == DONE, "a put with as many copies as peers that are reached succeeds",
                                 f"round {number}: {put}, {copies} copies, {len(peers)} others", outcome):
            return
        claim = json.loads(outcome.out)
        put.url = claim["url"]
        self.check.expect(isinstance(claim["copies"], int) and claim["copies"] >= copies,
                          "a put that ends with 0 says that the copies are there", outcome)
        groups = list(itertools.combinations(peers, needed))
        for group in groups:
            self.open(group, put, f"round {number}: {copies} of {len(peers)} others claimed",
                      "what a put claimed opens from as few peers as must have it" if needed > 1
                      else "what a put claimed opens from each claimed peer alone")
        if counted:
            self.judge(counted, ask, peers, put, number, statuses)

    def open(self, group, put, about, promise):
        """Starts only these and opens it through the first."""
        for daemon in group:
            began = time.monotonic()
            before = daemon.serve()
            self.note("start", time.monotonic() - began)
        if len(group) > 1:
            self.reach_group(group)
        outcome, wrong = group[0].read(put, group[0].home.parent)
        self.note("read", outcome.seconds)
        self.opened += 1
        self.alone += len(group) == 1
        self.check.expect(wrong is None, promise, f"{about}, opened by {', '.join(map(str, group))} with nobody else: {wrong}",
                          put, outcome, f"{before['blocks']} blocks there")
        for daemon in group:
            daemon.kill()
            self.memory = max(self.memory, daemon.memory)

    def reach_group(self, group):
        until = time.monotonic() + REACHING
        wanted = {daemon.peer for daemon in group}
        while time.monotonic() < until:
            if all(wanted - {daemon.peer} <= {peer["peer"] for peer in daemon.status()["peers"] if peer["reachable"]}
                   for daemon in group):
                return
            time.sleep(0.1)
        raise Broken(f"daemons that were started reach each other within {REACHING} s", *map(str, group))

    def judge(self, counted, ask, peers, put, number, statuses):
        """Holds what `replicate --count` and `status` said against the disks."""
        if not self.check.expect(counted.code == DONE, "copies can be counted", f"round {number}: {put}", counted):
            return
        said = json.loads(counted.out)
        for daemon in peers:
            has = daemon.serve()["blocks"]
            self.check.expect(has >= statuses[daemon.name], "status does not say that there are more blocks than a kill leaves",
                              f"round {number}: {daemon} said {statuses[daemon.name]}, has {has}")
            whole = said["at"].get(daemon.peer) == said["blocks"]
            daemon.kill()
            if whole:
                self.counted += 1
                self.open((daemon,), put, f"round {number}: counted {said['at'][daemon.peer]} of {said['blocks']} by {ask}",
                          "what was counted at a peer opens from it alone")

    def again(self, cluster):
        """Those that are left begin again."""
        for daemon in cluster.daemons:
            daemon.serve()


def claims(trial, check):
    rounds = Rounds(trial, check)
    done = 0
    while done < ROUNDS:
        with Cluster(trial, f"pool{done}", check) as cluster:
            for _ in range(3):
                cluster.add()
            cluster.pool(cluster.daemons)
            for turn in range(min(ROUNDS_OF_A_POOL, ROUNDS - done)):
                if turn:
                    rounds.again(cluster)
                try:
                    rounds.one(cluster, done)
                except Broken as broken:
                    check.expect(False, broken.args[0], f"round {done}", *broken.args[1:])
                    for daemon in cluster.daemons:
                        daemon.kill()
                done += 1
            for daemon in cluster.daemons + cluster.lost:
                log = daemon.log.read_text(errors="replace")
                check.expect("panicked" not in log, "no daemon panics", daemon, log[-2000:])
                rounds.memory = max(rounds.memory, daemon.memory)
    check.say(f"{done} rounds: {rounds.opened} times a URL was opened, {rounds.alone} of them from one peer alone, "
              f"{rounds.counted} because of what was counted")
    check.say("slowest " + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in rounds.slow.items())
              + f"; peak RSS of a daemon {rounds.memory >> 20} MiB")


CALL = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((\d+)<([^>]*)>")
RESUMED = re.compile(r"^(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>.*= (-?\d+)")


def calls(path):
    """Writes and syncs: when they began and ended, the file, and the result."""
    pending, found = {}, []
    for line in path.read_text(errors="replace").splitlines():
        if (match := CALL.match(line)):
            thread, at, name, _, file = match.groups()
            if line.endswith("<unfinished ...>"):
                pending[thread] = (float(at), name, file)
            elif (result := re.search(r"= (-?\d+)[^=]*$", line)):
                found.append((float(at), float(at), name, file, int(result[1])))
        elif (match := RESUMED.match(line)) and match[1] in pending:
            began, name, file = pending.pop(match[1])
            found.append((began, float(match[2]), name, file, int(match[4])))
    return found


def synced(trial, check):
    """Whether what was written for a put was on stable storage when it was claimed."""
    if not shutil.which("strace"):
        return "strace is not installed, so that claims come after fdatasync is unchecked"
    with Cluster(trial, "synced", check) as cluster:
        for _ in range(3):
            cluster.add()
        cluster.pool(cluster.daemons)
        for daemon in cluster.daemons:
            daemon.end()
            trace = cluster.folder / f"{daemon}.trace"
            daemon.prefix = ["strace", "-f", "-y", "-ttt", "-s", "0", "-e", "trace=fdatasync,fsync,sync_file_range,pwrite64,write,writev,pwritev",
                             "-o", str(trace)]
            daemon.serve()
        all_reach(cluster)
        writer, *peers = trial.chance.sample(cluster.daemons, 3)
        for number, size in enumerate([1, 3_000_000, 100_000]):
            put = Item(f"s{number}", f"{trial.seed}/s{number}", size)
            began = time.time()
            outcome = writer.put_copies(put, cluster.folder)
            ended = time.time()
            for daemon in [writer, *peers]:
                made = [call for call in calls(cluster.folder / f"{daemon}.trace") if began <= call[0] <= ended]
                packs = {}
                for start, end, name, file, result in made:
                    # The index's own log need not be synced: it can be made anew from the packs.
                    if not re.search(r"/(urls|urls\.copy|.*/packs?/.*|[^/]*\.pack)$", file):
                        continue
                    writes, last, syncs = packs.setdefault(file, [0, 0.0, []])
                    if "write" in name and result > 0:
                        packs[file][:2] = writes + result, max(last, end)
                    elif "sync" in name and result == 0:
                        syncs.append((start, end))
                written = sum(writes for writes, _, _ in packs.values())
                unsynced = [file for file, (writes, last, syncs) in packs.items()
                            if writes and not any(start >= last and end <= ended for start, end in syncs)]
                count = sum(len(syncs) for _, _, syncs in packs.values())
                check.say(f"{put}: {daemon} {'(writer) ' if daemon is writer else ''}wrote {written} bytes to {len(packs)} files, {count} syncs")
                check.expect(written > 0, "strace shows that something was written", daemon, outcome)
                check.expect(not unsynced, "what is claimed was synced before", daemon, unsynced, packs)
    return None


def main():
    with Trial("truth") as trial:
        run_checks(trial, [("claims", claims), ("synced", synced)])


if __name__ == "__main__":
    main()
