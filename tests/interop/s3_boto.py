"""Cells of boto3, as scripts use it: transfers, pages, presigned requests, versions, configurations."""

import io
import json
import urllib.error
import urllib.request

import boto3
import botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from s3_cell import LISTED, MIB, PLAIN_NAMES, Cells, Unsupported, among, bytes_of, check, same
from s3_wire import REGION

CELLS = Cells("boto3")
cell = CELLS.cell
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


def settings(site, secret=None, access=None, signature="s3v4", **more):
    # A retry would hide what the first answer was.
    config = Config(signature_version=signature, connect_timeout=5, read_timeout=30, retries={"max_attempts": 0},
                    s3={"addressing_style": "path"}, **more)
    anonymous = signature is botocore.UNSIGNED
    return {"endpoint_url": site.endpoint, "region_name": REGION, "config": config, "verify": site.ca,
            "aws_access_key_id": None if anonymous else access or site.access,
            "aws_secret_access_key": None if anonymous else secret or site.secret}


def client(site, **more):
    return boto3.session.Session().client("s3", **settings(site, **more))


def resource(site):
    return boto3.session.Session().resource("s3", **settings(site))


def made(site):
    return client(site), site.bucket()


def fails(code, status, call, **arguments):
    """A call that must fail, with this code and status."""
    try:
        call(**arguments)
    except ClientError as error:
        got = (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        codes = code if isinstance(code, tuple) else (code,)
        check(got[0] in codes and got[1] == status, f"got {got}, not {(code, status)}")
        return
    check(False, f"a call succeeded that must fail with {code}")


def read(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


@cell
def buckets(site):
    s3 = client(site)
    name = f"boto-{site.folder.name.lower().replace('_', '-')}"
    s3.create_bucket(Bucket=name)
    check(name in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]], "the bucket is not listed")
    s3.get_waiter("bucket_exists").wait(Bucket=name)
    among("location", s3.get_bucket_location(Bucket=name)["LocationConstraint"], (None, REGION))
    s3.delete_bucket(Bucket=name)
    fails("404", 404, s3.head_bucket, Bucket=name)
    fails("NoSuchBucket", 404, s3.list_objects_v2, Bucket=name)


@cell
def small_and_empty(site):
    s3, name = made(site)
    for key, data in (("a", b"hello"), ("b", b"")):
        s3.put_object(Bucket=name, Key=key, Body=data, ContentType="text/odd", Metadata={"one": "1"})
        got = s3.get_object(Bucket=name, Key=key)
        same("content", got["Body"].read(), data)
        same("metadata", (got["ContentType"], got["Metadata"], got["ContentLength"]), ("text/odd", {"one": "1"}, len(data)))
    fails("NoSuchKey", 404, s3.get_object, Bucket=name, Key="none")
    fails("404", 404, s3.head_object, Bucket=name, Key="none")


@cell
def large_files(site):
    s3, name = made(site)
    for size in (20 * MIB, 30 * MIB):
        data = bytes_of(size)
        (site.folder / "up").write_bytes(data)
        s3.upload_file(str(site.folder / "up"), name, "k", Config=PARTS if size > 20 * MIB else None,
                       ExtraArgs={"Metadata": {"a": "1"}, "ContentType": "text/odd"})
        head = s3.head_object(Bucket=name, Key="k")
        same("headers", (head["ContentLength"], head["ContentType"], head["Metadata"]), (size, "text/odd", {"a": "1"}))
        check(head["ETag"].endswith('-6"' if size > 20 * MIB else '-3"'), f"the ETag is {head['ETag']}")
        s3.download_file(name, "k", str(site.folder / "down"), Config=PARTS)
        check((site.folder / "down").read_bytes() == data, "the content is another")


