//! The end of a store: the open pack of a kind, to which records are appended.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{
    Error, PackKind, RECORD_HEADER, RecordHeader, Result, Score, TableEntry, pack,
    place::Place,
    record::{pack_header, seal},
};

/// A pack that is not wholly in the index yet.
pub(crate) struct OpenPack {
    pub(crate) number: u32,
    pub(crate) file: Arc<File>,
    /// Where the next record goes.
    pub(crate) end: u64,
    pub(crate) entries: Vec<TableEntry>,
    /// How many of the entries the index has.
    pub(crate) committed: usize,
    /// Whether table and trailer are written.
    pub(crate) sealed: bool,
}

/// What a commit has to make durable of one pack.
pub(crate) struct Uncommitted {
    pub(crate) kind: PackKind,
    pub(crate) number: u32,
    pub(crate) file: Arc<File>,
    pub(crate) end: u64,
    pub(crate) records: usize,
    pub(crate) sealed: bool,
    pub(crate) entries: Vec<TableEntry>,
}

/// Appends records of one kind. Records are written one after the other under a lock, so that a write
/// that fails leaves nothing behind it and is cut off again.
pub(crate) struct Appender {
    kind: PackKind,
    directory: PathBuf,
    pack_size: u64,
    next_pack: Arc<AtomicU32>,
    /// Bytes in packs of all kinds.
    used: Arc<AtomicU64>,
    /// The open pack is the last one; the others are sealed and wait for their commit.
    packs: Mutex<Vec<OpenPack>>,
}

impl Appender {
    pub(crate) fn new(
        kind: PackKind,
        directory: &Path,
        pack_size: u64,
        next_pack: &Arc<AtomicU32>,
        used: &Arc<AtomicU64>,
        open: Option<OpenPack>,
    ) -> Self {
        Self {
            kind,
            directory: directory.to_owned(),
            pack_size,
            next_pack: Arc::clone(next_pack),
            used: Arc::clone(used),
            packs: Mutex::new(open.into_iter().collect()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OpenPack>> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a block and returns its place. It is not durable before the next commit.
    pub(crate) fn append(&self, score: Score, checksum: u32, block: &[u8]) -> Result<Place> {
        let length = u32::try_from(block.len()).map_err(|_| Error::BlockLength { length: block.len() })?;
        let header = RecordHeader { score, length, checksum }.to_bytes();
        let need = (header.len() + block.len()) as u64;
        let mut packs = self.lock();
        if packs.last().is_some_and(|open| !open.sealed && open.end + need > self.pack_size && !open.entries.is_empty())
        {
            self.seal_last(&mut packs)?;
        }
        if packs.last().is_none_or(|open| open.sealed) {
            let created = self.create()?;
            packs.push(created);
        }
        let Some(open) = packs.last_mut() else { return Err(Error::Broken) };
        let entry = TableEntry { offset: open.end, length, checksum, score };
        if let Err(source) = write_record(&open.file, &header, block, open.end) {
            // What was written of it must not look like a record later.
            if let Err(error) = open.file.set_len(open.end) {
                tracing::warn!(pack = open.number, %error, "cannot cut a pack after a failed write");
            }
            return Err(Error::io("write", pack::path(&self.directory, open.number))(source));
        }
        open.end = entry.end();
        open.entries.push(entry);
        self.used.fetch_add(need, Ordering::Relaxed);
        Ok(entry.place(open.number))
    }

    fn create(&self) -> Result<OpenPack> {
        let number = self.next_pack.fetch_add(1, Ordering::Relaxed);
        let path = pack::path(&self.directory, number);
        let create = || -> io::Result<File> {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
            file.write_all_at(&pack_header(number, self.kind), 0)?;
            Ok(file)
        };
        let file = create().map_err(|source| {
            // What was there before is not ours to remove.
            if source.kind() != io::ErrorKind::AlreadyExists
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::debug!(pack = number, %error, "no half-made pack to remove");
            }
            Error::io("create", &path)(source)
        })?;
        self.used.fetch_add(RECORD_HEADER as u64, Ordering::Relaxed);
        Ok(OpenPack {
            number,
            file: Arc::new(file),
            end: RECORD_HEADER as u64,
            entries: Vec::new(),
            committed: 0,
            sealed: false,
        })
    }

    fn seal_last(&self, packs: &mut [OpenPack]) -> Result<()> {
        let Some(open) = packs.last_mut().filter(|open| !open.sealed) else { return Ok(()) };
        let added = seal_file(&self.directory, open.number, &open.file, open.end, &open.entries)?;
        self.used.fetch_add(added, Ordering::Relaxed);
        open.sealed = true;
        Ok(())
    }

    /// Seals the open pack, if there is one, so that what comes next goes to another.
    pub(crate) fn seal(&self) -> Result<()> {
        self.seal_last(&mut self.lock())
    }

    /// Number of the pack that the next record goes to, as far as it is known.
    pub(crate) fn open_pack(&self) -> Option<u32> {
        self.lock().last().filter(|open| !open.sealed).map(|open| open.number)
    }

    /// What is not in the index yet.
    pub(crate) fn uncommitted(&self) -> Vec<Uncommitted> {
        self.lock()
            .iter()
            .filter(|open| open.sealed || open.committed < open.entries.len())
            .map(|open| Uncommitted {
                kind: self.kind,
                number: open.number,
                file: Arc::clone(&open.file),
                end: open.end,
                records: open.entries.len(),
                sealed: open.sealed,
                entries: open.entries[open.committed..].to_vec(),
            })
            .collect()
    }

    /// Notes that the index has everything that `done` lists.
    pub(crate) fn committed(&self, done: &Uncommitted) {
        let mut packs = self.lock();
        if done.sealed {
            packs.retain(|open| open.number != done.number);
        } else if let Some(open) = packs.iter_mut().find(|open| open.number == done.number) {
            open.committed = done.records;
        }
    }

    /// Some entries of a pack that is still here.
    pub(crate) fn entries(&self, pack: u32, from: usize, count: usize) -> Option<Vec<TableEntry>> {
        let packs = self.lock();
        let open = packs.iter().find(|open| open.number == pack)?;
        let to = from.saturating_add(count).min(open.entries.len());
        Some(open.entries.get(from..to).unwrap_or_default().to_vec())
    }
}

/// Writes table and trailer of a pack and returns their length.
pub(crate) fn seal_file(directory: &Path, number: u32, file: &File, end: u64, entries: &[TableEntry]) -> Result<u64> {
    let sealed = seal(number, end, entries);
    let written = file.set_len(end).and_then(|()| file.write_all_at(&sealed, end));
    if let Err(source) = written {
        if let Err(error) = file.set_len(end) {
            tracing::warn!(pack = number, %error, "cannot cut a pack after a failed write");
        }
        return Err(Error::io("write", pack::path(directory, number))(source));
    }
    Ok(sealed.len() as u64)
}

fn write_record(file: &File, header: &[u8], block: &[u8], at: u64) -> io::Result<()> {
    let written = rustix::io::pwritev(file, &[IoSlice::new(header), IoSlice::new(block)], at)?;
    if written < header.len() {
        file.write_all_at(&header[written..], at + written as u64)?;
        return file.write_all_at(block, at + header.len() as u64);
    }
    file.write_all_at(&block[written - header.len()..], at + written as u64)
}
