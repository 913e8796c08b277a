"""Cells with requests made by hand: what the protocol promises, status and code of each error included."""

import hashlib
import urllib.parse
from xml.sax.saxutils import escape

from s3_cell import (LISTED, MIB, ODD_NAMES, Cells, Failed, among, at_once, bytes_of, check, refused, same)
from s3_wire import (CHECKSUMS, SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, UNSIGNED, UNSIGNED_CHUNKS_TRAILER, checksum, etag,
                     md5, multipart_etag, now, quote)

CELLS = Cells("raw")
cell = CELLS.cell
PART = 5 * MIB


def answered(answer, *statuses):
    """An answer that is a success."""
    among("status", answer.status, statuses or (200,))
    return answer


# Multipart uploads

def begin(site, bucket, key, headers=()):
    answer = answered(site.wire.ask("POST", bucket, key, [("uploads", "")], headers))
    return answer.first("UploadId")


def part(site, bucket, key, upload, number, data, headers=()):
    answer = answered(site.wire.ask("PUT", bucket, key, [("partNumber", number), ("uploadId", upload)], headers, data))
    return answer.headers["ETag"]


def complete(site, bucket, key, upload, parts, headers=(), more=()):
    """`parts` are numbers and ETags; `more` gives further XML for each."""
    extra = dict(more)
    body = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag>{extra.get(number, '')}</Part>"
                   for number, tag in parts)
    body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{body}</CompleteMultipartUpload>'
    return site.wire.ask("POST", bucket, key, [("uploadId", upload)], headers, body.encode())


def multipart(site, bucket, key, parts, headers=()):
    upload = begin(site, bucket, key, headers)
    tags = [(number, part(site, bucket, key, upload, number, data)) for number, data in enumerate(parts, 1)]
    answer = answered(complete(site, bucket, key, upload, tags))
    check(answer.code is None, f"completion gives {answer}")
    return answer


# Buckets

@cell
def bucket_life(site):
    name = site.bucket()
    same("HEAD", site.wire.ask("HEAD", name).status, 200)
    answer = answered(site.wire.ask("GET"))
    check(name in answer.all("Buckets/Bucket/Name"), "the bucket is not listed")
    check(answer.first("Owner/ID"), "the list of buckets names no owner")
    check(all(answer.all("Buckets/Bucket/CreationDate")), "a bucket has no date")
    same("delete", site.wire.ask("DELETE", name).status, 204)
    same("HEAD afterwards", site.wire.ask("HEAD", name).status, 404)
    refused(site.wire.ask("DELETE", name), 404, "NoSuchBucket")


@cell
def bucket_again_is_bucket_already_owned_by_you(site):
    name = site.bucket()
    refused(site.wire.ask("PUT", name), 409, "BucketAlreadyOwnedByYou")


@cell
def bucket_not_empty(site):
    name = site.bucket()
    site.put(name, "a")
    refused(site.wire.ask("DELETE", name), 409, "BucketNotEmpty")
    site.get(name, "a", b"content")


@cell
def bucket_names(site):
    for name in ("ab", "UPPER", "a_b", "a..b", "-ab", "ab-", ".ab", "192.168.5.4", "x" * 64, "a%20b", "xn--abc"):
        answer = site.wire.ask("PUT", name, path=f"/{name}")
        if answer.status == 200:
            site.wire.ask("DELETE", name, path=f"/{name}")
        refused(answer, 400, "InvalidBucketName")
    for name in ("a.b-c.d1", "x" * 63, "1ab"):
        name = name if len(name) > 60 else f"{name}{hashlib.sha1(str(site.folder).encode()).hexdigest()[:8]}"
        among(f"status of {name}", site.wire.ask("PUT", name).status, (200, 409))
        site.wire.ask("DELETE", name)


@cell
def bucket_location(site):
    name = site.bucket()
    answer = answered(site.wire.ask("GET", name, query=[("location", "")]))
    among("location", answer.xml().text or "", ("", "us-east-1"))
    answer = answered(site.wire.ask("PUT", f"{name}-x", body=(
        b'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>us-east-1'
        b"</LocationConstraint></CreateBucketConfiguration>")), 200, 400)


@cell
def no_such_bucket(site):
    name = "no-such-bucket-at-all"
    for method, key, query in (("GET", "k", ()), ("PUT", "k", ()), ("GET", "", ()), ("GET", "", [("list-type", 2)]),
                               ("DELETE", "k", ()), ("POST", "k", [("uploads", "")]), ("GET", "", [("location", "")]),
                               ("GET", "", [("versions", "")]), ("GET", "", [("policy", "")])):
        refused(site.wire.ask(method, name, key, query), 404, "NoSuchBucket")
    same("HEAD", site.wire.ask("HEAD", name, "k").status, 404)


UNSET = {"policy": "NoSuchBucketPolicy", "cors": "NoSuchCORSConfiguration", "lifecycle": "NoSuchLifecycleConfiguration",
         "tagging": "NoSuchTagSet", "website": "NoSuchWebsiteConfiguration",
         "object-lock": "ObjectLockConfigurationNotFoundError", "replication": "ReplicationConfigurationNotFoundError",
         "encryption": "ServerSideEncryptionConfigurationNotFoundError",
         "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
         "ownershipControls": "OwnershipControlsNotFoundError"}


def unset(name, code):
    @cell(name=f"unset-{name}")
    def what(site):
        refused(site.wire.ask("GET", site.bucket(), query=[(name, "")]), 404, code)


for _name, _code in UNSET.items():
    unset(_name, _code)


@cell
def unset_with_empty_answers(site):
    name = site.bucket()
    for what in ("versioning", "accelerate", "logging", "notification", "requestPayment"):
        answer = site.wire.ask("GET", name, query=[(what, "")])
        among(f"status of {what}", answer.status, (200,) if what == "versioning" else (200, 501))


@cell
def acl_is_full_control_of_the_owner(site):
    name = site.bucket()
    site.put(name, "k")
    for key in ("", "k"):
        answer = answered(site.wire.ask("GET", name, key, [("acl", "")]))
        same("permissions", answer.all("AccessControlList/Grant/Permission"), ["FULL_CONTROL"])
        check(answer.first("Owner/ID"), "no owner")


# Objects

@cell
def small_object(site):
    name = site.bucket()
    answer = site.put(name, "k", b"hello")
    same("ETag", answer.headers["ETag"], etag(b"hello"))
    answer = site.get(name, "k", b"hello")
    same("ETag", answer.headers["ETag"], etag(b"hello"))
    same("Accept-Ranges", answer.headers["Accept-Ranges"], "bytes")
    among("content type", answer.headers["Content-Type"], ("binary/octet-stream", "application/octet-stream"))
    check(answer.headers["Last-Modified"].endswith(" GMT"), f"Last-Modified is {answer.headers['Last-Modified']}")
    check(answer.headers.get("x-amz-request-id"), "there is no x-amz-request-id")
    answer = site.wire.ask("HEAD", name, "k")
    same("HEAD", (answer.status, answer.headers["Content-Length"], answer.body), (200, "5", b""))


@cell
def empty_object(site):
    name = site.bucket()
    same("ETag", site.put(name, "k", b"").headers["ETag"], etag(b""))
    same("length", site.get(name, "k", b"").headers["Content-Length"], "0")


@cell
def large_object(site):
    name, data = site.bucket(), bytes_of(20 * MIB)
    same("ETag", site.put(name, "k", data).headers["ETag"], etag(data))
    site.get(name, "k", data)


@cell
def unsigned_payload(site):
    name, data = site.bucket(), bytes_of(MIB)
    site.put(name, "k", data, payload=UNSIGNED)
    site.get(name, "k", data)


@cell
def overwriting(site):
    name = site.bucket()
    for data in (b"one", bytes_of(300_000), b"", b"four"):
        site.put(name, "k", data)
        site.get(name, "k", data)
    same("delete", site.wire.ask("DELETE", name, "k").status, 204)
    refused(site.wire.ask("GET", name, "k"), 404, "NoSuchKey")
    same("delete again", site.wire.ask("DELETE", name, "k").status, 204)


@cell
def no_such_key(site):
    name = site.bucket()
    site.put(name, "a/b")
    for key in ("k", "a", "a/", "a/b/", "a/b/c", "A/B"):
        answer = site.wire.ask("GET", name, key)
        refused(answer, 404, "NoSuchKey")
        among("named key", answer.first("Key"), (None, key))
        answer = site.wire.ask("HEAD", name, key)
        same(f"HEAD of {key}", (answer.status, answer.body), (404, b""))


def odd(label, key):
    @cell(name=f"odd-name-{label}")
    def what(site):
        name, data = site.bucket(), f"content of {label}".encode()
        path = f"/{name}/{quote(key, '/-_.~')}"
        same("put", site.wire.ask("PUT", name, path=path, body=data).status, 200)
        answer = answered(site.wire.ask("GET", name, path=path))
        same("content", answer.body, data)
        encoded = answered(site.wire.ask("GET", name, query=[("list-type", 2), ("encoding-type", "url")]))
        among("listed", [urllib.parse.unquote_plus(listed) for listed in encoded.all("Contents/Key")], ([key],))
        if label not in ("newline", "tab"):
            plain = answered(site.wire.ask("GET", name, query=[("list-type", 2)]))
            same("listed without an encoding", plain.all("Contents/Key"), [key])
        prefix = answered(site.wire.ask("GET", name, query=[("list-type", 2), ("prefix", key)]))
        same("found by prefix", prefix.first("KeyCount"), "1")
        answered(site.wire.ask("PUT", name, "copy", headers=[("x-amz-copy-source", f"{name}/{quote(key, '/-_.~')}")]))
        site.get(name, "copy", data)
        same("delete", site.wire.ask("DELETE", name, path=path).status, 204)
        same("HEAD afterwards", site.wire.ask("HEAD", name, path=path).status, 404)


for _label, _key in ODD_NAMES.items():
    odd(_label, _key)


@cell
def key_and_key_with_slash_and_below(site):
    name = site.bucket()
    for key in ("a", "a/", "a/b", "a//b", "a/b/c", "/a"):
        site.put(name, key, key.encode())
    for key in ("a", "a/", "a/b", "a//b", "a/b/c", "/a"):
        site.get(name, key, key.encode())


@cell
def key_too_long(site):
    name = site.bucket()
    refused(site.wire.ask("PUT", name, "k" * 1025, body=b"x"), 400, "KeyTooLongError")
    site.put(name, "é" * 512)
    refused(site.wire.ask("PUT", name, "é" * 513, body=b"x"), 400, "KeyTooLongError")