@cell
def streams_of_unknown_length(site):
    s3, name = made(site)

    class Pipe(io.RawIOBase):
        left = 12 * MIB

        def readable(self):
            return True

        def readinto(self, buffer):
            size = min(len(buffer), self.left)
            buffer[:size] = b"x" * size
            self.left -= size
            return size
    s3.upload_fileobj(io.BufferedReader(Pipe()), name, "k", Config=PARTS)
    out = io.BytesIO()
    s3.download_fileobj(name, "k", out, Config=PARTS)
    same("content", out.getvalue() == b"x" * 12 * MIB, True)


@cell
def odd_names(site):
    s3, name = made(site)
    bad = {}
    for label, key in PLAIN_NAMES.items():
        try:
            s3.put_object(Bucket=name, Key=key, Body=label.encode())
            same("content", read(s3, name, key), label.encode())
            s3.copy_object(Bucket=name, Key="copy of " + key[:900], CopySource={"Bucket": name, "Key": key})
            s3.delete_object(Bucket=name, Key="copy of " + key[:900])
        except Exception as error:
            bad[label] = str(error)
    keys = [row["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name)
            for row in page.get("Contents", [])]
    wanted = sorted(PLAIN_NAMES.values(), key=str.encode)
    check(not bad, f"{bad}")
    same("listed", keys, wanted)
    same("listed in the first version", [row["Key"] for row in s3.list_objects(Bucket=name)["Contents"]], wanted)
    s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in keys]})
    same("left", s3.list_objects_v2(Bucket=name)["KeyCount"], 0)


@cell
def pages(site):
    s3 = client(site)
    for operation in ("list_objects_v2", "list_objects"):
        pager = s3.get_paginator(operation)
        keys = [row["Key"] for page in pager.paginate(Bucket=site.listed) for row in page["Contents"]]
        same("count", (len(keys), len(set(keys)), keys == sorted(keys)), (LISTED, LISTED, True))
        found = [row["Prefix"] for page in pager.paginate(Bucket=site.listed, Delimiter="/",
                                                        PaginationConfig={"PageSize": 3})
                 for row in page.get("CommonPrefixes", [])]
        same("prefixes", found, [f"dir{number:02}/" for number in range(10)])
    versions = sum(len(page.get("Versions", [])) for page in
                   s3.get_paginator("list_object_versions").paginate(Bucket=site.listed))
    same("versions", versions, LISTED)


@cell
def ranges_and_conditions(site):
    s3, name = made(site)
    tag = s3.put_object(Bucket=name, Key="k", Body=b"0123456789", IfNoneMatch="*")["ETag"]
    same("range", read(s3, name, "k", Range="bytes=2-4"), b"234")
    fails("InvalidRange", 416, s3.get_object, Bucket=name, Key="k", Range="bytes=10-")
    fails("304", 304, s3.get_object, Bucket=name, Key="k", IfNoneMatch=tag)
    fails("PreconditionFailed", 412, s3.get_object, Bucket=name, Key="k", IfMatch='"x"')
    fails("PreconditionFailed", 412, s3.put_object, Bucket=name, Key="k", Body=b"x", IfNoneMatch="*")
    fails("PreconditionFailed", 412, s3.put_object, Bucket=name, Key="k", Body=b"x", IfMatch='"x"')
    s3.put_object(Bucket=name, Key="k", Body=b"new", IfMatch=tag)
    same("content", read(s3, name, "k"), b"new")


@cell
def copies(site):
    s3, name = made(site)
    data = bytes_of(12 * MIB)
    s3.put_object(Bucket=name, Key="k", Body=data, Metadata={"a": "1"})
    s3.copy({"Bucket": name, "Key": "k"}, name, "parts", Config=PARTS)
    check(read(s3, name, "parts") == data, "the content is another")
    s3.copy_object(Bucket=name, Key="k", CopySource=f"{name}/k", MetadataDirective="REPLACE", Metadata={"b": "2"})
    same("metadata", s3.head_object(Bucket=name, Key="k")["Metadata"], {"b": "2"})
    fails("InvalidRequest", 400, s3.copy_object, Bucket=name, Key="k", CopySource=f"{name}/k")


