"""Cells of restic: a repository's life."""

import os

from s3_cell import Cells, check, make_tree, needs, read_tree, run, same_tree
from s3_wire import REGION

CELLS = Cells("restic")
cell = CELLS.cell


def restic(site, name, *arguments, secret=None, **more):
    env = {"PATH": os.environ["PATH"], "HOME": str(site.folder), "RESTIC_PASSWORD": "p", "AWS_DEFAULT_REGION": REGION,
           "AWS_ACCESS_KEY_ID": site.access, "AWS_SECRET_ACCESS_KEY": secret or site.secret}
    trust = ["--cacert", site.ca] if site.ca else []
    return run(needs("restic"), "-r", f"s3:{site.endpoint}/{name}/repository", *trust, "-o", "s3.bucket-lookup=path",
               *arguments, env=env, **more)


@cell(seconds=120)
def repository(site):
    name, up = site.bucket(), site.folder / "up"
    files = make_tree(up)
    restic(site, name, "init")
    restic(site, name, "backup", up)
    restic(site, name, "check", "--read-data")
    restic(site, name, "restore", "latest", "--target", site.folder / "down")
    same_tree("restored", read_tree(site.folder / "down" / str(up)[1:]), files)
    (up / "big.bin").write_bytes(b"no more")
    restic(site, name, "backup", up)
    restic(site, name, "forget", "--keep-last", "1", "--prune")
    restic(site, name, "check", "--read-data")
    restic(site, name, "restore", "latest", "--target", site.folder / "again")
    same_tree("restored", read_tree(site.folder / "again" / str(up)[1:]), read_tree(up))


@cell
def no_repository(site):
    said = restic(site, site.bucket(), "snapshots", fails=True, seconds=30)
    check("Is there a repository" in said or "not exist" in said, f"it says {said[-300:]}")


@cell
def bucket_is_made(site):
    name = f"restic-{site.folder.name.lower().replace('_', '-')}"
    restic(site, name, "init")
    check(site.wire.ask("HEAD", name).status == 200, "there is no bucket")