@cell
def metadata(site):
    name = site.bucket()
    wanted = {"Content-Type": "text/x-odd; charset=utf-8", "Cache-Control": "max-age=3",
              "Content-Disposition": 'attachment; filename="a b.txt"', "Content-Encoding": "gzip",
              "Content-Language": "de", "Expires": "Thu, 01 Dec 2033 16:00:00 GMT", "x-amz-meta-one": "1",
              "x-amz-meta-two-words": "a b, c=d"}
    site.put(name, "k", headers=list(wanted.items()))
    for method in ("GET", "HEAD"):
        answer = answered(site.wire.ask(method, name, "k"))
        same(method, {header: answer.headers[header] for header in wanted}, wanted)
    site.put(name, "k")
    answer = answered(site.wire.ask("HEAD", name, "k"))
    same("metadata of the next content", answer.headers["x-amz-meta-one"], None)


@cell
def metadata_too_large(site):
    name = site.bucket()
    refused(site.wire.ask("PUT", name, "k", headers=[("x-amz-meta-a", "v" * 2100)], body=b"x"), 400, "MetadataTooLarge")
    site.absent(name, "k")


@cell
def content_encoding_without_aws_chunked(site):
    name = site.bucket()
    answered(site.wire.stream(name, "k", [b"abc"]))
    among("encoding", answered(site.wire.ask("HEAD", name, "k")).headers["Content-Encoding"], (None, ""))


@cell
def content_md5(site):
    name = site.bucket()
    site.put(name, "k", b"good", [("Content-MD5", md5(b"good"))])
    refused(site.wire.ask("PUT", name, "k", headers=[("Content-MD5", md5(b"other"))], body=b"bad"), 400, "BadDigest")
    refused(site.wire.ask("PUT", name, "k", headers=[("Content-MD5", "nonsense")], body=b"bad"), 400, "InvalidDigest")
    site.get(name, "k", b"good")


# Ranges and conditions

@cell
def ranges(site):
    name, data = site.bucket(), bytes_of(MIB + 17)
    site.put(name, "k", data)
    end = len(data)
    for asked, first, last in (("0-0", 0, 1), ("5-9", 5, 10), (f"{end - 3}-", end - 3, end), ("-7", end - 7, end),
                               ("100-99999999", 100, end), ("-99999999", 0, end), ("65535-65536", 65535, 65537),
                               ("0-99999999999999999", 0, end), ("262144-524287", 262144, 524288)):
        answer = site.wire.ask("GET", name, "k", headers=[("Range", f"bytes={asked}")])
        same(f"status of {asked}", answer.status, 206)
        same(f"content of {asked}", answer.body, data[first:last])
        same("Content-Range", answer.headers["Content-Range"], f"bytes {first}-{last - 1}/{end}")
        same("ETag", answer.headers["ETag"], etag(data))
    answer = site.wire.ask("HEAD", name, "k", headers=[("Range", "bytes=1-4")])
    same("HEAD", (answer.status, answer.headers["Content-Length"]), (206, "4"))


@cell
def invalid_range(site):
    name = site.bucket()
    site.put(name, "k", b"0123456789")
    site.put(name, "empty", b"")
    for key, asked in (("k", "10-"), ("k", "100-200"), ("k", "-0"), ("empty", "0-0"), ("empty", "0-")):
        refused(site.wire.ask("GET", name, key, headers=[("Range", f"bytes={asked}")]), 416, "InvalidRange")
    for asked in ("bytes=5-2", "items=0-1", "bytes=a-b", "bytes=", "nonsense"):
        answer = site.wire.ask("GET", name, "k", headers=[("Range", asked)])
        same(f"{asked} is ignored", (answer.status, answer.body), (200, b"0123456789"))


@cell
def conditional_get(site):
    name = site.bucket()
    answer = site.put(name, "k")
    tag, other = answer.headers["ETag"], etag(b"other")
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    future = answered(site.wire.ask("HEAD", name, "k")).headers["Last-Modified"]
    for method in ("GET", "HEAD"):
        for headers, status in (
                ({"If-Match": tag}, 200), ({"If-Match": tag.strip('"')}, 200), ({"If-Match": "*"}, 200),
                ({"If-Match": other}, 412), ({"If-Match": f"{other}, {tag}"}, 200), ({"If-None-Match": tag}, 304),
                ({"If-None-Match": other}, 200), ({"If-None-Match": "*"}, 304), ({"If-Modified-Since": past}, 200),
                ({"If-Modified-Since": future}, 304), ({"If-Unmodified-Since": past}, 412),
                ({"If-Unmodified-Since": future}, 200), ({"If-Match": tag, "If-Unmodified-Since": past}, 200),
                ({"If-None-Match": other, "If-Modified-Since": future}, 200)):
            answer = site.wire.ask(method, name, "k", headers=list(headers.items()))
            same(f"{method} with {headers}", answer.status, status)
            if status == 304:
                same("ETag of 304", answer.headers["ETag"], tag)
                same("body of 304", answer.body, b"")
    refused(site.wire.ask("GET", name, "k", headers=[("If-Match", other)]), 412, "PreconditionFailed")


@cell
def conditional_put(site):
    name = site.bucket()
    create = [("If-None-Match", "*")]
    tag = site.put(name, "k", b"one", create).headers["ETag"]
    refused(site.wire.ask("PUT", name, "k", headers=create, body=b"two"), 412, "PreconditionFailed")
    site.get(name, "k", b"one")
    refused(site.wire.ask("PUT", name, "k", headers=[("If-Match", etag(b"x"))], body=b"two"), 412, "PreconditionFailed")
    site.put(name, "k", b"three", [("If-Match", tag)])
    site.get(name, "k", b"three")
    refused(site.wire.ask("PUT", name, "none", headers=[("If-Match", tag)], body=b"x"), 404, "NoSuchKey")
    site.absent(name, "none")
    site.wire.ask("DELETE", name, "k")
    site.put(name, "k", b"again", create)


@cell
def conditional_put_has_one_winner(site):
    name = site.bucket()
    for key in ("a", "b", "c", "d"):
        def work(who, key=key):
            wire = site.wire.as_user(site.access, site.secret)
            return wire.ask("PUT", name, key, headers=[("If-None-Match", "*")], body=bytes_of(200_000, who)).status
        made = at_once(8, work)
        check(made.count(200) == 1, f"the statuses are {made}")
        check(all(status in (200, 409, 412) for status in made), f"the statuses are {made}")
        site.get(name, key, bytes_of(200_000, made.index(200)))


@cell
def conditional_completion(site):
    name = site.bucket()
    site.put(name, "k", b"there")
    upload = begin(site, name, "k")
    tag = part(site, name, "k", upload, 1, b"part")
    refused(complete(site, name, "k", upload, [(1, tag)], [("If-None-Match", "*")]), 412, "PreconditionFailed")
    site.get(name, "k", b"there")
    refused(complete(site, name, "k", upload, [(1, tag)], [("If-Match", etag(b"x"))]), 412, "PreconditionFailed")
    answered(complete(site, name, "k", upload, [(1, tag)], [("If-Match", etag(b"there"))]))
    site.get(name, "k", b"part")


@cell
def conditional_delete(site):
    name = site.bucket()
    tag = site.put(name, "k").headers["ETag"]
    refused(site.wire.ask("DELETE", name, "k", headers=[("If-Match", etag(b"x"))]), 412, "PreconditionFailed")
    site.get(name, "k", b"content")
    same("delete", site.wire.ask("DELETE", name, "k", headers=[("If-Match", tag)]).status, 204)


@cell
def response_overrides(site):
    name = site.bucket()
    site.put(name, "k", headers=[("Content-Type", "text/plain")])
    wanted = {"content-type": "image/odd", "content-language": "fr", "expires": "Thu, 01 Dec 2033 16:00:00 GMT",
              "cache-control": "no-store", "content-disposition": 'inline; filename="a b.txt"',
              "content-encoding": "br"}
    answer = site.get(name, "k", b"content", query=[(f"response-{key}", value) for key, value in wanted.items()])
    same("headers", {key: answer.headers[key] for key in wanted}, wanted)
    same("kept type", answered(site.wire.ask("HEAD", name, "k")).headers["Content-Type"], "text/plain")


# Listing

def pages(site, bucket, *query, version=2):
    """All pages of a listing: keys and common prefixes of each."""
    token, made = None, []
    while len(made) < 5000:
        more = [] if token is None else [("continuation-token" if version == 2 else "marker", token)]
        asked = [*query, *more, *([("list-type", 2)] if version == 2 else [])]
        answer = answered(site.wire.ask("GET", bucket, query=asked))
        made.append((answer.all("Contents/Key"), answer.all("CommonPrefixes/Prefix")))
        if answer.first("IsTruncated") != "true":
            return made
        if version == 2:
            token = answer.first("NextContinuationToken")
            check(token, "there is no NextContinuationToken")
        else:
            token = answer.first("NextMarker") or made[-1][0][-1]
    raise Failed("the listing does not end")


def listed_keys():
    return sorted(f"dir{number // 300:02}/sub{number % 7}/{number:05}" for number in range(LISTED))


def joined(made):
    return [key for keys, _ in made for key in keys], [prefix for _, prefixes in made for prefix in prefixes]


