"""Files and directories that a seed makes again."""

import hashlib
import os
import pathlib
import random
import stat


def content(seed, size):
    """So many bytes, always the same."""
    return random.Random(f"content {seed}").randbytes(size)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def make_tree(top, seed, large=4 << 20):
    """A small directory with one file that is not packed, smaller than `large`."""
    chance = random.Random(f"tree {seed}")
    top = pathlib.Path(top)
    top.mkdir(parents=True)
    folders = [top]
    for number in range(chance.randint(1, 5)):
        folder = chance.choice(folders) / f"folder {number}"
        folder.mkdir()
        folders.append(folder)
    for number in range(chance.randint(1, 30)):
        size = chance.choice([0, 1, 100, 5000, chance.randrange(large // 20)])
        (chance.choice(folders) / f"file {number}").write_bytes(content(f"{seed}/{number}", size))
    (chance.choice(folders) / "large").write_bytes(content(f"{seed}/large", (1 << 20) + chance.randrange(large - (1 << 20))))
    (chance.choice(folders) / "link").symlink_to("file 0")
    # Modification times are part of what is compared, so they come from the seed as well.
    for at, inner, files in os.walk(top, topdown=False):
        for name in sorted(inner) + sorted(files):
            stamp(os.path.join(at, name), f"{seed} {name}")
    stamp(top, seed)


def stamp(path, seed):
    """Gives a file or directory a time with nanoseconds."""
    time = random.Random(f"time {seed}").randrange(10**9, 2 * 10**18)
    os.utime(path, ns=(time, time), follow_symlinks=False)


def tree(top):
    """What is in a directory: for each path its kind, mode, time, and content or target."""
    top = os.fsencode(top)
    found = {}
    for at, folders, files in os.walk(top):
        for path in [at] + [os.path.join(at, name) for name in folders + files]:
            info = os.lstat(path)
            inside = os.path.relpath(path, top)
            mode, time = stat.S_IMODE(info.st_mode), info.st_mtime_ns
            if stat.S_ISLNK(info.st_mode):
                found[inside] = ("link", time, os.readlink(path))
            elif stat.S_ISDIR(info.st_mode):
                found[inside] = ("directory", mode, time)
            else:
                found[inside] = ("file", mode, time, digest(pathlib.Path(os.fsdecode(path)).read_bytes()))
    return found


def difference(wanted, found):
    """The first few paths in which two directories differ."""
    paths = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    return [f"{path!r}: wanted {wanted.get(path)}, found {found.get(path)}" for path in paths[:5]]
