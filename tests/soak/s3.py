#!/usr/bin/env python3
"""Kills the daemon (SIGKILL) while S3 clients put, copy, delete and put in parts; nothing acknowledged may be lost.

Each round some writers, each with keys of its own in two buckets, one of them with versions, ask as fast as they are
answered, until the daemon is killed at a random moment, every other time soon after a request of some kind was sent.
It is started again at the same port, now and then killed while it starts, and everything is looked at: each object
and each version is read, and objects, versions, uploads, their parts and what the daemon counts are listed. All must
be as it was acknowledged. The one request of each writer that had no answer must have been done as a whole or not at
all (of several keys to be deleted, each); which of both is settled then. Every ten rounds, and at the end, the daemon
is asked to end (SIGTERM), `offs verify` must find nothing, and after `offs gc` all must still be there. When all is
deleted, `offs gc` must give the room back.

The seed makes the same keys, contents and choices again; the moment at which a kill meets a request is the machine's.
The environment variables are those of program.py: OFFS, OFFS_SEED, SOAK=full|short, TMPDIR, KEEP=1. Prints a line a
round, then the sums, and ends with 1 when a promise is broken.
"""

import collections
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from content import content
from program import DONE, SHORT, Broken, Program, Trial

sys.path.append(str(Path(__file__).resolve().parent.parent / "interop"))
from s3_wire import Wire, elements, etag, local, md5, multipart_etag, quote, text  # noqa: E402

ROUNDS = 8 if SHORT else 100
# Between two times that the daemon ends by itself, and its store is verified and collected.
CALM = 10
WRITERS = 6
# Keys of one writer in the bucket without versions, those of them that may be large, and keys with versions.
KEYS, LARGE_KEYS, VERSIONED_KEYS = 40, 8, 5
MOST_VERSIONS = 4
MOST_UPLOADS = 2
PLAIN, VERSIONED = "soak-plain", "soak-versions"
PART = 5 << 20
# What is no longer than this is kept in the index at first.
SMALL = 256 << 10
# The daemon looks so many seconds after its start, and then as often, whether there is something to pack.
PACKING = 5
# A page that everything fits in.
WHOLE = 1000
STARTING = 30
ENDING = 60
# Half of the kills wait for one of these, but not longer than so many seconds.
AWAITED = ["put", "create", "copy", "delete", "delete-many", "delete-version", "part", "complete", "complete", "abort"]
WAITING = 1
# How long what is read wrong is read again, to tell what passes from what is lost.
AGAIN = 2
PRINTED = 8
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class Killed(Exception):
    """The daemon was killed before it answered."""


class Client(Wire):
    """Sends each request once, for one that was cut off may have been done."""

    sending = False

    def send(self, method, path, headers, body=b""):
        if self.sending:
            raise ConnectionResetError("the connection ended before the answer")
        self.sending = True
        try:
            return super().send(method, path, headers, body)
        finally:
            self.sending = False

    def close(self):
        if self.kept:
            self.kept.close()
        self.kept = None


# ---- what there should be


@dataclass(frozen=True)
class Made:
    """Content that its name makes again, and what is known of it."""
    name: str
    kind: str
    length: int
    etag: str
    digest: str

    def __str__(self):
        return f"{self.name} ({self.kind}, {self.length} bytes, {self.etag})"

    def bytes(self):
        return b"".join(parts_of(self.name, self.kind))


def parts_of(name, kind):
    """The parts that a content is put in; one, if it is not put in parts."""
    chance = random.Random(f"sizes {name}")
    if kind == "parts":
        sizes = [PART, chance.randrange(1, 200_000)]
    elif kind == "large":
        sizes = [chance.randrange(300_000, 3_000_000)]
    elif chance.random() < 0.1:
        sizes = [chance.choice([0, 1, SMALL - 1, SMALL, SMALL + 1])]
    else:
        sizes = [chance.randrange(100_000)]
    return [content(f"{name}/{number}", size) for number, size in enumerate(sizes)]


def make(name, kind):
    """A content and its parts."""
    parts = parts_of(name, kind)
    whole = b"".join(parts)
    tag = multipart_etag(parts) if kind == "parts" else etag(whole)
    return Made(name, kind, len(whole), tag, hashlib.sha256(whole).hexdigest()), parts


@dataclass
class Version:
    """A version of an object; its content is nothing when it is the mark of a deletion."""
    id: str | None
    made: Made | None