@cell
def list_pages(site):
    for version in (1, 2):
        made = pages(site, site.listed, version=version)
        same("keys of each page", [len(keys) for keys, _ in made], [1000] * (LISTED // 1000))
        same("keys", joined(made)[0], listed_keys())
        made = pages(site, site.listed, ("max-keys", 777), version=version)
        same("keys in pages of 777", joined(made)[0], listed_keys())


@cell
def list_prefix_and_delimiter(site):
    dirs = [f"dir{number:02}/" for number in range(10)]
    for version in (1, 2):
        same("top", joined(pages(site, site.listed, ("delimiter", "/"), version=version)), ([], dirs))
        same("top in pages of 3", joined(pages(site, site.listed, ("delimiter", "/"), ("max-keys", 3), version=version)),
             ([], dirs))
        same("one", joined(pages(site, site.listed, ("delimiter", "/"), ("prefix", "dir03/"), version=version)),
             ([], [f"dir03/sub{number}/" for number in range(7)]))
        below = [key for key in listed_keys() if key.startswith("dir03/sub2/")]
        same("leaves", joined(pages(site, site.listed, ("delimiter", "/"), ("prefix", "dir03/sub2/"), version=version)),
             (below, []))
        same("half a name", joined(pages(site, site.listed, ("delimiter", "/"), ("prefix", "dir0"), version=version))[1],
             dirs)
        same("nothing", joined(pages(site, site.listed, ("prefix", "none"), version=version)), ([], []))
        same("another delimiter", joined(pages(site, site.listed, ("delimiter", "sub"), version=version))[1],
             [f"{name}sub" for name in dirs])
    answer = answered(site.wire.ask("GET", site.listed, query=[("list-type", 2), ("delimiter", "/"), ("max-keys", 3)]))
    same("KeyCount", answer.first("KeyCount"), "3")
    same("MaxKeys", answer.first("MaxKeys"), "3")


@cell
def list_start_after_and_marker(site):
    keys = listed_keys()
    for after in (keys[1234], keys[1234] + "!", "dir03", "a", "z"):
        wanted = [key for key in keys if key > after]
        same(f"after {after}", joined(pages(site, site.listed, ("start-after", after)))[0], wanted)
        answer = answered(site.wire.ask("GET", site.listed, query=[("marker", after)]))
        same(f"marker {after}", answer.all("Contents/Key"), wanted[:1000])
    answer = answered(site.wire.ask("GET", site.listed, query=[("marker", "dir03/"), ("delimiter", "/")]))
    same("marker at a prefix", answer.all("CommonPrefixes/Prefix"), [f"dir{number:02}/" for number in range(4, 10)])


@cell
def list_limits(site):
    answer = answered(site.wire.ask("GET", site.listed, query=[("list-type", 2), ("max-keys", 0)]))
    same("no keys", (answer.all("Contents/Key"), answer.first("IsTruncated")), ([], "false"))
    answer = answered(site.wire.ask("GET", site.listed, query=[("list-type", 2), ("max-keys", 5000)]))
    same("keys when 5000 are asked for", len(answer.all("Contents/Key")), 1000)
    for value in ("-1", "x", "99999999999999999999"):
        refused(site.wire.ask("GET", site.listed, query=[("list-type", 2), ("max-keys", value)]), 400, "InvalidArgument")
    refused(site.wire.ask("GET", site.listed, query=[("list-type", 2), ("continuation-token", "")]), 400,
            "InvalidArgument")
    refused(site.wire.ask("GET", site.listed, query=[("list-type", 2), ("encoding-type", "odd")]), 400, "InvalidArgument")


@cell
def list_fields(site):
    name = site.bucket()
    site.put(name, "k", b"hello")
    answer = answered(site.wire.ask("GET", name, query=[("list-type", 2), ("fetch-owner", "true"), ("delimiter", "")]))
    same("fields", [answer.first(f"Contents/{field}") for field in ("Key", "Size", "ETag", "StorageClass")],
         ["k", "5", etag(b"hello"), "STANDARD"])
    check(answer.first("Contents/Owner/ID"), "the owner is not told")
    when = answer.first("Contents/LastModified")
    check(len(when) == 24 and when.endswith("Z"), f"LastModified is {when}")
    same("Name", answer.first("Name"), name)
    answer = answered(site.wire.ask("GET", name, query=[("list-type", 2)]))
    same("owner when it is not asked for", answer.first("Contents/Owner/ID"), None)
    answer = answered(site.wire.ask("GET", name))
    check(answer.first("Contents/Owner/ID"), "the first version of the listing tells no owner")


@cell
def list_order_is_of_bytes(site):
    name = site.bucket()
    keys = ["Z", "a", "a!", "a/", "a/b", "a0", "aa", "é", "\uffee", "😀", "_", "A"]
    for key in keys:
        site.put(name, key)
    same("order", joined(pages(site, name))[0], sorted(keys, key=str.encode))
    same("order in pages of 1", joined(pages(site, name, ("max-keys", 1)))[0], sorted(keys, key=str.encode))


@cell
def list_with_url_encoding(site):
    name = site.bucket()
    keys = ["a+b/c d", "a+b/ü", "p%q", "x&y", "<z>", "d a/1"]
    for key in keys:
        site.put(name, key)
    answer = answered(site.wire.ask("GET", name, query=[("list-type", 2), ("encoding-type", "url")]))
    same("EncodingType", answer.first("EncodingType"), "url")
    got = answer.all("Contents/Key")
    same("keys", [urllib.parse.unquote_plus(key) for key in got], sorted(keys))
    check(not any(char in key for key in got for char in " <>&ü"), f"keys are not encoded: {got}")
    answer = answered(site.wire.ask("GET", name, query=[
        ("list-type", 2), ("encoding-type", "url"), ("prefix", "a+b/"), ("delimiter", " "), ("start-after", "a+")]))
    same("common prefix", [urllib.parse.unquote_plus(key) for key in answer.all("CommonPrefixes/Prefix")], ["a+b/c "])
    among("Prefix", answer.first("Prefix"), ("a%2Bb/", "a%2Bb%2F"))
    among("Delimiter", answer.first("Delimiter"), ("%20", "+"))
    same("StartAfter", answer.first("StartAfter"), "a%2B")
    answer = answered(site.wire.ask("GET", name, query=[("encoding-type", "url"), ("delimiter", "/"), ("max-keys", 3)]))
    check(" " not in (answer.first("NextMarker") or ""), "NextMarker is not encoded")


# Copy

@cell
def copy(site):
    name, other = site.bucket(), site.bucket()
    site.put(name, "k", b"hello", [("x-amz-meta-a", "1"), ("Content-Type", "text/odd")])
    for source in (f"{name}/k", f"/{name}/k"):
        answer = answered(site.wire.ask("PUT", other, "c", headers=[("x-amz-copy-source", source)]))
        same("ETag", answer.first("ETag"), etag(b"hello"))
        check(answer.first("LastModified"), "no LastModified")
    answer = site.get(other, "c", b"hello")
    same("metadata", (answer.headers["x-amz-meta-a"], answer.headers["Content-Type"]), ("1", "text/odd"))
    answered(site.wire.ask("PUT", other, "c", headers=[("x-amz-copy-source", f"{name}/k"), ("x-amz-meta-b", "2"),
                                                      ("x-amz-metadata-directive", "REPLACE"),
                                                      ("Content-Type", "text/new")]))
    answer = site.get(other, "c", b"hello")
    same("metadata", tuple(answer.headers[header] for header in ("x-amz-meta-a", "x-amz-meta-b", "Content-Type")),
         (None, "2", "text/new"))


@cell
def copy_onto_itself(site):
    name = site.bucket()
    site.put(name, "k", b"hello", [("x-amz-meta-a", "1")])
    source = ("x-amz-copy-source", f"{name}/k")
    refused(site.wire.ask("PUT", name, "k", headers=[source]), 400, "InvalidRequest")
    site.get(name, "k", b"hello")
    answered(site.wire.ask("PUT", name, "k", headers=[source, ("x-amz-metadata-directive", "REPLACE"),
                                                     ("x-amz-meta-a", "2")]))
    same("metadata", site.get(name, "k", b"hello").headers["x-amz-meta-a"], "2")


@cell
def copy_of_what_is_not_there(site):
    name = site.bucket()
    for source, code in ((f"{name}/none", "NoSuchKey"), ("no-such-bucket-at-all/k", "NoSuchBucket")):
        refused(site.wire.ask("PUT", name, "c", headers=[("x-amz-copy-source", source)]), 404, code)
    refused(site.wire.ask("PUT", name, "c", headers=[("x-amz-copy-source", "nonsense")]), 400, "InvalidArgument")
    site.absent(name, "c")


@cell
def copy_with_conditions(site):
    name = site.bucket()
    tag = site.put(name, "k").headers["ETag"]
    past = "Mon, 01 Jan 2001 00:00:00 GMT"
    for header, value, status in (("if-match", tag, 200), ("if-match", etag(b"x"), 412), ("if-none-match", tag, 412),
                                  ("if-none-match", etag(b"x"), 200), ("if-unmodified-since", past, 412),
                                  ("if-modified-since", past, 200)):
        answer = site.wire.ask("PUT", name, "c", headers=[("x-amz-copy-source", f"{name}/k"),
                                                         (f"x-amz-copy-source-{header}", value)])
        same(f"{header} {value}", answer.status, status)
    answer = site.wire.ask("PUT", name, "c", headers=[("x-amz-copy-source", f"{name}/k"), ("If-None-Match", "*")])
    refused(answer, 412, "PreconditionFailed")


# Multipart

@cell
def multipart_object(site):
    name, parts = site.bucket(), [bytes_of(PART, number) for number in range(5)] + [bytes_of(PART - 1000, 5)]
    upload = begin(site, name, "k", [("x-amz-meta-a", "1"), ("Content-Type", "text/odd")])

    def work(number):
        wire = site.wire.as_user(site.access, site.secret)
        return answered(wire.ask("PUT", name, "k", [("partNumber", number + 1), ("uploadId", upload)],
                                 body=parts[number])).headers["ETag"]
    tags = at_once(len(parts), work)
    for tag, data in zip(tags, parts):
        same("ETag of a part", tag, etag(data))
    site.absent(name, "k")
    same("listed before completion", site.wire.ask("GET", name).all("Contents/Key"), [])
    answer = answered(complete(site, name, "k", upload, list(enumerate(tags, 1))))
    same("ETag", answer.first("ETag"), multipart_etag(parts))
    same("names", (answer.first("Bucket"), answer.first("Key")), (name, "k"))
    check(answer.first("Location"), "no Location")
    answer = site.get(name, "k", b"".join(parts))
    same("ETag", answer.headers["ETag"], multipart_etag(parts))
    same("metadata", (answer.headers["x-amz-meta-a"], answer.headers["Content-Type"]), ("1", "text/odd"))
    data = b"".join(parts)[PART - 10:PART + 10]
    answer = site.wire.ask("GET", name, "k", headers=[("Range", f"bytes={PART - 10}-{PART + 9}"),
                                                     ("If-Match", multipart_etag(parts))])
    same("across parts", (answer.status, answer.body), (206, data))
    same("listed ETag", site.wire.ask("GET", name).all("Contents/ETag"), [multipart_etag(parts)])


@cell
def multipart_overwritten_part_and_gaps(site):
    name, parts = site.bucket(), [bytes_of(PART, 1), b"the end"]
    upload = begin(site, name, "k")
    part(site, name, "k", upload, 7, b"wrong")
    second = part(site, name, "k", upload, 7, parts[1])
    part(site, name, "k", upload, 5, b"not taken")
    first = part(site, name, "k", upload, 3, parts[0])
    answered(complete(site, name, "k", upload, [(3, first), (7, second)]))
    site.get(name, "k", b"".join(parts))


@cell
def multipart_errors(site):
    name = site.bucket()
    upload = begin(site, name, "k")
    small, last = part(site, name, "k", upload, 1, b"small"), part(site, name, "k", upload, 2, b"last")
    refused(complete(site, name, "k", upload, [(1, small), (2, last)]), 400, "EntityTooSmall")
    refused(complete(site, name, "k", upload, [(1, etag(b"x"))]), 400, "InvalidPart")
    refused(complete(site, name, "k", upload, [(3, small)]), 400, "InvalidPart")
    refused(complete(site, name, "k", upload, [(2, last), (1, small)]), 400, "InvalidPartOrder")
    refused(complete(site, name, "k", upload, []), 400, "MalformedXML", "InvalidRequest")
    refused(site.wire.ask("POST", name, "k", [("uploadId", upload)], body=b"<nonsense"), 400, "MalformedXML")
    for number in ("0", "10001", "-1", "x"):
        answer = site.wire.ask("PUT", name, "k", [("partNumber", number), ("uploadId", upload)], body=b"x")
        refused(answer, 400, "InvalidArgument")
    site.absent(name, "k")
    answered(complete(site, name, "k", upload, [(1, small)]))
    site.get(name, "k", b"small")


@cell
def no_such_upload(site):
    name = site.bucket()
    upload = begin(site, name, "k")
    tag = part(site, name, "k", upload, 1, b"part")
    same("abort", site.wire.ask("DELETE", name, "k", [("uploadId", upload)]).status, 204)
    for bad in (upload, "nonsense", "../../etc/passwd", "x" * 500, "00000000-0000-0000-0000-000000000000"):
        refused(site.wire.ask("PUT", name, "k", [("partNumber", 1), ("uploadId", bad)], body=b"x"), 404, "NoSuchUpload")
        refused(complete(site, name, "k", bad, [(1, tag)]), 404, "NoSuchUpload")
        refused(site.wire.ask("GET", name, "k", [("uploadId", bad)]), 404, "NoSuchUpload")
        refused(site.wire.ask("DELETE", name, "k", [("uploadId", bad)]), 404, "NoSuchUpload")
    upload = begin(site, name, "k")
    refused(site.wire.ask("PUT", name, "other", [("partNumber", 1), ("uploadId", upload)], body=b"x"), 404,
            "NoSuchUpload")


@cell
def list_parts(site):
    name = site.bucket()
    upload = begin(site, name, "k")
    for number in (1, 2, 5, 9, 10):
        part(site, name, "k", upload, number, b"p" * number)
    query = [("uploadId", upload)]
    answer = answered(site.wire.ask("GET", name, "k", query))
    same("parts", answer.all("Part/PartNumber"), ["1", "2", "5", "9", "10"])
    same("sizes", answer.all("Part/Size"), ["1", "2", "5", "9", "10"])
    same("ETags", answer.all("Part/ETag"), [etag(b"p" * number) for number in (1, 2, 5, 9, 10)])
    same("names", (answer.first("Bucket"), answer.first("Key"), answer.first("UploadId")), (name, "k", upload))
    answer = answered(site.wire.ask("GET", name, "k", [*query, ("max-parts", 2)]))
    same("first page", (answer.all("Part/PartNumber"), answer.first("IsTruncated"), answer.first("NextPartNumberMarker")),
         (["1", "2"], "true", "2"))
    answer = answered(site.wire.ask("GET", name, "k", [*query, ("max-parts", 3), ("part-number-marker", 2)]))
    same("second page", (answer.all("Part/PartNumber"), answer.first("IsTruncated")), (["5", "9", "10"], "false"))


@cell
def list_uploads(site):
    name = site.bucket()
    made = [(key, begin(site, name, key)) for key in ("a/1", "a/2", "b", "b", "c")]
    uploads = [("uploads", "")]
    answer = answered(site.wire.ask("GET", name, query=uploads))
    same("uploads", sorted(zip(answer.all("Upload/Key"), answer.all("Upload/UploadId"))), sorted(made))
    same("order", answer.all("Upload/Key"), ["a/1", "a/2", "b", "b", "c"])
    answer = answered(site.wire.ask("GET", name, query=[*uploads, ("prefix", "b")]))
    same("of a prefix", answer.all("Upload/Key"), ["b", "b"])
    answer = answered(site.wire.ask("GET", name, query=[*uploads, ("delimiter", "/")]))
    same("with a delimiter", (answer.all("Upload/Key"), answer.all("CommonPrefixes/Prefix")), (["b", "b", "c"], ["a/"]))
    got, marks = [], []
    for _ in range(9):
        answer = answered(site.wire.ask("GET", name, query=[*uploads, ("max-uploads", 2), *marks]))
        got += answer.all("Upload/UploadId")
        if answer.first("IsTruncated") != "true":
            break
        marks = [("key-marker", answer.first("NextKeyMarker")), ("upload-id-marker", answer.first("NextUploadIdMarker"))]
    same("uploads in pages", sorted(got), sorted(upload for _, upload in made))
    for key, upload in made:
        same("abort", site.wire.ask("DELETE", name, key, [("uploadId", upload)]).status, 204)
    same("uploads at the end", answered(site.wire.ask("GET", name, query=uploads)).all("Upload/Key"), [])
    same("delete", site.wire.ask("DELETE", name).status, 204)


@cell
def upload_part_copy(site):
    name, data = site.bucket(), bytes_of(PART + 1000)
    site.put(name, "source", data)
    upload = begin(site, name, "k")
    tags = []
    for number, asked in ((1, f"bytes=0-{PART - 1}"), (2, f"bytes={PART}-{PART + 999}")):
        answer = answered(site.wire.ask("PUT", name, "k", [("partNumber", number), ("uploadId", upload)], [
            ("x-amz-copy-source", f"{name}/source"), ("x-amz-copy-source-range", asked)]))
        tags.append((number, answer.first("ETag")))
    answer = answered(site.wire.ask("PUT", name, "k", [("partNumber", 3), ("uploadId", upload)],
                                    [("x-amz-copy-source", f"{name}/source")]))
    for asked in ("bytes=0-99999999", "bytes=5-", "nonsense", f"bytes={PART + 1000}-{PART + 1001}"):
        answer = site.wire.ask("PUT", name, "k", [("partNumber", 4), ("uploadId", upload)], [
            ("x-amz-copy-source", f"{name}/source"), ("x-amz-copy-source-range", asked)])
        refused(answer, (400, 416), "InvalidArgument", "InvalidRange", "InvalidRequest")
    answer = site.wire.ask("PUT", name, "k", [("partNumber", 4), ("uploadId", upload)], [
        ("x-amz-copy-source", f"{name}/source"), ("x-amz-copy-source-if-match", etag(b"x"))])
    refused(answer, 412, "PreconditionFailed")
    answered(complete(site, name, "k", upload, tags))
    answer = site.get(name, "k", data)
    same("ETag", answer.headers["ETag"], multipart_etag([data[:PART], data[PART:]]))


@cell
def part_number_reads(site):
    name, parts = site.bucket(), [bytes_of(PART, 1), b"second"]
    multipart(site, name, "k", parts)
    for method in ("GET", "HEAD"):
        answer = site.wire.ask(method, name, "k", [("partNumber", 2)])
        same(method, (answer.status, answer.headers["Content-Length"], answer.headers["x-amz-mp-parts-count"]),
             (206, "6", "2"))
        same("range", answer.headers["Content-Range"], f"bytes {PART}-{PART + 5}/{PART + 6}")
    same("content", site.wire.ask("GET", name, "k", [("partNumber", 2)]).body, b"second")
    refused(site.wire.ask("GET", name, "k", [("partNumber", 3)]), 416, "InvalidPartNumber", "InvalidRange")
    site.put(name, "one")
    same("of a plain object", site.wire.ask("GET", name, "one", [("partNumber", 1)]).body, b"content")
    refused(site.wire.ask("GET", name, "k", [("partNumber", 1)], [("Range", "bytes=0-1")]), 400, "InvalidRequest")


@cell
def object_attributes(site):
    name, data = site.bucket(), b"hello"
    site.put(name, "k", data, [("x-amz-checksum-sha256", checksum("sha256", data))])
    wanted = [("x-amz-object-attributes", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize")]
    answer = answered(site.wire.ask("GET", name, "k", [("attributes", "")], wanted))
    same("ETag", answer.first("ETag").strip('"'), etag(data).strip('"'))
    same("size", answer.first("ObjectSize"), "5")
    same("checksum", answer.first("Checksum/ChecksumSHA256"), checksum("sha256", data))
    among("class", answer.first("StorageClass"), ("STANDARD",))
    parts = [bytes_of(PART, 1), b"second"]
    multipart(site, name, "m", parts)
    answer = answered(site.wire.ask("GET", name, "m", [("attributes", "")], wanted))
    same("parts", answer.first("ObjectParts/PartsCount") or answer.first("ObjectParts/TotalPartsCount"), "2")
    refused(site.wire.ask("GET", name, "none", [("attributes", "")], wanted), 404, "NoSuchKey")


# Checksums

def checksums(name):
    header = f"x-amz-checksum-{name}"
    wrong = checksum(name, b"other")

    @cell(name=f"checksum-{name}-header")
    def in_header(site):
        bucket, data = site.bucket(), bytes_of(50_000)
        site.put(bucket, "k", data, [(header, checksum(name, data))])
        for method in ("GET", "HEAD"):
            answer = answered(site.wire.ask(method, bucket, "k", headers=[("x-amz-checksum-mode", "ENABLED")]))
            same(f"{header} of {method}", answer.headers[header], checksum(name, data))
        answer = site.wire.ask("GET", bucket, "k", headers=[("x-amz-checksum-mode", "ENABLED"), ("Range", "bytes=0-1")])
        same("checksum of a range", answer.headers[header], None)
        refused(site.wire.ask("PUT", bucket, "bad", headers=[(header, wrong)], body=data), 400, "BadDigest")
        refused(site.wire.ask("PUT", bucket, "bad", headers=[(header, "bm9uc2Vuc2U")], body=data), 400,
                "InvalidRequest", "BadDigest")
        site.absent(bucket, "bad")
        answer = answered(site.wire.ask("PUT", bucket, "c", headers=[("x-amz-copy-source", f"{bucket}/k")]))
        same("checksum of a copy", answer.first(f"Checksum{name.upper()}"), checksum(name, data))

    @cell(name=f"checksum-{name}-trailer")
    def in_trailer(site):
        bucket, chunks = site.bucket(), [bytes_of(65536, 1), bytes_of(8192, 2), b"end"]
        right = (header, checksum(name, b"".join(chunks)))
        for kind in (UNSIGNED_CHUNKS_TRAILER, SIGNED_CHUNKS_TRAILER):
            answered(site.wire.stream(bucket, "k", chunks, kind, right))
            answer = site.get(bucket, "k", b"".join(chunks), headers=[("x-amz-checksum-mode", "ENABLED")])
            same(header, answer.headers[header], right[1])
            refused(site.wire.stream(bucket, "bad", chunks, kind, (header, wrong)), 400, "BadDigest")
            site.absent(bucket, "bad")


for _name in CHECKSUMS:
    checksums(_name)


@cell
def checksum_algorithm_without_a_value_is_refused(site):
    name = site.bucket()
    answer = site.wire.ask("PUT", name, "k", headers=[("x-amz-sdk-checksum-algorithm", "CRC32")], body=b"x")
    among("status", answer.status, (200, 400))
    answer = site.wire.ask("PUT", name, "two", body=b"x", headers=[
        ("x-amz-checksum-crc32", checksum("crc32", b"x")), ("x-amz-checksum-sha1", checksum("sha1", b"x"))])
    refused(answer, 400, "InvalidRequest")


@cell
def checksum_of_a_multipart_object(site):
    name, parts = site.bucket(), [bytes_of(PART, 1), b"second"]
    upload = begin(site, name, "k", [("x-amz-checksum-algorithm", "SHA256")])
    tags, sums, more = [], [], {}
    for number, data in enumerate(parts, 1):
        sums.append(hashlib.sha256(data).digest())
        value = checksum("sha256", data)
        tags.append((number, part(site, name, "k", upload, number, data, [("x-amz-checksum-sha256", value)])))
        more[number] = f"<ChecksumSHA256>{value}</ChecksumSHA256>"
    answer = site.wire.ask("PUT", name, "k", [("partNumber", 2), ("uploadId", upload)],
                           [("x-amz-checksum-sha256", checksum("sha256", b"x"))], b"second")
    refused(answer, 400, "BadDigest")
    wrong = {**more, 2: f"<ChecksumSHA256>{checksum('sha256', b'x')}</ChecksumSHA256>"}
    refused(complete(site, name, "k", upload, tags, more=wrong), 400, "InvalidPart", "BadDigest")
    answer = answered(complete(site, name, "k", upload, tags, more=more))
    wanted = f"{checksum('sha256', b''.join(sums))}-2"
    same("checksum", answer.first("ChecksumSHA256"), wanted)
    same("type", answer.first("ChecksumType"), "COMPOSITE")
    answer = answered(site.wire.ask("HEAD", name, "k", headers=[("x-amz-checksum-mode", "ENABLED")]))
    same("header", (answer.headers["x-amz-checksum-sha256"], answer.headers["x-amz-checksum-type"]),
         (wanted, "COMPOSITE"))


@cell
def checksum_of_a_whole_multipart_object(site):
    name, parts = site.bucket(), [bytes_of(PART, 1), b"second"]
    upload = begin(site, name, "k", [("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT")])
    tags = [(number, part(site, name, "k", upload, number, data, [("x-amz-checksum-crc32", checksum("crc32", data))]))
            for number, data in enumerate(parts, 1)]
    full = checksum("crc32", b"".join(parts))
    kind = ("x-amz-checksum-type", "FULL_OBJECT")
    answer = complete(site, name, "k", upload, tags, [kind, ("x-amz-checksum-crc32", checksum("crc32", b"x"))])
    refused(answer, 400, "BadDigest")
    answer = answered(complete(site, name, "k", upload, tags, [kind, ("x-amz-checksum-crc32", full)]))
    same("checksum", (answer.first("ChecksumCRC32"), answer.first("ChecksumType")), (full, "FULL_OBJECT"))


# Deleting many

def delete_body(keys, quiet=False):
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f"<Delete>{objects}{'<Quiet>true</Quiet>' if quiet else ''}</Delete>".encode()


def delete_many(site, bucket, keys, quiet=False, headers=None):
    body = delete_body(keys, quiet)
    headers = [("Content-MD5", md5(body))] if headers is None else headers
    return site.wire.ask("POST", bucket, query=[("delete", "")], headers=headers, body=body)


@cell
def delete_thousand(site):
    name = site.bucket()
    keys = [f"k{number:04}" for number in range(1000)]

    def some(part):
        wire = site.wire.as_user(site.access, site.secret)
        for key in keys[part::4]:
            answered(wire.ask("PUT", name, key, body=b"x"))
    at_once(4, some)
    refused(delete_many(site, name, [*keys, "more"]), 400, "MalformedXML")
    answer = answered(delete_many(site, name, keys))
    same("deleted", sorted(answer.all("Deleted/Key")), keys)
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), [])


@cell
def delete_many_odd(site):
    name = site.bucket()
    odd = ["a&b", "<c>", "d e+f%20", "grüße", "/x//y/"]
    for key in odd:
        site.put(name, key)
    answer = answered(delete_many(site, name, [*odd, "was never there"]))
    same("deleted", sorted(answer.all("Deleted/Key")), sorted([*odd, "was never there"]))
    same("errors", answer.all("Error/Code"), [])
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), [])
    site.put(name, "q")
    same("quiet", answered(delete_many(site, name, ["q", "r"], quiet=True)).all("Deleted/Key"), [])
    site.absent(name, "q")


