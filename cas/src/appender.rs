//! The end of a store: the open pack of a kind, to which records are appended.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{
    Error, PackKind, RECORD_HEADER, RecordHeader, Result, Score, TableEntry,
    chunk::Chunk,
    pack,
    place::Place,
    record::{pack_header, seal},
    writer::{Output, Unwritten, Writer},
};

/// Room on the disk is set aside in steps of at least so many bytes, before anything is written there: so a disk that
/// is full is noticed while the block can still be refused, and not when it was taken.
///
/// Each step is as long as all before it, because it waits for writes that are under way, and everybody for it. Where
/// the disk has [`AMPLE`] times a pack, the second step is the whole pack.
const ROOM: u64 = 16 << 20;
const AMPLE: u64 = 16;

/// Bytes of the table and the trailer that a pack of so many records ends in.
pub(crate) const fn sealed_by(records: u64) -> u64 {
    records * TableEntry::SIZE as u64 + RECORD_HEADER as u64
}

/// A pack that is not wholly in the index yet.
pub(crate) struct OpenPack {
    pub(crate) number: u32,
    path: PathBuf,
    output: Output,
    /// Where the next record goes.
    pub(crate) end: u64,
    pub(crate) entries: Vec<TableEntry>,
    /// How many of the entries the index has.
    committed: usize,
    /// Whether table and trailer are appended.
    sealed: bool,
    /// The bytes before `end` that were not handed over to the writer.
    tail: Chunk,
    /// Up to here there is room on the disk.
    room: u64,
}

impl OpenPack {
    /// A pack that goes on at `end`; the index has all of `entries`.
    pub(crate) fn new(path: &Path, file: File, number: u32, end: u64, entries: Vec<TableEntry>) -> Self {
        Self {
            number,
            path: path.to_owned(),
            output: Output::new(file),
            end,
            committed: entries.len(),
            entries,
            sealed: false,
            tail: Chunk::new(end, Vec::new()),
            room: end,
        }
    }

    /// Makes sure that so many bytes can be written at the end. Where the disk has enough beyond what must stay
    /// free, room for more is set aside.
    fn set_room_aside(&mut self, need: u64, pack_size: u64, reserve: u64) -> Result<()> {
        if self.end + need <= self.room {
            return Ok(());
        }
        let free = pack::free_beside(&self.path).unwrap_or(0).saturating_sub(reserve);
        let ahead = self.end.max(ROOM);
        let step = if self.end >= ROOM && free / AMPLE >= pack_size {
            pack_size
        } else if free >= ROOM {
            (self.end + ahead.min(free)).min(pack_size)
        } else {
            0
        };
        let most = step.max(self.end + need);
        let is_set = self.output.set_room_aside(self.end, most).map_err(Error::io("write", &self.path))?;
        self.room = if is_set { most } else { u64::MAX };
        Ok(())
    }

    /// Bytes that were set aside and not used.
    fn unused_room(&self) -> u64 {
        if self.sealed || self.room == u64::MAX { 0 } else { self.room - self.end }
    }

