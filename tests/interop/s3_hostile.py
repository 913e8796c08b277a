"""Cells of one who means harm, or whose program is broken: the server answers with an error or closes, stores nothing,
keeps its memory, and goes on to serve others."""

import hashlib
import random
import re
import socket
import time

from s3_cell import MIB, Cells, among, bytes_of, check, refused, same
from s3_raw import answered, begin
from s3_wire import SIGNED_CHUNKS, UNSIGNED, head, md5, now, target

CELLS = Cells("hostile")
# What one hostile request may make the server's memory grow by.
GROWTH = 96 * MIB


def cell(function=None, **settings):
    """A cell after which the server must still serve, within its memory."""
    def make(function):
        def guarded(site):
            before = site.memory()
            function(site)
            began = time.monotonic()
            name = site.bucket()
            site.put(name, "k", b"still here")
            site.get(name, "k", b"still here")
            check(time.monotonic() - began < 5, "the server is slow afterwards")
            grown = (site.memory() or 0) - (before or 0)
            check(grown < GROWTH, f"the server's memory grew by {grown >> 20} MiB")
        guarded.__name__ = function.__name__
        return CELLS.cell(guarded, **settings)
    return make(function) if function else make


def signed_head(site, method, path, headers=(), payload=UNSIGNED):
    return site.wire.signed(method, path, [], list(headers), payload)[0]


def closed_or(answer, *statuses):
    """The connection was closed without an answer, or the answer is one of these."""
    if answer is not None:
        among("status", answer.status, statuses)


@cell
def headers_twice(site):
    name = site.bucket()
    site.put(name, "k", b"before")
    path, body = f"/{name}/k", b"evil"
    good = [*signed_head(site, "PUT", path, payload=hashlib.sha256(body).hexdigest()), ("Content-Length", "4")]
    for header, other in (("Host", "other.example"), ("Authorization", good[3][1][:-4] + "0000"),
                          ("x-amz-content-sha256", UNSIGNED), ("x-amz-date", now(-5)), ("Content-Length", "5"),
                          ("Content-Length", "+4"), ("Transfer-Encoding", "chunked")):
        for headers in ([*good, (header, other)], [(header, other), *good]):
            answer = site.wire.raw(head("PUT", path, headers) + body)
            closed_or(answer, 400, 403, 411, 501)
    site.get(name, "k", b"before")