@cell
def delete_many_checked(site):
    name = site.bucket()
    site.put(name, "k")
    refused(delete_many(site, name, ["k"], headers=[]), 400, "InvalidRequest", "MissingContentMD5")
    refused(delete_many(site, name, ["k"], headers=[("Content-MD5", md5(b"x"))]), 400, "BadDigest")
    answer = delete_many(site, name, ["k"], headers=[("x-amz-checksum-crc32", checksum("crc32", b"x"))])
    refused(answer, 400, "BadDigest")
    site.get(name, "k", b"content")
    body = delete_body(["k"])
    answered(delete_many(site, name, ["k"], headers=[("x-amz-checksum-crc32", checksum("crc32", body))]))
    site.absent(name, "k")
    for body in (b"<Delete></Delete>", b"<Delete><Object></Object></Delete>", b"no xml", b""):
        answer = site.wire.ask("POST", name, query=[("delete", "")], headers=[("Content-MD5", md5(body))], body=body)
        refused(answer, 400, "MalformedXML", "MissingRequestBodyError")


# Who may do what

@cell
def wrong_secret(site):
    name = site.bucket()
    site.put(name, "k")
    wire = site.wire.as_user(site.access, "0" * 40)
    for method in ("GET", "PUT", "DELETE"):
        refused(wire.ask(method, name, "k"), 403, "SignatureDoesNotMatch")
    same("HEAD", wire.ask("HEAD", name, "k").status, 403)
    refused(wire.ask("GET", "no-such-bucket-at-all"), 403, "SignatureDoesNotMatch")
    site.get(name, "k", b"content")


