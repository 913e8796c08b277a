#!/usr/bin/env python3
"""Hostile packets to a node of the DHT: each gets the answer that docs/protocol.md names, or none.

After each packet the node must answer a ping within a second; an address that has not proved itself must not get more
than three times the bytes that it sent; no answer may be too long; floods must not make the node grow.
All traffic is on loopback: 127.0.0.0/8 and, where the machine has it, ::1.
"""

import hashlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import time

from program import SHORT, Broken, Program, Trial

# What the protocol page promises.
MOST_ANSWER, MOST_WITH_VALUE, AMPLIFICATION = 1024, 1400, 3
MOST_VALUE, MOST_SALT, MOST_ITEMS, MOST_SWARMS, MOST_PEERS = 1000, 64, 16_384, 4000, 500
GENERIC, SERVER, PROTOCOL, METHOD, TOO_LONG, SIGNATURE, SALT, CAS, OLD = 201, 202, 203, 204, 205, 206, 207, 301, 302
# How much more memory the node may take while and after it is flooded, with its stores full.
GROWTH = 96 << 20
BOTH = ("127.0.0.1:0", "[::1]:0")
METHODS = ("ping", "find_node", "get_peers", "announce_peer", "get", "put", "sample_infohashes")


# ---- Bencode

class Raw(bytes):
    """Bytes that are written as they are."""


class Pairs(list):
    """A dictionary with its keys in this order."""


def encode(value):
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, dict):
        keys = {key.encode() if isinstance(key, str) else key: item for key, item in value.items()}
        value = Pairs(sorted(keys.items()))
    if isinstance(value, Pairs):
        return b"d" + b"".join(encode(key) + encode(item) for key, item in value) + b"e"
    return b"l" + b"".join(map(encode, value)) + b"e"


def decode(data):
    """Reads canonical bencode and nothing else: what the node sends must be that."""
    value, end = decode_at(data, 0)
    if end != len(data):
        raise ValueError("bytes after the end")
    return value


