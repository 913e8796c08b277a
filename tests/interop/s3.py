#!/usr/bin/env python3
"""Clients of S3 against one server: what each client is used for, and what a hostile one may try.

    s3.py --server COMMAND | --endpoint URL --access-key K --secret-key S [--ca FILE]
    OFFS=path/to/offs s3.py

Prints a line a cell (ok, FAILED, unsupported; known for one that the reference server is known to fail), then the
sums, and fails when a cell FAILED. s3_setup.sh installs the clients. In COMMAND, {address}, {port}, {folder},
{access} and {secret} are replaced; without {address} or {port} the endpoint must be named. Clients run beside one
another, the cells of one client in turn; each cell has buckets of its own and an end in time.
"""

import argparse
import json
import multiprocessing
import os
import queue
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from s3_cell import LISTED, VENV, Failed, Site, Unsupported, deadline  # noqa: E402
from s3_wire import Wire  # noqa: E402

STARTING = 30
# Seconds after which a client of which nothing was heard has hung; a cell may take minutes.
SILENT = 1200
# In the order of starting: the longest first.
CLIENTS = ("aws", "raw", "boto3", "s3cmd", "rclone", "restic", "s3fs", "object_store", "aws-sdk", "opendal", "hostile")
KNOWN = json.loads((HERE / "s3_known.json").read_text()) if (HERE / "s3_known.json").exists() else {}