@cell
def unknown_key_id(site):
    name = site.bucket()
    for access in ("AKIANOBODY0000000000", "x", "../../etc/passwd"):
        wire = site.wire.as_user(access, site.secret)
        refused(wire.ask("GET", name), 403, "InvalidAccessKeyId")
        refused(wire.plain("GET", wire.presigned("GET", name, "k")), 403, "InvalidAccessKeyId")


@cell
def anonymous(site):
    name = site.bucket()
    site.put(name, "k")
    for method, path in (("GET", "/"), ("GET", f"/{name}"), ("GET", f"/{name}/k"), ("PUT", f"/{name}/new"),
                         ("DELETE", f"/{name}/k"), ("DELETE", f"/{name}"), ("PUT", f"/{name}-new"),
                         ("POST", f"/{name}?delete"), ("GET", f"/{name}?policy"), ("GET", f"/{name}/none")):
        refused(site.wire.plain(method, path), 403, "AccessDenied")
    same("HEAD", site.wire.plain("HEAD", f"/{name}/k").status, 403)
    site.get(name, "k", b"content")
    site.absent(name, "new")


@cell
def tampered_body(site):
    name = site.bucket()
    site.put(name, "k", b"before")
    for data in (b"evil", b"", bytes_of(3 * MIB)):
        answer = site.wire.ask("PUT", name, "k", body=data, payload=hashlib.sha256(b"good").hexdigest())
        refused(answer, 400, "XAmzContentSHA256Mismatch")
    upload = begin(site, name, "m")
    answer = site.wire.ask("PUT", name, "m", [("partNumber", 1), ("uploadId", upload)], body=b"evil",
                           payload=hashlib.sha256(b"good").hexdigest())
    refused(answer, 400, "XAmzContentSHA256Mismatch")
    same("parts", answered(site.wire.ask("GET", name, "m", [("uploadId", upload)])).all("Part/PartNumber"), [])
    site.get(name, "k", b"before")


@cell
def tampered_request(site):
    name = site.bucket()
    site.put(name, "k", b"one")
    path = f"/{name}/k"
    headers, _ = site.wire.signed("GET", path, [], [], hashlib.sha256(b"").hexdigest())
    refused(site.wire.send("GET", f"/{name}/other", headers), 403, "SignatureDoesNotMatch")
    refused(site.wire.send("DELETE", path, headers), 403, "SignatureDoesNotMatch")
    refused(site.wire.send("GET", f"{path}?acl", headers), 403, "SignatureDoesNotMatch")
    more = [*headers, ("x-amz-meta-late", "unsigned")]
    refused(site.wire.send("GET", path, more), 403, "AccessDenied", "SignatureDoesNotMatch")
    changed = [(header, "other:1" if header == "Host" else value) for header, value in headers]
    refused(site.wire.send("GET", path, changed), 403, "SignatureDoesNotMatch")
    site.get(name, "k", b"one")


@cell
def clock_skew(site):
    name = site.bucket()
    site.put(name, "k")
    for shift in (-1200, 1200, -90000):
        refused(site.wire.ask("GET", name, "k", when=now(shift)), 403, "RequestTimeTooSkewed")
    site.get(name, "k", b"content", when=now(-300))
    site.get(name, "k", b"content", when=now(300))


