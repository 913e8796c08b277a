"""Requests of S3 made by hand: SigV4 in all its forms, checksums, and bytes on a socket as they are told.

Nothing here helps against a mistake of the caller: a header may come twice, a length may be a lie. The standard
library suffices.
"""

import base64
import binascii
import datetime
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import struct
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
REGION = "us-east-1"
ANSWER_SECONDS = 20


def quote(text, safe="-_.~"):
    """Percent-encoding as SigV4 has it; a key of bytes is taken as it is."""
    return urllib.parse.quote(text, safe=safe)


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def etag(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


def multipart_etag(parts):
    return f'"{hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()}-{len(parts)}"'


def table(polynomial):
    """The table of a reflected CRC."""
    made = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        made.append(value)
    return made


def crc(data, made, ones):
    value = ones
    for byte in data:
        value = made[(value ^ byte) & 255] ^ value >> 8
    return value ^ ones


CRC32C = table(0x82F63B78)
CRC64NVME = table(0x9A6C9329AC4BC9B5)
# By the name in x-amz-checksum-*. The table-driven ones are slow: small bodies only.
CHECKSUMS = {
    "crc32": lambda data: struct.pack(">I", binascii.crc32(data)),
    "crc32c": lambda data: struct.pack(">I", crc(data, CRC32C, 0xFFFFFFFF)),
    "crc64nvme": lambda data: struct.pack(">Q", crc(data, CRC64NVME, 0xFFFFFFFFFFFFFFFF)),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def checksum(name, data):
    return base64.b64encode(CHECKSUMS[name](data)).decode()


class Answer:
    """What a server said."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        """The code of an error, or None."""
        try:
            top = self.xml()
        except ElementTree.ParseError:
            return None
        return text(top, "Code") if local(top) == "Error" else None

    def xml(self):
        return ElementTree.fromstring(self.body)

    def all(self, path):
        """The texts of all elements at a path of names without namespaces."""
        return [element.text or "" for element in elements(self.xml(), path)]

    def first(self, path):
        found = self.all(path)
        return found[0] if found else None

    def __str__(self):
        return f"{self.status} {self.code or self.body[:200]!r}"


def local(element):
    return element.tag.rpartition("}")[2]


def elements(top, path):
    found = [top]
    for name in path.split("/"):
        found = [child for element in found for child in element if local(child) == name]
    return found


def text(top, path):
    found = elements(top, path)
    return (found[0].text or "") if found else None


class Wire:
    """One server as one user sees it."""

    def __init__(self, endpoint, access, secret, ca=None, region=REGION):
        self.endpoint, self.access, self.secret, self.ca, self.region = endpoint, access, secret, ca, region
        url = urllib.parse.urlsplit(endpoint)
        self.tls = url.scheme == "https"
        self.ip, self.port = url.hostname, url.port or (443 if self.tls else 80)
        self.host = url.netloc
        self.kept = None

    def as_user(self, access, secret):
        return Wire(self.endpoint, access, secret, self.ca, self.region)

    # Signing

    def scope(self, when):
        return f"{when[:8]}/{self.region}/s3/aws4_request"

    def key(self, when):
        key = ("AWS4" + self.secret).encode()
        for part in (when[:8], self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key

    def mac(self, when, string):
        return hmac.new(self.key(when), string.encode(), hashlib.sha256).hexdigest()

    def canonical(self, method, path, query, headers, names, payload):
        pairs = "&".join(f"{name}={value}" for name, value in sorted((quote(n), quote(v)) for n, v in query))
        lines = [f"{name}:" + ",".join(" ".join(v.split()) for n, v in headers if n.lower() == name) for name in names]
        return "\n".join([method, path, pairs, *lines, "", ";".join(names), payload])

    def signature(self, when, method, path, query, headers, names, payload):
        canonical = self.canonical(method, path, query, headers, names, payload)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return self.mac(when, f"AWS4-HMAC-SHA256\n{when}\n{self.scope(when)}\n{digest}")

    def signed(self, method, path, query, headers, payload, when=None):
        """Headers with a signature over all of them, and the signature."""
        when = when or now()
        headers = [*headers, ("x-amz-date", when), ("x-amz-content-sha256", payload)]
        if not any(name.lower() == "host" for name, _ in headers):
            headers.insert(0, ("Host", self.host))
        skipped = ("content-length", "transfer-encoding", "connection", "expect", "user-agent")
        names = sorted({name.lower() for name, _ in headers} - set(skipped))
        signature = self.signature(when, method, path, query, headers, names, payload)
        credential = f"{self.access}/{self.scope(when)}"
        headers.append(("Authorization", f"AWS4-HMAC-SHA256 Credential={credential}, "
                                         f"SignedHeaders={';'.join(names)}, Signature={signature}"))
        return headers, signature

    def presigned(self, method, bucket, key="", query=(), seconds=300, when=None, headers=(), path=None):
        """The target of a presigned request: path and query."""
        when = when or now()
        path = path or self.path(bucket, key)
        headers = [("Host", self.host), *headers]
        names = sorted({name.lower() for name, _ in headers})
        query = [*query, ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
                 ("X-Amz-Credential", f"{self.access}/{self.scope(when)}"), ("X-Amz-Date", when),
                 ("X-Amz-Expires", str(seconds)), ("X-Amz-SignedHeaders", ";".join(names))]
        signature = self.signature(when, method, path, query, headers, names, UNSIGNED)
        return f"{path}?{encoded([*query, ('X-Amz-Signature', signature)])}"

    def form(self, bucket, fields, conditions, file, seconds=300, when=None, file_name="name.txt", signature=None):
        """A POST form: its headers and its body."""
        when = when or now()
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
        credential = f"{self.access}/{self.scope(when)}"
        fields = {**fields, "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": credential, "x-amz-date": when}
        policy = {"expiration": expires.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "conditions": [
            {"bucket": bucket}, {"x-amz-algorithm": "AWS4-HMAC-SHA256"}, {"x-amz-credential": credential},
            {"x-amz-date": when}, *conditions]}
        fields["policy"] = base64.b64encode(json.dumps(policy).encode()).decode()
        fields["x-amz-signature"] = signature or self.mac(when, fields["policy"])
        edge = "edge-of-the-form"
        body = b"".join(f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
                        for name, value in fields.items())
        body += (f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
                 f"Content-Type: text/plain\r\n\r\n").encode() + file + f"\r\n--{edge}--\r\n".encode()
        return [("Content-Type", f"multipart/form-data; boundary={edge}")], body

    def chunked(self, chunks, seed, when, trailer=None, wrong=None, signed=True, wrong_trailer=False):
        """A body of aws-chunked; `wrong` is the number of the chunk that gets a false signature."""
        body, last = b"", seed
        for number, chunk in enumerate([*chunks, b""]):
            line = f"{len(chunk):x}"
            if signed:
                last = self.mac(when, f"AWS4-HMAC-SHA256-PAYLOAD\n{when}\n{self.scope(when)}\n{last}\n{EMPTY}\n"
                                      f"{hashlib.sha256(chunk).hexdigest()}")
                line += f";chunk-signature={'0' * 64 if number == wrong else last}"
            end = b"" if trailer and not chunk else b"\r\n"
            body += line.encode() + b"\r\n" + chunk + end
        if trailer:
            name, value = trailer
            body += f"{name}:{value}\r\n".encode()
            if signed:
                digest = hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
                mac = self.mac(when, f"AWS4-HMAC-SHA256-TRAILER\n{when}\n{self.scope(when)}\n{last}\n{digest}")
                body += f"x-amz-trailer-signature:{'0' * 64 if wrong_trailer else mac}\r\n".encode()
            body += b"\r\n"
        return body

    # Asking

    def path(self, bucket="", key=""):
        key = quote(key, "/-_.~")
        return f"/{bucket}/{key}" if key else f"/{bucket}"

    def ask(self, method, bucket="", key="", query=(), headers=(), body=b"", payload=None, path=None, when=None):
        """A request signed by headers; `payload` is what x-amz-content-sha256 says, if not the truth."""
        path = path or self.path(bucket, key)
        payload = payload or hashlib.sha256(body).hexdigest()
        query = [(name, str(value)) for name, value in query]
        signed, _ = self.signed(method, path, query, list(headers), payload, when)
        return self.send(method, target(path, query), signed, body)

    def stream(self, bucket, key, chunks, kind=SIGNED_CHUNKS, trailer=None, length=None, headers=(), **wrong):
        """A PUT of aws-chunked."""
        when, path = now(), self.path(bucket, key)
        length = sum(map(len, chunks)) if length is None else length
        headers = [*headers, ("Content-Encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(length))]
        if trailer:
            headers.append(("x-amz-trailer", trailer[0]))
        headers, seed = self.signed("PUT", path, [], headers, kind, when)
        body = self.chunked(chunks, seed, when, trailer, signed=kind != UNSIGNED_CHUNKS_TRAILER, **wrong)
        return self.send("PUT", path, headers, body)

    def plain(self, method, path, headers=(), body=b""):
        """A request without a signature; the path may carry a query."""
        headers = list(headers)
        if not any(name.lower() == "host" for name, _ in headers):
            headers.insert(0, ("Host", self.host))
        return self.send(method, path, headers, body)

    def connect(self, seconds=ANSWER_SECONDS):
        connection = socket.create_connection((self.ip, self.port), seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            context = ssl.create_default_context(cafile=self.ca)
            connection = context.wrap_socket(connection, server_hostname=self.ip)
        return connection

    def send(self, method, path, headers, body=b""):
        """Sends exactly these headers, with a Content-Length where none is said, on a connection that is kept."""
        names = {name.lower() for name, _ in headers}
        if not names & {"content-length", "transfer-encoding"} and (body or method in ("PUT", "POST")):
            headers = [*headers, ("Content-Length", str(len(body)))]
        fresh = not self.kept
        connection, self.kept = self.kept or self.connect(), None
        try:
            connection.sendall(head(method, path, headers))
            early = None
            try:
                connection.sendall(body)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as error:
                early = error  # the answer may have come before the body was wanted
            answer, keep = read(connection, method)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, http.client.BadStatusLine):
            connection.close()
            if fresh:
                raise
            return self.send(method, path, headers, body)
        except BaseException:
            connection.close()
            raise
        if keep and not early:
            self.kept = connection
        else:
            connection.close()
        return answer

    def raw(self, data, seconds=ANSWER_SECONDS, end=False, method="GET", linger=0):
        """Sends bytes on a connection of its own. None when it was closed without an answer.

        It stays open for `linger` seconds after the answer, so that what follows is taken up, too.
        """
        with self.connect(seconds) as connection:
            try:
                connection.sendall(data)
                if end:
                    connection.shutdown(socket.SHUT_WR)
            except TimeoutError:
                raise
            except OSError:
                pass  # it was closed early; there may be an answer all the same
            try:
                answer = read(connection, method)[0]
                time.sleep(linger)
                return answer
            except (http.client.HTTPException, ConnectionError):
                return None


def now(shift=0):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=shift)
    return when.strftime("%Y%m%dT%H%M%SZ")


def encoded(query):
    return "&".join(f"{quote(name)}={quote(value)}" for name, value in query)


def target(path, query):
    return f"{path}?{encoded(query)}" if query else path


def head(method, path, headers):
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")


def read(connection, method="GET"):
    """The next answer of a connection, and whether the connection may be used again."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
        return Answer(response.status, response.headers, body), not response.will_close
    finally:
        response.close()
