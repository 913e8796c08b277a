#!/usr/bin/env python3
"""What S3 servers get done for one client, each in turn: rates, processor time, memory and disk.

    benches/s3.py [--rounds N] NAME=COMMAND...
    OFFS=path/to/offs benches/s3.py

The client is tests/interop/s3-clients (object_store, eight requests in flight, signed payload), which s3_setup.sh
builds. It puts, gets and deletes 64 objects of 16 MiB, and puts, gets, heads and deletes 2000 of 4 KiB. In COMMAND
{address}, {port}, {folder}, {access} and {secret} are replaced, as in s3.py. The best of the rounds counts for rates;
the least for processor time, which stands still when others use the machine. Nothing is synced between the steps: how
much of what was put is on the disk is up to the server.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

INTEROP = Path(__file__).resolve().parent.parent / "tests/interop"
sys.path.insert(0, str(INTEROP))
import s3  # noqa: E402
from s3_cell import CACHE  # noqa: E402
from s3_wire import REGION, Wire  # noqa: E402

PROGRAM = CACHE / "target/release/s3-clients"
STEP_SECONDS = 300
TICKS = os.sysconf("SC_CLK_TCK")


def family(pid):
    """A process and all below it."""
    found = [pid]
    for one in found:
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                pass
    return found


def processor(pid):
    """Seconds of processor that a server has used, with what it started and waited for."""
    ticks = 0
    for one in family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


def memory(pid):
    """The most memory that a server had, in bytes."""
    peak = 0
    for one in family(pid):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        peak += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    return peak


def disk(folder):
    """Bytes of disk below a folder."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            pass
    return total


def measure(name, command, large, small, flight):
    """One round of one server: the figures of each step, and its memory and disk."""
    folder = Path(tempfile.mkdtemp(prefix="offs-bench-s3-", dir=os.environ.get("BENCH_DIR")))
    server, client = s3.Server(folder), None
    try:
        if command:
            s3.any_server(server, command)
        else:
            s3.offs_server(server, shutil.which(os.environ["OFFS"]) or sys.exit("OFFS names no program"))
        server.ready()
        pid = server.process.pid
        bucket = "bench"
        answer = Wire(server.endpoint, server.access, server.secret).ask("PUT", bucket)
        if answer.status != 200:
            sys.exit(f"{name}: no bucket: {answer}")
        env = {**os.environ, "S3_ENDPOINT": server.endpoint, "S3_ACCESS_KEY": server.access, "S3_SECRET_KEY": server.secret,
               "S3_REGION": REGION, "S3_BUCKET": bucket, "BENCH_LARGE": str(large), "BENCH_SMALL": str(small),
               "BENCH_FLIGHT": str(flight)}
        client = subprocess.Popen([PROGRAM, "bench"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        steps, before, began, stored = {}, 0, 0, disk(folder)
        for line in client.stdout:
            said = json.loads(line)
            if "next" in said:
                before, began = processor(pid), time.monotonic()
                client.stdin.write("\n")
                client.stdin.flush()
                continue
            step = said.pop("step")
            steps[step] = {**said, "processor": processor(pid) - before}
            if step in ("put-large", "put-small"):
                steps[step]["disk"] = disk(folder) - stored
                stored = disk(folder)
            if time.monotonic() - began > STEP_SECONDS:
                sys.exit(f"{name}: {step} took more than {STEP_SECONDS} s")
        if client.wait(10):
            sys.exit(f"{name}: the client failed; the server said:\n{server.tail()}")
        return {"steps": steps, "memory": memory(pid)}
    finally:
        if client and client.poll() is None:
            client.kill()
            client.wait()
        server.end()
        shutil.rmtree(folder, ignore_errors=True)


def best(rounds):
    """The least seconds and processor time of each step over the rounds."""
    steps = {}
    for name, first in rounds[0]["steps"].items():
        every = [made["steps"][name] for made in rounds]
        steps[name] = {**first, "seconds": min(one["seconds"] for one in every),
                       "processor": min(one["processor"] for one in every)}
    return {"steps": steps, "memory": max(made["memory"] for made in rounds)}


def tell(name, result):
    print(f"\n{name}")
    for step, figures in result["steps"].items():
        count, size, seconds = figures["count"], figures["size"], figures["seconds"]
        rate = f"{count * size / seconds / 1e6:9.1f} MB/s" if step in ("put-large", "get-large") else f"{count / seconds:9.0f} /s  "
        stored = f", {figures['disk'] / 1e6:.1f} MB on the disk for {count * size / 1e6:.1f}" if "disk" in figures else ""
        print(f"  {step:<14} {rate} {figures['processor']:7.2f} s of processor{stored}")
    print(f"  peak of memory {result['memory'] / (1 << 20):9.1f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("servers", nargs="*", metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--large", type=int, default=64, help="objects of 16 MiB (default 64)")
    parser.add_argument("--small", type=int, default=2000, help="objects of 4 KiB (default 2000)")
    parser.add_argument("--flight", type=int, default=8, help="requests in flight (default 8)")
    parser.add_argument("--json", metavar="FILE", help="write the figures down")
    given = parser.parse_args()
    servers = [tuple(text.split("=", 1)) if "=" in text else parser.error(f"{text} is no NAME=COMMAND")
               for text in given.servers]
    if "OFFS" in os.environ:
        servers.insert(0, ("offs", None))
    if not servers:
        parser.error("name a server")
    if not PROGRAM.exists():
        sys.exit("run tests/interop/s3_setup.sh first")
    # In turn, so that a busy minute does not fall on one server alone.
    rounds = {name: [] for name, _ in servers}
    for number in range(given.rounds):
        for name, command in servers:
            rounds[name].append(measure(name, command, given.large, given.small, given.flight))
            print(f"round {number + 1} of {name} done", file=sys.stderr, flush=True)
    results = {name: best(made) for name, made in rounds.items()}
    for name, result in results.items():
        tell(name, result)
    if given.json:
        Path(given.json).write_text(json.dumps({"best": results, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
