"""Cells of rclone."""

import json
import os

from s3_cell import LISTED, MIB, Cells, bytes_of, check, make_tree, needs, read_tree, run, same, same_tree
from s3_wire import REGION

CELLS = Cells("rclone")
cell = CELLS.cell


def rclone(site, *arguments, secret=None, **more):
    env = {"PATH": os.environ["PATH"], "HOME": str(site.folder), "RCLONE_CONFIG": str(site.folder / "rclone.conf"),
           "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "Other", "RCLONE_CONFIG_S_ENDPOINT": site.endpoint,
           "RCLONE_CONFIG_S_ACCESS_KEY_ID": site.access, "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": secret or site.secret,
           "RCLONE_CONFIG_S_REGION": REGION, "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true",
           "RCLONE_CONFIG_S_UPLOAD_CUTOFF": "8M", "RCLONE_CONFIG_S_CHUNK_SIZE": "5M",
           "RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "1", "RCLONE_TIMEOUT": "20s", "LC_ALL": "C.UTF-8"}
    if site.ca:
        env["RCLONE_CA_CERT"] = site.ca
    (site.folder / "rclone.conf").touch()
    return run(needs("rclone"), *arguments, env=env, **more)


@cell
def copy_check_and_download(site):
    name, up, down = site.bucket(), site.folder / "up", site.folder / "down"
    files = make_tree(up)
    rclone(site, "copy", up, f"s:{name}/tree")
    rclone(site, "check", up, f"s:{name}/tree")
    rclone(site, "check", "--download", up, f"s:{name}/tree")
    rclone(site, "copy", f"s:{name}/tree", down)
    same_tree("down", read_tree(down), files)
    same("second copy", rclone(site, "copy", up, f"s:{name}/tree", "--stats-one-line").strip(), "")


@cell
def sync_both_ways(site):
    name, up, down = site.bucket(), site.folder / "up", site.folder / "down"
    make_tree(up)
    rclone(site, "sync", up, f"s:{name}/tree")
    rclone(site, "sync", f"s:{name}/tree", down)
    (up / "one.txt").unlink()
    (up / "new").write_bytes(b"new")
    (up / "sub/two.bin").write_bytes(b"other")
    rclone(site, "sync", up, f"s:{name}/tree")
    rclone(site, "sync", f"s:{name}/tree", down)
    same_tree("down after a change", read_tree(down), read_tree(up))
    times = {path.name: int(path.stat().st_mtime) for path in down.rglob("*.bin")}
    same("times", times, {path.name: int(path.stat().st_mtime) for path in up.rglob("*.bin")})


@cell
def buckets(site):
    name = f"rclone-{site.folder.name.lower().replace('_', '-')}"
    rclone(site, "mkdir", f"s:{name}")
    rclone(site, "mkdir", f"s:{name}")
    check(name in rclone(site, "lsd", "s:"), "the bucket is not listed")
    rclone(site, "rcat", f"s:{name}/from/a pipe", data=b"piped")
    check(rclone(site, "cat", f"s:{name}/from/a pipe", "--offset", "1", "--count", "3") == "ipe", "the content is another")
    rclone(site, "purge", f"s:{name}")
    same("HEAD", site.wire.ask("HEAD", name).status, 404)


@cell
def large_multipart(site):
    name = site.bucket()
    (site.folder / "up").mkdir()
    (site.folder / "up/big").write_bytes(bytes_of(30 * MIB))
    (site.folder / "up/empty").write_bytes(b"")
    rclone(site, "copy", site.folder / "up", f"s:{name}")
    rclone(site, "copy", f"s:{name}", site.folder / "down", "--multi-thread-streams", "3", "--multi-thread-cutoff", "10M")
    same_tree("down", read_tree(site.folder / "down"), read_tree(site.folder / "up"))
    check(site.wire.ask("HEAD", name, "big").headers["ETag"].endswith('-6"'), "it was not sent in parts")


@cell
def copies_on_the_server(site):
    name = site.bucket()
    site.put(name, "a b/k+1", b"hello", [("Content-Type", "text/odd")])
    rclone(site, "copy", f"s:{name}/a b", f"s:{name}/c")
    rclone(site, "moveto", f"s:{name}/c/k+1", f"s:{name}/d")
    site.get(name, "d", b"hello")
    site.absent(name, "c/k+1")
    rclone(site, "touch", "-t", "2020-01-02T03:04:05", f"s:{name}/d")
    same("time", json.loads(rclone(site, "lsjson", f"s:{name}/d"))[0]["ModTime"][:19], "2020-01-02T03:04:05")
    site.get(name, "d", b"hello")


@cell
def odd_names(site):
    name, up = site.bucket(), site.folder / "up"
    up.mkdir()
    for number, text in enumerate(("a b", "a+b", "100%", "a%20b", "what?", "a#b", "a&b;c", "'q' \"r\"", "grüße", "🦀",
                                   "[x]{y}", "back\\slash", "t~", "e\u0301", "a:b@c")):
        (up / text).write_text(str(number))
    rclone(site, "copy", up, f"s:{name}")
    rclone(site, "check", "--download", up, f"s:{name}")
    rclone(site, "delete", f"s:{name}")
    same("left", site.wire.ask("GET", name).all("Contents/Key"), [])


@cell
def list_three_thousand(site):
    same("lines", len(rclone(site, "lsf", "-R", "--files-only", "--fast-list", f"s:{site.listed}").splitlines()), LISTED)
    same("size", json.loads(rclone(site, "size", "--json", f"s:{site.listed}"))["count"], LISTED)
    same("folders", len(rclone(site, "lsf", f"s:{site.listed}").splitlines()), 10)


@cell
def folder_is_no_object(site):
    name = site.bucket()
    site.put(name, "folder/file", b"x")
    # This version ends well and says nothing; it must end.
    same("content of nothing", rclone(site, "cat", f"s:{name}/folder/none", seconds=30), "")
    same("content of a folder", rclone(site, "cat", f"s:{name}/folder", seconds=30), "x")
    same("listed", rclone(site, "lsf", f"s:{name}/folder").split(), ["file"])


@cell
def left_behind(site):
    name = site.bucket()
    site.wire.ask("POST", name, "k", [("uploads", "")])
    rclone(site, "backend", "cleanup", f"s:{name}", "-o", "max-age=0s")
    same("uploads", site.wire.ask("GET", name, query=[("uploads", "")]).all("Upload/Key"), [])


@cell
def wrong_secret(site):
    said = rclone(site, "lsf", f"s:{site.bucket()}", secret="0" * 40, fails=True)
    check("SignatureDoesNotMatch" in said or "403" in said, f"it says {said}")