@cell
def wrong_scope(site):
    name = site.bucket()
    site.put(name, "k")
    path = f"/{name}/k"
    headers, _ = site.wire.signed("GET", path, [], [], hashlib.sha256(b"").hexdigest())

    def with_authorization(change):
        changed = [(header, change(value) if header == "Authorization" else value) for header, value in headers]
        return site.wire.send("GET", path, changed)
    refused(with_authorization(lambda value: value.replace("/s3/", "/ec2/")), (400, 403, 501),
            "AuthorizationHeaderMalformed", "SignatureDoesNotMatch", "InvalidRequest", "AccessDenied", "NotImplemented")
    for value in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=x", "Bearer x", "Basic eDp5", ""):
        refused(with_authorization(lambda _: value), (400, 403))
    answer = with_authorization(lambda value: value.replace("host;", ""))
    refused(answer, (400, 403))


@cell
def sigv2(site):
    name = site.bucket()
    site.put(name, "k")
    import base64
    import email.utils
    import hmac
    import time
    path, date = f"/{name}/k", email.utils.formatdate(usegmt=True)

    def mac(string):
        return base64.b64encode(hmac.new(site.secret.encode(), string.encode(), "sha1").digest()).decode()
    answer = site.wire.plain("GET", path, [("Host", site.wire.host), ("Date", date), (
        "Authorization", f"AWS {site.access}:" + mac(f"GET\n\n\n{date}\n{path}"))])
    refused(answer, (400, 403))
    check(b"content" != answer.body, "SigV2 is let in")
    until = int(time.time()) + 300
    signature = quote(mac(f"GET\n\n\n{until}\n{path}"))
    refused(site.wire.plain("GET", f"{path}?AWSAccessKeyId={site.access}&Expires={until}&Signature={signature}"),
            (400, 403))


@cell
def presigned(site):
    name = site.bucket()
    wire = site.wire
    answered(wire.plain("PUT", wire.presigned("PUT", name, "a b+c/ü"), body=b"hello"))
    answer = answered(wire.plain("GET", wire.presigned("GET", name, "a b+c/ü")))
    same("content", answer.body, b"hello")
    same("HEAD", wire.plain("HEAD", wire.presigned("HEAD", name, "a b+c/ü")).status, 200)
    answer = answered(wire.plain("GET", wire.presigned("GET", name, "a b+c/ü", [
        ("response-content-disposition", 'attachment; filename="x y.txt"')])))
    same("override", answer.headers["Content-Disposition"], 'attachment; filename="x y.txt"')
    answer = wire.plain("GET", wire.presigned("GET", name, "a b+c/ü"), [("Host", wire.host), ("Range", "bytes=1-2")])
    same("range", (answer.status, answer.body), (206, b"el"))
    answer = answered(wire.plain("GET", wire.presigned("GET", name, query=[("list-type", "2")])))
    same("list", answer.all("Contents/Key"), ["a b+c/ü"])
    same("delete", wire.plain("DELETE", wire.presigned("DELETE", name, "a b+c/ü")).status, 204)
    headers = [("x-amz-meta-a", "1"), ("Content-Type", "text/odd")]
    target = wire.presigned("PUT", name, "h", headers=headers)
    answered(wire.plain("PUT", target, headers, b"x"))
    same("metadata", answered(wire.ask("HEAD", name, "h")).headers["x-amz-meta-a"], "1")
    refused(wire.plain("PUT", target, [("x-amz-meta-a", "2"), headers[1]], b"x"), 403, "SignatureDoesNotMatch",
            "AccessDenied")


@cell
def presigned_refused(site):
    name, wire = site.bucket(), site.wire
    site.put(name, "k")
    good = wire.presigned("GET", name, "k")
    refused(wire.plain("GET", wire.presigned("GET", name, "k", seconds=10, when=now(-60))), 403, "AccessDenied")
    refused(wire.plain("GET", good.replace("/k?", "/other?")), 403, "SignatureDoesNotMatch")
    refused(wire.plain("PUT", good, body=b"evil"), 403, "SignatureDoesNotMatch")
    refused(wire.plain("GET", good.replace("X-Amz-Expires=300", "X-Amz-Expires=3000")), 403, "SignatureDoesNotMatch")
    refused(wire.plain("GET", good + "&versionId=null"), 403, "SignatureDoesNotMatch")
    refused(wire.plain("GET", good[:-4] + "0000"), 403, "SignatureDoesNotMatch")
    for seconds in (604801, -1, 10**30):
        answer = wire.plain("GET", wire.presigned("GET", name, "k", seconds=seconds))
        refused(answer, (400, 403), "AuthorizationQueryParametersError", "AccessDenied", "InvalidRequest")
    refused(wire.plain("GET", wire.presigned("GET", name, "k", when=now(3600))), (400, 403))
    for lacking in ("X-Amz-Expires", "X-Amz-Date", "X-Amz-Credential", "X-Amz-SignedHeaders"):
        path, _, query = good.partition("?")
        query = "&".join(pair for pair in query.split("&") if not pair.startswith(lacking))
        refused(wire.plain("GET", f"{path}?{query}"), (400, 403))
    site.get(name, "k", b"content")


@cell
def post_form(site):
    name, wire = site.bucket(), site.wire
    fields = {"key": "up/${filename}", "Content-Type": "text/plain", "x-amz-meta-a": "1", "success_action_status": "201"}
    conditions = [["starts-with", "$key", "up/"], ["starts-with", "$Content-Type", "text/"], {"x-amz-meta-a": "1"},
                  {"success_action_status": "201"}, ["content-length-range", 1, 100]]
    answer = answered(wire.plain("POST", f"/{name}", *wire.form(name, fields, conditions, b"from a form")), 201)
    same("key", answer.first("Key"), "up/name.txt")
    answer = site.get(name, "up/name.txt", b"from a form")
    same("headers", (answer.headers["Content-Type"], answer.headers["x-amz-meta-a"]), ("text/plain", "1"))
    simple = [["starts-with", "$key", ""]]
    answered(wire.plain("POST", f"/{name}", *wire.form(name, {"key": "plain"}, simple, b"x")), 204)
    site.get(name, "plain", b"x")
    there = "http://127.0.0.1:9/there"
    answer = wire.plain("POST", f"/{name}", *wire.form(
        name, {"key": "moved", "success_action_redirect": there}, [*simple, {"success_action_redirect": there}], b"x"))
    among("redirect", answer.status, (303,))
    check(answer.headers["Location"].startswith(there), f"Location is {answer.headers['Location']}")


@cell
def post_form_refused(site):
    name, wire = site.bucket(), site.wire
    simple = [["starts-with", "$key", "up/"]]

    def post(fields, conditions, file=b"file", **more):
        return wire.plain("POST", f"/{name}", *wire.form(name, fields, conditions, file, **more))
    refused(post({"key": "down/k"}, simple), 403, "AccessDenied")
    refused(post({"key": "up/k", "x-amz-meta-a": "1"}, simple), 403, "AccessDenied")
    refused(post({"key": "up/k"}, simple, seconds=-60), 403, "AccessDenied")
    refused(post({"key": "up/k"}, simple, signature="0" * 64), 403, "SignatureDoesNotMatch")
    refused(post({"key": "up/k"}, [*simple, ["content-length-range", 1, 3]]), 400, "EntityTooLarge")
    refused(post({"key": "up/k"}, [*simple, ["content-length-range", 10, 30]]), 400, "EntityTooSmall")
    refused(post({}, simple), 400, "InvalidArgument", "UserKeyMustBeSpecified")
    other = site.bucket()
    refused(wire.plain("POST", f"/{other}", *wire.form(name, {"key": "up/k"}, simple, b"x")), 403, "AccessDenied")
    wrong = wire.as_user(site.access, "0" * 40)
    refused(wire.plain("POST", f"/{name}", *wrong.form(name, {"key": "up/k"}, simple, b"x")), 403,
            "SignatureDoesNotMatch")
    headers, body = wire.form(name, {"key": "up/k"}, simple, b"x")
    refused(wire.plain("POST", f"/{name}", headers, body.replace(b'name="policy"', b'name="other"')), (400, 403))
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), [])


# Streams

@cell
def signed_chunks(site):
    name = site.bucket()
    for chunks in ([b"x"], [bytes_of(65536, 1), bytes_of(65536, 2), b"end"], [], [bytes_of(8192, n) for n in range(300)]):
        answered(site.wire.stream(name, "k", chunks))
        site.get(name, "k", b"".join(chunks))


@cell
def unsigned_chunks_with_trailer_over_http(site):
    name, data = site.bucket(), b"some content"
    answered(site.wire.stream(name, "k", [data], UNSIGNED_CHUNKS_TRAILER, ("x-amz-checksum-crc32",
                                                                         checksum("crc32", data))))
    site.get(name, "k", data)


# Versions

def version_list(site, bucket, *query):
    answer = answered(site.wire.ask("GET", bucket, query=[("versions", ""), *query]))
    return answer, answer.all("Version/VersionId"), answer.all("DeleteMarker/VersionId")


def versioning(site, bucket, status):
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    answered(site.wire.ask("PUT", bucket, query=[("versioning", "")], headers=[("Content-MD5", md5(body))], body=body))


@cell
def versions_of_an_unversioned_bucket(site):
    name = site.bucket()
    for key in ("a/1", "a/2", "b", "c"):
        site.put(name, key)
    answer, versions, markers = version_list(site, name)
    same("keys", answer.all("Version/Key"), ["a/1", "a/2", "b", "c"])
    same("versions", (versions, markers), (["null"] * 4, []))
    same("latest", answer.all("Version/IsLatest"), ["true"] * 4)
    same("ETag", answer.all("Version/ETag"), [etag(b"content")] * 4)
    answer, _, _ = version_list(site, name, ("prefix", "a/"), ("max-keys", 1))
    same("page", (answer.all("Version/Key"), answer.first("IsTruncated"), answer.first("NextKeyMarker")),
         (["a/1"], "true", "a/1"))
    answer, _, _ = version_list(site, name, ("key-marker", "a/1"), ("version-id-marker", "null"))
    same("after a mark", answer.all("Version/Key"), ["a/2", "b", "c"])
    answer, _, _ = version_list(site, name, ("delimiter", "/"))
    same("prefixes", (answer.all("Version/Key"), answer.all("CommonPrefixes/Prefix")), (["b", "c"], ["a/"]))
    site.get(name, "b", b"content", query=[("versionId", "null")])
    same("delete", site.wire.ask("DELETE", name, "b", [("versionId", "null")]).status, 204)
    site.absent(name, "b")


