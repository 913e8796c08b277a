#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets in fuzz/corpus from the vectors in fixtures. Needs Python alone."""

import hashlib
import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "fixtures" / "vectors"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CODES = {"sha256": 0x12, "blake3": 0x1E}
ERASURE = {"none": 0, "novelpoly": 1, "leopard": 2}
BLOCK = 131_072
LONGEST_OBJECT = 65_535


def load(name):
    return json.loads((VECTORS / name).read_text())


def write(target, seeds):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def base58(text):
    number = 0
    for digit in text:
        number = number * 58 + ALPHABET.index(digit)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def closed(header):
    """A header with its checksum."""
    header = header.ljust(60, b"\0")
    return header + struct.pack(">I", zlib.crc32(header))


def root_of(url):
    """Code and digest of a vector's root."""
    name, digits = url["root"].split(":")
    return bytes([CODES[name]]) + bytes.fromhex(digits)


def text_of(bad):
    """The URL of a bad vector, which may be given in another way."""
    return bad["url"].encode("utf-8", "surrogatepass") if isinstance(bad.get("url"), str) else b""


def root_header(file):
    """A root's header as the file's writer made it, and a little of what follows."""
    sealed, length = file["sealed"], file["length"]
    parity = 0 if file["code"] == "none" else file["m"]
    inline = sealed and length <= BLOCK - 64
    header = b"OFF4" + bytes([
        1, int(file["type"] == "offsystem/directory"), CODES[file["hash"]], file["tuple"],
        ERASURE[file["code"]], file["k"], parity, int(inline),
    ])
    header += bytes(4) + struct.pack(">Q", length) + hashlib.sha256(file["name"].encode()).digest() + bytes(8)
    return bytes([int(sealed)]) + header + b"content"


def record(block, code=0x12):
    """A record of a pack, its table entry without the offset."""
    digest = hashlib.sha256(block).digest()
    body = struct.pack(">II", len(block), zlib.crc32(block))
    header = closed(b"OREC" + bytes([code, 0, 0, 0]) + body + digest)
    return header + block, body + bytes([code]) + digest


def pack(blocks, seal=False, kind=0):
    """A pack file."""
    packed = closed(b"OFFPACK1" + struct.pack(">IB", 1, kind))
    table = b""
    for block in blocks:
        header, entry = record(block)
        table += struct.pack(">Q", len(packed)) + entry
        packed += header
    if seal:
        trailer = b"OFFSEAL1" + struct.pack(">IIQ", 1, len(blocks), len(packed)) + hashlib.sha256(table).digest()
        packed += table + closed(trailer)
    return packed


def files():
    """Recipes for the target `file`: header, pool, range, body."""
    def header(how, code, tuple_, data, parity, length):
        return bytes([how, code, tuple_ - 2, data - 1, parity - 1 if parity else 0]) + length
    tail = struct.pack(">QHB", 0, 300, 0)
    two_blocks = b"\x03" + struct.pack(">H", 2)
    yield header(0, 0, 3, 4, 0, b"\x00\x00") + b"\0" + tail                          # empty
    yield header(1, 0, 3, 4, 0, b"\x00\x20") + b"\0" + tail + b"\0\0"                # inline
    yield header(3, 0, 3, 4, 0, b"\x01\x01\x00") + b"\0" + tail + b"\0\0"            # inline, a directory
    for how in (0, 1, 2, 4):
        for code in (0, 1, 2):
            # Blocks that are there; and the zero block with one that is not.
            yield header(how, code, 2, 2, 1, two_blocks) + b"\x01\x00\x07" + tail + b"\x01\x01\x00"
            yield header(how, code, 2, 2, 1, two_blocks) + b"\x01\x80\x07" + tail + b"\x02\x01\x00\x00"
    # Three blocks whose XOR is zero, of which one is missing: parity gives it back.
    for code in (1, 2):
        pool = b"\x03" + b"\x00\x11" + b"\x00\x22" + b"\x85\x01\x02"
        yield header(0, code, 3, 2, 2, two_blocks) + pool + tail + b"\x01\xc0\x01\x02\x03\x00"
    # Two levels, and five of a length that nobody can have, with and without the blocks.
    for how in (0, 1):
        yield header(how, 0, 3, 16, 0, b"\x05") + b"\0" + tail + b"\x00\x01"
    level = b"\x03\x00\x00"
    yield header(0, 0, 2, 16, 0, b"\x03\xff\xff") + b"\x01" + level + tail + b"\x00\x01"
    for picks in (b"\x00\x01", b"\x00\x02"):
        pool = b"\x04" + level + b"\x03\x00\x01" + b"\x03\x00\x02" + b"\x03\x00\x03"
        yield header(0, 0, 2, 16, 0, b"\x05") + pool + tail + b"\x00\x04"
        yield header(0, 2, 3, 16, 4, b"\x05") + pool + tail + picks
        yield header(1, 2, 3, 16, 4, b"\x05") + pool + tail + picks


