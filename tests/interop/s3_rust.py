"""Cells of the clients in Rust: a program of ours that uses object_store, aws-sdk-s3 and opendal."""

import json
import os
import subprocess

from s3_cell import CACHE, Cells, Failed, Unsupported, run
from s3_wire import REGION

PROGRAM = CACHE / "target/release/s3-clients"


def environment(site):
    return {**os.environ, "S3_ENDPOINT": site.endpoint, "S3_ACCESS_KEY": site.access, "S3_SECRET_KEY": site.secret,
            "S3_REGION": REGION, "S3_LISTED": site.listed or "", **({"SSL_CERT_FILE": site.ca} if site.ca else {})}


def cells(client):
    """The program says what cells it has."""
    made = Cells(client)

    def none(site):
        raise Unsupported("s3-clients is built without it" if PROGRAM.exists() else "run s3_setup.sh")
    listed = subprocess.run([PROGRAM, client], capture_output=True, text=True, timeout=10) if PROGRAM.exists() else None
    if not listed or listed.returncode:
        made.cell(none, name="all")
        return made

    def one(name):
        def what(site):
            name_of_bucket = site.bucket()
            out = json.loads(run(PROGRAM, client, name, env={**environment(site), "S3_BUCKET": name_of_bucket}))
            if out["error"]:
                raise Failed(out["error"])
        made.cell(what, name=name)
    for name in listed.stdout.split():
        one(name)
    return made