@cell
def versioned(site):
    name = site.bucket()
    site.put(name, "old", b"before")
    versioning(site, name, "Enabled")
    answer = answered(site.wire.ask("GET", name, query=[("versioning", "")]))
    same("status", answer.first("Status"), "Enabled")
    one = site.put(name, "k", b"one").headers["x-amz-version-id"]
    two = site.put(name, "k", b"two").headers["x-amz-version-id"]
    check(one and two and one != two, f"versions are {one} and {two}")
    answer, versions, _ = version_list(site, name, ("prefix", "k"))
    same("versions", versions, [two, one])
    same("latest", answer.all("Version/IsLatest"), ["true", "false"])
    same("version of a read", site.get(name, "k", b"two").headers["x-amz-version-id"], two)
    site.get(name, "k", b"one", query=[("versionId", one)])
    answer = site.wire.ask("DELETE", name, "k")
    same("delete", (answer.status, answer.headers["x-amz-delete-marker"]), (204, "true"))
    marker = answer.headers["x-amz-version-id"]
    answer = site.wire.ask("GET", name, "k")
    refused(answer, 404, "NoSuchKey")
    same("told of the marker", answer.headers["x-amz-delete-marker"], "true")
    _, versions, markers = version_list(site, name, ("prefix", "k"))
    same("after the delete", (versions, markers), ([two, one], [marker]))
    same("listed", answered(site.wire.ask("GET", name)).all("Contents/Key"), ["old"])
    refused(site.wire.ask("GET", name, "k", [("versionId", marker)]), 405, "MethodNotAllowed")
    answer = site.wire.ask("DELETE", name, "k", [("versionId", marker)])
    same("undelete", (answer.status, answer.headers["x-amz-delete-marker"]), (204, "true"))
    site.get(name, "k", b"two")
    same("delete of a version", site.wire.ask("DELETE", name, "k", [("versionId", two)]).status, 204)
    site.get(name, "k", b"one")
    site.get(name, "old", b"before", query=[("versionId", "null")])
    refused(site.wire.ask("GET", name, "k", [("versionId", two)]), 404, "NoSuchVersion")
    refused(site.wire.ask("GET", name, "k", [("versionId", "nonsense")]), (400, 404), "InvalidArgument", "NoSuchVersion")
    answered(site.wire.ask("PUT", name, "c", headers=[("x-amz-copy-source", f"{name}/k?versionId={one}")]))
    site.get(name, "c", b"one")
    refused(site.wire.ask("DELETE", name), 409, "BucketNotEmpty")


@cell
def versioning_suspended(site):
    name = site.bucket()
    versioning(site, name, "Enabled")
    one = site.put(name, "k", b"one").headers["x-amz-version-id"]
    versioning(site, name, "Suspended")
    site.put(name, "k", b"two")
    site.put(name, "k", b"three")
    _, versions, _ = version_list(site, name)
    same("versions", versions, ["null", one])
    site.get(name, "k", b"three", query=[("versionId", "null")])
    site.wire.ask("DELETE", name, "k")
    _, versions, markers = version_list(site, name)
    same("after a delete", (versions, markers), ([one], ["null"]))
    site.get(name, "k", b"one", query=[("versionId", one)])


@cell
def versions_deleted_at_once(site):
    name = site.bucket()
    versioning(site, name, "Enabled")
    made = [site.put(name, key, b"%d" % number).headers["x-amz-version-id"] for key in "ab" for number in range(3)]
    answer = answered(delete_many(site, name, ["a"]))
    check(answer.first("Deleted/DeleteMarkerVersionId"), "no delete marker is told")
    answer, versions, markers = version_list(site, name)
    same("versions", sorted(versions), sorted(made))
    pairs = [*zip(answer.all("Version/Key"), versions), *zip(answer.all("DeleteMarker/Key"), markers)]
    objects = "".join(f"<Object><Key>{key}</Key><VersionId>{version}</VersionId></Object>" for key, version in pairs)
    body = f"<Delete>{objects}</Delete>".encode()
    answered(site.wire.ask("POST", name, query=[("delete", "")], headers=[("Content-MD5", md5(body))], body=body))
    same("left", version_list(site, name)[1:], ([], []))
    same("delete", site.wire.ask("DELETE", name).status, 204)


@cell
def version_pages(site):
    name = site.bucket()
    versioning(site, name, "Enabled")
    made = [("k", site.put(name, "k", b"%d" % number).headers["x-amz-version-id"]) for number in range(5)][::-1]
    made.append(("l", site.put(name, "l").headers["x-amz-version-id"]))
    got, marks = [], []
    for _ in range(9):
        answer, versions, _ = version_list(site, name, ("max-keys", 2), *marks)
        got += zip(answer.all("Version/Key"), versions)
        if answer.first("IsTruncated") != "true":
            break
        marks = [("key-marker", answer.first("NextKeyMarker")),
                 ("version-id-marker", answer.first("NextVersionIdMarker"))]
    same("versions in pages", got, made)


@cell
def all_in_one_chunk(site):
    """Some clients send whatever they know the length of in one chunk, when the connection is enciphered."""
    name, data = site.bucket(), bytes_of(100 * MIB)
    trailer = ("x-amz-checksum-crc32", checksum("crc32", data))
    answered(site.wire.stream(name, "k", [data], UNSIGNED_CHUNKS_TRAILER, trailer))
    site.get(name, "k", data)
    wrong = ("x-amz-checksum-crc32", checksum("crc32", b"other"))
    refused(site.wire.stream(name, "k", [data], UNSIGNED_CHUNKS_TRAILER, wrong), 400, "BadDigest", "XAmzContentChecksumMismatch")
    site.get(name, "k", data)


# Tags, CORS, lifecycle, policy

def tags(**pairs):
    made = "".join(f"<Tag><Key>{key}</Key><Value>{escape(value)}</Value></Tag>" for key, value in pairs.items())
    return f"<Tagging><TagSet>{made}</TagSet></Tagging>".encode()


def configure(site, bucket, what, body, key=""):
    return site.wire.ask("PUT", bucket, key, [(what, "")], [("Content-MD5", md5(body))], body)


@cell
def object_tagging(site):
    name = site.bucket()
    site.put(name, "k", headers=[("x-amz-tagging", "a=1&b=x%20y")])
    answer = answered(site.wire.ask("GET", name, "k", [("tagging", "")]))
    same("tags", dict(zip(answer.all("TagSet/Tag/Key"), answer.all("TagSet/Tag/Value"))), {"a": "1", "b": "x y"})
    same("count", site.get(name, "k", b"content").headers["x-amz-tagging-count"], "2")
    answered(configure(site, name, "tagging", tags(c="3+4=7 @ü"), "k"))
    answer = answered(site.wire.ask("GET", name, "k", [("tagging", "")]))
    same("tags", list(zip(answer.all("TagSet/Tag/Key"), answer.all("TagSet/Tag/Value"))), [("c", "3+4=7 @ü")])
    answered(site.wire.ask("PUT", name, "c", headers=[("x-amz-copy-source", f"{name}/k")]))
    same("copied", answered(site.wire.ask("GET", name, "c", [("tagging", "")])).all("TagSet/Tag/Key"), ["c"])
    same("delete", site.wire.ask("DELETE", name, "k", [("tagging", "")]).status, 204)
    same("tags", answered(site.wire.ask("GET", name, "k", [("tagging", "")])).all("TagSet/Tag/Key"), [])
    many = tags(**{f"k{number}": "v" for number in range(11)})
    refused(configure(site, name, "tagging", many, "k"), 400, "BadRequest", "InvalidTag", "InvalidTagError")
    refused(configure(site, name, "tagging", tags(k="v" * 257), "k"), 400, "InvalidTag")
    refused(configure(site, name, "tagging", tags(a="1"), "none"), 404, "NoSuchKey")


@cell
def bucket_tagging(site):
    name = site.bucket()
    answered(configure(site, name, "tagging", tags(a="1")), 200, 204)
    same("tags", answered(site.wire.ask("GET", name, query=[("tagging", "")])).all("TagSet/Tag/Value"), ["1"])
    same("delete", site.wire.ask("DELETE", name, query=[("tagging", "")]).status, 204)
    refused(site.wire.ask("GET", name, query=[("tagging", "")]), 404, "NoSuchTagSet")


@cell
def cors(site):
    name = site.bucket()
    site.put(name, "k")
    ask = [("Host", site.wire.host), ("Origin", "https://one.example"), ("Access-Control-Request-Method", "PUT"),
           ("Access-Control-Request-Headers", "content-type, x-amz-date")]
    among("preflight of a bucket without rules", site.wire.plain("OPTIONS", f"/{name}/k", ask).status, (403,))
    body = (b"<CORSConfiguration><CORSRule><AllowedOrigin>https://one.example</AllowedOrigin><AllowedMethod>GET"
            b"</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>*</AllowedHeader><ExposeHeader>ETag"
            b"</ExposeHeader><MaxAgeSeconds>77</MaxAgeSeconds></CORSRule><CORSRule><AllowedOrigin>https://*.two.example"
            b"</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>")
    answered(configure(site, name, "cors", body))
    answer = answered(site.wire.ask("GET", name, query=[("cors", "")]))
    same("rules", answer.all("CORSRule/AllowedOrigin"), ["https://one.example", "https://*.two.example"])
    answer = answered(site.wire.plain("OPTIONS", f"/{name}/k", ask), 200, 204)
    same("origin", answer.headers["Access-Control-Allow-Origin"], "https://one.example")
    check("PUT" in answer.headers["Access-Control-Allow-Methods"], "PUT is not allowed")
    check("x-amz-date" in answer.headers["Access-Control-Allow-Headers"].lower(), "x-amz-date is not allowed")
    same("age", answer.headers["Access-Control-Max-Age"], "77")
    for origin, method, status in (("https://evil.example", "GET", 403), ("https://one.example", "DELETE", 403),
                                   ("https://x.two.example", "GET", 200), ("https://x.two.example", "PUT", 403),
                                   ("https://one.example.evil.example", "GET", 403)):
        answer = site.wire.plain("OPTIONS", f"/{name}/k", [
            ("Host", site.wire.host), ("Origin", origin), ("Access-Control-Request-Method", method)])
        among(f"{method} from {origin}", answer.status, (200, 204) if status == 200 else (status,))
    answer = site.get(name, "k", b"content", headers=[("Origin", "https://one.example")])
    same("origin of a read", answer.headers["Access-Control-Allow-Origin"], "https://one.example")
    check("ETag" in answer.headers["Access-Control-Expose-Headers"], "ETag is not exposed")
    answer = site.get(name, "k", b"content", headers=[("Origin", "https://evil.example")])
    same("origin of another's read", answer.headers["Access-Control-Allow-Origin"], None)
    check("origin" in (answer.headers["Vary"] or "").lower(), "a cache would give one origin's answer to another")
    same("delete", site.wire.ask("DELETE", name, query=[("cors", "")]).status, 204)
    refused(site.wire.ask("GET", name, query=[("cors", "")]), 404, "NoSuchCORSConfiguration")
    refused(configure(site, name, "cors", b"<CORSConfiguration></CORSConfiguration>"), 400, "MalformedXML")


