"""Cells of s3fs: a bucket as a file system."""

import os
import shutil
import subprocess
from contextlib import contextmanager

from s3_cell import MIB, Cells, Unsupported, bytes_of, check, make_tree, needs, read_tree, run, same, same_tree, until

CELLS = Cells("s3fs")
cell = CELLS.cell


@contextmanager
def mounted(site, name):
    program = needs("s3fs")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Unsupported("there is no /dev/fuse")
    folder, password = site.folder / "mounted", site.folder / "password"
    folder.mkdir(exist_ok=True)
    password.write_text(f"{site.access}:{site.secret}")
    password.chmod(0o600)
    settings = [f"url={site.endpoint}", "use_path_request_style", f"passwd_file={password}", "retries=1", "umask=022",
                "connect_timeout=5", "readwrite_timeout=20", "multipart_size=10", f"tmpdir={site.folder}"]
    # It trusts the system's certificates alone.
    settings += ["no_check_certificate", "ssl_verify_hostname=0"] if site.ca else []
    with open(site.folder / "log", "wb") as log:
        process = subprocess.Popen([program, name, folder, "-f", *[part for one in settings for part in ("-o", one)]],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: os.path.ismount(folder) or process.poll() is not None, 20, "it is not mounted after 20 s")
        if process.poll() is not None:
            said = (site.folder / "log").read_text(errors="replace")
            if "fuse" in said and "ermitted" in said:
                raise Unsupported("mounting is not permitted")
            check(False, f"s3fs ended: {said[-300:]}")
        yield folder
    finally:
        unmount = shutil.which("fusermount") or needs("fusermount3")
        subprocess.run([unmount, "-u", "-z", folder], stderr=subprocess.DEVNULL)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@cell
def files(site):
    name = site.bucket()
    with mounted(site, name) as top:
        for label, data in (("one", b"hello"), ("empty", b""), ("a b+c%", b"odd"), ("grüße", b"x"),
                            ("large", bytes_of(12 * MIB))):
            (top / label).write_bytes(data)
        same("names", sorted(os.listdir(top)), sorted(["one", "empty", "a b+c%", "grüße", "large"]))
        check((top / "large").read_bytes() == bytes_of(12 * MIB), "the content is another")
        with open(top / "one", "ab") as file:
            file.write(b" again")
        same("appended", (top / "one").read_bytes(), b"hello again")
        with open(top / "large", "r+b") as file:
            file.seek(6 * MIB)
            file.write(b"changed")
        os.rename(top / "one", top / "two")
        os.chmod(top / "two", 0o600)
        os.remove(top / "empty")
    site.get(name, "two", b"hello again")
    data = bytes_of(12 * MIB)
    site.get(name, "large", data[:6 * MIB] + b"changed" + data[6 * MIB + 7:])
    site.absent(name, "one")
    site.absent(name, "empty")


@cell
def folders(site):
    name = site.bucket()
    site.put(name, "made/elsewhere/k", b"there")
    with mounted(site, name) as top:
        same("file of another", (top / "made/elsewhere/k").read_bytes(), b"there")
        files = make_tree(site.folder / "up")
        shutil.copytree(site.folder / "up", top / "tree")
        same_tree("read back", read_tree(top / "tree"), files)
        os.rename(top / "tree/sub", top / "tree/moved")
        same("moved", (top / "tree/moved/deep/three").read_bytes(), bytes_of(3, 3))
        shutil.rmtree(top / "tree/many")
        run("ls", "-laR", top)
    same("left", site.wire.ask("GET", name, query=[("prefix", "tree/many")]).all("Contents/Key"), [])
    with mounted(site, name) as top:
        same("kept", (top / "tree/one.txt").read_bytes(), b"one")
        shutil.rmtree(top / "tree")
        shutil.rmtree(top / "made")
        same("names", os.listdir(top), [])
