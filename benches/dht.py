#!/usr/bin/env python3
"""How many queries a node answers for each second of its processor, ours and libtorrent's in the same run.

Each server has a full routing table: a swarm of 200 nodes joins through it. Then one generator asks it one kind of
query after the other, with 64 open at a time. The time that the server's threads had on the processor is read from
the kernel before and after. With two cores or more the server has one of them and the generator the other.

Environment: OFFS, the program; DHT_SECONDS, for each kind (default 5); DHT_ROUNDS (default 3), of which the best
counts. libtorrent comes from tests/interop/setup.sh.
"""

import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests/interop"))
from matrix import PYTHON, free_port  # noqa: E402

OFFS = os.environ.get("OFFS", "offs")
SECONDS = os.environ.get("DHT_SECONDS", "5")
ROUNDS = int(os.environ.get("DHT_ROUNDS", "3"))
KINDS = ("ping", "find-node", "get-peers", "get")
CORES = sorted(os.sched_getaffinity(0))


def on(core, command, **more):
    """Starts a command on one core, if there are several."""
    pin = ["taskset", "-c", str(CORES[core])] if len(CORES) > 1 else []
    return subprocess.Popen([*pin, *command], stdout=subprocess.PIPE, text=True, **more)


def processor(pid):
    """Nanoseconds that all threads of a process have had on a processor."""
    return sum(int(path.read_text().split()[0]) for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


def resident(pid, what="VmRSS"):
    """Memory of a process in MiB."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what + ":")) / 1024


def measure(server, address):
    """Answers a processor second, and the longest answer, for each kind."""
    figures = {}
    for kind in KINDS:
        before = processor(server.pid)
        load = on(-1, [OFFS, "dht", "load", address, "--method", kind, "--seconds", SECONDS, "--json"])
        answer = json.loads(load.communicate()[0])
        used = (processor(server.pid) - before) / 1e9
        figures[kind] = {**answer, "for_a_processor_second": answer["answers"] / used}
    return figures


def trial(command, home):
    """One server with its swarm."""
    server = on(0, command, stdin=subprocess.PIPE, env={**os.environ, "OFFS_HOME": home})
    first = json.loads(server.stdout.readline())
    address = first.get("address") or first["listening"][0]
    swarm = on(-1, [OFFS, "dht", "swarm", "200", "--bootstrap", address])
    try:
        time.sleep(8)
        figures = measure(server, address)
        figures["MiB"] = resident(server.pid)
        return figures
    finally:
        swarm.terminate()
        swarm.wait()
        server.terminate()
        server.wait()


def query(method, arguments, number):
    """A query of a node that answers none; `arguments` come after its id in the order of their keys."""
    return b"d1:ad2:id20:" + b"A" * 20 + arguments + b"e1:q%d:%s2:roi1e1:t4:%s1:y1:qe" % (
        len(method), method, number.to_bytes(4, "big"))


def exchange(server, packets):
    """Sends packets, at most 64 unanswered, and gives the answers in the order in which they come."""
    answers, sent = [], 0
    while len(answers) < len(packets):
        while sent < min(len(packets), len(answers) + 64):
            server.send(packets[sent])
            sent += 1
        answers.append(server.recv(2048))
    return answers


def fill(address, swarms=4000, peers=500, items=16_384):
    """Announces and puts until the node's stores are full."""
    ip, port = address.rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.connect((ip, int(port)))
        server.settimeout(5)

        def token(method, key, target):
            answer, = exchange(server, [query(method, b"%d:%s20:" % (len(key), key) + target, 1)])
            return answer.partition(b"5:token8:")[2][:8]

        for _ in range(swarms):
            swarm = os.urandom(20)
            good = token(b"get_peers", b"info_hash", swarm)
            exchange(server, [
                query(b"announce_peer", b"9:info_hash20:" + swarm + b"4:porti%de5:token8:" % port + good, port)
                for port in range(1, peers + 1)
            ])
        for _ in range(items):
            value = b"996:" + os.urandom(996)
            good = token(b"get", b"target", hashlib.sha1(value).digest())
            exchange(server, [query(b"put", b"5:token8:" + good + b"1:v" + value, 1)])


def full(home):
    """Memory of our node when its stores are full, and its figures."""
    at = f"127.0.0.1:{free_port('127.0.0.1')}"
    server = on(0, [OFFS, "dht", "serve", "--bind", at, "--json"], env={**os.environ, "OFFS_HOME": home})
    server.stdout.readline()
    idle = resident(server.pid)
    fill(at)
    most = resident(server.pid, "VmHWM")
    server.terminate()
    figures = json.loads(server.communicate()[0])
    return f"offs: {idle:.1f} MiB at the start, {most:.1f} at most with {figures['swarms']} swarms of " \
           f"{figures['peers']} peers and {figures['items']} items"


def main():
    best = {"offs": {}, "libtorrent": {}}
    with tempfile.TemporaryDirectory(prefix="offs-bench-dht-") as home:
        for _ in range(ROUNDS):
            for name in best:
                at = f"127.0.0.1:{free_port('127.0.0.1')}"
                command = {
                    "offs": [OFFS, "dht", "serve", "--bind", at, "--json"],
                    "libtorrent": [PYTHON, str(TOP / "tests/interop/libtorrent_peer.py"), "--listen", at],
                }[name]
                for kind, figure in trial(command, home).items():
                    if kind == "MiB":
                        best[name]["MiB"] = max(figure, best[name].get("MiB", 0))
                    elif figure["for_a_processor_second"] > best[name].get(kind, {}).get("for_a_processor_second", 0):
                        best[name][kind] = figure
        filled = full(home)
    print(f"{'answers a processor second':28}{'offs':>12}{'libtorrent':>12}{'ratio':>8}{'bytes':>14}")
    for kind in KINDS:
        ours, theirs = best["offs"][kind], best["libtorrent"][kind]
        rates = [figure["for_a_processor_second"] for figure in (ours, theirs)]
        lengths = f"{ours['mean_answer']:.0f} / {theirs['mean_answer']:.0f}"
        print(f"{kind:28}{rates[0]:12.0f}{rates[1]:12.0f}{rates[0] / rates[1]:8.2f}{lengths:>14}")
    print(f"{'MiB resident':28}{best['offs']['MiB']:12.1f}{best['libtorrent']['MiB']:12.1f}")
    for name, figures in best.items():
        rates = ", ".join(f"{kind} {figures[kind]['per_second']:.0f}" for kind in KINDS)
        lost = sum(figures[kind]["lost"] for kind in KINDS)
        print(f"{name}: a second {rates}; {lost} lost; the longest answer "
              f"{max(figures[kind]['longest_answer'] for kind in KINDS)} bytes")
    print(filled)


main()