    /// Appends bytes for which there is room.
    fn push(&mut self, mut bytes: &[u8], writer: &Writer) -> Result<()> {
        while !bytes.is_empty() {
            let before = self.tail.end();
            bytes = self.tail.push(bytes);
            self.end += self.tail.end() - before;
            if self.tail.is_full() {
                self.hand_over(writer, false)?;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, writer: &Writer, last: bool) -> Result<()> {
        let next = writer.chunk(self.end);
        let full = std::mem::replace(&mut self.tail, next);
        writer.hand_over(self.number, &self.output, full, last).map_err(Error::io("write", &self.path))
    }

    /// Writes table and trailer to stable storage, for a pack to which nothing was appended, and returns the
    /// length of the file.
    pub(crate) fn seal_in_place(&self) -> Result<u64> {
        let file = &self.output.file;
        let sealed = seal(self.number, self.end, &self.entries);
        if let Err(source) = file.write_all_at(&sealed, self.end) {
            if let Err(error) = file.set_len(self.end) {
                tracing::warn!(pack = self.number, %error, "cannot cut a pack after a failed write");
            }
            return Err(Error::io("write", &self.path)(source));
        }
        pack::give_room_back(file).map_err(Error::io("write", &self.path))?;
        file.sync_data().map_err(Error::io("sync", &self.path))?;
        Ok(self.end + sealed.len() as u64)
    }
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

/// Appends records of one kind. They are put together in memory under a lock, one after the other, and
/// written by the [`Writer`].
pub(crate) struct Appender {
    kind: PackKind,
    directory: PathBuf,
    pack_size: u64,
    /// Bytes that stay free on the disk.
    reserve: u64,
    writer: Arc<Writer>,
    next_pack: Arc<AtomicU32>,
    /// Bytes in packs of all kinds, with the tables and trailers that the open ones will end in.
    used: Arc<AtomicU64>,
    /// The open pack is the last one; the others are sealed and wait for their commit.
    packs: Mutex<Vec<OpenPack>>,
    /// The lowest number in `packs`: what lies in older packs is written.
    oldest: AtomicU32,
}

impl Appender {
    pub(crate) fn new(
        kind: PackKind,
        directory: &Path,
        (pack_size, reserve): (u64, u64),
        writer: &Arc<Writer>,
        next_pack: &Arc<AtomicU32>,
        used: &Arc<AtomicU64>,
        open: Option<OpenPack>,
    ) -> Self {
        Self {
            kind,
            directory: directory.to_owned(),
            pack_size,
            reserve,
            writer: Arc::clone(writer),
            next_pack: Arc::clone(next_pack),
            used: Arc::clone(used),
            oldest: AtomicU32::new(open.as_ref().map_or(u32::MAX, |open| open.number)),
            packs: Mutex::new(open.into_iter().collect()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OpenPack>> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a block. It is not durable before the next commit. `note` is told its place before a commit can
    /// have seen it.
    pub(crate) fn append(&self, score: Score, checksum: u32, block: &[u8], note: impl FnOnce(Place)) -> Result<Place> {
        let length = u32::try_from(block.len()).map_err(|_| Error::BlockLength { length: block.len() })?;
        let header = RecordHeader { score, length, checksum }.to_bytes();
        let need = (header.len() + block.len()) as u64;
        let mut packs = self.lock();
        self.writer.check().map_err(Error::io("write", &self.directory))?;
        if packs.last().is_some_and(|open| !open.sealed && open.end + need > self.pack_size && !open.entries.is_empty())
        {
            self.seal_last(&mut packs)?;
        }
        if packs.last().is_none_or(|open| open.sealed) {
            let created = self.create()?;
            packs.push(created);
            self.note_oldest(&packs);
        }
        let Some(open) = packs.last_mut() else { return Err(Error::Broken) };
        open.set_room_aside(need, self.pack_size, self.reserve)?;
        let entry = TableEntry { offset: open.end, length, checksum, score };
        open.push(&header, &self.writer)?;
        open.push(block, &self.writer)?;
        open.entries.push(entry);
        self.used.fetch_add(need + TableEntry::SIZE as u64, Ordering::Relaxed);
        let place = entry.place(open.number);
        note(place);
        Ok(place)
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
        self.used.fetch_add(RECORD_HEADER as u64 + sealed_by(0), Ordering::Relaxed);
        Ok(OpenPack::new(&path, file, number, RECORD_HEADER as u64, Vec::new()))
    }

    fn seal_last(&self, packs: &mut [OpenPack]) -> Result<()> {
        let Some(open) = packs.last_mut().filter(|open| !open.sealed) else { return Ok(()) };
        let sealed = seal(open.number, open.end, &open.entries);
        open.set_room_aside(sealed.len() as u64, 0, self.reserve)?;
        let records_end = open.end;
        open.push(&sealed, &self.writer)?;
        open.hand_over(&self.writer, true)?;
        // What the index calls the end is the end of the records.
        open.end = records_end;
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

    /// What is not in the index yet. All of it is handed over to the writer.
    pub(crate) fn uncommitted(&self) -> Result<Vec<Uncommitted>> {
        let mut packs = self.lock();
        if let Some(open) = packs.last_mut().filter(|open| !open.sealed && open.tail.start() < open.end) {
            open.hand_over(&self.writer, false)?;
        }
        Ok(packs
            .iter()
            .filter(|open| open.sealed || open.committed < open.entries.len())
            .map(|open| Uncommitted {
                kind: self.kind,
                number: open.number,
                file: Arc::clone(&open.output.file),
                end: open.end,
                records: open.entries.len(),
                sealed: open.sealed,
                entries: open.entries[open.committed..].to_vec(),
            })
            .collect())
    }

    /// Notes that the index has everything that `done` lists.
    pub(crate) fn committed(&self, done: &Uncommitted) {
        let mut packs = self.lock();
        if done.sealed {
            packs.retain(|open| open.number != done.number);
            self.note_oldest(&packs);
        } else if let Some(open) = packs.iter_mut().find(|open| open.number == done.number) {
            open.committed = done.records;
        }
    }

    fn note_oldest(&self, packs: &[OpenPack]) {
        let oldest = packs.iter().map(|open| open.number).min().unwrap_or(u32::MAX);
        self.oldest.store(oldest, Ordering::Release);
    }

    /// Some entries of a pack that is still here.
    pub(crate) fn entries(&self, pack: u32, from: usize, count: usize) -> Option<Vec<TableEntry>> {
        let packs = self.lock();
        let open = packs.iter().find(|open| open.number == pack)?;
        let to = from.saturating_add(count).min(open.entries.len());
        Some(open.entries.get(from..to).unwrap_or_default().to_vec())
    }

    /// Reads a block if some of its bytes are not written yet; else it is for the caller to read, from the file.
    pub(crate) fn read_unwritten(&self, place: &Place, buffer: &mut Vec<u8>) -> io::Result<bool> {
        if place.pack < self.oldest.load(Ordering::Acquire) {
            return Ok(false);
        }
        let packs = self.lock();
        let Some(open) = packs.iter().find(|open| open.number == place.pack) else { return Ok(false) };
        let start = place.offset + RECORD_HEADER as u64;
        let end = start + u64::from(place.length);
        let (unwritten, from) = self.unwritten(open);
        if end <= from {
            return Ok(false);
        }
        buffer.resize(place.length as usize, 0);
        let written = usize::try_from(from.saturating_sub(start)).unwrap_or(0);
        open.output.file.read_exact_at(&mut buffer[..written], start)?;
        for unwritten in &unwritten {
            unwritten.chunk.overlay(start, buffer);
        }
        open.tail.overlay(start, buffer);
        if crc32fast::hash(buffer) == place.checksum {
            Ok(true)
        } else {
            Err(io::Error::other("a write failed, and with it what was put went"))
        }
    }

    /// The chunks of a pack that are not written yet, and where they begin. To be asked with `packs` locked: then
    /// nothing is handed over, and these and the tail are one run to the pack's end.
    fn unwritten(&self, open: &OpenPack) -> (Vec<Arc<Unwritten>>, u64) {
        let unwritten = self.writer.unwritten(open.number);
        let from = unwritten.first().map_or(open.tail.start(), |unwritten| unwritten.chunk.start());
        (unwritten, from)
    }

    /// Whether all of a record can be read from the file.
    pub(crate) fn is_written(&self, place: &Place) -> bool {
        if place.pack < self.oldest.load(Ordering::Acquire) {
            return true;
        }
        let packs = self.lock();
        let open = packs.iter().find(|open| open.number == place.pack);
        open.is_none_or(|open| place.end() <= self.unwritten(open).1)
    }

    /// Bytes of the disk that are set aside for what comes.
    pub(crate) fn unused_room(&self) -> u64 {
        self.lock().iter().map(OpenPack::unused_room).sum()
    }

    /// Gives back room that was set aside and not used, when nothing more is written.
    pub(crate) fn give_room_back(&self) -> io::Result<()> {
        self.lock().iter().try_for_each(|open| pack::give_room_back(&open.output.file))
    }
}
