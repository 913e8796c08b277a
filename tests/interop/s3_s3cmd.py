"""Cells of s3cmd."""

import json
import os

from s3_cell import LISTED, MIB, PLAIN_NAMES, VENV, Cells, bytes_of, check, make_tree, read_tree, run, same, same_tree

CELLS = Cells("s3cmd")
cell = CELLS.cell


def s3cmd(site, *arguments, secret=None, region="us-east-1", **more):
    settings = site.folder / ".s3cfg"
    tls = site.endpoint.startswith("https")
    host = site.wire.host
    settings.write_text(f"[default]\naccess_key = {site.access}\nsecret_key = {secret or site.secret}\nhost_base = {host}\n"
                        f"host_bucket = {host}\nuse_https = {tls}\nmultipart_chunk_size_mb = 5\nmax_retries = 1\nbucket_location = {region}\n"
                        f"socket_timeout = 20\n" + (f"ca_certs_file = {site.ca}\n" if site.ca else ""))
    env = {"PATH": os.environ["PATH"], "HOME": str(site.folder), "LC_ALL": "C.UTF-8"}
    return run(VENV / "s3cmd", "--config", settings, "--no-progress", *arguments, env=env, **more)


@cell
def buckets(site):
    name = f"s3cmd-{site.folder.name.lower().replace('_', '-')}"
    s3cmd(site, "mb", f"s3://{name}")
    check(f"s3://{name}" in s3cmd(site, "ls"), "the bucket is not listed")
    said = s3cmd(site, "info", f"s3://{name}")
    for line in ("Location:", "Policy:    none", "CORS:      none", "Expiration rule: none"):
        check(line in said, f"`info` does not say {line!r}: {said}")
    site.put(name, "k")
    check("BucketNotEmpty" in s3cmd(site, "rb", f"s3://{name}", fails=True), "a bucket that is not empty goes")
    s3cmd(site, "del", f"s3://{name}/k")
    s3cmd(site, "rb", f"s3://{name}")
    check("NoSuchBucket" in s3cmd(site, "ls", f"s3://{name}", fails=True), "no NoSuchBucket")


@cell
def region_of_its_own(site):
    """Settings that name no region make it begin with one that there is not."""
    name = f"s3cmd-{site.folder.name.lower().replace('_', '-')}"
    s3cmd(site, "mb", f"s3://{name}", region="US")
    (site.folder / "up").write_bytes(b"content")
    s3cmd(site, "put", site.folder / "up", f"s3://{name}/k", region="US")
    check(f"s3://{name}/k" in s3cmd(site, "ls", f"s3://{name}", region="US"), "the object is not listed")


@cell
def files(site):
    name = site.bucket()
    for size in (5, 0, 20 * MIB, 30 * MIB):
        (site.folder / "up").write_bytes(bytes_of(size))
        s3cmd(site, "put", site.folder / "up", f"s3://{name}/a b/{size}", "--add-header=x-amz-meta-one:1")
        s3cmd(site, "get", "--force", f"s3://{name}/a b/{size}", site.folder / "down")
        check((site.folder / "down").read_bytes() == bytes_of(size), f"{size} bytes are others")
    said = s3cmd(site, "info", f"s3://{name}/a b/5")
    check("x-amz-meta-one: 1" in said, f"`info` gives no metadata: {said}")
    s3cmd(site, "cp", f"s3://{name}/a b/5", f"s3://{name}/copied")
    s3cmd(site, "mv", f"s3://{name}/copied", f"s3://{name}/moved")
    s3cmd(site, "modify", "--add-header=x-amz-meta-two:2", f"s3://{name}/moved")
    same("metadata", site.get(name, "moved", bytes_of(5)).headers["x-amz-meta-two"], "2")
    check(s3cmd(site, "du", f"s3://{name}").split()[0] == str(5 + 5 + 50 * MIB), "`du` gives another sum")


@cell
def sync_both_ways(site):
    name, up, down = site.bucket(), site.folder / "up", site.folder / "down"
    files = make_tree(up)
    down.mkdir()
    s3cmd(site, "sync", "--delete-removed", f"{up}/", f"s3://{name}/tree/")
    s3cmd(site, "sync", "--delete-removed", f"s3://{name}/tree/", f"{down}/")
    same_tree("down", read_tree(down), files)
    (up / "one.txt").unlink()
    (up / "new").write_bytes(b"new")
    s3cmd(site, "sync", "--delete-removed", f"{up}/", f"s3://{name}/tree/")
    s3cmd(site, "sync", "--delete-removed", f"s3://{name}/tree/", f"{down}/")
    same_tree("down after a change", read_tree(down), read_tree(up))


@cell
def delete_all_with_odd_names(site):
    name = site.bucket()
    for key in PLAIN_NAMES.values():
        if not key.startswith("/"):
            site.put(name, key)
    s3cmd(site, "rb", "--recursive", "--force", f"s3://{name}")
    same("HEAD", site.wire.ask("HEAD", name).status, 404)


@cell
def list_three_thousand(site):
    same("lines", len(s3cmd(site, "ls", "--recursive", f"s3://{site.listed}").splitlines()), LISTED)
    same("folders", len(s3cmd(site, "ls", f"s3://{site.listed}").splitlines()), 10)


@cell
def uploads(site):
    name = site.bucket()
    site.wire.ask("POST", name, "k", [("uploads", "")])
    lines = s3cmd(site, "multipart", f"s3://{name}").splitlines()
    check(any(f"s3://{name}/k" in line for line in lines), f"the upload is not listed: {lines}")
    upload = lines[-1].split()[-1]
    s3cmd(site, "abortmp", f"s3://{name}/k", upload)


@cell
def policy_lifecycle_and_cors(site):
    name = site.bucket()
    (site.folder / "policy").write_text(json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}]}))
    s3cmd(site, "setpolicy", site.folder / "policy", f"s3://{name}")
    check("s3:GetObject" in s3cmd(site, "info", f"s3://{name}"), "`info` gives no policy")
    s3cmd(site, "delpolicy", f"s3://{name}")
    s3cmd(site, "expire", f"s3://{name}", "--expiry-days=7", "--expiry-prefix=a/")
    check("7" in s3cmd(site, "getlifecycle", f"s3://{name}"), "there is no rule")
    s3cmd(site, "dellifecycle", f"s3://{name}")
    (site.folder / "cors").write_text("<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET"
                                      "</AllowedMethod></CORSRule></CORSConfiguration>")
    s3cmd(site, "setcors", site.folder / "cors", f"s3://{name}")
    s3cmd(site, "delcors", f"s3://{name}")


@cell
def wrong_secret(site):
    check("SignatureDoesNotMatch" in s3cmd(site, "ls", f"s3://{site.bucket()}", secret="0" * 40, fails=True), "not refused")