@cell
def smuggling(site):
    """A length that is told in two ways must not make a second request of the rest."""
    name = site.bucket()
    path = f"/{name}/k"
    inner = head("PUT", f"/{name}/smuggled", [*signed_head(site, "PUT", f"/{name}/smuggled"), ("Content-Length", "1")]) + b"x"
    for headers in ([("Content-Length", str(5 + len(inner))), ("Transfer-Encoding", "chunked")],
                    [("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
                    [("Transfer-Encoding", "xchunked")], [("Transfer-Encoding", "chunked, identity")],
                    [("Transfer-Encoding ", "chunked")], [("Content-Length", "0x5")], [("Content-Length", "-1")],
                    [("Content-Length", "99999999999999999999999")], [("Content-Length", "")]):
        data = head("PUT", path, [*signed_head(site, "PUT", path), *headers]) + b"0\r\n\r\n" + inner
        answer = site.wire.raw(data, 5, linger=0.2)
        if ("Content-Length", "5") not in headers and len(headers) == 1:
            closed_or(answer, 400, 403, 411, 413, 501)
    answer = site.wire.ask("HEAD", name, "smuggled")
    same("status of the smuggled object", answer.status, 404)


@cell
def dots_in_paths(site):
    name, other = site.bucket(), site.bucket()
    site.put(other, "k", b"closed")
    for path in (f"/{name}/../{other}/k", f"/{name}/..%2f{other}%2fk", f"/{name}/%2e%2e/{other}/k", f"/{name}/./k",
                 f"/../{other}/k", f"/{name}/../../../../../../etc/passwd", f"/{name}/..%2f..%2f..%2f..%2fetc%2fpasswd",
                 f"/{name}/a/../b", f"/{name}/..", f"/{name}/.", f"/{name}/%2e%2e", f"/{name}/..\\..\\x"):
        for method in ("PUT", "GET", "DELETE"):
            answer = site.wire.ask(method, path=path, body=b"evil" if method == "PUT" else b"")
            check(answer.body != b"closed" and b"root:" not in answer.body, f"{method} {path} reads {answer.body[:60]}")
            check(answer.status < 500, f"{method} {path}: {answer}")
    site.get(other, "k", b"closed")
    same("keys of the other bucket", answered(site.wire.ask("GET", other)).all("Contents/Key"), ["k"])
    for bucket in ("..", ".", "%2e%2e", "%2f", "..%2f..", "%00", "a%00b", "\u00fc"):
        path = f"/{bucket}/etc/passwd".encode().decode("latin-1")
        answer = site.wire.raw(head("GET", path, signed_head(site, "GET", path)), 5)
        closed_or(answer, 400, 403, 404)


@cell
def odd_bytes_in_paths(site):
    name = site.bucket()
    for text in ("%00", "a%00b", "%ff%fe", "%c0%ae%c0%ae/", "%zz", "%", "%2", "%ed%a0%80", "a%0d%0aSet-Cookie:x"):
        path = f"/{name}/{text}"
        for method in ("PUT", "GET"):
            answer = site.wire.ask(method, path=path, body=b"x" if method == "PUT" else b"")
            check(answer.status < 500, f"{method} {path}: {answer}")
            same("smuggled header", answer.headers["Set-Cookie"], None)
    answered(site.wire.ask("GET", name, query=[("list-type", 2), ("encoding-type", "url")]))


@cell
def bad_requests(site):
    host = f"Host: {site.wire.host}\r\n".encode()
    for data in (b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n" + host + b"\r\n", b"GET / HTTP/1.1\r\n\r\n",
                 b"GET  / HTTP/1.1\r\n" + host + b"\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100,
                 b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
                 b"GET /\x00 HTTP/1.1\r\n" + host + b"\r\n", b"GET / HTTP/1.1\r\n" + host + b" folded: x\r\n\r\n",
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n" + host + b"\r\n",
                 b"GET http://other.example/ HTTP/1.1\r\n" + host + b"\r\n", b"OPTIONS * HTTP/1.1\r\n" + host + b"\r\n",
                 b"TRACE / HTTP/1.1\r\n" + host + b"\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        # With its writing side closed, or the server rightly waits for more.
        answer = site.wire.raw(data, 5, end=True)
        check(answer is None or answer.status not in (200, 500), f"{data[:40]!r}: {answer}")


@cell
def wrong_chunk_signature(site):
    name = site.bucket()
    site.put(name, "k", b"before")
    chunks = [bytes_of(65536, number) for number in range(8)]
    for wrong in (0, 4, 7, 8):
        answer = site.wire.stream(name, "k", chunks, wrong=wrong)
        refused(answer, 403, "SignatureDoesNotMatch")
    site.get(name, "k", b"before")
    refused(site.wire.stream(name, "new", chunks, wrong=5), 403, "SignatureDoesNotMatch")
    site.absent(name, "new")


@cell
def wrong_trailer_signature(site):
    from s3_wire import SIGNED_CHUNKS_TRAILER, checksum
    name, chunks = site.bucket(), [bytes_of(65536)]
    trailer = ("x-amz-checksum-crc32", checksum("crc32", chunks[0]))
    answer = site.wire.stream(name, "k", chunks, SIGNED_CHUNKS_TRAILER, trailer, wrong_trailer=True)
    refused(answer, (400, 403), "SignatureDoesNotMatch")
    site.absent(name, "k")


@cell
def chunks_moved_and_lost(site):
    """Whoever carries the bytes may neither swap, repeat nor leave out chunks."""
    name = site.bucket()
    path, when = f"/{name}/k", now()
    chunks = [bytes_of(8192, number) for number in range(4)]
    headers = [("Content-Encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(4 * 8192))]
    headers, seed = site.wire.signed("PUT", path, [], headers, SIGNED_CHUNKS, when)
    body = site.wire.chunked(chunks, seed, when)
    size = len(body.partition(b"\r\n")[0]) + 2 + 8192 + 2
    pieces, end = [body[number * size:(number + 1) * size] for number in range(4)], body[4 * size:]
    for changed in ([pieces[1], pieces[0], *pieces[2:], end], [*pieces[:3], pieces[2], end], [*pieces[:3], end],
                    [*pieces, pieces[3], end], [*pieces], [end]):
        answer = site.wire.send("PUT", path, headers, b"".join(changed))
        refused(answer, (400, 403))
        site.absent(name, "k")


@cell
def wrong_decoded_length(site):
    name, chunks = site.bucket(), [bytes_of(65536, 1), b"end"]
    for length in (65536, 65538, 65540, 0, 1, 10**12):
        answer = site.wire.stream(name, "k", chunks, length=length)
        refused(answer, (400, 411, 413))
        site.absent(name, "k")
    for value in ("-1", "x", str(2**64), "+65539", ""):
        path, when = f"/{name}/k", now()
        headers, seed = site.wire.signed("PUT", path, [], [("x-amz-decoded-content-length", value)], SIGNED_CHUNKS, when)
        refused(site.wire.send("PUT", path, headers, site.wire.chunked(chunks, seed, when)), (400, 403, 411))
        site.absent(name, "k")


@cell
def bad_chunk_frames(site):
    name = site.bucket()
    path = f"/{name}/k"
    for body in (b"ffffffffffffffff;chunk-signature=" + b"0" * 64 + b"\r\nabc", b"-1\r\n\r\n", b"zz\r\n", b"0x5\r\nhello\r\n",
                 b"5;" + b"x" * MIB, b"1" * MIB, b"\r\n" * 1000, b"5\nhello\n0\n\n", b""):
        headers = signed_head(site, "PUT", path, [("x-amz-decoded-content-length", "5")], SIGNED_CHUNKS)
        data = head("PUT", path, [*headers, ("Content-Length", str(len(body)))]) + body
        closed_or(site.wire.raw(data, 10), 400, 403)
        site.absent(name, "k")


@cell
def body_cut_short(site):
    name = site.bucket()
    site.put(name, "k", b"before")
    for key in ("k", "new"):
        path = f"/{name}/{key}"
        for payload in (UNSIGNED, hashlib.sha256(b"x" * 1000).hexdigest()):
            data = head("PUT", path, [*signed_head(site, "PUT", path, payload=payload), ("Content-Length", "3000000")])
            closed_or(site.wire.raw(data + b"x" * 1000, 5, end=True), 400, 408)
            with site.wire.connect() as connection:
                connection.sendall(data + b"x" * 2_000_000)
    upload = begin(site, name, "m")
    path = f"/{name}/m"
    headers, _ = site.wire.signed("PUT", path, [("partNumber", "1"), ("uploadId", upload)], [], UNSIGNED)
    data = head("PUT", target(path, [("partNumber", "1"), ("uploadId", upload)]), [*headers, ("Content-Length", "3000000")])
    closed_or(site.wire.raw(data + b"x" * 1000, 5, end=True), 400, 403, 408)
    time.sleep(0.3)
    site.get(name, "k", b"before")
    site.absent(name, "new")
    same("parts", answered(site.wire.ask("GET", name, "m", [("uploadId", upload)])).all("Part/PartNumber"), [])


@cell
def more_than_five_terabytes(site):
    name = site.bucket()
    path = f"/{name}/k"
    for length in (5 * 2**40 + 1, 2**63 - 1):
        data = head("PUT", path, [*signed_head(site, "PUT", path), ("Content-Length", str(length))])
        answer = site.wire.raw(data, 5)
        check(answer is not None, "no answer")
        refused(answer, (400, 413), "EntityTooLarge")
    site.absent(name, "k")


XML_BODIES = (("POST", "delete"), ("PUT", "tagging"), ("PUT", "lifecycle"), ("PUT", "cors"), ("PUT", "versioning"))


def all_xml(site, body, statuses=(400, 413, 501)):
    """A document in each place that takes one."""
    name = site.bucket()
    site.put(name, "k")
    upload = begin(site, name, "m")
    for method, what in XML_BODIES:
        began = time.monotonic()
        answer = site.wire.ask(method, name, query=[(what, "")], headers=[("Content-MD5", md5(body))], body=body)
        among(f"status of ?{what}", answer.status, statuses)
        check(time.monotonic() - began < 10, f"?{what} took more than 10 s")
    answer = site.wire.ask("POST", name, "m", [("uploadId", upload)], body=body)
    check(answer.status in statuses or answer.code == "MalformedXML", f"completion: {answer}")
    among("bucket", site.wire.ask("PUT", f"{name}-x", body=body).status, statuses)
    site.get(name, "k", b"content")


@cell
def billion_laughs(site):
    entities = '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{number} "{f"&a{number - 1};" * 10}">' for number in range(1, 10))
    for top in ("Delete", "Tagging", "x"):
        all_xml(site, f'<?xml version="1.0"?><!DOCTYPE d [{entities}]><{top}><Object><Key>&a9;</Key></Object></{top}>'.encode())
    all_xml(site, b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&x;'
                  b"</Key></Object></Delete>")


@cell
def deep_xml(site):
    all_xml(site, b"<a>" * 200_000)
    all_xml(site, b"<Delete>" * 20_000 + b"</Delete>" * 20_000)
    all_xml(site, b"<Delete><Object><Key>" + b"k" * 500_000 + b"</Key></Object></Delete>", (200, 400, 413, 501))


@cell(seconds=90)
def hundred_megabytes_of_xml(site):
    name = site.bucket()
    upload = begin(site, name, "m")
    body = b"<Delete>" + b"<Object><Key>k</Key></Object>" * 3_600_000
    for method, key, query in (("POST", "", [("delete", "")]), ("PUT", "", [("tagging", "")]),
                               ("POST", "m", [("uploadId", upload)]), ("PUT", "", [("policy", "")]), ("PUT", "", [])):
        began, before = time.monotonic(), site.memory()
        bucket = name if query else f"{name}-x"
        path = f"/{bucket}/{key}" if key else f"/{bucket}"
        headers, _ = site.wire.signed(method, path, query, [], UNSIGNED)
        try:
            answer = site.wire.send(method, f"{path}?{query[0][0]}={query[0][1]}" if query else path, headers, body)
        except (ConnectionError, OSError) as error:
            check(not isinstance(error, TimeoutError), "no answer")
            continue
        among(f"status of {query}", answer.status, (400, 411, 413))
        check(time.monotonic() - began < 15, f"{query} took more than 15 s")
        grown = (site.memory() or 0) - (before or 0)
        check(grown < GROWTH, f"{query} took {grown >> 20} MiB")


@cell
def header_flood(site):
    start = head("GET", "/", [("Host", site.wire.host)])[:-2]
    for flood in (b"".join(b"X-%d: y\r\n" % number for number in range(20_000)), b"X: " + b"y" * 2 * MIB + b"\r\n",
                  b"x-amz-meta-a: 1\r\n" * 20_000, b"Cookie: " + b"a=b; " * 200_000 + b"\r\n"):
        closed_or(site.wire.raw(start + flood + b"\r\n", 10), 400, 403, 413, 431)
    closed_or(site.wire.raw(b"GET /" + b"a" * 2 * MIB + b" HTTP/1.1\r\nHost: x\r\n\r\n", 10), 400, 403, 404, 413, 414, 431)
    closed_or(site.wire.raw(b"GET /?" + b"a=b&" * 500_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 10), 400, 403, 413, 414, 431)
    closed_or(site.wire.raw(b"G" * 2 * MIB, 10), 400, 405, 413, 414, 431, 501)


@cell
def two_ways_to_sign(site):
    """What is signed one way must not be changed by what is said the other way."""
    name, other = site.bucket(), site.bucket()
    site.put(other, "secret", b"secret")
    target_of = site.wire.presigned("PUT", name, "k")
    scope = f"{site.access}/20260101/us-east-1/s3/aws4_request"
    source = ("x-amz-copy-source", f"{other}/secret")
    for header in (f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-copy-source, Signature=0",
                   "AWS4-HMAC-SHA256 x", "AWS x:y"):
        refused(site.wire.plain("PUT", target_of, [("Host", site.wire.host), ("Authorization", header), source]), (400, 403))
    for more in ("&Signature=x&AWSAccessKeyId=y&Expires=9", "&AWSAccessKeyId=y"):
        refused(site.wire.plain("GET", site.wire.presigned("GET", name, "k") + more), (400, 403))
    # One list of headers for the one who checks, another for the one who reads.
    path = f"/{name}/k"
    headers, _ = site.wire.signed("PUT", path, [], [], UNSIGNED)
    for change in (lambda value: value.replace("SignedHeaders=", "SignedHeaders=host;x-amz-copy-source x,SignedHeaders="),
                   lambda value: value.replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256,SignedHeaders=host;x-amz-copy-source "),
                   lambda value: value.replace(", Signature", ";x-amz-copy-source x, Signature")):
        changed = [(header, change(value) if header == "Authorization" else value) for header, value in headers]
        refused(site.wire.send("PUT", path, [*changed, source]), (400, 403))
    site.absent(name, "k")


@cell
def names_in_forms(site):
    name, wire = site.bucket(), site.wire
    simple = [["starts-with", "$key", ""]]
    for key in ("k" * 1025, "\u00e9" * 32768, "k" * 60_000):
        answer = wire.plain("POST", f"/{name}", *wire.form(name, {"key": key}, simple, b"x"))
        check(answer.status in (400, 403, 413), f"a name of {len(key)} characters: {answer}")
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), [])


@cell
def policies_of_versions_and_forms(site):
    """Who may read objects may not read what was overwritten; a denial holds for forms, too."""
    name = site.bucket()
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    answered(site.wire.ask("PUT", name, query=[("versioning", "")], headers=[("Content-MD5", md5(body))], body=body))
    old = site.put(name, "k", b"old").headers["x-amz-version-id"]
    site.put(name, "k", b"new")
    policy = (f'{{"Statement": [{{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "S3:putobject"], '
              f'"Resource": "arn:aws:s3:::{name}/*"}}, {{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", '
              f'"Resource": "arn:aws:s3:::{name}/closed/*"}}]}}')
    among("policy", site.wire.ask("PUT", name, query=[("policy", "")], body=policy.encode()).status, (200, 204))
    same("current", site.wire.plain("GET", f"/{name}/k").body, b"new")
    refused(site.wire.plain("GET", f"/{name}/k?versionId={old}"), 403, "AccessDenied")
    edge = [("Host", site.wire.host), ("Content-Type", "multipart/form-data; boundary=e")]
    field = b'--e\r\nContent-Disposition: form-data; name="key"\r\n\r\n%s\r\n'
    file = b'--e\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--e--\r\n'
    answered(site.wire.plain("POST", f"/{name}", edge, field % b"open/k" + file), 200, 204)
    refused(site.wire.plain("POST", f"/{name}", edge, field % b"closed/k" + file), 403, "AccessDenied")
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), ["k", "open/k"])
    unknown = policy.replace("s3:GetObject", "s3:ReadObject")
    refused(site.wire.ask("PUT", name, query=[("policy", "")], body=unknown.encode()), 400, "MalformedPolicy")