class Slot:
    """A key, and what is acknowledged of it. The newest version is the last; without versioning there is one at most."""

    def __init__(self, seed, bucket, name, kinds):
        self.seed, self.bucket, self.name, self.kinds = seed, bucket, name, kinds
        self.versioned = bucket == VERSIONED
        self.versions, self.number = [], 0
        self.past = collections.deque(maxlen=8)

    def __str__(self):
        return f"{self.bucket}/{self.name}"

    @property
    def current(self):
        return self.versions[-1].made if self.versions else None

    def next(self, kind):
        self.number += 1
        return make(f"{self.seed}/{self}/{self.number}", kind)

    def becomes(self, made, version):
        if self.versioned:
            self.versions.append(Version(version, made))
        else:
            self.versions = [Version(None, made)] if made else []

    def history(self):
        return [f"{self}: {one}" for one in self.past]


@dataclass
class Upload:
    """An upload that began and has not ended, and the parts that were acknowledged."""
    id: str
    slot: Slot
    made: Made
    parts: dict = field(default_factory=dict)

    def __str__(self):
        return f"upload {self.id} of {self.slot}, parts {sorted(self.parts)}"


@dataclass
class Flight:
    """A request that was not answered: what it was to change."""
    kind: str
    request: str
    # What keys were to become.
    news: dict = field(default_factory=dict)
    # An upload of this key was to begin, this upload to get a part or to end, this version to go.
    begun: Slot | None = None
    upload: Upload | None = None
    part: tuple | None = None
    gone: tuple | None = None

    def slots(self):
        """The keys that it is about."""
        slots = [self.begun, self.upload and self.upload.slot, self.gone and self.gone[0]]
        return list(dict.fromkeys([*self.news, *filter(None, slots)]))

    def __str__(self):
        news = "".join(f"; {slot} to become {made or 'nothing'}" for slot, made in self.news.items())
        return f"{self.kind}: {self.request}{news}"


# ---- the program


class Daemon(Program):
    """`offs serve` with a door for S3 clients."""

    def __init__(self, folder):
        super().__init__(folder / "home")
        self.log = folder / "daemon.log"
        self.address = f"127.0.0.1:{free_port()}"
        self.process = None
        self.started = 0.0
        self.home.mkdir()
        (self.home / "config.toml").write_text("[http]\non = false\n")
        self.access, self.secret = self.done("key", "create", "soak").lines[0].split()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def begin(self):
        command = self.command("serve", "--s3", self.address, "--no-lan", "--listen", "127.0.0.1:0")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.started = time.monotonic()

    def ready(self):
        """Waits until it listens; gives the seconds that it took."""
        host, port = self.address.split(":")
        while True:
            if self.process.poll() is not None:
                raise Broken("a daemon that is started runs", f"it ended with {self.process.returncode}", self.tail())
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
                return time.monotonic() - self.started
            if time.monotonic() > self.started + STARTING:
                raise Broken(f"a daemon listens within {STARTING} s", self.tail())
            time.sleep(0.01)

    def client(self):
        return Client(f"http://{self.address}", self.access, self.secret)

    def kill(self):
        """SIGKILL; gives how it ended, if that was before."""
        if not self.process:
            return None
        ended = self.process.poll()
        if ended is None:
            self.process.kill()
            self.process.wait(timeout=30)
        return ended

    def end(self):
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:
            raise Broken(f"a daemon ends within {ENDING} s after SIGTERM", self.tail()) from None
        if code != DONE:
            raise Broken("a daemon ends with 0 after SIGTERM", code, self.tail())

    def tail(self):
        return "the daemon said:\n" + self.log.read_text(errors="replace")[-3000:]