def decode_at(data, at):
    kind = data[at:at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        value = int(data[at + 1:end])
        if b"%d" % value != data[at + 1:end]:
            raise ValueError("an integer that is not canonical")
        return value, end + 1
    if kind == b"l" or kind == b"d":
        values, at = [], at + 1
        while data[at:at + 1] != b"e":
            value, at = decode_at(data, at)
            values.append(value)
        if kind == b"l":
            return values, at + 1
        keys = values[::2]
        if len(values) % 2 or any(a >= b for a, b in zip(keys, keys[1:])):
            raise ValueError("a dictionary that is not canonical")
        return dict(zip(keys, values[1::2])), at + 1
    colon = data.index(b":", at)
    length = int(data[at:colon])
    if b"%d" % length != data[at:colon] or colon + 1 + length > len(data):
        raise ValueError("a string that is not canonical")
    return data[colon + 1:colon + 1 + length], colon + 1 + length


# ---- Ed25519 (RFC 8032), slow and small

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % PRIME, (p[1] + p[0]) * (q[1] + q[0]) % PRIME
    c, d = 2 * p[3] * q[3] * CURVE % PRIME, 2 * p[2] * q[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def times(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def base():
    y = 4 * pow(5, -1, PRIME) % PRIME
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    x = PRIME - x if x & 1 else x
    return x, y, 1, x * y % PRIME


BASE = base()


def packed(point):
    inverse = pow(point[2], -1, PRIME)
    x, y = point[0] * inverse % PRIME, point[1] * inverse % PRIME
    return (y | (x & 1) << 255).to_bytes(32, "little")


def digest(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


class Key:
    def __init__(self, seed):
        hashed = hashlib.sha512(seed).digest()
        self.number = int.from_bytes(hashed[:32], "little") & (1 << 254) - 8 | 1 << 254
        self.prefix = hashed[32:]
        self.public = packed(times(self.number, BASE))

    def sign(self, message):
        r = digest(self.prefix, message) % ORDER
        point = packed(times(r, BASE))
        s = (r + digest(point, self.public, message) * self.number) % ORDER
        return point + s.to_bytes(32, "little")

    def item(self, value, seq, salt=b""):
        """The arguments of a put."""
        signed = (b"4:salt" + encode(salt) if salt else b"") + b"3:seqi%de1:v" % seq + encode(value)
        item = {"k": self.public, "seq": seq, "sig": self.sign(signed), "v": value}
        return {**item, "salt": salt} if salt else item

    def target(self, salt=b""):
        return sha1(self.public + salt)


def sha1(data):
    return hashlib.sha1(data).digest()


def query(method, transaction=b"tt", **arguments):
    return encode({"a": arguments, "q": method, "t": transaction, "y": "q"})


# ---- The node, and who talks to it

class Server(Program):
    """The program as a node on loopback."""

    def __init__(self, trial, name, *arguments, binds=("127.0.0.1:0",), prove=True):
        super().__init__(trial.folder / name)
        self.trial = trial
        arguments = [*(part for bind in binds for part in ("--bind", bind)), *arguments]
        self.errors = trial.folder / f"{name}.stderr"
        with open(self.errors, "wb") as errors:
            self.process = self.start("dht", "serve", *arguments, "--json", stdout=subprocess.PIPE,
                                      stderr=errors)
        listening = [text.rsplit(":", 1) for text in json.loads(self.process.stdout.readline())["listening"]]
        self.addresses = {text.strip("[]").replace("0.0.0.0", "127.0.0.1"): int(port) for text, port in listening}
        self.peers = []
        # One of each family: packets of a family are dealt with in their order.
        self.witnesses = {":" in ip: Peer(self, ip) for ip in self.addresses}
        self.witness = next(iter(self.witnesses.values()))
        for witness in self.witnesses.values() if prove else ():
            witness.prove()

    def address(self, v6):
        return ("::1", self.addresses["::1"]) if v6 else ("127.0.0.1", self.addresses["127.0.0.1"])

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))

    def peer(self, ip="127.0.0.2", **settings):
        peer = Peer(self, ip, **settings)
        self.peers.append(peer)
        return peer

    def alive(self, *seen, v6=None):
        """The node answers a ping; whatever was sent to it before has been dealt with then."""
        self.trial.check(self.process.poll() is None, "the node lives", *seen)
        return self.witnesses.get(v6, self.witness).ping(*seen)

    def said(self):
        return self.errors.read_text(errors="replace")[-3000:]

    def end(self):
        """Tells it to end; gives its figures."""
        self.process.send_signal(signal.SIGTERM)
        try:
            out, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Broken("a node ends within 10 seconds when it is told to") from None
        self.trial.check(self.process.returncode == 0, "a node that is told to end ends with exit code 0",
                         self.process.returncode, self.said())
        self.trial.check("panicked" not in self.said(), "no node panics", self.said())
        for peer in (*self.witnesses.values(), *self.peers):
            peer.socket.close()
        return json.loads(out)


class Peer:
    """An address that talks to the node; it counts the bytes both ways."""

    def __init__(self, server, ip, node_id=None, answers=None):
        self.server, self.trial = server, server.trial
        self.v6 = ":" in ip
        self.socket = socket.socket(socket.AF_INET6 if self.v6 else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ip, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.ip, self.port = self.socket.getsockname()[:2]
        self.id = node_id or self.trial.chance.randbytes(20)
        # With which id it answers the node's own queries; None: it does not.
        self.answers = answers
        # The nodes that it names.
        self.nodes = b""
        self.proved = False
        self.sent = self.got = 0
        # The node's queries, and its answers that nobody waited for.
        self.asked, self.others = [], []

    def send(self, packet):
        self.sent += len(packet)
        self.socket.sendto(packet, self.server.address(self.v6))

    def receive(self, seconds):
        """The next answer; the node's queries are put aside."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            if not select.select([self.socket], [], [], max(left, 0))[0]:
                return None
            packet = self.socket.recv(65536)
            self.got += len(packet)
            try:
                message = decode(packet)
                kind = message[b"y"]
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise Broken("the node sends canonical bencode", packet, repr(error)) from None
            if kind == b"q":
                self.asked.append(message)
                self.trial.check(len(message[b"t"]) == 4, "the node's transaction ids have 4 bytes", message)
                if self.answers:
                    self.proved = True
                    named = {"nodes": self.nodes} if self.nodes else {}
                    self.send(encode({"r": {"id": self.answers, **named}, "t": message[b"t"], "y": "r"}))
                continue
            most = MOST_WITH_VALUE if b"v" in message.get(b"r", {}) else MOST_ANSWER
            self.trial.check(len(packet) <= most, f"an answer has at most {most} bytes", len(packet), packet)
            return message

    def ping(self, *seen):
        mark = self.trial.chance.randbytes(8)
        started = time.monotonic()
        self.send(query("ping", mark, id=self.id))
        while True:
            message = self.receive(1)
            if message is None:
                raise Broken("the node answers a ping within a second", *seen)
            if message[b"t"] == mark:
                return time.monotonic() - started
            self.others.append(message)

    def exchange(self, packet):
        """Everything that comes back for a packet: the node deals with packets in their order, so it has come when
        another's ping is answered."""
        while self.receive(0):
            pass
        self.others.clear()
        self.send(packet)
        self.server.alive(packet[:600], v6=self.v6)
        answers = list(self.others)
        while message := self.receive(0):
            answers.append(message)
        return answers

    def one(self, packet):
        answers = self.exchange(packet)
        self.trial.check(len(answers) == 1, "there is one answer", packet[:600], f"{len(answers)} answers",
                         *answers[:3])
        return answers[0]

    def ask(self, method, **arguments):
        """A query that must be answered: the response."""
        packet = query(method, id=self.id, **arguments)
        message = self.one(packet)
        self.trial.check(message[b"y"] == b"r" and message[b"t"] == b"tt", "a query gets a response", packet, message)
        return message[b"r"]

    def refused(self, code, method, **arguments):
        packet = query(method, id=self.id, **arguments)
        expect(self, f"{method} with {sorted(arguments)}", packet, code)

    def token(self, target, method="get"):
        return self.ask(method, **{"target" if method == "get" else "info_hash": target})[b"token"]

    def put(self, token=None, **item):
        """The answer's code, 0 for a response."""
        target = sha1(item["k"] + item.get("salt", b"")) if "k" in item else sha1(encode(item["v"]))
        token = self.token(target) if token is None else token
        message = self.one(query("put", id=self.id, token=token, target=target, **item))
        return message[b"e"][0] if message[b"y"] == b"e" else 0

    def prove(self):
        """Answers the node's ping, so that answers have their whole length."""
        self.answers = self.answers or self.id
        until = time.monotonic() + 5
        while not self.proved and time.monotonic() < until:
            self.ping()
            self.receive(0.05)
        self.trial.check(self.proved, "a newcomer is asked by a ping", self.ip)
        self.ping()

    def named(self, other=None, **more):
        """The nodes that the node hands out near an id, as (id, port)."""
        response = self.ask("find_node", target=other or self.id, want=["n4", "n6"], **more)
        return nodes_of(response)


def nodes_of(response):
    found = set()
    for key, width in ((b"nodes", 26), (b"nodes6", 38)):
        text = response.get(key, b"")
        if len(text) % width or len(text) > 8 * width:
            raise Broken("at most 8 whole nodes of a family are handed out", response)
        for at in range(0, len(text), width):
            found.add((text[at:at + 20], int.from_bytes(text[at + width - 2:at + width], "big")))
    return found


SILENCE, RESPONSE = "silence", "a response"


def expect(peer, what, packet, *wanted):
    """Sends a packet; what comes back is one of those: SILENCE, RESPONSE or an error's code."""
    answers = peer.exchange(packet)
    if not answers:
        got = SILENCE
    elif len(answers) > 1:
        got = f"{len(answers)} answers"
    elif answers[0][b"y"] == b"r":
        got = RESPONSE
    else:
        got = answers[0][b"e"][0]
    names = " or ".join(name if isinstance(name, str) else f"error {name}" for name in wanted)
    peer.trial.check(got in wanted, f"{what} gets {names}", f"sent {packet[:700]!r}", f"got {got}", *answers)
    return answers


class Findings:
    """Checks that go on after a broken promise, so that one defect does not hide others."""

    def __init__(self, trial):
        self.trial, self.broken = trial, []

    def run(self, function, *arguments):
        try:
            function(*arguments)
        except Broken as error:
            print(f"  BROKEN {error.args[0]}")
            for seen in error.args[1:]:
                print("    " + str(seen)[:1000].replace("\n", "\n    "))
            print(f"    in {function.__name__}", flush=True)
            self.broken.append(error.args[0])

    def end(self):
        if self.broken:
            raise Broken(f"all promises are kept; {len(self.broken)} were not:", *self.broken)


def unproved(server, what):
    """Addresses that have shown nothing got at most three times what they sent, the node's own queries counted."""
    worst = 0
    for peer in server.peers:
        while not peer.proved and peer.receive(0) is not None:
            pass
        if peer.proved:
            continue
        server.trial.check(peer.got <= AMPLIFICATION * peer.sent,
                           "an address that has not proved itself gets three bytes for one at most",
                           f"{what}: {peer.sent} bytes sent, {peer.got} received")
        worst = max(worst, peer.got / max(peer.sent, 1))
    return worst


# ---- What is no message

def nest(depth, inner=b"i0e"):
    return b"l" * depth + inner + b"e" * depth


def envelope(server):
    """Packets that are not answered at all."""
    trial, chance = server.trial, server.trial.chance
    me = chance.randbytes(20)
    identity = b"d2:id20:" + me + b"e"
    good = b"d1:a" + identity + b"1:q4:ping1:t2:tt1:y1:qe"
    expect(server.peer(), "a ping", good, RESPONSE)

    def ping(extra):
        return b"d1:ad2:id20:" + me + extra + b"e1:q4:ping1:t2:tt1:y1:qe"

    silent = {
        "an empty packet": b"", "an integer": b"i1e", "a string": b"4:ping", "an empty dictionary": b"de",
        "a list": b"l" + good + b"e", "zeros": bytes(100), "letters": b"d" * 1500, "a lone d": b"d",
        "a packet without its last byte": good[:-1], "a byte after the end": good + b"x",
        "an e after the end": good + b"e", "another object after the end": good + b"de",
        "the same packet twice": good + good, "a line end": good + b"\n", "a space before": b" " + good,
        "lists 2,000 deep": b"d1:a" + nest(2000) + b"1:q4:ping1:t2:tt1:y1:qe",
        "lists without an end": b"l" * 4000, "dictionaries without an end": b"d0:" * 1300,
        "11 levels": ping(b"1:x" + nest(9)), "1,000 levels": ping(b"1:x" + nest(1000)),
        "1,201 tokens": ping(b"1:xl" + b"0:" * 1200 + b"e"), "a list of 1,900": ping(b"1:xl" + b"0:" * 1900 + b"e"),
        "a string longer than the packet": ping(b"1:x99:a"), "a string of 2^31 bytes": ping(b"1:x2147483648:a"),
        "a string of 2^63 bytes": ping(b"1:x9223372036854775808:a"),
        "a string of 2^64 - 1": ping(b"1:x18446744073709551615:a"),
        "a string of 10^100": ping(b"1:x1" + b"0" * 100 + b":a"), "a negative length": ping(b"1:x-1:a"),
        "a length with a plus": ping(b"1:x+1:a"), "a length with a zero before": ping(b"1:x01:a"),
        "a length of two zeros": ping(b"1:x00:"), "a length with a space": ping(b"1:x 1:a"),
        "a length without a colon": ping(b"1:x1a"), "an integer with a zero before": ping(b"1:xi01e"),
        "an integer of two zeros": ping(b"1:xi00e"), "a negative zero": ping(b"1:xi-0e"),
        "a negative integer with a zero before": ping(b"1:xi-01e"), "an integer with a plus": ping(b"1:xi+1e"),
        "an empty integer": ping(b"1:xie"), "a lone minus": ping(b"1:xi-e"), "two minuses": ping(b"1:xi--1e"),
        "an integer with a space": ping(b"1:xi 1e"), "a fraction": ping(b"1:xi1.5e"), "an exponent": ping(b"1:xi1e5e"),
        "an integer in hexadecimal": ping(b"1:xi0x1e"), "an integer without an end": ping(b"1:xi1"),
        "a key without a value": ping(b"1:x"), "an integer for a key": ping(b"i1ei1e"),
        "a list for a key": ping(b"lei1e"),
        "unsorted keys in the arguments": b"d1:ad1:xi1e2:id20:" + me + b"e1:q4:ping1:t2:tt1:y1:qe",
        "a key twice in the arguments": ping(b"2:id20:" + me),
        "a key twice with other values": ping(b"1:xi1e1:xi2e"),
        "unsorted keys at the top": b"d1:q4:ping1:a" + identity + b"1:t2:tt1:y1:qe",
        "y first": b"d1:y1:q1:a" + identity + b"1:q4:ping1:t2:tte",
        "a key twice at the top": b"d1:a" + identity + b"1:q4:ping1:q4:ping1:t2:tt1:y1:qe",
        "t twice": b"d1:a" + identity + b"1:q4:ping1:t2:tt1:t2:uu1:y1:qe",
        "unsorted keys deep inside": ping(b"1:xld1:bi1e1:ai1eee"),
        "a key twice deep inside": ping(b"1:xld1:ai1e1:ai1eee"),
        "keys sorted by length": ping(b"1:zi1e2:aai1e"),
    }
    silent |= {f"a transaction id of {length} bytes": query("ping", bytes(length), id=me)
               for length in (0, 33, 100, 1000)}
    for kind, value in {"an integer": 7, "a list": ["tt"], "a dictionary": {"t": "t"}}.items():
        silent[f"{kind} for t"] = encode({"a": {"id": me}, "q": "ping", "t": value, "y": "q"})
        silent[f"{kind} for y"] = encode({"a": {"id": me}, "q": "ping", "t": "tt", "y": value})
    for value in ("", "Q", "qq", "x", "q\0", "\xff"):
        silent[f"y = {value!r}"] = encode({"a": {"id": me}, "q": "ping", "t": "tt", "y": value})
    silent["no t"] = encode({"a": {"id": me}, "q": "ping", "y": "q"})
    silent["no y"] = encode({"a": {"id": me}, "q": "ping", "t": "tt"})
    silent["an error of no query, wrong in itself"] = encode({"t": "tt", "y": "q"})[:-1]
    for length in (4097, 9000, 65_507):
        fill = length - len(ping(b"3:pad%d:" % length))
        packet = ping(b"3:pad%d:" % fill + bytes(fill))
        packet = packet if len(packet) == length else ping(b"3:pad%d:" % (fill + 1) + bytes(fill + 1))
        silent[f"a good ping of {len(packet)} bytes"] = packet
    full = 4096 - len(ping(b"3:pad4096:"))
    full = ping(b"3:pad%d:" % full + bytes(full))
    trial.check(len(full) == 4096, "the script makes what it says", len(full))
    # Answers to nothing.
    for kind, body in {"a response": {"r": {"id": me}, "y": "r"}, "an error": {"e": [201, "no"], "y": "e"},
                       "a response without an id": {"r": {}, "y": "r"}, "a response without r": {"y": "r"},
                       "an error without e": {"y": "e"}, "an error that is a text": {"e": "no", "y": "e"},
                       "a response with nodes": {"r": {"id": me, "nodes": chance.randbytes(26 * 40)},
                                                 "y": "r"}}.items():
        for transaction in (b"tt", b"\0\0\0\0", b"\0\0\0\1", b"\xff\xff\xff\xff", chance.randbytes(4)):
            silent[f"{kind} to nothing, t = {transaction.hex()}"] = encode({**body, "t": transaction})
    for what, packet in silent.items():
        expect(server.peer(), what, packet, SILENCE)
    trial.holds(f"{len(silent)} packets that are no messages, or answer nothing, get no answer; the node lives on")
    for length in (1, 2, 4, 20, 31, 32):
        mark = chance.randbytes(length)
        answer = expect(server.peer(), f"a transaction id of {length} bytes", query("ping", mark, id=me), RESPONSE)
        trial.check(answer[0][b"t"] == mark, "a transaction id comes back", answer)
    loud = {
        "10 levels": ping(b"1:x" + nest(8)), "400 tokens": ping(b"1:xl" + b"0:" * 400 + b"e"),
        "an integer of 1,000 digits": ping(b"1:xi1" + b"0" * 1000 + b"e"),
        "a negative integer of 1,000 digits": ping(b"1:xi-1" + b"0" * 1000 + b"e"),
        "an empty key": b"d1:ad0:i1e2:id20:" + me + b"e1:q4:ping1:t2:tt1:y1:qe",
        "a key of 1,000 bytes": b"d1:ad1000:" + b"a" * 1000 + b"i1e2:id20:" + me + b"e1:q4:ping1:t2:tt1:y1:qe",
        "a packet of 4,096 bytes": full,
        "a version of another length": encode({"a": {"id": me}, "q": "ping", "t": "tt", "v": "OFFSYS", "y": "q"}),
        "a version that is a list": encode({"a": {"id": me}, "q": "ping", "t": "tt", "v": [], "y": "q"}),
        "an r and an e": encode({"a": {"id": me}, "e": [], "q": "ping", "r": {}, "t": "tt", "y": "q"}),
        "an ip": encode({"a": {"id": me}, "ip": "x", "q": "ping", "t": "tt", "y": "q"}),
        "ro that is a string": encode({"a": {"id": me}, "q": "ping", "ro": "1", "t": "tt", "y": "q"}),
        "ro = 10^30": encode({"a": {"id": me}, "q": "ping", "ro": 10**30, "t": "tt", "y": "q"}),
        "ro = 1": encode({"a": {"id": me}, "q": "ping", "ro": 1, "t": "tt", "y": "q"}),
    }
    for what, packet in loud.items():
        expect(server.peer(), what, packet, RESPONSE)
    trial.holds(f"{len(loud)} odd but good packets are answered")
    for value in (b"x" * 19, b"x" * 21, b"", 7, [], {}, [me]):
        expect(server.peer(), f"an id {value!r}", encode({"a": {"id": value}, "q": "ping", "t": "tt", "y": "q"}),
               PROTOCOL)
    odd = {
        "no a": {"q": "ping"}, "no id": {"a": {}, "q": "ping"}, "no q": {"a": {"id": me}}, "neither q nor a": {},
        "a that is a list": {"a": [me], "q": "ping"}, "a that is a string": {"a": me, "q": "ping"},
        "a that is an integer": {"a": 1, "q": "ping"}, "q that is an integer": {"a": {"id": me}, "q": 1},
        "q that is a list": {"a": {"id": me}, "q": ["ping"]},
    }
    for what, message in odd.items():
        for mark in (b"tt", b"t" * 32):
            answers = expect(server.peer(), what, encode({**message, "t": mark, "y": "q"}), PROTOCOL)
            trial.check(answers[0][b"t"] == mark, "an error has the query's transaction id", answers)
    trial.holds("queries without a method, arguments or an id of 20 bytes get error 203")


def families(trial):
    """A packet of IPv6 has the sender that it has, whatever family the one before it was of."""
    server = Server(trial, "families", binds=BOTH, prove=False)
    try:
        for what in ("after one of IPv4", "after another"):
            for ip in ("127.0.0.2", "::1"):
                peer = server.peer(ip)
                peer.send(query("ping", id=peer.id))
                message = peer.receive(1)
                trial.check(message, f"a ping of IPv{6 if peer.v6 else 4} is answered {what}", ip)
                address = socket.inet_pton(peer.socket.family, ip) + struct.pack(">H", peer.port)
                trial.check(message[b"ip"] == address, "the answer names the asker's address", message, address)
        server.end()
    finally:
        server.process.kill()
    trial.holds("packets of both families in turn are answered")


def cut(server):
    """A packet is too long, although what fits into the node's buffer is a message."""
    me = server.trial.chance.randbytes(20)
    start, end = b"d1:ad2:id20:" + me + b"3:pad", b"e1:q4:ping1:t2:tt1:y1:qe"
    fill = 4096 - len(start) - len(end) - 5
    packet = start + b"%d:" % fill + bytes(fill) + end
    for more in (1, 100, 60_000):
        expect(server.peer(), f"a ping of {len(packet)} bytes with {more} more after it", packet + bytes(more), SILENCE)
    server.trial.holds("a packet over 4,096 bytes is passed over, also when its first 4,096 are a message")


# ---- The methods

def arguments_of(server, peer, method, key):
    """Arguments that are good."""
    target = server.trial.chance.randbytes(20)
    if method == "ping":
        return {}
    if method in ("find_node", "get", "sample_infohashes"):
        return {"target": target}
    if method == "get_peers":
        return {"info_hash": target}
    if method == "announce_peer":
        return {"info_hash": target, "port": 7, "token": peer.token(target, "get_peers")}
    salt = server.trial.chance.randbytes(8)
    return {"token": peer.token(key.target(salt)), **key.item(b"value", 5, salt)}


WRONG = {"an integer": 1, "a huge integer": Raw(b"i1" + b"0" * 60 + b"e"), "a list": [b"x"], "a dictionary": {"x": 1},
         "an empty string": b"", "a byte": b"x", "300 bytes": bytes(300)}


def methods(server):
    """Each key of each method: left out, and of each wrong type."""
    trial = server.trial
    key = Key(trial.chance.randbytes(32))
    peer = server.peer("127.0.0.3")
    peer.prove()
    count = 0
    for method in METHODS:
        good = {"id": peer.id, **arguments_of(server, peer, method, key)}
        expect(peer, method, query(method, **good), RESPONSE)
        for name in good:
            if name in ("v", "salt", "seq") and method == "put":
                continue
            left = {other: value for other, value in good.items() if other != name}
            expect(peer, f"{method} without {name}", query(method, **left), PROTOCOL)
            for kind, value in WRONG.items():
                if isinstance(value, int) and isinstance(good[name], int):
                    continue
                answers = expect(peer, f"{method} with {kind} for {name}", query(method, **{**good, name: value}),
                                 PROTOCOL)
                trial.check(answers[0][b"t"] == b"tt" and isinstance(answers[0][b"e"][1], bytes),
                            "an error is a code and a text", answers)
                count += 1
        if method == "put":
            for name in ("v", "seq"):
                expect(peer, f"put without {name}", query(method, **{k: v for k, v in good.items() if k != name}),
                       PROTOCOL)
            for kind in ("a list", "a dictionary", "an empty string", "a byte"):
                expect(peer, f"put with {kind} for seq", query(method, **{**good, "seq": WRONG[kind]}), PROTOCOL)
            for kind in ("an integer", "a list", "a dictionary"):
                expect(peer, f"put with {kind} for salt", query(method, **{**good, "salt": WRONG[kind]}), PROTOCOL)
                expect(peer, f"put with {kind} for cas" if kind != "an integer" else "put with a text for cas",
                       query(method, **{**good, "cas": WRONG[kind] if kind != "an integer" else b"5"}), PROTOCOL)
            expect(peer, "put with a huge cas", query(method, **{**good, "cas": 10**30}), PROTOCOL, CAS)
        for length in (19, 21, 0, 1, 40):
            for name in ("id", "target", "info_hash"):
                if name in good:
                    expect(peer, f"{method} with {length} bytes for {name}",
                           query(method, **{**good, name: bytes(length)}), PROTOCOL)
        # What is optional or unknown.
        for name in ("want", "scrape", "noseed", "seed", "pad", "zz", "k2", ""):
            for kind, value in WRONG.items():
                if method == "put" and name == "seed":
                    continue
                expect(peer, f"{method} with {kind} for {name or 'an empty key'}",
                       query(method, **{**good, name: value}), RESPONSE, PROTOCOL)
                count += 1
    trial.holds(f"{count} queries with a key left out or of a wrong type get error 203, or are read without it")
    for name in ("", "x", "PING", "ping ", "ping\0", "\xff\xfe", "get_peer", "vote", "x" * 2000):
        expect(peer, f"a method {name[:20]!r}", query(name, id=peer.id), METHOD)
        for argument in ("target", "info_hash"):
            answers = expect(peer, f"a method {name[:20]!r} with {argument}",
                             query(name, id=peer.id, **{argument: bytes(20)}), RESPONSE)
            trial.check(b"nodes" in answers[0][b"r"], "an unknown method with a target is answered like find_node",
                        answers)
            trial.check(b"token" not in answers[0][b"r"], "an unknown method gets no token", answers)
        expect(peer, f"a method {name[:20]!r} with a wrong target", query(name, id=peer.id, target=b"x"), METHOD,
               PROTOCOL)
    trial.holds("unknown methods get error 204, or with a target what find_node gets")
    for value in (["n4"], ["n6"], ["n4", "n6"], ["n4"] * 100, ["n6", "x", 5, [], {}], [], [""], ["n5"], [["n4"]],
                  "n4", 4, {}, ["x" * 300], [b"\0"]):
        response = peer.ask("find_node", target=bytes(20), want=value)
        nodes_of(response)
        trial.check(set(response) <= {b"id", b"nodes", b"nodes6"}, "find_node gets nodes", value, response)
        trial.check(isinstance(value, list) and value[:1] == ["n6"] or b"nodes" in response,
                    "IPv4 is answered when nothing else is asked for", value, response)
    trial.holds("want with anything in it is read as far as it makes sense")
    response = peer.ask("sample_infohashes", target=bytes(20))
    trial.check(response[b"samples"] == b"" and response[b"num"] == 0 and response[b"interval"] == 21_600,
                "sample_infohashes gives nothing away", response)
    trial.holds("sample_infohashes gives nothing away")


# ---- Tokens and swarms

def swarms(server):
    """Announcements: ports, tokens, and what get_peers says afterwards."""
    trial, chance = server.trial, server.trial.chance
    one, other = server.peer("127.0.0.4"), server.peer("127.0.0.5")
    one.prove()
    other.prove()
    swarm = chance.randbytes(20)
    token = one.token(swarm, "get_peers")
    trial.check(len(token) == 8, "a token has 8 bytes", token)

    def announce(peer, wanted, **more):
        arguments = {"id": peer.id, "info_hash": swarm, "port": 7, "token": token, **more}
        expect(peer, f"announce_peer with {more}", query("announce_peer",
                                                         **{k: v for k, v in arguments.items() if v is not None}),
        wanted)

    def peers(peer=one, hash=None, **more):
        return sorted(peer.ask("get_peers", info_hash=hash or swarm, **more).get(b"values", []))

    def compact(peer, port):
        return socket.inet_aton(peer.ip) + struct.pack(">H", port)

    for bad in (0, -1, -65_535, 65_536, 65_543, 2**31, 2**32 + 7, 2**63 - 1, 2**63, 2**64 + 7, -2**63, 10**40, b"7",
                [7], None):
        announce(one, PROTOCOL, port=bad)
        announce(one, PROTOCOL, port=bad, implied_port=0)
    trial.check(peers() == [], "an announcement that was refused is not kept", peers())
    for bad in (0, -1, 65_536, 2**64, 10**40, None):
        for implied in (1, 2, -1, 2**40):
            announce(one, RESPONSE, port=bad, implied_port=implied)
    trial.check(peers() == [compact(one, one.port)], "with implied_port the packet's port counts", peers())
    for bad in (b"1", [1], {}):
        announce(one, PROTOCOL, port=0, implied_port=bad)
    for port in (1, 65_535):
        announce(one, RESPONSE, port=port)
    trial.check(peers() == sorted(compact(one, port) for port in (one.port, 1, 65_535)), "peers are kept", peers())
    trial.holds("ports 0, negative, above 65,535 and of wrong types get error 203, or with implied_port the "
                "packet's counts")
    # Each again, and from another port of the same IP.
    twin = server.peer("127.0.0.4")
    announce(one, RESPONSE, port=1)
    announce(twin, RESPONSE, port=2)
    for bad in (b"", b"x", token[:7], token + b"\0", bytes(8), b"\xff" * 8, bytes(127), bytes(3000), token[::-1],
                bytes([token[0] ^ 1]) + token[1:], token[:7] + bytes([token[7] ^ 128])):
        announce(one, PROTOCOL, token=bad)
        announce(other, PROTOCOL, token=bad)
    announce(other, PROTOCOL)
    announce(one, PROTOCOL, info_hash=chance.randbytes(20))
    announce(one, RESPONSE, info_hash=swarm, token=one.token(swarm, "get"))
    trial.holds("tokens are good again, and from other ports; wrong, empty, long, another's and another target's get "
                "error 203")
    own = other.token(swarm, "get_peers")
    announce(other, RESPONSE, token=own, seed=1, port=9)
    trial.check(compact(other, 9) in peers() and compact(other, 9) not in peers(noseed=1), "noseed leaves seeds out",
                peers())
    response = one.ask("get_peers", info_hash=swarm, scrape=1)
    seeds, others = response[b"BFsd"], response[b"BFpe"]
    trial.check(len(seeds) == len(others) == 256 and scraped(["127.0.0.5"]) == seeds
                and scraped(["127.0.0.4"]) == others,
                "the filters of a scrape have the peers in them (BEP 33)", response)
    response = one.ask("get_peers", info_hash=chance.randbytes(20), scrape=1)
    trial.check(b"values" not in response and b"token" in response, "an unknown swarm has no peers", response)
    trial.holds("seeds and scrapes")
    # A swarm that is full.
    swarm = chance.randbytes(20)
    token = one.token(swarm, "get_peers")
    for port in range(1, 701):
        one.send(query("announce_peer", id=one.id, info_hash=swarm, port=port, token=token))
        if port % 50 == 0:
            server.alive()
            while one.receive(0):
                pass
    trial.check(b"token" in one.ask("get_peers", info_hash=swarm), "who is in a full swarm gets a token")
    stranger = server.peer("127.0.0.9")
    stranger.prove()
    response = stranger.ask("get_peers", info_hash=swarm)
    trial.check(len(response[b"values"]) == 50 and b"token" not in response and b"nodes" in response,
                "a full swarm has no token for others, and 50 of its peers are named", response)
    seen = set()
    for _ in range(100):
        seen.update(int.from_bytes(value[4:], "big") for value in peers())
    trial.check(len(seen) > 450 and min(seen) > 200, "of 700 peers the latest 500 are kept", len(seen), min(seen))
    trial.holds(f"of 700 peers of a swarm the latest 500 are kept and {len(seen)} of them named in turn, 50 at a time")


def scraped(addresses):
    bits = bytearray(256)
    for address in addresses:
        hashed = sha1(socket.inet_aton(address))
        for at in (0, 2):
            number = int.from_bytes(hashed[at:at + 2], "little") % 2048
            bits[number // 8] |= 1 << number % 8
    return bytes(bits)


# ---- Items

def items(server):
    trial, chance = server.trial, server.trial.chance
    peer, other = server.peer("127.0.0.6"), server.peer("127.0.0.7")
    peer.prove()
    other.prove()
    key = Key(chance.randbytes(32))

    def code(wanted, what, token=None, **item):
        got = peer.put(token, **item)
        trial.check(got == wanted, f"a put of {what} gets {wanted or 'a response'}", f"got {got}", repr(item)[:500])

    def value(target, **more):
        return peer.ask("get", target=target, **more)

    # Values of each type come back as they are.
    values = [b"", b"x", b"x" * 996, 0, -1, 10**300, [], {}, [[], {}, [1, b"a"]], {"a": {"b": [1]}},
              {b"": b"", b"\xff": 1},
              nested(6), Raw(b"l" + b"i0e" * 150 + b"e"), Raw(b"l" + b"0:" * 400 + b"e")]
    for one in values:
        raw = encode(one)
        target = sha1(raw)
        code(0, f"a value of {len(raw)} bytes", v=one)
        trial.check(encode(value(target)[b"v"]) == raw, "a value comes back as it was put", raw)
        trial.check(not {b"k", b"sig", b"seq"} & set(value(target)), "an immutable item has no key")
    code(TOO_LONG, "1,001 bytes", v=b"x" * 997)
    code(TOO_LONG, "3,000 bytes", v=b"x" * 3000)
    code(TOO_LONG, "1,001 bytes of a list", v=[b"x" * 995])
    code(0, "1,000 bytes of a list", v=[b"x" * 994])
    trial.holds(f"{len(values)} values of each type come back; one of 1,001 bytes gets error 205")
    # Tokens.
    raw = chance.randbytes(50)
    target = sha1(encode(raw))
    token = peer.token(target)
    for bad in (b"", bytes(8), token[:7], token + b"x", bytes(900), peer.token(chance.randbytes(20)),
                other.token(target)):
        code(PROTOCOL, "a wrong token", bad, v=raw)
    trial.check(b"v" not in value(target), "a put that was refused is not kept")
    code(0, "a token", token, v=raw)
    code(0, "a token again", token, v=raw)
    trial.holds("tokens: wrong, empty, long, another's and another target's get error 203")
    # Signed ones.
    signed = key.item(b"five", 5)
    for left in ({"k"}, {"seq"}, {"sig"}, {"k", "seq"}, {"k", "sig"}, {"seq", "sig"}):
        part = {name: field for name, field in signed.items() if name not in left}
        for target in (key.target(), sha1(encode(b"five"))):
            token = peer.token(target)
            expect(peer, f"a put without {sorted(left)}", query("put", id=peer.id, token=token, target=target,
                                                                **part), PROTOCOL)
            trial.check(b"v" not in value(target), "a part of an item is not kept", sorted(left))
    expect(peer, "salt without a key", query("put", id=peer.id, token=peer.token(sha1(b"1:v")), v=b"v", salt=b"s"),
           PROTOCOL)
    for length in (0, 31, 33, 64):
        expect(peer, f"a key of {length} bytes", query("put", id=peer.id, token=peer.token(key.target()),
                                                       **{**signed, "k": bytes(length)}), PROTOCOL)
    for length in (0, 63, 65, 128):
        expect(peer, f"a signature of {length} bytes", query("put", id=peer.id, token=peer.token(key.target()),
                                                             **{**signed, "sig": bytes(length)}), PROTOCOL)
    flipped = bytes([signed["sig"][0] ^ 1]) + signed["sig"][1:]
    malleable = signed["sig"][:32] + (int.from_bytes(signed["sig"][32:], "little") + ORDER).to_bytes(32, "little")
    for what, bad in {"a flipped bit": {"sig": flipped}, "zeros": {"sig": bytes(64)}, "another value": {"v": b"six"},
                      "another number": {"seq": 6}, "a salt that was not signed": {"salt": b"s"},
                      "ones": {"sig": b"\xff" * 64},
                      "a number above the order": {"sig": malleable},
                      "a key of zeros": {"k": bytes(32)}, "a key that is no point": {"k": b"\2" + bytes(31)},
                      "the neutral key": {"k": b"\1" + bytes(31), "sig": b"\1" + bytes(63)}}.items():
        code(SIGNATURE, f"a signature with {what}", **{**signed, **bad})
    trial.check(b"v" not in value(key.target()), "a wrong signature keeps nothing")
    other_key = Key(chance.randbytes(32))
    code(SIGNATURE, "another's signature", **{**signed, "k": other_key.public})
    for bad in (-1, -2**63, 2**63, 2**64, 10**30):
        code(PROTOCOL, f"seq {bad}", **key.item(b"x", bad))
    salted = key.item(b"x", 1, b"s" * 64)
    code(0, "a salt of 64 bytes", **salted)
    code(SALT, "a salt of 65 bytes", **key.item(b"x", 1, b"s" * 65))
    code(SALT, "a salt of 1,000 bytes", **key.item(b"x", 1, b"s" * 1000))
    code(0, "an empty salt", **key.item(b"x", 4), salt=b"")
    got = value(key.target(b"s" * 64))
    trial.check(got[b"v"] == b"x" and b"salt" not in got and got[b"k"] == key.public,
                "a salted item comes back, without its salt", got)
    trial.holds("signed items: a part of the keys, wrong signatures, salts and numbers get errors 203, 206 and 207")
    code(0, "seq 5", **signed)
    code(0, "the same again", **signed)
    code(OLD, "seq 4", **key.item(b"four", 4))
    code(OLD, "seq 0", **key.item(b"five", 0))
    code(OLD, "another value for seq 5", **key.item(b"other", 5))
    code(CAS, "cas 4", **key.item(b"six", 6), cas=4)
    code(CAS, "cas 6", **key.item(b"six", 6), cas=6)
    code(CAS, "cas -1", **key.item(b"six", 6), cas=-1)
    code(CAS, "the same with a wrong cas", **signed, cas=4)
    trial.check(value(key.target())[b"v"] == b"five", "a put that was refused changes nothing")
    code(0, "cas 5", **key.item(b"six", 6), cas=5)
    trial.check(value(key.target())[b"v"] == b"six", "a newer value takes the old one's place")
    for seq, full in ((0, True), (5, True), (-1, True), (6, False), (7, False), (2**63 - 1, False)):
        got = value(key.target(), seq=seq)
        trial.check(got[b"seq"] == 6 and full == (b"v" in got) == (b"sig" in got) == (b"k" in got),
                    f"get with seq {seq} gets {'the item' if full else 'seq alone'}", got)
    for seq in (b"6", [], {}):
        expect(peer, f"get with seq {seq!r}", query("get", id=peer.id, target=key.target(), seq=seq), RESPONSE,
               PROTOCOL)
    code(0, "the highest seq", **key.item(b"last", 2**63 - 1))
    code(OLD, "a lower seq", **key.item(b"x", 2**63 - 2))
    trial.holds("numbers: lower and equal ones get error 302, cas error 301; get with seq")
    # Unsigned values aimed at a key's target.
    target = key.target()
    token = peer.token(target)
    forged = [{"v": b"forged"}, {"v": key.public}, {"v": b"forged", "k": key.public},
              {"v": b"forged", "seq": 2**63 - 1},
              {"v": b"forged", "k": key.public, "seq": 2**63 - 1, "sig": bytes(64)},
              {"v": b"forged", "cas": 2**63 - 1}, {"v": b"last", "salt": b""},
              {**other_key.item(b"forged", 2**63 - 1)}]
    for item in forged:
        answers = peer.exchange(query("put", id=peer.id, token=token, target=target, **item))
        trial.check(len(answers) == 1 and answers[0][b"y"] == b"e", "a value that is not the key's is refused", item,
                    answers)
        got = value(target)
        trial.check(got[b"v"] == b"last" and got[b"k"] == key.public and got[b"seq"] == 2**63 - 1,
                    "a signed item stays when an unsigned value is aimed at its target", item, got)
    trial.holds("a signed item stays, whatever is aimed at its target")
    long = key.item(b"x" * 996, 1, b"long")
    code(0, "a long signed value", **long)
    response = peer.one(query("get", b"t" * 32, id=peer.id, target=key.target(b"long"), want=["n4", "n6"]))[b"r"]
    trial.check(response[b"v"] == b"x" * 996 and b"token" in response,
                "the longest value is sent with the longest transaction id", response)
    trial.holds("the longest value comes back with the longest transaction id, in at most 1,400 bytes")


def nested(depth):
    return [nested(depth - 1)] if depth else []


def great_sequence(server):
    """`get` with a number above all that an item can have gets no value either."""
    trial = server.trial
    peer = server.peer("127.0.0.6")
    peer.prove()
    key = Key(trial.chance.randbytes(32))
    peer.put(**key.item(b"six", 6))
    for seq in (2**63, 10**30):
        packet = query("get", id=peer.id, target=key.target(), seq=seq)
        message = peer.one(packet)
        trial.check(message[b"y"] == b"e" or b"v" not in message[b"r"],
                    "get with a seq above the item's is answered with seq alone, or with an error", packet, message)
    swarm = trial.chance.randbytes(20)
    trial.holds("get with a seq of 2^63 and more gets seq alone, or an error")
    expect(peer, "announce_peer with an implied_port that is huge, so not 0",
           query("announce_peer", id=peer.id, info_hash=swarm, implied_port=10**30, port=0,
                 token=peer.token(swarm, "get_peers")), RESPONSE)
    trial.holds("implied_port of any size other than 0 counts")


def readable(server):
    """What the node keeps it must be able to hand out to the program itself, which reads at most 1,200 tokens."""
    trial = server.trial
    peer = server.peer("127.0.0.6")
    peer.prove()
    kept = 0
    for count in range(440, 500):
        raw = Raw(b"l" + b"0:" * count + b"e")
        target = sha1(raw)
        answers = peer.exchange(query("put", id=peer.id, token=peer.token(target), v=raw))
        if not answers or answers[0][b"y"] == b"e":
            continue
        kept += 1
        peer.send(query("get", id=peer.id, target=target, want=["n4", "n6"]))
        message = peer.receive(1)
        tokens = count_tokens(message)
        trial.check(tokens <= 1200, "an answer has at most 1,200 tokens, which is what is read",
                    f"a list of {count} empty strings was kept; the answer has {tokens} tokens")
    trial.holds(f"{kept} values of more than 440 tokens that were kept come in answers of at most 1,200")


def count_tokens(value):
    if isinstance(value, dict):
        return 2 + sum(1 + count_tokens(item) for item in value.values())
    return 2 + sum(map(count_tokens, value)) if isinstance(value, list) else 1


# ---- The table

def table(server):
    """Only who answered under its id is handed out."""
    trial, chance = server.trial, server.trial.chance
    asker = server.peer("127.0.0.8")
    asker.prove()
    trial.check((asker.id, asker.port) in asker.named(), "who answered is handed out")
    # One that only asks and says so.
    shy = server.peer("127.0.0.8", answers=None)
    for method, more in (("ping", {}), ("find_node", {"target": shy.id}), ("get_peers", {"info_hash": shy.id}),
                         ("get", {"target": shy.id}), ("sample_infohashes", {"target": shy.id})):
        shy.send(encode({"a": {"id": shy.id, **more}, "q": method, "ro": 1, "t": "tt", "y": "q"}))
        shy.receive(1)
    time.sleep(1.2)
    shy.receive(0)
    trial.check(not shy.asked, "who is read-only is not asked", shy.asked)
    # One that only asks, ones that answer wrongly.
    silent = server.peer("127.0.0.8")
    liar = server.peer("127.0.0.8", answers=chance.randbytes(20))
    refuser, garbler = server.peer("127.0.0.8"), server.peer("127.0.0.8")
    thief = server.peer("127.0.0.8", node_id=asker.id, answers=asker.id)
    for peer in (silent, liar, refuser, garbler, thief):
        for _ in range(3):
            peer.ping()
            peer.receive(0.05)
    trial.check(all(peer.asked for peer in (silent, liar, refuser, garbler)), "newcomers are asked by a ping")
    refuser.send(encode({"e": [202, "no"], "t": refuser.asked[0][b"t"], "y": "e"}))
    mark = garbler.asked[0][b"t"]
    for message in ({"r": {}, "t": mark}, {"r": {"id": garbler.id}, "t": mark + b"x"},
                    {"r": {"id": garbler.id}, "t": mark[:3]},
                    {"r": {"id": garbler.id[:19]}, "t": mark}, {"r": [garbler.id], "t": mark}):
        garbler.send(encode({**message, "y": "r"}))
    # The right answer from another port.
    relay = server.peer("127.0.0.8")
    relay.send(encode({"r": {"id": garbler.id}, "t": mark, "y": "r"}))
    server.alive()
    for peer, what in ((shy, "a read-only one"), (silent, "one that only asked"),
                       (liar, "one that answered with another id"),
                       (refuser, "one that answered with an error"), (garbler, "one that answered with garbage"),
                       (relay, "another port of one that did not answer")):
        for near in (peer.id, liar.answers, garbler.id):
            named = asker.named(near)
            trial.check(all(port != peer.port for _, port in named if peer is not liar) and
                        (peer.id, peer.port) not in named, f"{what} is not handed out", named)
    trial.check((asker.id, thief.port) not in asker.named(), "an id stays with the address that answers")
    trial.check((asker.id, asker.port) in asker.named(), "an id stays with the address that answers")
    trial.holds("read-only ones, ones that only asked, and ones that answered wrongly are not handed out")
    own = asker.ask("ping")[b"id"]
    copy = server.peer("127.0.0.8", node_id=own, answers=own)
    for _ in range(3):
        copy.ping()
        copy.receive(0.05)
    trial.check((own, copy.port) not in asker.named(own), "the node's own id is nobody else's")
    trial.holds("the node's own id is not handed out for another address")


def asked_again(trial):
    """A newcomer whose first ping was lost is asked again, also when there is no other newcomer."""
    server = Server(trial, "quiet", prove=False)
    try:
        lost = server.peer("127.0.0.8")
        lost.ping()
        lost.receive(0.2)
        trial.check(len(lost.asked) == 1, "a newcomer is asked by a ping", lost.asked)
        # That ping is lost. What follows is as often as a client asks.
        for _ in range(5):
            time.sleep(6)
            lost.ping()
            lost.receive(0.2)
        trial.check(len(lost.asked) > 1, "a newcomer that asks on is asked by a ping again within 30 seconds",
                    "the node sent one ping, and none for the five queries of the 30 seconds after it")
        lost.answers = lost.id
        trial.holds("a newcomer whose first ping was lost is asked again")
    finally:
        server.process.kill()


def one_id(server):
    """An address that answers with another id is known by that only."""
    trial, chance = server.trial, server.trial.chance
    asker = server.peer("127.0.0.13")
    asker.prove()
    changed = server.peer("127.0.0.13")
    changed.prove()
    old = changed.id
    trial.check((old, changed.port) in asker.named(old), "who answered is handed out")
    # Who was asked a moment ago is not asked again at once; others come meanwhile.
    for _ in range(2):
        time.sleep(10.5)
        server.peer("127.0.0.13").prove()
    changed.id = changed.answers = chance.randbytes(20)
    until = time.monotonic() + 10
    while time.monotonic() < until and (changed.id, changed.port) not in asker.named(changed.id):
        changed.ping()
        changed.receive(0.5)
    trial.check((changed.id, changed.port) in asker.named(changed.id), "who answers with another id is known by that")
    trial.check((old, changed.port) not in asker.named(old), "an address has one id")
    trial.holds("an address has one id, the last that it answered with")


def two_ids(trial):
    """An address that waits for a place under one id and gets one under another is asked as seldom as others."""
    server = Server(trial, "two", prove=False)
    try:
        first = server.peer("127.0.0.9")
        first.prove()
        own = first.ask("ping")[b"id"]

        def inside(bits, rest=None):
            """An id that shares exactly so many bits with the node's."""
            rest = trial.chance.getrandbits(159 - bits) if rest is None else rest
            return (int.from_bytes(own, "big") ^ 1 << 159 - bits ^ rest).to_bytes(20, "big")

        # A bucket with its eight nodes. They name another, which is so near that the node asks it too.
        full = [server.peer("127.0.0.9", node_id=inside(6)) for _ in range(8)]
        for peer in full:
            peer.prove()
        double = server.peer("127.0.0.9", node_id=inside(6, 1))
        double.answers = double.id
        named = double.id + socket.inet_aton(double.ip) + struct.pack(">H", double.port)
        for peer in (first, *full):
            peer.nodes = named
        until = time.monotonic() + 30
        while not double.asked and time.monotonic() < until:
            for peer in (first, *full, double):
                peer.receive(0)
            time.sleep(0.05)
        trial.check(double.asked, "a node that is named near the node's own id is asked")
        # Now it has another id, in another bucket, and one of the eight falls silent.
        for peer in (first, *full):
            peer.nodes = b""
        time.sleep(11)
        double.id = double.answers = inside(0)
        double.ping()
        double.receive(0.5)
        silent = full.pop()
        started, times = time.monotonic(), []
        while time.monotonic() < started + 170:
            for peer in (first, *full):
                peer.receive(0)
            double.asked.clear()
            double.receive(0.05)
            times += [time.monotonic() - started for message in double.asked if message[b"q"] == b"ping"]
            silent.asked.clear()
        most = max((sum(at <= other < at + 60 for other in times) for at in times), default=0)
        trial.check(most <= 3, "a node that answers is asked about once a minute",
                    f"{most} pings in a minute", [round(at) for at in times])
        trial.holds(f"an address that had two ids is asked {most} times a minute at most")
    finally:
        server.process.kill()


# ---- The node's own lookups

def bootstrap(trial):
    """A node whose first acquaintance is hostile."""
    chance = trial.chance
    evil = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    evil.bind(("127.0.0.1", 0))
    trap = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    trap.bind(("127.0.0.1", 0))
    port, trapped = evil.getsockname()[1], trap.getsockname()[1]
    me = chance.randbytes(20)
    loop = b"\x7f\0\0\1"

    def at(node_id, number):
        return node_id + loop + struct.pack(">H", number)

    dead = [chance.randbytes(20) for _ in range(40)]
    answers = {
        "9 bytes of nodes": lambda a: {"nodes": bytes(9)},
        "nodes with port 0": lambda a: {"nodes": b"".join(at(node, 0) for node in dead[:8])},
        "25 bytes of nodes": lambda a: {"nodes": at(dead[0], trapped)[:25]},
        "1,000 nodes": lambda a: {"nodes": b"".join(at(chance.randbytes(20), 1 + number % 60_000)
                                                    for number in range(120))},
        "a node and a half": lambda a: {"nodes": at(dead[1], trapped) + at(dead[2], trapped)[:13]},
        "nodes that are a list": lambda a: {"nodes": [at(dead[3], trapped)]},
        "nodes that are an integer": lambda a: {"nodes": 5},
        "nodes6 of 9 bytes": lambda a: {"nodes6": bytes(9), "nodes": b""},
        "the node itself": lambda a: {"nodes": at(a[b"id"], trapped) + at(dead[4], own_port[0])},
        "itself under many ids": lambda a: {"nodes": b"".join(at(node, port) for node in dead[:8])},
        "0.0.0.0, broadcast and multicast": lambda a: {
            "nodes": dead[5] + bytes(4) + b"\0\1" + dead[6] + b"\xff" * 4 + b"\0\1" + dead[7] + b"\xe0\0\0\1\0\1"},
        "values that are no list": lambda a: {"values": 5, "nodes": b""},
        "values of all lengths": lambda a: {"values": [bytes(n) for n in range(30)]},
        "a token of 3,000 bytes": lambda a: {"token": bytes(3000)},
        "a token that is a list": lambda a: {"token": []},
        "samples of 19 bytes": lambda a: {"samples": bytes(19), "num": -1, "interval": -5},
        "a k of 5 bytes": lambda a: {"k": b"12345", "sig": b"", "seq": -1, "v": {}},
        "filters of 255 bytes": lambda a: {"BFsd": bytes(255), "BFpe": bytes(257)},
        "garbled responses": lambda a: {"nodes": b""},
    }
    own_port = [0]
    for what, answer in answers.items():
        server = Server(trial, f"boot{len(what)}{chance.getrandbits(20)}", "--bootstrap", f"127.0.0.1:{port}")
        own_port[0] = server.addresses["127.0.0.1"]
        until, asked = time.monotonic() + 1.5, 0
        while time.monotonic() < until:
            if not select.select([evil], [], [], 0.1)[0]:
                if asked:
                    break
                continue
            packet, source = evil.recvfrom(65536)
            try:
                message = decode(packet)
            except ValueError:
                raise Broken("the node sends canonical bencode", packet) from None
            if message[b"y"] == b"q" and source[1] == own_port[0]:
                asked += 1
                if asked == 1 and message[b"q"] == b"find_node":
                    # Answers to it that are none: wrong ids, no id, another's transaction, too long.
                    for junk in ({"r": {}, "t": message[b"t"]}, {"r": {"id": me[:19]}, "t": message[b"t"]},
                                 {"r": {"id": me + b"x"}, "t": message[b"t"]}, {"r": {"id": me}, "t": b"zzzz"},
                                 {"r": {"id": me, "x": bytes(60_000)}, "t": message[b"t"]}):
                        evil.sendto(encode({**junk, "y": "r"}), source)
                if what == "garbled responses":
                    for _ in range(500):
                        evil.sendto(garbled(chance, full_response(me, message[b"t"])), source)
                evil.sendto(encode({"r": {"id": me, **answer(message[b"a"])}, "t": message[b"t"], "y": "r"}), source)
        trial.check(asked, "a node asks whom it was told to begin with", what)
        trial.check(asked < 100, "a hostile answer does not make the node ask without an end", what, asked)
        server.alive(what)
        named = set().union(*(server.witness.named(near) for near in (me, *dead[:8], server.witness.id)))
        good = {(me, port), (server.witness.id, server.witness.port)}
        # A tail that is no whole node is dropped, so the node answers as one without nodes.
        trial.check(named <= good, "only nodes that answered are handed out", what, named - good)
        figures = server.end()
        trial.check(figures["nodes"] <= 2, "only nodes that answered are in the table", what, figures)
    evil.close()
    trap.close()
    trial.holds(f"{len(answers)} hostile answers to the node's own lookups: it lives on and hands out nothing of them")


# ---- The program around it

def bogons(trial):
    """Outside private mode packets from addresses that cannot be on the public network are passed over."""
    server = Server(trial, "bogons", prove=False, binds=("0.0.0.0:0",))
    try:
        peer = server.peer("127.0.0.2")
        for method, more in (("ping", {}), ("find_node", {"target": bytes(20)}), ("x", {})):
            peer.send(query(method, id=peer.id, **more))
        trial.check(peer.receive(1) is None and not peer.asked, "a bogon gets no answer outside private mode")
        figures = server.end()
        trial.check(figures["bogons"] == 3 and figures["sent"] == 0, "they are counted", figures)
    finally:
        server.process.kill()
    trial.holds("outside private mode packets from loopback are passed over")


def saved(trial):
    """What is saved is read again, if it can be; if not, the node begins without it."""
    program = Program(trial.folder / "saved")
    kept = program.home / "dht/nodes"
    kept.parent.mkdir(parents=True)
    chance = trial.chance
    nodes = b"".join(chance.randbytes(20) + b"\x7f\0\0\1\0" + bytes([number]) for number in range(1, 9))
    good = encode({"id4": b"i" * 20, "nodes": nodes, "nodes6": b""})
    damaged = [b"", b"le", b"d", good[:-1], good + b"x", chance.randbytes(5000), b"l" * 100_000,
               encode({"id4": 5, "nodes": []}),
               encode({"id4": b"short", "nodes": bytes(25)}), encode({"nodes": chance.randbytes(26 * 20_000)})]
    for data in damaged:
        kept.write_bytes(data)
        server = Server(trial, "saved", prove=False)
        try:
            server.alive(data[:100])
            server.end()
        finally:
            server.process.kill()
    trial.holds(f"{len(damaged)} damaged files of nodes: the node starts without them")
    kept.write_bytes(good)
    server = Server(trial, "saved", prove=False)
    try:
        trial.check(server.witness.ask("ping")[b"id"] == b"i" * 20, "a node keeps its id")
        server.end()
    finally:
        server.process.kill()
    trial.check(nodes[:26] in kept.read_bytes(),
                "saved nodes are kept through a start in which none of them answered yet", kept.read_bytes())
    trial.holds("saved nodes are kept until they are known to be gone")


def values(trial):
    """What `dht put` takes for an item can be stored and got again."""
    server = Server(trial, "values")
    try:
        door = ("--bootstrap", "127.0.0.1:%d" % server.addresses["127.0.0.1"])
        program = Program(trial.folder / "client")
        for what, value in {"400 tokens": b"l" + b"0:" * 398 + b"e", "496 tokens": b"l" + b"0:" * 494 + b"e",
                            "7 levels": nest(7), "9 levels": nest(9), "10 levels": nest(10)}.items():
            put = program.run("dht", "put", "--bencode", value.decode(), *door, seconds=30)
            trial.check(put.code in (0, 2), f"a value of {what} is stored, or refused as a value", put)
            if put.code == 0:
                got = program.run("dht", "get", "--bencode", put.lines[0], *door, seconds=30)
                trial.check(got.out == value, f"a value of {what} is got again", got)
        server.end()
    finally:
        server.process.kill()
    trial.holds("values of many tokens and levels are stored and got again, or refused as values")


# ---- Short answers

def amplification(server):
    """The least queries that want the most, from addresses that have shown nothing."""
    trial, chance = server.trial, server.trial.chance
    ip = "::1" if "::1" in server.addresses else "127.0.0.10"
    rich = server.peer(ip)
    rich.prove()
    swarm = chance.randbytes(20)
    token = rich.token(swarm, "get_peers")
    for port in range(1, 200):
        rich.send(query("announce_peer", id=rich.id, info_hash=swarm, port=port, seed=port % 2, token=token))
    server.alive()
    key = Key(chance.randbytes(32))
    long, signed = b"y" * 996, key.item(b"z" * 996, 1)
    trial.check(rich.put(v=long) == rich.put(**signed) == 0, "these are kept")
    mark, worst, whole = b"t", 0, 0
    for pad in (0, 20, 50, 100, 130, 200, 270, 300, 400, 600):
        more = {"pad": bytes(pad)} if pad else {}
        both = {"want": ["n4", "n6"]}
        me = chance.randbytes(20)
        packets = [
            query("ping", mark, id=me, **more), query("find_node", mark, id=me, target=swarm, **more),
            query("find_node", mark, id=me, target=swarm, **both, **more),
            query("get_peers", mark, id=me, info_hash=swarm, **more),
            query("get_peers", mark, id=me, info_hash=swarm, scrape=1, **both, **more),
            query("get", mark, id=me, target=sha1(encode(long)), **more),
            query("get", mark, id=me, target=key.target(), **both, **more),
            query("get", mark, id=me, target=key.target(), seq=0, **more),
            query("sample_infohashes", mark, id=me, target=swarm, **both, **more),
            query("x", mark, id=me, target=swarm, **both, **more), query("x", mark, id=me, **more),
            query("put", mark, id=me, token=b"", v=b"", **more),
            query("announce_peer", mark, id=me, info_hash=swarm, port=1, token=b"", **more),
            b"d1:t1:t1:y1:qe", b"d1:t32:" + bytes(32) + b"1:y1:qe", b"d1:q1:x1:t1:t1:y1:qe",
        ]
        for packet in packets:
            peer = server.peer(ip)
            answers = peer.exchange(packet)
            trial.check(len(answers) == 1, "each of these is answered, however little may be said", packet, answers)
            whole += b"v" in answers[0].get(b"r", {}) and len(answers[0][b"r"].get(b"v", b"")) == 996
            # The same again at once, while the node waits for the answer to its ping.
            peer.exchange(packet)
    # What the node may say again on its own.
    time.sleep(5)
    worst = unproved(server, ip)
    trial.check(whole, "who sends enough beforehand gets a long value at once")
    trial.holds(f"addresses that showed nothing got at most {worst:.2f} times what they sent, in "
                f"{len(server.peers)} exchanges")
    shown = server.peer(ip)
    first = shown.ask("get_peers", info_hash=swarm)
    trial.check(shown.asked, "who wants more than may be sent is asked to show itself")
    shown.answers = shown.id
    shown.send(encode({"r": {"id": shown.id}, "t": shown.asked[0][b"t"], "y": "r"}))
    shown.proved = True
    second = shown.ask("get_peers", info_hash=swarm)
    trial.check(len(second[b"values"]) == (20 if rich.v6 else 50) > len(first.get(b"values", [])),
                "who showed itself gets all", first, second)
    trial.holds("who answers the node's ping gets a whole answer the next time")


def six(trial):
    """The same with IPv6."""
    server = Server(trial, "six", binds=("[::1]:0",))
    try:
        amplification(server)
        server.end()
    finally:
        server.process.kill()


def sizes(trial, v6):
    """The longest answers there can be."""
    server = Server(trial, "sizes", binds=BOTH if v6 else BOTH[:1], prove=False)
    try:
        for ip in ("::1", "127.0.0.14") if v6 else ("127.0.0.14",):
            for _ in range(9):
                server.peer(ip).prove()
        rich, near = server.peers[-1], trial.chance.randbytes(20)
        token = rich.token(near, "get_peers")
        for port in range(1, 100):
            rich.send(query("announce_peer", id=rich.id, info_hash=near, port=port, seed=port % 2, token=token))
        server.alive()
        long = b"y" * 996
        trial.check(rich.put(v=long) == 0, "this is kept")
        mark, longest = b"t" * 32, {}
        for method, more in (("find_node", {"target": near}), ("get_peers", {"info_hash": near}),
                             ("get_peers", {"info_hash": near, "scrape": 1}), ("get", {"target": near}),
                             ("get", {"target": sha1(encode(long))}), ("sample_infohashes", {"target": near}),
                             ("x", {"info_hash": near})):
            for want in ([], ["n4"], ["n6"], ["n4", "n6"]):
                # `receive` checks the length.
                message = rich.one(query(method, mark, id=rich.id, want=want, **more))
                value = b"v" in message[b"r"]
                longest[value] = max(longest.get(value, 0), len(encode(message)))
                trial.check(nodes_of(message[b"r"]), "nodes are named", message)
                trial.check(len(message[b"r"].get(b"values", [])) <= 50, "at most 50 peers are named", message)
        trial.check(longest[False] > 700 and longest[True] > 1100, "there are long answers", longest)
        server.end()
    finally:
        server.process.kill()
    trial.holds(f"the longest answer has {longest[False]} bytes, and {longest[True]} with a value")


# ---- Floods

class Flood:
    """Sends to a node from any address of 127.0.0.0/8 with one socket, and counts what each of them gets."""

    def __init__(self, server):
        self.server, self.trial = server, server.trial
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # IP_PKTINFO: the address of this machine that a packet comes from and goes to.
        self.socket.setsockopt(socket.IPPROTO_IP, 8, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(("0.0.0.0", 0))
        self.socket.setblocking(False)
        self.sent, self.got, self.packets = {}, {}, 0

    def send(self, packet, source):
        info = struct.pack("@i4s4s", 0, source, bytes(4))
        self.socket.sendmsg([packet], [(socket.IPPROTO_IP, 8, info)], 0, self.server.address(False))
        self.sent[source] = self.sent.get(source, 0) + len(packet)
        self.packets += 1

    def receive(self):
        while True:
            try:
                packet, more, _, _ = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            source = more[0][2][8:12]
            self.got[source] = self.got.get(source, 0) + len(packet)

    def fair(self):
        worst = max((self.got[source] / self.sent.get(source, 0.001) for source in self.got), default=0)
        self.trial.check(worst <= AMPLIFICATION,
                         "an address that has not proved itself gets three bytes for one at most",
                         f"{worst:.2f} in a flood")
        return worst


def garbled(chance, packet):
    """A message with a few bytes changed, left out or put in."""
    packet = bytearray(packet)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(packet))
        packet[at:at + chance.randrange(3)] = chance.choice((b"", b"e", b"d", b"l", b"i", b"0", b"9", b":",
                                                             chance.randbytes(1)))
    return bytes(packet)


def full_response(me, transaction):
    """A response with everything that one may have."""
    answer = {"BFpe": bytes(256), "BFsd": bytes(256), "id": me, "interval": 5, "k": bytes(32), "nodes": bytes(52),
              "nodes6": bytes(76), "num": 5, "samples": bytes(40), "seq": 5, "sig": bytes(64), "token": "token",
              "v": ["v"],
              "values": [bytes(6), bytes(18)]}
    return encode({"ip": bytes(6), "r": answer, "t": transaction, "v": "XX00", "y": "r"})


def flooded(server, what, packets, before):
    """Sends packets as fast as it can, in bursts; the node's memory stays within bounds."""
    flood, peak, started = Flood(server), 0, time.monotonic()
    for number, (packet, source) in enumerate(packets):
        flood.send(packet, source)
        if number % 64 == 63:
            flood.receive()
        if number % 4096 == 4095:
            peak = max(peak, server.memory())
    flooding = time.monotonic() - started
    peak = max(peak, server.memory())
    server.alive(what)
    time.sleep(2.5)
    flood.receive()
    server.alive(what)
    worst, after = flood.fair(), server.memory()
    flood.socket.close()
    server.trial.check(peak - before <= GROWTH, f"{what} do not make the node grow by more than {GROWTH >> 20} MiB",
                       f"from {before >> 20} to {peak >> 20} MiB")
    server.trial.holds(f"{flood.packets} {what} from {len(flood.sent)} addresses, {flood.packets / flooding:.0f} a "
                       f"second: {before >> 20} MiB before, {peak >> 20} at most, {after >> 20} after; {worst:.2f} "
                       f"bytes got for one")


def floods(server):
    trial, chance = server.trial, server.trial.chance
    count = 20_000 if SHORT else 200_000
    before = server.memory()

    def anywhere():
        return bytes([127]) + chance.randbytes(2) + bytes([chance.randrange(1, 255)])

    def garbled_ones():
        for _ in range(count):
            yield garbled(chance, chance.choice(good)), anywhere()

    me, key = bytes(20), Key(chance.randbytes(32))
    good = [query("ping", id=me), query("find_node", id=me, target=me, want=["n4", "n6"]),
            query("get_peers", id=me, info_hash=me, scrape=1, noseed=1),
            query("announce_peer", id=me, info_hash=me, port=5, implied_port=1, seed=1, token=b"12345678"),
            query("get", id=me, target=me, seq=7), query("put", id=me, token=b"12345678", cas=5,
                                                         **key.item(b"v", 7, b"s")),
            query("sample_infohashes", id=me, target=me), query("x", id=me, target=me),
            encode({"e": [203, "x"], "t": "1234", "y": "e"}), full_response(me, b"1234")]

    flooded(server, "packets of random bytes", ((chance.randbytes(chance.randrange(1500)), anywhere())
                                                for _ in range(count)), before)
    flooded(server, "garbled messages", garbled_ones(), before)
    flooded(server, "pings with random ids", ((query("ping", id=chance.randbytes(20)), anywhere())
                                              for _ in range(count)), before)
    flooded(server, "get_peers of random swarms",
            ((query("get_peers", id=chance.randbytes(20), info_hash=chance.randbytes(20), scrape=1), anywhere())
             for _ in range(count)), before)
    flooded(server, "gets of random items from one address",
            ((query("get", id=bytes(20), target=chance.randbytes(20)), b"\x7f\0\0\x0b") for _ in range(count)), before)
    flooded(server, "datagrams of 64 kB", ((bytes(65_000), anywhere()) for _ in range(count // 20)), before)
    flooded(server, "responses with random transactions",
            ((encode({"r": {"id": bytes(20)}, "t": chance.randbytes(4), "y": "r"}), anywhere())
             for _ in range(count)), before)


def pipeline(peer, work, first, second):
    """Asks for a token for each piece of work and sends it back, many at a time; gives the answers by code."""
    codes = {}
    for start in range(0, len(work), 64):
        part = work[start:start + 64]
        for stage in (first, second):
            waiting = {}
            for number, piece in enumerate(part):
                packet = stage(piece, b"%d" % number)
                if packet:
                    peer.send(packet)
                    waiting[b"%d" % number] = piece
            while waiting:
                message = peer.receive(1)
                if message is None:
                    # A packet may be lost in a flood; the piece of work goes with it.
                    codes["lost"] = codes.get("lost", 0) + len(waiting)
                    break
                piece = waiting.pop(message[b"t"], None)
                if piece is None:
                    continue
                if stage is first:
                    piece["token"] = message.get(b"r", {}).get(b"token")
                else:
                    code = message[b"e"][0] if message[b"y"] == b"e" else 0
                    codes[code] = codes.get(code, 0) + 1
    return codes


def stores(server):
    """More swarms and items than the node keeps."""
    trial, chance = server.trial, server.trial.chance
    before = server.memory()
    peer = server.peer("127.0.0.12")
    peer.prove()
    swarms = [{"hash": chance.randbytes(20)} for _ in range(6000 if SHORT else 30_000)]
    codes = pipeline(peer, swarms, lambda w, t: query("get_peers", t, id=peer.id, info_hash=w["hash"]),
                     lambda w, t: w.get("token") and query("announce_peer", t, id=peer.id, info_hash=w["hash"],
                                                           port=7, token=w["token"]))
    server.alive()
    kept = sum(b"values" in peer.ask("get_peers", info_hash=w["hash"]) for w in chance.sample(swarms, 300)) / 300
    trial.check(codes.get(0, 0) > len(swarms) * 0.95, "announcements are taken", codes)
    trial.check(kept * len(swarms) < 1.4 * MOST_SWARMS, f"at most {MOST_SWARMS} swarms are kept",
                f"about {kept * len(swarms):.0f}")
    trial.holds(f"{len(swarms)} swarms were announced, about {kept * len(swarms):.0f} are kept; "
                f"{server.memory() >> 20} MiB")
    values = [{"v": number.to_bytes(4, "big") + bytes(992)} for number in range(MOST_ITEMS + (1000
                                                                                              if SHORT else 14_000))]
    for work in values:
        work["target"] = sha1(encode(work["v"]))
    codes = pipeline(peer, values, lambda w, t: query("get", t, id=peer.id, target=w["target"]),
                     lambda w, t: w.get("token") and query("put", t, id=peer.id, v=w["v"], token=w["token"]))
    server.alive()
    trial.check(codes.get(0, 0) > len(values) * 0.95, "items are taken", codes)
    sample = chance.sample(values, 300)
    kept = sum(b"v" in peer.ask("get", target=w["target"]) for w in sample) / 300
    trial.holds(f"{len(values)} items of 1,000 bytes were put, about {kept * len(values):.0f} are kept; "
                f"{server.memory() >> 20} MiB")
    grown = server.memory() - before
    trial.check(grown <= GROWTH, f"full stores take at most {GROWTH >> 20} MiB", grown >> 20)


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with Trial("dht_probe") as trial:
        findings = Findings(trial)
        servers = []
        try:
            v6 = has_v6()
            server = Server(trial, "home")
            servers.append(server)
            for part in (envelope, cut, methods, swarms, items, great_sequence, readable, table, one_id, amplification):
                findings.run(part, server)
            findings.run(sizes, trial, v6)
            for part in (families, six) if v6 else ():
                findings.run(part, trial)
            for part in (bogons, bootstrap, saved, values, asked_again, *([] if SHORT else [two_ids])):
                findings.run(part, trial)
            for part in (floods, stores):
                findings.run(part, server)
            figures = server.end()
            servers.remove(server)
            trial.check(figures["items"] <= MOST_ITEMS and figures["swarms"] <= MOST_SWARMS, "stores are bounded",
                        figures)
            trial.holds(f"the node ended with {figures['items']} items, {figures['swarms']} swarms, "
                        f"{figures['nodes']} nodes")
        finally:
            for server in servers:
                server.process.kill()
        findings.end()


def has_v6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        print("  no ::1 here; IPv4 alone is tried")
        return False


if __name__ == "__main__":
    main()