def packs():
    """Recipes for the target `pack`, and whole packs."""
    blocks = [b"one", b"two" * 100, b"three" * 1000, bytes(70)]
    for seal in (False, True):
        for kind in (0, 1):
            yield b"\0" + pack(blocks, seal, kind)
            yield b"\0" + pack([], seal, kind)
    yield b"\0" + pack(blocks)[:-30]
    yield b"\0"
    small = b"\x00\x07\x10"
    for how in (0, 1, 2, 4, 8):
        change = b"\x00\x0c\x01" if how == 2 else b""
        yield b"\x01" + bytes([how]) + change + b"\x03" + small + b"\x01\x08\x10" + b"\x02\x00\x00" + b"\0\0\0"
    for damage in range(1, 7):
        damaged = bytes([damage << 3]) + b"\x07\x10" + b"\0\0\0\x09"
        yield b"\x01\x00\x03" + small + damaged + b"\x00\x09\x10"
    # A table that names a place no pack has, or a length no block has.
    nowhere = (b"\x00" + b"\xff" * 8, b"\x00\x80" + bytes(7), b"\x02" + b"\xff" * 4, b"\x02" + bytes(4))
    for change in nowhere:
        yield b"\x01\x04\x01" + small + b"\x01\x00" + change + b"\x00"
    # Two packs; and one whose number is the last.
    yield b"\x07" + (b"\x00\x01" + small) * 2
    yield b"\x05" + (b"\x00\x02" + small + b"\x00\x09\x10") * 2
    yield b"\x05" + (b"\x04\x02" + small + b"\x00\x09\x10" + b"\0\0") * 2


A, M = b"abcdefghij0123456789", b"mnopqrstuvwxyz123456"


def packets():
    """Messages of the DHT, one of each kind."""
    def query(method, arguments):
        return b"d1:ad2:id20:" + A + arguments + b"e1:q%d:%s1:t2:aa1:y1:qe" % (len(method), method)

    yield query(b"ping", b"")
    yield query(b"find_node", b"6:target20:" + M)
    yield query(b"get_peers", b"9:info_hash20:" + M + b"6:scrapei1e4:wantl2:n42:n6e")
    yield query(b"announce_peer", b"12:implied_porti1e9:info_hash20:" + M + b"4:porti6881e5:token8:aoeusnth")
    yield query(b"get", b"3:seqi1e6:target20:" + M)
    yield query(b"put", b"5:token8:aoeusnth1:v12:Hello World!")
    yield query(b"put", b"1:k32:" + bytes(32) + b"4:salt1:s3:seqi1e3:sig64:" + bytes(64) + b"5:token1:t1:vli1e0:e")
    yield query(b"sample_infohashes", b"6:target20:" + M)
    yield query(b"vote", b"6:target20:" + M)
    nodes = A + b"\x14\x01\x02\x03\x1a\xe1"
    yield b"d2:ip6:axje.u1:rd2:id20:" + M + b"5:nodes26:" + nodes + b"5:token1:te1:t4:abcd1:v4:OF\0\x011:y1:re"
    yield b"d1:rd2:id20:" + M + b"5:token1:t6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re"
    yield b"d1:rd2:id20:" + M + b"1:k32:" + bytes(32) + b"3:seqi1e3:sig64:" + bytes(64) + b"1:v1:xe1:t2:aa1:y1:re"
    yield b"d1:rd2:id20:" + M + b"8:intervali60e3:numi1e7:samples20:" + A + b"e1:t2:aa1:y1:re"
    yield b"d1:eli201e5:wronge1:t2:aa1:y1:ee"


def main():
    urls, stored, directories = load("urls.json"), load("files.json"), load("directories.json")
    good = urls["good"]
    texts = [url["url"].encode() for url in good] + [text_of(bad) for bad in urls["bad"]]
    write("off_url", [text for text in texts if text] + [file["url"].encode() for file in stored])

    parts = [file["url"].split("/") for file in stored] + [url["url"].split("/") for url in good]
    # off:v4/TYPE/SUBTYPE/LENGTH/REFERENCE or http://HOST/offsystem/v4/...
    texts = [part[part.index("v4") + 4] if "v4" in part else part[4] for part in parts]
    texts = [text.split("?")[0].split("#")[0] for text in texts]
    write("reference", [text.encode() for text in texts] + [base58(text) for text in texts])

    write("score", [url["root"].encode() for url in good] + [root_of(url) for url in good])
    write("root", [root_header(file) for file in stored])

    objects = [bytes.fromhex(one["object"]) for one in directories["good"] + directories["bad"] if "object" in one]
    objects = [one for one in objects if len(one) < LONGEST_OBJECT]
    write("directory", [b"\0" + one for one in objects] + [b"\1" + one for one in objects[:3]])

    write("file", files())

    whole = pack([b"one", b"two"], seal=True)
    entry = whole[-64 - 49 : -64]
    headers = [record(b"block")[0][:64], whole[-64:], entry.ljust(64, b"\0")]
    write("record", [how + header for how in (b"\0", b"\1") for header in headers])
    write("pack", packs())

    write("message", packets())
    sent = [b"\xff\x05" + bytes([len(packet)]) + packet for packet in packets() if len(packet) < 256]
    answer = b"\x40\x00\x09\x02" + bytes(range(60))
    write("node", [bytes([private]) + one for private in (0, 1) for one in sent] + [b"\0" + b"".join(sent[:6]) + answer])
    pools = json.loads((HERE.parent / "fixtures" / "membership" / "vectors.json").read_text())
    entries = [bytes.fromhex(entry["bytes"]) for log in pools["logs"] for entry in log["entries"]]
    write("entry", entries + [one["text"].encode() for one in pools["invitations"]])
    nodes = A + b"\x14\x01\x02\x03\x1a\xe1"
    write("saved", [b"d3:id420:" + M + b"5:nodes26:" + nodes + b"6:nodes60:e", b"de"])


main()
