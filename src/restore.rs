//! Restoring a stored directory into the file system.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, FileTimes, OpenOptions, Permissions},
    io::Write as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use cas::{BlockStore, StreamFile};
use offs::{DirectoryReader, Entry, FileReader, Head, Kind, Node, Reference};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::{failure::Failure, progress::Progress};

/// What the restored directory itself is to look like, once it has its name.
pub(crate) struct Finish {
    mode: u32,
    stamp: Stamp,
}

impl Finish {
    /// Sets mode and time. A directory that may not be written cannot be moved, so this comes last.
    pub(crate) fn apply(&self, path: &Path) -> Result<(), Failure> {
        let directory = File::open(path).map_err(|source| Failure::io("open", path, source))?;
        set(&directory, path, self.mode, self.stamp)
    }
}

/// The path of an entry as seen from a directory; `None` when it is neither that nor in it.
pub(crate) fn below<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(directory)?;
    if directory.is_empty() || rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// Restores what is at `from` in the directory, all of it when that is empty, into `target`, which is made and
/// must not exist.
///
/// Every path was checked by the reader: it is relative, has no `..`, and its parent is a directory that was
/// made here a moment ago, so nothing is written through a link or outside of `target`.
pub(crate) fn restore(
    store: &dyn BlockStore,
    file: &FileReader<'_>,
    from: &[u8],
    target: &Path,
    progress: &Progress,
) -> Result<Finish, Failure> {
    let state = std::cell::RefCell::new(Restore {
        store,
        from,
        target,
        packed: Packed::None,
        packed_read: 0,
        packed_hash: blake3::Hasher::new(),
        directories: Vec::new(),
        done: 0,
        progress,
    });
    DirectoryReader::entries::<Failure>(
        file,
        &mut |head| {
            if let Some((reference, length)) = head.packed {
                state.borrow_mut().packed = Packed::Named(reference, length);
            }
            Ok(())
        },
        &mut |entry| state.borrow_mut().entry(&entry),
    )?;
    state.into_inner().finish()
}

struct Restore<'a> {
    store: &'a dyn BlockStore,
    from: &'a [u8],
    target: &'a Path,
    /// The packed file, opened when the first entry needs it.
    packed: Packed<'a>,
    /// How far the packed file was read in order, and the hash of that.
    packed_read: u64,
    packed_hash: blake3::Hasher,
    /// Directories get their mode and time last: restoring what is in them would change the one and may need
    /// more than the other.
    directories: Vec<(PathBuf, u32, Stamp)>,
    done: u64,
    progress: &'a Progress,
}

enum Packed<'a> {
    None,
    /// Its reference and its length.
    Named(Reference, u64),
    Open(FileReader<'a>),
}

/// A modification time.
#[derive(Clone, Copy)]
struct Stamp {
    seconds: i64,
    nanoseconds: u32,
}

impl Stamp {
    fn time(self) -> Option<SystemTime> {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let base = SystemTime::UNIX_EPOCH;
        let base = if self.seconds < 0 { base.checked_sub(whole) } else { base.checked_add(whole) };
        base?.checked_add(Duration::from_nanos(u64::from(self.nanoseconds)))
    }
}