def free_port():
    """A port that nobody gets by chance while the daemon is down."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


# ---- lists


def pages(wire, bucket, query, names):
    """The answers to a list that is asked for page by page; `names` are those of markers in query and answer."""
    markers = []
    while True:
        answer = wire.ask("GET", bucket, query=[*query, *markers])
        if answer.status != 200:
            raise Broken("a list is given", f"{bucket} {query} {markers}: {answer}")
        yield answer
        if answer.first("IsTruncated") != "true":
            return
        before, markers = markers, [(ours, answer.first(theirs)) for ours, theirs in names]
        if before == markers or None in dict(markers).values():
            raise Broken("a list goes on after each page", f"{bucket} {query} {before} {markers}")


def list_objects(wire, bucket, most):
    """ETag and length of each key."""
    found = {}
    names = [("continuation-token", "NextContinuationToken")]
    for answer in pages(wire, bucket, [("list-type", 2), ("max-keys", most)], names):
        for one in elements(answer.xml(), "Contents"):
            key = text(one, "Key")
            if key in found:
                raise Broken("a key is listed once", bucket, key)
            found[key] = (text(one, "ETag"), int(text(one, "Size")))
    return found


def list_versions(wire, bucket, prefix, most):
    """For each key its versions and its marks, the newest first: id, ETag, length; and the id of the latest."""
    found = collections.defaultdict(lambda: ([], [], []))
    names = [("key-marker", "NextKeyMarker"), ("version-id-marker", "NextVersionIdMarker")]
    for answer in pages(wire, bucket, [("versions", ""), ("prefix", prefix), ("max-keys", most)], names):
        for one in answer.xml():
            if local(one) not in ("Version", "DeleteMarker"):
                continue
            versions, marks, latest = found[text(one, "Key")]
            if text(one, "IsLatest") == "true":
                latest.append(text(one, "VersionId"))
            if local(one) == "Version":
                versions.append((text(one, "VersionId"), text(one, "ETag"), int(text(one, "Size"))))
            else:
                marks.append(text(one, "VersionId"))
    return found


def list_uploads(wire, bucket, prefix, most):
    """Ids and keys."""
    found = {}
    names = [("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker")]
    for answer in pages(wire, bucket, [("uploads", ""), ("prefix", prefix), ("max-uploads", most)], names):
        for one in elements(answer.xml(), "Upload"):
            found[text(one, "UploadId")] = text(one, "Key")
    return found


def list_parts(wire, upload):
    """ETag and length of each part."""
    found = {}
    query = [("uploadId", upload.id), ("max-parts", 1)]
    answer = None
    while answer is None or answer.first("IsTruncated") == "true":
        more = [("part-number-marker", answer.first("NextPartNumberMarker"))] if answer else []
        answer = wire.ask("GET", upload.slot.bucket, upload.slot.name, [*query, *more])
        if answer.status != 200:
            raise Broken("the parts of an upload are listed", upload, answer)
        for one in elements(answer.xml(), "Part"):
            found[int(text(one, "PartNumber"))] = (text(one, "ETag"), int(text(one, "Size")))
    return found


def in_pages(what, wire, *place, most, wrong):
    """A list at once; in pages it must be the same."""
    whole, paged = what(wire, *place, WHOLE), what(wire, *place, most)
    if whole != paged:
        lines = [f"{one}: at once {whole.get(one)}, in pages {paged.get(one)}"
                 for one in sorted(whole.keys() | paged.keys()) if whole.get(one) != paged.get(one)]
        wrong("a list in pages is what it is at once", f"{what.__name__} {place} in pages of {most}", *lines[:PRINTED])
    return whole


# ---- who writes


class Writer:
    """One client with keys of its own: what it asks for, and what it knows."""

    def __init__(self, crash, number):
        self.crash, self.number = crash, number
        seed = crash.trial.seed
        self.chance = random.Random(f"{seed}/writer {number}")
        self.prefix = f"w{number}/"
        both, small = ["small", "large"], ["small"]
        self.plain = [Slot(seed, PLAIN, f"{self.prefix}{at:02}", both if at < LARGE_KEYS else small) for at in range(KEYS)]
        self.kept = [Slot(seed, VERSIONED, f"{self.prefix}{at:02}", both) for at in range(VERSIONED_KEYS)]
        self.uploads = []
        self.flight = None
        self.wire = None
        self.figures = collections.Counter()
        self.problems = []

    # Asking

    def ask(self, kind, method, slot, query=(), headers=(), body=b"", wanted=(200,), **flight):
        """A request that is to change something."""
        bucket, key = (slot, "") if isinstance(slot, str) else (slot.bucket, slot.name)
        request = f"{method} /{bucket}/{key} {dict(query)} {dict(headers)} with {len(body)} bytes"
        flight = Flight(kind, request, **flight)
        slots = flight.slots()
        if kind == self.crash.awaited:
            self.crash.met.set()
        try:
            answer = self.wire.ask(method, bucket, key, query, headers, body)
        except (OSError, http.client.HTTPException) as error:
            if not self.crash.killing.is_set():
                raise Broken("a daemon that is not killed answers", request, repr(error)) from error
            # What could not connect was not sent.
            if not isinstance(error, ConnectionRefusedError):
                self.flight = flight
                for slot in slots:
                    slot.past.append(f"round {self.crash.round}: in flight {flight}")
            raise Killed from error
        for slot in slots:
            slot.past.append(f"round {self.crash.round}: {answer.status} {flight}")
        if answer.status not in wanted or answer.status == 200 and b"<Error>" in answer.body:
            history = [line for slot in slots for line in slot.history()]
            raise Broken(f"this request is answered with {wanted}", request, answer, *history)
        return answer

    def wrote(self, slot, made, answer, tag):
        """A content is acknowledged."""
        version = answer.headers["x-amz-version-id"]
        if tag != made.etag or slot.versioned != (version is not None):
            raise Broken("a write is answered with its ETag, and its version if there are versions", made, answer, tag, version)
        slot.becomes(made, version)
        self.figures["writes"] += 1

    # Requests

    def put(self, slot, kind=None):
        made, parts = slot.next(kind or self.chance.choice(slot.kinds))
        answer = self.ask("put", "PUT", slot, body=parts[0], news={slot: made})
        self.wrote(slot, made, answer, answer.headers["ETag"])

    def create(self, slot):
        """Puts what is not there; what is there stays."""
        made, parts = slot.next(self.chance.choice(slot.kinds))
        headers = [("If-None-Match", "*")]
        if slot.current:
            self.ask("create", "PUT", slot, headers=headers, body=parts[0], wanted=(412,))
            # The answer may have come before the body was taken.
            self.wire.close()
            self.figures["refused"] += 1
            return
        answer = self.ask("create", "PUT", slot, headers=headers, body=parts[0], news={slot: made})
        self.wrote(slot, made, answer, answer.headers["ETag"])

    def copy(self, slot):
        """Copies whatever fits."""
        fits = [one for one in self.plain + self.kept if one is not slot and one.current
                and (one.current.kind == "small" or "large" in slot.kinds)]
        if not fits:
            return
        source = self.chance.choice(fits)
        headers = [("x-amz-copy-source", quote(str(source), "/-_.~"))]
        answer = self.ask("copy", "PUT", slot, headers=headers, news={slot: source.current})
        self.wrote(slot, source.current, answer, answer.first("ETag"))

    def marked(self, slot, version):
        if slot.versioned != (version is not None):
            raise Broken("a deletion makes a mark if there are versions", slot, version)
        slot.becomes(None, version)
        self.figures["deletes"] += 1

    def delete(self, slot):
        answer = self.ask("delete", "DELETE", slot, wanted=(204,), news={slot: None})
        self.marked(slot, answer.headers["x-amz-version-id"])

    def delete_many(self, slots):
        chosen = self.chance.sample(slots, self.chance.randint(2, min(6, len(slots))))
        body = "".join(f"<Object><Key>{slot.name}</Key></Object>" for slot in chosen)
        body = f"<Delete {NAMESPACE}>{body}</Delete>".encode()
        answer = self.ask("delete-many", "POST", chosen[0].bucket, query=[("delete", "")],
                          headers=[("Content-MD5", md5(body))], body=body, news=dict.fromkeys(chosen))
        said = {text(one, "Key"): text(one, "DeleteMarkerVersionId") for one in elements(answer.xml(), "Deleted")}
        if said.keys() != {slot.name for slot in chosen}:
            raise Broken("everything that is to be deleted is", [str(slot) for slot in chosen], answer.body)
        for slot in chosen:
            self.marked(slot, said[slot.name])

    def drop_version(self, slot):
        """Deletes the oldest version for good."""
        oldest = slot.versions[0]
        self.ask("delete-version", "DELETE", slot, [("versionId", oldest.id)], wanted=(204,), gone=(slot, oldest))
        slot.versions.remove(oldest)
        self.figures["deletes"] += 1

    def begin_upload(self, slot):
        made, _ = slot.next("parts")
        answer = self.ask("begin", "POST", slot, [("uploads", "")], begun=slot)
        upload = Upload(answer.first("UploadId"), slot, made)
        self.uploads.append(upload)
        self.go_on(upload)

    def go_on(self, upload):
        """Puts what parts an upload lacks, and ends it or leaves it for a later round."""
        for number, part in enumerate(parts_of(upload.made.name, "parts"), 1):
            if number not in upload.parts:
                about = (etag(part), len(part))
                answer = self.ask("part", "PUT", upload.slot, [("partNumber", number), ("uploadId", upload.id)], body=part,
                                  upload=upload, part=(number, about))
                if answer.headers["ETag"] != about[0]:
                    raise Broken("a part is answered with its ETag", upload, number, answer.headers["ETag"])
                upload.parts[number] = about
        what = self.chance.choices([self.complete, self.abort, lambda _: None], [75, 15, 10])[0]
        what(upload)

    def complete(self, upload):
        answer = self.ask("complete", "POST", upload.slot, [("uploadId", upload.id)], body=completion(upload),
                          news={upload.slot: upload.made}, upload=upload)
        self.wrote(upload.slot, upload.made, answer, answer.first("ETag"))
        self.uploads.remove(upload)
        self.figures["completions"] += 1

    def abort(self, upload):
        self.ask("abort", "DELETE", upload.slot, [("uploadId", upload.id)], wanted=(204,), upload=upload)
        self.uploads.remove(upload)
        self.figures["aborts"] += 1

    # Rounds

    def one_thing(self):
        slots = self.kept if self.chance.random() < 0.15 else self.plain
        slot = self.chance.choice(slots)
        if slot.versioned and len(slot.versions) >= MOST_VERSIONS:
            return self.drop_version(slot)
        what = self.chance.choices(["put", "large", "delete", "many", "parts", "copy", "create"], [48, 8, 10, 2, 5, 12, 15])[0]
        if what == "large":
            large = self.chance.choice(self.plain[:LARGE_KEYS] + self.kept)
            return self.put(large, "large")
        if what == "parts":
            if len(self.uploads) >= MOST_UPLOADS:
                return self.go_on(self.chance.choice(self.uploads))
            return self.begin_upload(self.chance.choice(self.plain[:LARGE_KEYS] + self.kept[:1]))
        if what == "many":
            return self.delete_many(slots)
        return {"put": self.put, "delete": self.delete, "copy": self.copy, "create": self.create}[what](slot)

    def work(self):
        """Asks and asks until the daemon is killed."""
        self.wire = self.crash.daemon.client()
        try:
            for upload in self.uploads[:]:
                if self.chance.random() < 0.7:
                    self.go_on(upload)
            while not self.crash.killing.is_set():
                self.one_thing()
        except Killed:
            pass
        except Broken as broken:
            self.wrong(*broken.args)
        finally:
            self.wire.close()

    def fill(self):
        """Something to begin with."""
        self.wire = self.crash.daemon.client()
        for slot in self.plain + self.kept:
            if self.chance.random() < 0.8:
                self.put(slot, "small")
        self.wire.close()

    # Looking

    def wrong(self, promise, *seen):
        self.problems.append((promise, *map(str, seen)))

    def inspect(self):
        """Reads and lists all that is this writer's; settles what became of the request without an answer."""
        flight, self.flight = self.flight, None
        self.wire = self.crash.daemon.client()
        try:
            done = [self.inspect_plain(slot, flight) for slot in self.plain]
            done += self.inspect_versions(flight)
            done += self.inspect_uploads(flight)
        except Broken as broken:
            self.wrong(*broken.args, flight)
            done = []
        except (OSError, http.client.HTTPException) as error:
            self.wrong("a daemon that is not killed answers", repr(error))
            done = []
        finally:
            self.wire.close()
        if flight:
            self.figures["flights"] += 1
            self.figures[f"flights {flight.kind}"] += 1
            if any(done):
                self.figures["done"] += 1
                self.figures[f"done {flight.kind}"] += 1

    def read(self, slot, allowed, version=None):
        """Reads an object; gives which of the allowed contents it is."""
        query = [("versionId", version)] if version else []
        answer = self.wire.ask("GET", slot.bucket, slot.name, query)
        self.figures["reads"] += 1
        fits, found = fitting(answer, allowed)
        if fits:
            return found
        began = time.monotonic()
        age = f"{began - self.crash.daemon.started:.2f} s after the daemon's start"
        # Whether it is so for good.
        while not fits and time.monotonic() < began + AGAIN:
            fits, _ = fitting(self.wire.ask("GET", slot.bucket, slot.name, query), allowed)
        later = f"asked again, it is {'right' if fits else 'wrong'} after {time.monotonic() - began:.3f} s"
        wanted = " or ".join(str(made or "nothing") for made in allowed)
        raise Broken("an object is what was acknowledged, or what was asked for at last", f"{slot} {query}: wanted {wanted}",
                     f"found {answer.status}, {len(answer.body)} bytes, ETag {answer.headers['ETag']}, {age}; {later}",
                     *difference(answer, allowed), *slot.history())

    def inspect_plain(self, slot, flight):
        """Whether the flight has changed it."""
        flying = flight is not None and slot in flight.news
        allowed = [slot.current, *([flight.news[slot]] if flying else [])]
        try:
            found = self.read(slot, allowed)
        except Broken as broken:
            self.wrong(*broken.args)
            return False
        if not flying or found != flight.news[slot]:
            return False
        slot.becomes(found, None)
        return True

    def inspect_versions(self, flight):
        """Whether the flight has changed them, for each key."""
        most = self.chance.randint(1, 30)
        listed = in_pages(list_versions, self.wire, VERSIONED, self.prefix, most=most, wrong=self.wrong)
        for name in listed.keys() - {slot.name for slot in self.kept}:
            self.wrong("only what was written is listed", VERSIONED, name, listed[name])
        done = []
        for slot in self.kept:
            try:
                done.append(self.inspect_kept(slot, flight, *listed[slot.name]))
            except Broken as broken:
                self.wrong(*broken.args)
        return done

    def inspect_kept(self, slot, flight, versions, marks, latest):
        about = [f"{slot}: listed versions {versions}, marks {marks}, latest {latest}",
                 f"acknowledged {slot.versions}", f"in flight {flight}", *slot.history()]
        known = {version.id for version in slot.versions}
        found = {*marks, *(version for version, _, _ in versions)}
        lost, more = known - found, found - known
        done = False
        if flight and flight.gone and flight.gone[0] is slot and lost == {flight.gone[1].id}:
            slot.versions.remove(flight.gone[1])
            done = True
        elif lost:
            raise Broken("every version that was acknowledged is listed", f"lacking {lost}", *about)
        if len(more) == 1 and flight and slot in flight.news:
            version, made = more.pop(), flight.news[slot]
            if (version in marks) != (made is None) or latest != [version]:
                raise Broken("a version of which nobody was told is what was asked for at last", version, *about)
            slot.becomes(made, version)
            done = True
        elif more:
            raise Broken("only versions that were written are listed", f"more are {more}", *about)
        newest = slot.versions[::-1]
        wanted = ([(one.id, one.made.etag, one.made.length) for one in newest if one.made],
                  [one.id for one in newest if not one.made], [one.id for one in newest[:1]])
        if wanted != (versions, marks, latest):
            raise Broken("versions are listed as they were acknowledged", f"wanted {wanted}", *about)
        for one in newest:
            if one.made:
                self.read(slot, [one.made], one.id)
        self.read(slot, [slot.current])
        return done

    def inspect_uploads(self, flight):
        """Whether the flight has changed them."""
        done = []
        kind = flight and flight.kind
        everything = {}
        for bucket in (PLAIN, VERSIONED):
            most = self.chance.randint(1, 4)
            listed = in_pages(list_uploads, self.wire, bucket, self.prefix, most=most, wrong=self.wrong)
            everything |= {upload: (bucket, key) for upload, key in listed.items()}
        completed = kind == "complete" and any(slot.current == made for slot, made in flight.news.items())
        if completed:
            if flight.upload.id in everything:
                self.wrong("an upload that is completed is not listed", flight.upload, flight, *flight.upload.slot.history())
            self.uploads.remove(flight.upload)
        for upload in self.uploads[:]:
            at = everything.pop(upload.id, None)
            if at is None and kind == "abort" and flight.upload is upload:
                self.uploads.remove(upload)
                done.append(True)
            elif at != (upload.slot.bucket, upload.slot.name):
                self.wrong("an upload that has not ended is listed", upload, f"found at {at}", flight, *upload.slot.history())
                self.uploads.remove(upload)
            else:
                done.append(self.inspect_parts(upload, flight))
        for upload, (bucket, key) in everything.items():
            if kind == "begin" and (bucket, key) == (flight.begun.bucket, flight.begun.name) and len(everything) == 1:
                # Nobody knows its id but from the list.
                self.ask("abort", "DELETE", flight.begun, [("uploadId", upload)], wanted=(204,))
                done.append(True)
            else:
                self.wrong("only uploads that have begun and not ended are listed", bucket, key, upload, flight)
        if kind == "complete" and self.chance.random() < 0.5:
            self.complete_again(flight.upload, completed)
        return done

    def inspect_parts(self, upload, flight):
        found = list_parts(self.wire, upload)
        done = False
        if flight and flight.upload is upload and flight.part and found.keys() - upload.parts.keys() == {flight.part[0]}:
            upload.parts[flight.part[0]] = flight.part[1]
            done = True
        if found != upload.parts:
            self.wrong("an upload has the parts that were acknowledged", upload, f"wanted {upload.parts}", f"found {found}",
                       flight)
        return done

    def complete_again(self, upload, completed):
        """Who was not told of a completion asks again."""
        if not completed:
            return self.complete(upload)
        slot = upload.slot
        answer = self.ask("complete", "POST", slot, [("uploadId", upload.id)], body=completion(upload))
        version = answer.headers["x-amz-version-id"]
        if answer.first("ETag") != upload.made.etag or version != slot.versions[-1].id:
            self.wrong("a completion that is asked for again is answered like the first one", upload, answer, version,
                       *slot.history())
        return None

    def empty(self):
        """Deletes everything."""
        self.wire = self.crash.daemon.client()
        for upload in self.uploads[:]:
            self.abort(upload)
        for at in range(0, KEYS, 20):
            slots = self.plain[at:at + 20]
            body = "".join(f"<Object><Key>{slot.name}</Key></Object>" for slot in slots)
            body = f"<Delete {NAMESPACE}><Quiet>true</Quiet>{body}</Delete>".encode()
            self.ask("delete-many", "POST", PLAIN, [("delete", "")], [("Content-MD5", md5(body))], body)
            for slot in slots:
                slot.becomes(None, None)
        for slot in self.kept:
            while slot.versions:
                self.drop_version(slot)
        self.wire.close()