@cell
def form_flood(site):
    """POST forms without a signature are read by anybody's asking."""
    name = site.bucket()
    edge = [("Content-Type", "multipart/form-data; boundary=e")]
    field = b'--e\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    for body in (field % (b"key", b"k" * 30 * MIB), b"".join(field % (b"f%d" % number, b"v") for number in range(200_000)),
                 b"--e\r\n" + b"X: y\r\n" * 2_000_000, b"no boundary at all" * 1_000_000, b"", b"--e--\r\n"):
        try:
            answer = site.wire.plain("POST", f"/{name}", edge, body)
        except ConnectionError:
            continue
        among("status", answer.status, (400, 403, 411, 413))
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 5000,
                 "multipart/form-data; boundary=\"\\\""):
        among("status", site.wire.plain("POST", f"/{name}", [("Content-Type", kind)], b"x").status, (400, 403, 405, 411, 412, 413, 415))


@cell
def slow_ones_do_not_stop_others(site):
    """Connections that send a byte now and then; others are served meanwhile."""
    name = site.bucket()
    path = f"/{name}/slow"
    request = head("PUT", path, [*signed_head(site, "PUT", path), ("Content-Length", "1000000")])
    opened = []
    try:
        for number in range(200):
            connection = site.wire.connect()
            connection.sendall(request[:40] if number % 2 else request + b"x")
            opened.append(connection)
        for _ in range(3):
            for connection in opened:
                try:
                    connection.send(b"x")
                except OSError:
                    pass
            began = time.monotonic()
            site.put(name, "k", bytes_of(MIB))
            site.get(name, "k", bytes_of(MIB))
            check(time.monotonic() - began < 5, "others wait")
            time.sleep(0.3)
    finally:
        for connection in opened:
            connection.close()
    site.absent(name, "slow")