impl Restore<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        let Some(path) = below(&entry.path, self.from) else { return Ok(()) };
        let path = if path.is_empty() { self.target.to_owned() } else { self.target.join(OsStr::from_bytes(path)) };
        let stamp = Stamp { seconds: entry.mtime, nanoseconds: entry.nsec };
        let failed = |source| Failure::io("create", &path, source);
        match &entry.node {
            Node::Directory => {
                let mut builder = fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.create(&path).map_err(failed)?;
                self.directories.push((path, entry.mode, stamp));
            }
            Node::Link { target } => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), &path).map_err(failed)?;
                let time = Timespec { tv_sec: stamp.seconds, tv_nsec: i64::from(stamp.nanoseconds) };
                let times = Timestamps { last_access: time, last_modification: time };
                // Not every file system keeps times of links, and nothing depends on them.
                if let Err(error) = utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW) {
                    tracing::debug!(%error, "time of a link");
                }
            }
            Node::File { reference, size } => {
                let source = FileReader::open_kind(self.store, reference, Kind::File)?;
                check_length(*size, source.length())?;
                let file = create(&path)?;
                let mut out = StreamFile::new(file.try_clone().map_err(failed)?, *size);
                source.copy(&mut out, &|bytes| self.progress.at(self.done + bytes))?;
                out.finish().map_err(|source| Failure::io("write", &path, source))?;
                self.finish_file(&file, &path, entry.mode, stamp, *size)?;
            }
            Node::Packed { at, size } => {
                let mut file = create(&path)?;
                if let Packed::Named(reference, length) = &self.packed {
                    let packed = FileReader::open_kind(self.store, reference, Kind::File)?;
                    check_length(*length, packed.length())?;
                    self.packed = Packed::Open(packed);
                }
                if let Packed::Open(packed) = &self.packed {
                    // A piece is below 1 MiB as we write them, but a reader relies on nothing.
                    let mut from = *at;
                    while from < at + size {
                        let to = (at + size).min(from + (1 << 20));
                        let piece = packed.read_piece(from..to)?;
                        if from == self.packed_read {
                            self.packed_hash.update(&piece);
                            self.packed_read = to;
                        }
                        file.write_all(&piece).map_err(|source| Failure::io("write", &path, source))?;
                        from = to;
                    }
                }
                self.finish_file(&file, &path, entry.mode, stamp, *size)?;
            }
        }
        Ok(())
    }

    fn finish_file(&mut self, file: &File, path: &Path, mode: u32, stamp: Stamp, size: u64) -> Result<(), Failure> {
        set(file, path, mode, stamp)?;
        self.done += size;
        self.progress.at(self.done);
        Ok(())
    }

    /// Compares the packed file with its root's hash, as every file that is read whole is. Pieces that came
    /// in order were hashed on their way; else it is read once more.
    fn check_packed(&self) -> Result<(), Failure> {
        // Of a part only the blocks were read that it needs, each of them checked by its score.
        let Packed::Open(packed) = &self.packed else { return Ok(()) };
        if !self.from.is_empty() {
            return Ok(());
        }
        if self.packed_read < packed.length() {
            return Ok(packed.copy(&mut std::io::sink(), &|_| {})?);
        }
        let (expected, found) = (packed.root().content_hash, *self.packed_hash.finalize().as_bytes());
        if found == expected { Ok(()) } else { Err(offs::Error::ContentHash { expected, found }.into()) }
    }

    /// Modes and times of directories, the innermost first.
    fn finish(self) -> Result<Finish, Failure> {
        self.check_packed()?;
        let mut top = Finish { mode: 0o755, stamp: Stamp { seconds: 0, nanoseconds: 0 } };
        for (path, mode, stamp) in self.directories.iter().rev() {
            if path == self.target {
                top = Finish { mode: *mode, stamp: *stamp };
                continue;
            }
            let directory = File::open(path).map_err(|source| Failure::io("open", path, source))?;
            set(&directory, path, *mode, *stamp)?;
        }
        Ok(top)
    }
}

fn check_length(directory: u64, root: u64) -> Result<(), Failure> {
    if directory == root { Ok(()) } else { Err(offs::Error::EntryLength { directory, root }.into()) }
}

fn create(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    // `create_new` follows no link at the last component, and the others were made by us.
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|source| Failure::io("create", path, source))
}

fn set(file: &File, path: &Path, mode: u32, stamp: Stamp) -> Result<(), Failure> {
    // Set-user-id and its like are not taken from strangers.
    let permissions = Permissions::from_mode(mode & 0o777);
    file.set_permissions(permissions).map_err(|source| Failure::io("set the mode of", path, source))?;
    if let Some(time) = stamp.time() {
        let times = FileTimes::new().set_accessed(time).set_modified(time);
        file.set_times(times).map_err(|source| Failure::io("set the time of", path, source))?;
    }
    Ok(())
}

/// Finds one path inside a stored directory.
pub(crate) fn find(file: &FileReader<'_>, path: &[Vec<u8>]) -> Result<(Entry, Option<Head>), Failure> {
    let wanted = path.join(&b'/');
    let found = std::cell::RefCell::new((None, None));
    DirectoryReader::entries::<Failure>(
        file,
        &mut |head| {
            found.borrow_mut().1 = Some(head);
            Ok(())
        },
        &mut |entry| {
            if entry.path == wanted {
                found.borrow_mut().0 = Some(entry);
            }
            Ok(())
        },
    )?;
    match found.into_inner() {
        (Some(entry), head) => Ok((entry, head)),
        (None, _) => Err(Failure::NoSuchPath { path: String::from_utf8_lossy(&wanted).into_owned() }),
    }
}

/// Counts the entries of a stored directory by kind.
pub(crate) fn count(file: &FileReader<'_>) -> Result<HashMap<&'static str, u64>, Failure> {
    let mut counts = HashMap::new();
    DirectoryReader::entries::<Failure>(file, &mut |_| Ok(()), &mut |entry| {
        let kind = match entry.node {
            Node::Directory => "directories",
            Node::File { .. } | Node::Packed { .. } => "files",
            Node::Link { .. } => "links",
        };
        *counts.entry(kind).or_insert(0) += 1;
        Ok(())
    })?;
    Ok(counts)
}

/// Removes a half-restored tree, as far as that can be done.
pub(crate) fn remove_tree(path: &Path) {
    make_removable(path);
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::debug!(%error, "a half-restored tree stays");
    }
}

/// A half-restored tree may have directories that even we may not write; their removal needs that.
pub(crate) fn make_removable(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let mode = Permissions::from_mode(0o700);
            if let Err(error) = fs::set_permissions(entry.path(), mode) {
                tracing::debug!(%error, "cannot make a directory removable");
            }
            make_removable(&entry.path());
        }
    }
}