@cell
def thousand_at_once(site):
    s3, name = made(site)
    objects = resource(site).Bucket(name)
    for number in range(150):
        s3.put_object(Bucket=name, Key=f"k{number:03}", Body=b"")
    answer = s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": f"k{number:03}"} for number in range(1000)]})
    same("deleted", (len(answer["Deleted"]), answer.get("Errors", [])), (1000, []))
    s3.put_object(Bucket=name, Key="more", Body=b"")
    objects.objects.all().delete()
    same("left", s3.list_objects_v2(Bucket=name)["KeyCount"], 0)
    objects.delete()


def url(address, method="GET", data=None, headers=None):
    request = urllib.request.Request(address, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@cell
def presigned(site):
    if site.ca:
        raise Unsupported("the cell's own client knows no certificates")
    s3, name = made(site)
    put = s3.generate_presigned_url("put_object", {"Bucket": name, "Key": "a b+c", "ContentType": "text/odd"}, 60)
    same("put", url(put, "PUT", b"hello", {"Content-Type": "text/odd"})[0], 200)
    get = s3.generate_presigned_url("get_object", {"Bucket": name, "Key": "a b+c",
                                                   "ResponseContentDisposition": 'attachment; filename="x"'}, 60)
    same("get", url(get), (200, b"hello"))
    listed = s3.generate_presigned_url("list_objects_v2", {"Bucket": name}, 60)
    same("list", url(listed)[0], 200)
    same("delete", url(s3.generate_presigned_url("delete_object", {"Bucket": name, "Key": "a b+c"}, 60), "DELETE")[0], 204)
    same("gone", url(get)[0], 404)


@cell
def presigned_post(site):
    if site.ca:
        raise Unsupported("the cell's own client knows no certificates")
    s3, name = made(site)
    post = s3.generate_presigned_post(name, "up/${filename}", {"acl": "private"}, [
        {"acl": "private"}, ["content-length-range", 1, 100]], 60)
    edge = b"edge"
    body = b"".join(b'--edge\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (key.encode(), value.encode())
                    for key, value in post["fields"].items())

    def send(data):
        return url(post["url"], "POST", body + b'--edge\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
                   + data + b"\r\n--edge--\r\n", {"Content-Type": f"multipart/form-data; boundary={edge.decode()}"})
    same("post", send(b"hello")[0], 204)
    same("content", read(s3, name, "up/f"), b"hello")
    same("too much", send(b"x" * 101)[0], 400)


@cell
def who_may(site):
    s3, name = made(site)
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    fails("SignatureDoesNotMatch", 403, client(site, secret="0" * 40).get_object, Bucket=name, Key="k")
    fails("InvalidAccessKeyId", 403, client(site, access="AKIANOBODY0000000000").get_object, Bucket=name, Key="k")
    fails("AccessDenied", 403, client(site, signature=botocore.UNSIGNED).get_object, Bucket=name, Key="k")


@cell
def sigv2(site):
    s3, name = made(site)
    try:
        client(site, signature="s3").list_objects_v2(Bucket=name)
    except ClientError as error:
        among("status", error.response["ResponseMetadata"]["HTTPStatusCode"], (400, 403))
    else:
        check(False, "SigV2 is let in")


def algorithm(name):
    @cell(name=f"checksum-{name.lower()}")
    def what(site):
        s3, bucket = made(site)
        field = f"Checksum{name}"
        answer = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=name)
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        same("content", got["Body"].read(), b"hello")
        check(got.get(field) and got[field] == answer[field], f"{field} is {got.get(field)}, put gave {answer.get(field)}")
        attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize"])
        same("attributes", (attributes["Checksum"][field], attributes["ObjectSize"]), (got[field], 5))
        if name != "CRC64NVME":
            fails("BadDigest", 400, s3.put_object, Bucket=bucket, Key="k", Body=b"other", **{field: got[field]})
        (site.folder / "up").write_bytes(bytes_of(11 * MIB))
        s3.upload_file(str(site.folder / "up"), bucket, "m", Config=PARTS, ExtraArgs={"ChecksumAlgorithm": name})
        head = s3.head_object(Bucket=bucket, Key="m", ChecksumMode="ENABLED")
        check(head.get(field), f"a multipart object has no {field}")
        s3.download_file(bucket, "m", str(site.folder / "down"), Config=PARTS)
        check((site.folder / "down").read_bytes() == bytes_of(11 * MIB), "the content is another")