@cell
def readers_that_stop(site):
    name, data = site.bucket(), bytes_of(8 * MIB)
    site.put(name, "k", data)
    path = f"/{name}/k"
    opened, before = [], site.memory()
    try:
        for _ in range(40):
            connection = site.wire.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(head("GET", path, signed_head(site, "GET", path, payload=hashlib.sha256(b"").hexdigest())))
            opened.append(connection)
        time.sleep(1)
        site.get(name, "k", data)
        grown = (site.memory() or 0) - (before or 0)
        check(grown < 2 * GROWTH, f"40 readers of 8 MiB that stopped take {grown >> 20} MiB")
    finally:
        for connection in opened:
            connection.close()


@cell(long=True, seconds=200)
def slow_headers_are_cut_off(site):
    slow(site, head("GET", "/", [("Host", site.wire.host)])[:-2], b"X: y\r\n")


@cell(long=True, seconds=200)
def slow_bodies_are_cut_off(site):
    name = site.bucket()
    path = f"/{name}/k"
    slow(site, head("PUT", path, [*signed_head(site, "PUT", path), ("Content-Length", "1000000")]), b"x")
    site.absent(name, "k")


@cell(long=True, seconds=400)
def silent_connections_are_cut_off(site):
    slow(site, b"", b"", 300)


