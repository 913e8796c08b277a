"""Cells of aws-cli: `s3` as people use it, and `s3api` for what it does not say."""

import json
import os

from s3_cell import LISTED, MIB, PLAIN_NAMES, VENV, Cells, bytes_of, check, make_tree, read_tree, run, same, same_tree
from s3_wire import REGION

CELLS = Cells("aws")
cell = CELLS.cell


def aws(site, *arguments, secret=None, access=None, seconds=100, **more):
    folder = site.folder / ".aws"
    if not folder.exists():
        folder.mkdir()
        (folder / "config").write_text("[default]\ns3 =\n  addressing_style = path\n  multipart_threshold = 8MB\n"
                                       "  multipart_chunksize = 5MB\n  signature_version = s3v4\n")
    env = {"PATH": os.environ["PATH"], "HOME": str(site.folder), "AWS_ACCESS_KEY_ID": access or site.access,
           "AWS_SECRET_ACCESS_KEY": secret or site.secret, "AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1",
           "AWS_CONFIG_FILE": str(folder / "config"), "LC_ALL": "C.UTF-8", "AWS_EC2_METADATA_DISABLED": "true",
           "AWS_PAGER": ""}
    trust = ["--ca-bundle", site.ca] if site.ca else []
    return run(VENV / "aws", "--endpoint-url", site.endpoint, *trust, *arguments, env=env, seconds=seconds, **more)


@cell
def make_list_remove(site):
    name = f"aws-{site.folder.name.lower().replace('_', '-')}"
    aws(site, "s3", "mb", f"s3://{name}")
    check(name in aws(site, "s3", "ls"), "the bucket is not listed")
    aws(site, "s3", "cp", "-", f"s3://{name}/k", data=b"from a pipe")
    check("BucketNotEmpty" in aws(site, "s3", "rb", f"s3://{name}", fails=True), "a bucket that is not empty goes")
    aws(site, "s3", "rb", f"s3://{name}", "--force")
    check("NoSuchBucket" in aws(site, "s3", "ls", f"s3://{name}", fails=True), "no NoSuchBucket")


@cell
def copy_files(site):
    name = site.bucket()
    for size in (5, 0, 20 * MIB):
        (site.folder / "up").write_bytes(bytes_of(size))
        aws(site, "s3", "cp", site.folder / "up", f"s3://{name}/a b/{size}", "--metadata", "one=1", "--content-type", "text/odd")
        aws(site, "s3", "cp", f"s3://{name}/a b/{size}", site.folder / "down")
        check((site.folder / "down").read_bytes() == bytes_of(size), f"{size} bytes are others")
    head = json.loads(aws(site, "s3api", "head-object", "--bucket", name, "--key", "a b/0"))
    same("head", (head["ContentType"], head["Metadata"]), ("text/odd", {"one": "1"}))
    aws(site, "s3", "cp", f"s3://{name}/a b/{20 * MIB}", f"s3://{name}/copied")
    aws(site, "s3", "mv", f"s3://{name}/a b/5", f"s3://{name}/moved")
    same("listed", [line.split(maxsplit=3)[2:] for line in aws(site, "s3", "ls", "--recursive", f"s3://{name}").splitlines()],
         [["0", "a b/0"], [str(20 * MIB), f"a b/{20 * MIB}"], [str(20 * MIB), "copied"], ["5", "moved"]])
    check(aws(site, "s3", "cp", f"s3://{name}/moved", "-", text=False) == bytes_of(5), "the content is another")


@cell
def sync_with_delete(site):
    name, up, down = site.bucket(), site.folder / "up", site.folder / "down"
    files = make_tree(up)
    aws(site, "s3", "sync", up, f"s3://{name}/tree", "--delete")
    aws(site, "s3", "sync", f"s3://{name}/tree", down, "--delete")
    same_tree("down", read_tree(down), files)
    same("second sync", aws(site, "s3", "sync", up, f"s3://{name}/tree", "--delete").strip(), "")
    (up / "one.txt").unlink()
    (up / "with space/a+b & c.txt").unlink()
    (up / "new").write_bytes(b"new")
    aws(site, "s3", "sync", up, f"s3://{name}/tree", "--delete")
    aws(site, "s3", "sync", f"s3://{name}/tree", down, "--delete")
    same_tree("down after a change", read_tree(down), read_tree(up))
    aws(site, "s3", "rm", "--recursive", f"s3://{name}/tree")
    same("listed", site.wire.ask("GET", name).all("Contents/Key"), [])


@cell
def force_with_odd_names(site):
    name = site.bucket()
    for key in PLAIN_NAMES.values():
        if not key.startswith("/"):
            site.put(name, key)
    aws(site, "s3", "rb", f"s3://{name}", "--force")
    same("HEAD", site.wire.ask("HEAD", name).status, 404)


@cell
def list_three_thousand(site):
    same("lines", len(aws(site, "s3", "ls", "--recursive", f"s3://{site.listed}").splitlines()), LISTED)
    same("folders", len(aws(site, "s3", "ls", f"s3://{site.listed}").splitlines()), 10)


@cell
def presign(site):
    name = site.bucket()
    site.put(name, "a b", b"hello")
    url = aws(site, "s3", "presign", f"s3://{name}/a b", "--expires-in", "60").strip()
    answer = site.wire.plain("GET", url[len(site.endpoint):])
    same("content", (answer.status, answer.body), (200, b"hello"))


@cell
def wrong_secret(site):
    name = site.bucket()
    check("SignatureDoesNotMatch" in aws(site, "s3", "ls", f"s3://{name}", secret="0" * 40, fails=True), "not refused")
    check("InvalidAccessKeyId" in aws(site, "s3", "ls", f"s3://{name}", access="AKIANOBODY0000000000", fails=True),
          "not refused")


@cell
def api(site):
    name = site.bucket()
    bucket = ("--bucket", name)
    aws(site, "s3api", "put-bucket-versioning", *bucket, "--versioning-configuration", "Status=Enabled")
    for content in ("one", "two"):
        (site.folder / content).write_text(content)
        aws(site, "s3api", "put-object", *bucket, "--key", "k", "--body", site.folder / content)
    listed = json.loads(aws(site, "s3api", "list-object-versions", *bucket))["Versions"]
    same("versions", [row["IsLatest"] for row in listed], [True, False])
    aws(site, "s3api", "get-object", *bucket, "--key", "k", "--version-id", listed[1]["VersionId"], site.folder / "out")
    same("one", (site.folder / "out").read_text(), "one")
    got = json.loads(aws(site, "s3api", "get-object-attributes", *bucket, "--key", "k", "--object-attributes", "ETag",
                         "ObjectSize"))
    same("size", got["ObjectSize"], 3)
    aws(site, "s3api", "put-object-tagging", *bucket, "--key", "k", "--tagging", "TagSet=[{Key=a,Value=1}]")
    check("NoSuchBucketPolicy" in aws(site, "s3api", "get-bucket-policy", *bucket, fails=True), "no NoSuchBucketPolicy")