@cell
def lifecycle(site):
    name = site.bucket()
    body = (b"<LifecycleConfiguration><Rule><ID>old</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>"
            b"<Expiration><Days>30</Days></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>7"
            b"</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>")
    answered(configure(site, name, "lifecycle", body))
    answer = answered(site.wire.ask("GET", name, query=[("lifecycle", "")]))
    same("rule", [answer.first(f"Rule/{path}") for path in (
        "ID", "Filter/Prefix", "Status", "Expiration/Days", "AbortIncompleteMultipartUpload/DaysAfterInitiation")],
         ["old", "logs/", "Enabled", "30", "7"])
    for bad in (body.replace(b"30", b"0"), body.replace(b"Enabled", b"Odd"), b"<LifecycleConfiguration/>"):
        refused(configure(site, name, "lifecycle", bad), 400, "MalformedXML", "InvalidArgument", "InvalidRequest")
    same("delete", site.wire.ask("DELETE", name, query=[("lifecycle", "")]).status, 204)
    refused(site.wire.ask("GET", name, query=[("lifecycle", "")]), 404, "NoSuchLifecycleConfiguration")


@cell
def policy_for_anonymous_read(site):
    import json
    name, other = site.bucket(), site.bucket()
    for bucket in (name, other):
        site.put(bucket, "public/k", b"open")
        site.put(bucket, "private", b"closed")
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{name}/public/*"]}]}
    answered(configure(site, name, "policy", json.dumps(policy).encode()), 200, 204)
    answer = answered(site.wire.ask("GET", name, query=[("policy", "")]))
    same("policy", json.loads(answer.body)["Statement"][0]["Resource"],
         policy["Statement"][0]["Resource"])
    answer = answered(site.wire.plain("GET", f"/{name}/public/k"))
    same("content", answer.body, b"open")
    same("HEAD", site.wire.plain("HEAD", f"/{name}/public/k").status, 200)
    for method, path in (("GET", f"/{name}/private"), ("GET", f"/{name}"), ("PUT", f"/{name}/public/k"),
                         ("DELETE", f"/{name}/public/k"), ("GET", f"/{other}/public/k"),
                         ("GET", f"/{name}/public/../private"), ("GET", f"/{name}/public%2F..%2Fprivate"),
                         ("GET", f"/{name}/public/k?acl"), ("GET", f"/{name}?policy")):
        answer = site.wire.plain(method, path)
        check(answer.body not in (b"closed",), f"{path} is read by anybody")
        among(f"{method} {path}", answer.status, (400, 403, 404) if ".." in path else (403,))
    answer = site.wire.plain("GET", f"/{name}/public/k?response-content-type=text/html")
    refused(answer, 400, "InvalidRequest")
    wire = site.wire.as_user(site.access, "0" * 40)
    refused(wire.ask("GET", name, "public/k"), 403, "SignatureDoesNotMatch")
    refused(configure(site, name, "policy", b"{no json"), 400, "MalformedPolicy")
    same("delete", site.wire.ask("DELETE", name, query=[("policy", "")]).status, 204)
    refused(site.wire.plain("GET", f"/{name}/public/k"), 403, "AccessDenied")


# Odd but allowed

@cell
def expect_continue(site):
    name, data = site.bucket(), b"after the go"
    path = f"/{name}/k"
    headers, _ = site.wire.signed("PUT", path, [], [], hashlib.sha256(data).hexdigest())
    from s3_wire import head, read
    with site.wire.connect(10) as connection:
        connection.sendall(head("PUT", path, [*headers, ("Content-Length", str(len(data))), ("Expect", "100-continue")]))
        first = connection.recv(1000)
        check(first.startswith(b"HTTP/1.1 100"), f"the first answer is {first[:60]!r}")
        connection.sendall(data)
        same("status", read(connection)[0].status, 200)
    # Nobody is asked for an empty body; then nothing may follow on that connection, where some expect the 100 still.
    headers, _ = site.wire.signed("PUT", path, [], [], hashlib.sha256(b"").hexdigest())
    with site.wire.connect(10) as connection:
        connection.sendall(head("PUT", path, [*headers, ("Content-Length", "0"), ("Expect", "100-continue")]))
        answer = read(connection)[0]
        same("status", answer.status, 200)
        same("connection", answer.headers["Connection"], "close")
    bad = site.wire.as_user(site.access, "0" * 40)
    headers, _ = bad.signed("PUT", path, [], [], hashlib.sha256(data).hexdigest())
    with site.wire.connect(10) as connection:
        connection.sendall(head("PUT", path, [*headers, ("Content-Length", str(10**9)), ("Expect", "100-continue")]))
        first = connection.recv(1000)
        check(not first.startswith(b"HTTP/1.1 100"), "a body of 1 GB is asked for before the signature is looked at")


@cell
def error_documents(site):
    name = site.bucket()
    answer = site.wire.ask("GET", name, "k")
    same("type", answer.headers["Content-Type"].partition(";")[0], "application/xml")
    check(answer.body.startswith(b"<?xml"), "the error has no XML declaration")
    check(answer.first("Message"), "the error has no message")
    check(answer.first("RequestId") or answer.headers["x-amz-request-id"], "the error has no RequestId")


@cell
def errors_say_what_is_wrong(site):
    name = site.bucket()
    stranger = site.wire.as_user(site.access, "0" * 40)
    for answer, status, code in (
            (stranger.ask("GET", name), 403, "SignatureDoesNotMatch"),
            (site.wire.ask("PUT", "Not_A_Bucket"), 400, "InvalidBucketName"),
            (site.wire.ask("PUT", name, "k" * 1025), 400, "KeyTooLongError"),
            (site.wire.ask("PUT", name, "k", headers=[("x-amz-storage-class", "ODD")]), 400, "InvalidStorageClass")):
        refused(answer, status, code)
        check(answer.first("Message"), f"{code} has no message")


@cell
def a_region_that_there_is_not(site):
    """Whoever begins with another region is told which one to take."""
    from s3_wire import Wire
    wire = Wire(site.endpoint, site.access, site.secret, site.ca, region="US")
    answer = wire.ask("GET", site.bucket())
    refused(answer, 400, "AuthorizationHeaderMalformed")
    same("region", answer.first("Region"), "us-east-1")


@cell
def site_that_sends_elsewhere(site):
    import json
    name = site.bucket()
    site.put(name, "old.html", b"moved", headers=[("x-amz-website-redirect-location", "/new.html")])
    answered(configure(site, name, "website", b"<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix>"
                       b"</IndexDocument></WebsiteConfiguration>"))
    policy = {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                            "Resource": f"arn:aws:s3:::{name}/*"}}
    answered(configure(site, name, "policy", json.dumps(policy).encode()), 200, 204)
    answer = site.wire.plain("GET", f"/{name}/old.html")
    same("where", (answer.status, answer.headers["Location"], answer.body), (301, f"/{name}/new.html", b""))
    site.get(name, "old.html", b"moved")


@cell
def unknown_requests(site):
    name = site.bucket()
    for method, query in (("GET", "select"), ("PATCH", ""), ("POST", "restore"), ("GET", "inventory")):
        answer = site.wire.ask(method, name, query=[(query, "")] if query else [])
        check(answer.status < 500 or answer.status == 501, f"{method} ?{query}: {answer}")


@cell
def paths_of_two_slashes_and_virtual_hosts(site):
    name = site.bucket()
    site.put(name, "k")
    answer = site.wire.ask("GET", name, path=f"/{name}/")
    same("list with a slash at the end", answer.all("Contents/Key"), ["k"])


@cell
def concurrent_overwrites(site):
    name = site.bucket()

    def work(who):
        wire = site.wire.as_user(site.access, site.secret)
        for _ in range(10):
            answered(wire.ask("PUT", name, "k", body=bytes([who]) * 100_000))
            answer = answered(wire.ask("GET", name, "k"))
            check(len(answer.body) == 100_000 and len(set(answer.body)) == 1, "a mix of two contents is read")
            same("ETag", answer.headers["ETag"], etag(answer.body))
    at_once(4, work)


@cell(long=True, seconds=300)
def ten_thousand_parts(site):
    name = site.bucket()
    upload = begin(site, name, "k")
    tags = [(number, part(site, name, "k", upload, number, b"%d" % number)) for number in range(9001, 10001)]
    answer = answered(site.wire.ask("GET", name, "k", [("uploadId", upload)]))
    same("a page of parts", len(answer.all("Part/PartNumber")), 1000)
    refused(complete(site, name, "k", upload, tags), 400, "EntityTooSmall")


@cell(long=True, seconds=300)
def gigabyte(site):
    name, size = site.bucket(), 1 << 30
    piece = bytes_of(MIB)
    hash_ = hashlib.md5()
    for _ in range(size // MIB):
        hash_.update(piece)
    path = f"/{name}/k"
    headers, _ = site.wire.signed("PUT", path, [], [], UNSIGNED)
    from s3_wire import head, read
    with site.wire.connect(120) as connection:
        connection.sendall(head("PUT", path, [*headers, ("Content-Length", str(size))]))
        for _ in range(size // MIB):
            connection.sendall(piece)
        answer, _ = read(connection)
    same("ETag", answer.headers["ETag"], f'"{hash_.hexdigest()}"')
    memory = site.memory()
    check(memory is None or memory < 1 << 29, f"the server has {memory} bytes of memory after it")