def slow(site, start, piece, seconds=150):
    """A byte a second is not taken for ever."""
    end = time.monotonic() + seconds
    with site.wire.connect(1) as connection:
        connection.sendall(start)
        while time.monotonic() < end:
            try:
                connection.send(piece)
                got = connection.recv(1000)
                if not got:
                    return
                among("status", got.split(b" ", 2)[1], (b"400", b"408"))
                return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    check(False, f"a connection that sends a byte a second is open after {seconds} s")


@cell
def ranges_of_nonsense(site):
    name = site.bucket()
    site.put(name, "k", b"0123456789")
    for asked in ("bytes=" + ",".join(f"{n}-{n}" for n in range(3000)), "bytes=0-0,0-0", "bytes=" + "9" * 5000 + "-",
                  "bytes=-" + "9" * 5000, "bytes=18446744073709551615-18446744073709551616", "bytes=0-18446744073709551615"):
        answer = site.wire.ask("GET", name, "k", headers=[("Range", asked)])
        among(f"status of {asked[:40]}", answer.status, (200, 206, 400, 416, 431))
        check(len(answer.body) < 20_000, "the answer is much larger than the object")


@cell
def queries_of_nonsense(site):
    name = site.bucket()
    for query in ([("prefix", "x" * 50_000)], [("delimiter", "x" * 5000)], [("continuation-token", "x" * 5000)],
                  [("continuation-token", "../../etc/passwd")], [("marker", "\ud7ff" * 1000)], [("prefix", "a\0b")],
                  [("list-type", "3")], [("max-keys", "0x10")], [("list-type", "2"), ("list-type", "2")],
                  [("uploads", ""), ("versions", "")], [("partNumber", "1")], [("versionId", "x" * 5000)],
                  [("key-marker", "a"), ("versions", ""), ("version-id-marker", "\u2028")]):
        answer = site.wire.ask("GET", name, query=query)
        check(answer.status < 500 or answer.status == 501, f"{str(query)[:60]}: {answer}")
    for query in ("%zz=1", "a=%ff", "&&&&", "=", "prefix=%00", "list-type"):
        answer = site.wire.plain("GET", f"/{name}?{query}")
        among(f"status of ?{query}", answer.status, (400, 403))