class Server:
    """A server of ours: its process, where it listens, and who may use it."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        self.log = folder / "server.log"
        self.address = f"127.0.0.1:{free_port()}"
        self.endpoint = f"http://{self.address}"
        self.ca = None
        self.access, self.secret = "AKIAINTEROPTEST00000", secrets.token_hex(20)

    def begin(self, command, **settings):
        with open(self.log, "ab") as log:
            try:
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                start_new_session=True, **settings)
            except OSError as error:
                sys.exit(f"the server does not start: {error}")

    def ready(self, endpoint=None):
        """Waits until it answers anything."""
        wire = Wire(endpoint or self.endpoint, self.access, self.secret, self.ca)
        end = time.monotonic() + STARTING
        while True:
            if self.process.poll() is not None:
                sys.exit(f"the server ended with {self.process.returncode}:\n{self.tail()}")
            try:
                with wire.connect(1):
                    return
            except OSError:
                if time.monotonic() > end:
                    sys.exit(f"the server does not listen after {STARTING} s:\n{self.tail()}")
                time.sleep(0.05)

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def any_server(server, command):
    """Starts what --server says."""
    port = server.address.rpartition(":")[2]
    names = {"address": server.address, "port": port, "folder": server.folder / "data", "access": server.access,
             "secret": server.secret}
    (server.folder / "data").mkdir()
    server.begin([part.format(**names) for part in shlex.split(command)])


def offs_server(server, program, tls=False):
    """Starts the program under test. The one place that knows its commands."""
    home = server.folder / "home"
    home.mkdir()
    (home / "config.toml").write_text("[http]\non = false\n")
    created = subprocess.run([program, "--home", home, "key", "create", "interop"], capture_output=True, text=True,
                             timeout=60)
    words = created.stdout.split()
    if created.returncode or len(words) < 2:
        sys.exit(f"offs key create: exit {created.returncode}: {created.stdout}{created.stderr}")
    server.access, server.secret = words[-2:]
    server.begin([program, "--home", home, "serve", "--no-lan", "--listen", "127.0.0.1:0", "--s3", server.address,
                  *(["--s3-tls"] if tls else [])])
    if tls:
        server.endpoint = f"https://{server.address}"
        server.ca = str(home / "s3-certificate.pem")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cells_of(client):
    """The cells of a client; its module is loaded in the process that runs them."""
    if client in ("raw", "hostile"):
        module = __import__(f"s3_{client}")
    elif client == "boto3":
        module = __import__("s3_boto")
    elif client in ("object_store", "aws-sdk", "opendal"):
        return __import__("s3_rust").cells(client)
    else:
        module = __import__(f"s3_{client}")
    return module.CELLS


def run_client(client, site, chosen, folder, out):
    """Runs the cells of one client and sends what became of each."""
    # Programs that a cell has started are ended by it, so it must hear that it is to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name, cell in cells_of(client).items():
        name = f"{client} {name}"
        if chosen and not any(part in name for part in chosen) or cell.long and not site.long:
            continue
        # Cells make names of buckets of it, which must not end in a dash.
        site.folder = Path(tempfile.mkdtemp(dir=folder, suffix="-0"))
        site.__dict__.pop("_wire", None)
        began = time.monotonic()
        # Standard output is for lines of cells.
        try:
            with deadline(cell.seconds):
                cell(site)
            result = ("ok", "")
        except Unsupported as error:
            result = ("unsupported", str(error))
        except Failed as error:
            result = ("FAILED", str(error))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            mine = [frame for frame in traceback.extract_tb(error.__traceback__) if "interop" in frame.filename]
            where = mine[-1] if mine else where
            result = ("FAILED", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
        out.put((name, *result, time.monotonic() - began))
        shutil.rmtree(site.folder, ignore_errors=True)
    out.put(None)


def prepare_listing(site):
    """A bucket with LISTED keys in folders, for the cells that list."""
    bucket = site.bucket(f"listed-{secrets.token_hex(6)}")

    def some(part):
        wire = Wire(site.endpoint, site.access, site.secret, site.ca)
        for number in range(part, LISTED, 6):
            key = f"dir{number // 300:02}/sub{number % 7}/{number:05}"
            answer = wire.ask("PUT", bucket, key, body=b"%d" % number)
            if answer.status != 200:
                raise Failed(f"put {key}: {answer}")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(some, range(6)))
    return bucket


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--endpoint", help="URL of a server that runs")
    parser.add_argument("--server", metavar="COMMAND", help="starts this and ends it")
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    parser.add_argument("--ca", help="certificate to trust")
    parser.add_argument("--tls", action="store_true", help="the program under test speaks TLS")
    parser.add_argument("--only", metavar="CLIENT,...", help=", ".join(CLIENTS))
    parser.add_argument("--cells", metavar="TEXT,...", help="only cells whose client and name have one of these in it")
    parser.add_argument("--known", choices=sorted(KNOWN), help="a reference server whose failures do not count")
    parser.add_argument("--write-known", metavar="NAME", help="write the failures down as those of this server")
    parser.add_argument("--long", action="store_true", help="with the cells that take minutes")
    parser.add_argument("--jobs", type=int, default=3, help="clients at a time (default 3)")
    parser.add_argument("--json", metavar="FILE", help="write the results down")
    given = parser.parse_args()
    given.only = given.only.split(",") if given.only else list(CLIENTS)
    given.cells = given.cells.split(",") if given.cells else []
    if unknown := set(given.only) - set(CLIENTS):
        parser.error(f"no such client: {', '.join(unknown)}")
    if not given.endpoint and not given.server and "OFFS" not in os.environ:
        parser.error("name a server: --endpoint, --server, or OFFS in the environment")
    return given


def main():
    given = arguments()
    if Path(sys.prefix) != VENV.parent:
        if not (VENV / "python").exists():
            sys.exit("run s3_setup.sh first")
        os.execv(VENV / "python", [VENV / "python", *sys.argv])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="offs-s3-"))
    server, workers, failed = Server(folder), {}, True
    try:
        if given.server:
            any_server(server, given.server)
        elif not given.endpoint:
            offs_server(server, shutil.which(os.environ["OFFS"]) or sys.exit("OFFS names no program"), given.tls)
        endpoint = given.endpoint or server.endpoint
        access, secret = given.access_key or server.access, given.secret_key or server.secret
        if server.process:
            server.ready(endpoint)
        site = Site(endpoint, access, secret, given.ca or server.ca, folder, None, server.process and server.process.pid, given.long)
        failed = run_all(given, site, folder, server, workers)
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join(25)
            worker.kill()
        server.end()
        if failed and os.environ.get("KEEP") == "1":
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if failed else 0)


def run_all(given, site, folder, server, workers):
    began = time.monotonic()
    try:
        site.listed = prepare_listing(site)
        print(f"ok           setup: {LISTED} keys in {time.monotonic() - began:.1f} s", flush=True)
    except (Failed, OSError) as error:
        print(f"FAILED       setup: {error}\n{server.tail()}", flush=True)
        return True
    site.__dict__.pop("_wire", None)
    known = KNOWN.get(given.known or given.write_known, {})
    results, waiting = [], list(given.only)
    # Not by fork: OpenSSL's locks may be held just then by a thread of ours that is ending.
    mail = multiprocessing.get_context("spawn")
    boxes, heard = {}, {}
    while waiting or boxes:
        # The hostile one measures the server's memory, so it is alone.
        while waiting and len(boxes) < given.jobs and not (boxes and "hostile" in (waiting[0], *boxes)):
            client = waiting.pop(0)
            boxes[client] = mail.Queue()
            workers[client] = mail.Process(target=run_client,
                                           args=(client, site, given.cells, folder, boxes[client]), daemon=False)
            workers[client].start()
            heard[client] = time.monotonic()
        for client, box in list(boxes.items()):
            try:
                got = box.get(timeout=0.1)
            except queue.Empty:
                if workers[client].is_alive() and time.monotonic() - heard[client] < SILENT:
                    continue
                workers[client].terminate()
                got = (f"{client} *", "FAILED", "the client's process ended early, or did not end", 0)
                boxes.pop(client)
            if got is None:
                boxes.pop(client)
                workers[client].join()
                continue
            heard[client] = time.monotonic()
            name, result, why, seconds = got
            if result == "FAILED" and given.known and name in known:
                result, why = "known", f"{why} [{known[name]}]"
            results.append((name, result, why, seconds))
            print(f"{result:<12} {name} ({seconds:.1f} s){': ' + ' '.join(why.split())[:400] if why else ''}", flush=True)
            if server.process and server.process.poll() is not None:
                print(f"FAILED       the server ended with {server.process.returncode}:\n{server.tail()}", flush=True)
                return True
    sums = Counter(result for _, result, _, _ in results)
    print(", ".join(f"{count} {result}" for result, count in sorted(sums.items())), f"{time.monotonic() - began:.0f} s",
          sep=", ")
    if given.json:
        Path(given.json).write_text(json.dumps([dict(zip(("cell", "result", "why", "seconds"), row)) for row in results],
                                               indent=1))
    if given.write_known:
        failures = {name: known.get(name) or " ".join(why.split())[:140] for name, result, why, _ in sorted(results)
                    if result == "FAILED"}
        (HERE / "s3_known.json").write_text(
            json.dumps({**KNOWN, given.write_known: failures}, indent=1, ensure_ascii=False) + "\n")
    return bool(sums["FAILED"])


if __name__ == "__main__":
    main()