def completion(upload):
    parts = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
                    for number, (tag, _) in sorted(upload.parts.items()))
    return f"<CompleteMultipartUpload {NAMESPACE}>{parts}</CompleteMultipartUpload>".encode()


def fitting(answer, allowed):
    """Whether an object that was read is one of the allowed contents, and which; the last, if it is several."""
    if answer.status == 404 and answer.code == "NoSuchKey":
        return None in allowed, None
    found = (hashlib.sha256(answer.body).hexdigest(), answer.headers["ETag"], len(answer.body))
    for made in reversed(allowed):
        if answer.status == 200 and made and found == (made.digest, made.etag, made.length):
            return True, made
    return False, None


def difference(answer, allowed):
    """Where a content differs from those that are allowed."""
    if answer.status != 200:
        return [f"it says {answer.body[:500]!r}"]
    found = []
    for made in filter(None, allowed):
        wanted = made.bytes()
        same = next((at for at, (one, other) in enumerate(zip(wanted, answer.body)) if one != other), None)
        if same is None and len(wanted) == len(answer.body):
            found.append(f"the bytes are those of {made}")
        else:
            found.append(f"differs from {made} at byte {min(len(wanted), len(answer.body)) if same is None else same}")
    return found


# ---- rounds


class Crash:
    def __init__(self, trial, daemon):
        self.trial, self.daemon, self.chance = trial, daemon, trial.chance
        self.killing = threading.Event()
        # The kind of request that a kill is to meet, and that one is sent.
        self.awaited, self.met = None, threading.Event()
        self.round = 0
        self.slowest = 0.0
        self.writers = [Writer(self, number) for number in range(WRITERS)]

    def all(self, what):
        """Lets all writers do something at once; what they saw wrong is told."""
        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(what, self.writers))
        self.judge()

    def judge(self):
        problems = [problem for writer in self.writers for problem in writer.problems]
        if not problems:
            return
        seen = []
        for promise, *about in problems[:PRINTED]:
            seen += [promise, *(f"    {line}" for line in about)]
        raise Broken(f"{len(problems)} promises in round {self.round}", *seen, self.daemon.tail())

    def wrong(self, promise, *seen):
        raise Broken(f"{promise} (round {self.round})", *seen)

    def sum(self, what):
        return sum(writer.figures[what] for writer in self.writers)

    def start(self):
        self.daemon.begin()
        self.slowest = max(self.slowest, self.daemon.ready())

    def buckets(self):
        """Makes the buckets and something in them."""
        wire = self.daemon.client()
        for bucket in (PLAIN, VERSIONED):
            answer = wire.ask("PUT", bucket)
            self.trial.check(answer.status == 200, "a bucket can be made", answer)
        body = f"<VersioningConfiguration {NAMESPACE}><Status>Enabled</Status></VersioningConfiguration>".encode()
        answer = wire.ask("PUT", VERSIONED, query=[("versioning", "")], headers=[("Content-MD5", md5(body))], body=body)
        self.trial.check(answer.status == 200, "a bucket can have versions", answer)
        wire.close()
        self.all(Writer.fill)

    def inspect(self):
        """Everything must be as the writers know it."""
        self.all(Writer.inspect)
        wire = self.daemon.client()
        counts = {}
        for bucket in (PLAIN, VERSIONED):
            slots = [slot for writer in self.writers for slot in (writer.plain if bucket == PLAIN else writer.kept)]
            wanted = {slot.name: (slot.current.etag, slot.current.length) for slot in slots if slot.current}
            most = self.chance.randint(10, 150)
            found = in_pages(list_objects, wire, bucket, most=most, wrong=self.wrong)
            wrong = [f"{name}: wanted {wanted.get(name)}, listed {found.get(name)}"
                     for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
            self.trial.check(not wrong, f"exactly what is there is listed (round {self.round})", *wrong[:PRINTED],
                             self.daemon.tail())
            self.trial.check(list(found) == sorted(found), "keys are listed in their order", *found)
            versions = [version for slot in slots for version in slot.versions]
            parts = [length for writer in self.writers for upload in writer.uploads if upload.slot.bucket == bucket
                     for _, length in upload.parts.values()]
            counts[bucket] = (len(versions), sum(version.made.length for version in versions if version.made) + sum(parts))
        wire.close()
        self.compare_counts(counts)
        log = self.daemon.log.read_text(errors="replace")
        self.trial.check("panicked" not in log, "no daemon panics", self.daemon.tail())

    def compare_counts(self, counts):
        """What the daemon counts must be what there is."""
        outcome = self.daemon.done("status", "--json")
        told = json.loads(outcome.out)["buckets"]
        for bucket, wanted in counts.items():
            found = tuple(told[bucket][what] for what in ("objects", "bytes"))
            self.trial.check(found == wanted, f"as many objects and bytes are counted as there are (round {self.round})",
                             f"{bucket}: counted {found}, there are {wanted}", told)

    def kill(self):
        """Lets the writers write, and kills the daemon meanwhile; gives the seconds that it lived among them."""
        moment = self.chance.uniform(0.2, 1.5)
        if self.chance.random() < 0.1:
            # Small objects are packed then.
            moment = max(moment, PACKING + self.chance.uniform(-0.05, 0.3) - (time.monotonic() - self.daemon.started))
        with ThreadPoolExecutor(WRITERS) as threads:
            began = time.monotonic()
            working = [threads.submit(writer.work) for writer in self.writers]
            try:
                while time.monotonic() < began + moment and not any(one.done() for one in working):
                    time.sleep(min(0.02, max(0, began + moment - time.monotonic())))
                if self.chance.random() < 0.5:
                    self.met.clear()
                    self.awaited = self.chance.choice(AWAITED)
                    self.met.wait(WAITING)
                    time.sleep(self.chance.uniform(0, 0.1))
            finally:
                self.awaited = None
                self.killing.set()
                ended = self.daemon.kill()
            lived = time.monotonic() - began
            for one in working:
                one.result()
        self.killing.clear()
        self.trial.check(ended is None, "a daemon that is not killed lives", f"it ended with {ended}", self.daemon.tail())
        self.judge()
        return lived

    def calm(self):
        """Lets the daemon end, and looks at its store."""
        self.daemon.end()
        verified = self.daemon.done("verify", seconds=300)
        collected = self.daemon.done("gc", seconds=300)
        before = time.monotonic()
        self.start()
        self.inspect()
        stats = json.loads(self.daemon.done("stats", "--json").out)
        self.trial.holds(f"{self.round}: verify finds nothing ({verified.seconds:.1f} s), after gc "
                         f"({collected.seconds:.1f} s) all is there ({time.monotonic() - before:.1f} s), "
                         f"{stats['bytes'] >> 20} MiB")

    def one_round(self):
        began = time.monotonic()
        before = {what: self.sum(what) for what in ("writes", "deletes", "completions", "flights", "done", "reads")}
        lived = self.kill()
        early = 0
        while self.chance.random() < 0.25:
            # And once more, while it starts and packs what is small.
            self.daemon.begin()
            time.sleep(self.chance.uniform(0, 0.4))
            ended = self.daemon.kill()
            self.trial.check(ended is None, "a daemon that is started lives", f"it ended with {ended}", self.daemon.tail())
            early += 1
        self.start()
        self.inspect()
        made = {what: self.sum(what) - old for what, old in before.items()}
        again = f", {early} times while it started" if early else ""
        self.trial.holds(f"{self.round}: killed after {lived:.2f} s{again}; acknowledged {made['writes']} writes, "
                         f"{made['deletes']} deletes, {made['completions']} completions; {made['done']} of "
                         f"{made['flights']} in flight are done; {made['reads']} reads; {time.monotonic() - began:.1f} s")

    def finish(self):
        """With nothing left, nothing may take room."""
        self.all(Writer.empty)
        self.inspect()
        wire = self.daemon.client()
        for bucket in (PLAIN, VERSIONED):
            answer = wire.ask("DELETE", bucket)
            self.trial.check(answer.status == 204, "an empty bucket can be deleted", bucket, answer)
        wire.close()
        self.daemon.end()
        self.daemon.done("verify", seconds=300)
        outcome = self.daemon.done("gc", seconds=300)
        left = json.loads(self.daemon.done("stats", "--json").out)["bytes"]
        self.trial.check(left < 1 << 20, "with nothing left in buckets, gc gives all room back", outcome,
                         f"{left} bytes are left")
        self.trial.holds("with nothing left in buckets, gc gives all room back")

    def tell(self):
        kinds = sorted({what.removeprefix("flights ") for writer in self.writers for what in writer.figures
                        if what.startswith("flights ")})
        each = ", ".join(f"{kind} {self.sum(f'done {kind}')} of {self.sum(f'flights {kind}')}" for kind in kinds)
        print(f"  {self.round} rounds: {self.sum('writes')} acknowledged writes, {self.sum('deletes')} deletes, "
              f"{self.sum('completions')} multipart completions; {self.sum('flights')} requests in flight at kills, "
              f"{self.sum('done')} of them done ({each}); {self.sum('reads')} reads; slowest start {self.slowest:.2f} s",
              flush=True)


def main():
    with Trial("s3") as trial, Daemon(trial.folder) as daemon:
        crash = Crash(trial, daemon)
        crash.start()
        crash.buckets()
        try:
            for crash.round in itertools.count(1):
                crash.one_round()
                if crash.round % CALM == 0 or crash.round == ROUNDS:
                    crash.calm()
                if crash.round == ROUNDS:
                    break
        finally:
            crash.tell()
        # How many of those in flight were done is up to chance.
        trial.check(min(map(crash.sum, ("writes", "deletes", "completions", "flights"))) > 0,
                    "a trial tries everything")
        crash.finish()


if __name__ == "__main__":
    main()