for _name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
    algorithm(_name)


@cell
def versions(site):
    s3, name = made(site)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    same("status", s3.get_bucket_versioning(Bucket=name)["Status"], "Enabled")
    one = s3.put_object(Bucket=name, Key="k", Body=b"one")["VersionId"]
    s3.put_object(Bucket=name, Key="k", Body=b"two")
    same("one", read(s3, name, "k", VersionId=one), b"one")
    marker = s3.delete_object(Bucket=name, Key="k")
    same("marker", marker["DeleteMarker"], True)
    fails("NoSuchKey", 404, s3.get_object, Bucket=name, Key="k")
    listed = s3.list_object_versions(Bucket=name)
    same("listed", (len(listed["Versions"]), len(listed["DeleteMarkers"])), (2, 1))
    s3.delete_object(Bucket=name, Key="k", VersionId=marker["VersionId"])
    same("undeleted", read(s3, name, "k"), b"two")
    bucket = resource(site).Bucket(name)
    bucket.object_versions.all().delete()
    bucket.delete()


@cell
def tags(site):
    s3, name = made(site)
    s3.put_object(Bucket=name, Key="k", Body=b"", Tagging="a=1")
    same("tags", s3.get_object_tagging(Bucket=name, Key="k")["TagSet"], [{"Key": "a", "Value": "1"}])
    s3.put_object_tagging(Bucket=name, Key="k", Tagging={"TagSet": [{"Key": "b", "Value": "ü +x=1"}]})
    same("tags", s3.get_object_tagging(Bucket=name, Key="k")["TagSet"], [{"Key": "b", "Value": "ü +x=1"}])
    s3.delete_object_tagging(Bucket=name, Key="k")
    same("tags", s3.get_object_tagging(Bucket=name, Key="k")["TagSet"], [])


@cell
def configurations(site):
    s3, name = made(site)
    rules = [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 5}]
    s3.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": rules})
    same("cors", s3.get_bucket_cors(Bucket=name)["CORSRules"], rules)
    s3.delete_bucket_cors(Bucket=name)
    rule = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "a/"}, "Expiration": {"Days": 3}}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
    same("lifecycle", s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"], [rule])
    s3.delete_bucket_lifecycle(Bucket=name)
    fails("NoSuchLifecycleConfiguration", 404, s3.get_bucket_lifecycle_configuration, Bucket=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                                                      "Resource": f"arn:aws:s3:::{name}/*"}]}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    s3.put_object(Bucket=name, Key="k", Body=b"open")
    same("read by anybody", read(client(site, signature=botocore.UNSIGNED), name, "k"), b"open")
    s3.delete_bucket_policy(Bucket=name)
    fails("NoSuchBucketPolicy", 404, s3.get_bucket_policy, Bucket=name)


@cell
def uploads_by_hand(site):
    s3, name = made(site)
    upload = s3.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    where = {"Bucket": name, "Key": "k", "UploadId": upload}
    small = s3.upload_part(PartNumber=1, Body=b"small", **where)["ETag"]
    last = s3.upload_part(PartNumber=2, Body=b"last", **where)["ETag"]
    same("parts", [part["Size"] for part in s3.list_parts(**where)["Parts"]], [5, 4])
    same("uploads", [row["UploadId"] for row in s3.list_multipart_uploads(Bucket=name)["Uploads"]], [upload])
    parts = [{"PartNumber": 1, "ETag": small}, {"PartNumber": 2, "ETag": last}]
    fails("EntityTooSmall", 400, s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **where)
    s3.abort_multipart_upload(**where)
    fails("NoSuchUpload", 404, s3.upload_part, PartNumber=1, Body=b"x", **where)
