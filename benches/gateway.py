#!/usr/bin/env python3
"""The door for people beside `offs get`, and under a crowd.

One file: `offs get` through the daemon to a file, `curl` to a file, in turn, the best of several rounds; then 200
readers at once, each of many ranges; and, beside them, readers that take nothing and readers that leave. The daemon's
memory is read at the end.

Environment: OFFS, the program; GATEWAY_MIB, the size of the file (default 1024); GATEWAY_ROUNDS (default 3).
"""

import concurrent.futures
import http.client
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/soak"))
from daemons import Check, Cluster  # noqa: E402
from program import Trial  # noqa: E402

MIB = int(os.environ.get("GATEWAY_MIB", "1024"))
ROUNDS = int(os.environ.get("GATEWAY_ROUNDS", "3"))
READERS = 200
RANGES = 10
LENGTH = 1 << 20


def reader(port, path, source, number):
    """Reads ranges as a player that seeks does; gives the bytes, and whether all were right."""
    chance = random.Random(number)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    taken, right = 0, True
    with open(source, "rb") as file:
        for _ in range(RANGES):
            at = chance.randrange(0, MIB * (1 << 20) - LENGTH)
            connection.request("GET", path, headers={"Range": f"bytes={at}-{at + LENGTH - 1}"})
            answer = connection.getresponse()
            body = answer.read()
            file.seek(at)
            right &= answer.status == 206 and body == file.read(LENGTH)
            taken += len(body)
    connection.close()
    return taken, right


def lazy(port, path, take):
    """A reader that asks for everything, takes a little, and is kept as it is."""
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    if take:
        stream.recv(take)
    return stream


def main(trial):
    with Cluster(trial, "gateway", Check("gateway")) as cluster:
        port = cluster.free_port()
        daemon = cluster.add(configured=f'[http]\nlisten = "127.0.0.1:{port}"\n[peers]\n'
                                        f'listen = "127.0.0.1:{cluster.free_port()}"\nlan = false\n')
        source, out = trial.folder / "source", trial.folder / "out"
        with open(source, "wb") as file:
            for _ in range(MIB):
                file.write(os.urandom(1 << 20))
        url = daemon.done("put", source, seconds=300).lines[0]
        path = "/" + url
        best = {}

        def get():
            out.unlink(missing_ok=True)
            return daemon.done("get", url, "-o", out, seconds=300).seconds

        def curl():
            out.unlink(missing_ok=True)
            began = time.monotonic()
            subprocess.run(["curl", "-sf", "-o", out, f"http://127.0.0.1:{port}{path}"], check=True)
            # Like the other, to stable storage.
            subprocess.run(["sync", "-d", out], check=True)
            return time.monotonic() - began

        for _ in range(ROUNDS):
            for name, way in (("offs get", get), ("curl", curl)):
                seconds = way()
                best[name] = min(best.get(name, seconds), seconds)
                print(f"    {name}: {seconds:.2f} s", flush=True)
        subprocess.run(["cmp", source, out], check=True)
        for name, seconds in best.items():
            print(f"{name:10} {seconds:7.2f} s {MIB * 1.048576 / seconds:7.0f} MB/s  "
                  f"{best['offs get'] / seconds:5.2f} of offs get")
        kept = [lazy(port, path, 0) for _ in range(20)]
        left = [lazy(port, path, 70_000) for _ in range(20)]
        for stream in left:
            stream.close()
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            done = list(pool.map(lambda number: reader(port, path, source, number), range(READERS)))
        seconds = time.monotonic() - began
        size = sum(taken for taken, _ in done)
        wrong = sum(not right for _, right in done)
        print(f"{READERS} readers of {RANGES} ranges of 1 MiB each: {size / 1e6:.0f} MB in {seconds:.1f} s "
              f"({size / 1e6 / seconds:.0f} MB/s), {wrong} wrong; 20 that take nothing and 20 that left beside them")
        for stream in kept:
            stream.close()
        deadline = time.monotonic() + 20
        while (streams := metric(port, "offs_http_streams")) > 0 and time.monotonic() < deadline:
            time.sleep(0.2)
        daemon.measure()
        print(f"most memory of the daemon {daemon.memory / (1 << 20):.0f} MiB; {streams:.0f} files still being sent, "
              f"{daemon.files} files open")
        if wrong:
            sys.exit("some bytes were wrong")


def metric(port, name):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


if __name__ == "__main__":
    with Trial("gateway") as running:
        main(running)