@cell
def random_authorizations(site):
    """The parser of what an unknown sends does not fall over."""
    chance = random.Random(5)
    name = site.bucket()
    good = dict(signed_head(site, "GET", f"/{name}"))
    for header in ("Authorization", "x-amz-date", "x-amz-content-sha256"):
        for _ in range(60):
            value = list(good[header])
            for _ in range(chance.randrange(1, 6)):
                value[chance.randrange(len(value))] = chance.choice("=,;/ \t\"'A0%Z\u00e9\u00ff")
            headers = [(key, "".join(value) if key == header else kept) for key, kept in good.items()]
            answer = site.wire.raw("".join(
                [f"GET /{name} HTTP/1.1\r\n", *(f"{key}: {kept}\r\n" for key, kept in headers),
                 "Connection: close\r\n\r\n"]).encode("latin-1"), 5)
            # What still says the same is let in.
            equal = re.sub(r"[\s,;]", "", "".join(value)) == re.sub(r"[\s,;]", "", good[header])
            closed_or(answer, 400, 403, 501, *([200] if equal else []))


@cell
def many_uploads_left_behind(site):
    name = site.bucket()
    for number in range(300):
        begin(site, name, f"k{number:03}")
    answer = answered(site.wire.ask("GET", name, query=[("uploads", "")]))
    same("uploads", len(answer.all("Upload/Key")), 300)
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), [])


@cell
def key_of_another_spelling_of_the_bucket(site):
    name = site.bucket()
    site.put(name, "k", b"closed")
    for path in (f"/{name.upper()}/k", f"/{name}%2fk", f"//{name}/k", f"/{name}./k", f"/%20{name}/k"):
        answer = site.wire.plain("GET", path)
        check(answer.body != b"closed", f"{path} is read by anybody")
        among(f"status of {path}", answer.status, (400, 403, 404))
