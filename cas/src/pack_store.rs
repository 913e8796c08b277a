//! The store on disk: append-only packs, which are the truth, and an index, which they can rebuild.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    num::NonZeroUsize,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use lru::LruCache;

use crate::{
    Algorithm, BlockStore, Change, Drawn, Error, Hold, Index, IndexError, PackKind, RECORD_HEADER, Reachable,
    RecordHeader, Result, Sampler, Score, TableEntry, Trailer,
    appender::{Appender, Uncommitted, sealed_by},
    block_store::check_length,
    ledger::Ledger,
    lock,
    marks::Marks,
    notes, pack,
    place::{Place, Tag, pack_of_key, runs, score_of_key},
    recovery,
    sampler::PackSampler,
    writer::Writer,
};

/// Largest size at which a pack is sealed, in bytes.
pub(crate) const MOST_PACK_SIZE: u64 = 256 << 20;

/// Settings of a [`PackStore`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Packs are sealed at this size, in bytes; at most 256 MiB.
    pub pack_size: u64,
    /// Most bytes that packs may take; `None` for as many as the disk has.
    pub capacity: Option<u64>,
    /// Bytes of the file system that are left free, so that index and URL database can still be written.
    pub reserve: u64,
    /// A commit is started when this many bytes wait for one, so that the disk is busy early.
    pub commit_every: u64,
    /// Bytes of the index that are cached in memory.
    pub index_cache: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pack_size: MOST_PACK_SIZE,
            capacity: None,
            reserve: 16 << 20,
            commit_every: 32 << 20,
            index_cache: 64 << 20,
        }
    }
}

/// Asking the file system costs a system call, so it is asked once for each so many bytes.
const SLACK: u64 = 4 << 20;

/// Packs that are kept open for reading when the system lets this process open few files.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Most packs that are kept open for reading: 4 TiB of them, which take the kernel some 25 MB.
const MOST_OPEN_FILES: usize = 16_384;

/// Packs that are kept open for reading: a quarter of the files that this process may open, since connections
/// are files as well, but not fewer than [`OPEN_FILES`].
fn open_files() -> NonZeroUsize {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = allowed.map_or(MOST_OPEN_FILES, |allowed| usize::try_from(allowed / 4).unwrap_or(MOST_OPEN_FILES));
    NonZeroUsize::new(quarter.min(MOST_OPEN_FILES)).map_or(OPEN_FILES, |quarter| quarter.max(OPEN_FILES))
}

fn is_too_many(error: &std::io::Error) -> bool {
    let too_many = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| too_many.contains(&code))
}

/// The file of a pack, open for reading.
pub(crate) struct PackFile {
    pub(crate) file: File,
    /// Whether its trailer is known to say what the index says.
    is_ours: AtomicBool,
}

/// What the index says of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackInfo {
    pub(crate) kind: PackKind,
    pub(crate) state: PackState,
    /// Number of records that the index has seen.
    pub(crate) records: u32,
    /// Where those records end.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackState {
    /// Records may still be appended.
    Open,
    /// Has a table; nothing is appended.
    Sealed,
    /// Everything needed was copied out; the file is to be removed.
    Dead,
}

impl PackInfo {
    pub(crate) fn to_value(self) -> Vec<u8> {
        let state = match self.state {
            PackState::Open => 0,
            PackState::Sealed => 1,
            PackState::Dead => 2,
        };
        let mut value = vec![state, self.kind.code()];
        value.extend_from_slice(&self.records.to_be_bytes());
        value.extend_from_slice(&self.end.to_be_bytes());
        value
    }

    pub(crate) fn from_value(key: &[u8], value: &[u8]) -> Result<Self, IndexError> {
        let parse = || {
            let (head, rest) = value.split_first_chunk::<2>()?;
            let (records, end) = rest.split_first_chunk::<4>()?;
            let state = match head[0] {
                0 => PackState::Open,
                1 => PackState::Sealed,
                2 => PackState::Dead,
                _ => return None,
            };
            Some(Self {
                kind: PackKind::from_code(head[1])?,
                state,
                records: u32::from_be_bytes(*records),
                end: u64::from_be_bytes(end.try_into().ok()?),
            })
        };
        parse().ok_or_else(|| IndexError::Entry { key: key.to_vec() })
    }
}

/// Figures of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Pack files.
    pub packs: u64,
    /// Records in them, garbage included.
    pub records: u64,
    /// Bytes in them, with the tables that the open ones will end in.
    pub bytes: u64,
    /// Blocks that are known to be damaged and not yet healed.
    pub quarantined: u64,
    /// Packs that the index knows and that are gone.
    pub missing_packs: u64,
}

/// Blocks in packs, found through an index.
///
/// Puts append to the open pack; a commit makes everything appended so far durable in one go
/// (data first, then the index), and [`BlockStore::sync`] waits for one. Memory does not grow with the store.
pub struct PackStore {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the store shares with the threads that write and commit.
pub(crate) struct Shared {
    pub(crate) directory: PathBuf,
    pub(crate) options: Options,
    pub(crate) index: Box<dyn Index>,
    pub(crate) ledger: Ledger,
    writer: Arc<Writer>,
    pub(crate) blocks: Appender,
    pub(crate) copies: Appender,
    pub(crate) catalogue: RwLock<BTreeMap<u32, PackInfo>>,
    /// Places that the index does not have yet.
    pending: RwLock<HashMap<(PackKind, Score), Place>>,
    pub(crate) quarantine: RwLock<HashSet<Score>>,
    pub(crate) missing: RwLock<HashSet<u32>>,
    pub(crate) used_bits: Marks,
    /// Places that were looked up while a hold lived; empty when none does.
    pub(crate) held: Arc<Marks>,
    /// Records that are not drawn as randomizers: roots, and what is no longer in the index. Kept in the index's
    /// own batches, so that drawing asks the index nothing.
    pub(crate) undrawn: Marks,
    /// Places of blocks that are likely to stay: those that pins needed when that was last found out, and those that
    /// were put or drawn here since. A hint: they are preferred as randomizers, so that what could be dropped does not
    /// become needed.
    pub(crate) kept: Marks,
    /// Packs whose `undrawn` the next commit writes.
    undrawn_changed: Mutex<HashSet<u32>>,
    /// Read while a block is looked up and marked as used, written while blocks are dropped:
    /// who has looked a block up has marked it, so it is not dropped under him.
    pub(crate) dropping: RwLock<()>,
    /// One collection at a time.
    pub(crate) collecting: Mutex<()>,
    /// A collection is finding out what is needed. What is healed on the way must not wait for another one.
    pub(crate) visiting: AtomicBool,
    pub(crate) reachable: RwLock<Option<Arc<dyn Reachable>>>,
    pub(crate) holds: Arc<Mutex<BTreeMap<u64, Horizon>>>,
    next_hold: AtomicU64,
    pub(crate) next_pack: Arc<AtomicU32>,
    pub(crate) used_bytes: Arc<AtomicU64>,
    unchecked_bytes: AtomicU64,
    files: Mutex<LruCache<u32, Arc<PackFile>>>,
    committing: Mutex<()>,
    broken: AtomicBool,
    /// Bytes appended since the last commit, and whether the committer must stop.
    waiting: Mutex<(u64, bool)>,
    wake: Condvar,
    _lock: File,
}

/// Ignores poisoning: a panic in another thread does not make our maps wrong, their updates are single steps.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PackStore {
    /// Opens or creates the store in `directory`, with its index in RocksDB.
    #[cfg(feature = "rocksdb")]
    pub fn open(directory: &Path, options: Options) -> Result<Self> {
        let cache = options.index_cache;
        Self::with_index(directory, options, |path| Ok(Box::new(crate::RocksIndex::open(path, cache)?)))
    }

    /// Throws the index away and makes it again from the packs.
    #[cfg(feature = "rocksdb")]
    pub fn rebuild(directory: &Path, options: Options) -> Result<Self> {
        let cache = options.index_cache;
        Self::open_index(directory, options, true, |path| Ok(Box::new(crate::RocksIndex::open(path, cache)?)))
    }

    /// Opens or creates the store in `directory`; `open_index` is called with the index's folder when
    /// this process owns the store, and with that of an older one if there is one that was thrown away.
    ///
    /// Records that the index does not have are added to it and a torn last record is cut off, so that
    /// a store opens without help after a crash.
    pub fn with_index(
        directory: &Path,
        options: Options,
        open_index: impl Fn(&Path) -> Result<Box<dyn Index>>,
    ) -> Result<Self> {
        Self::open_index(directory, options, false, open_index)
    }

    pub(crate) fn open_index(
        directory: &Path,
        mut options: Options,
        anew: bool,
        open_index: impl Fn(&Path) -> Result<Box<dyn Index>>,
    ) -> Result<Self> {
        let packs = directory.join("packs");
        let existed = packs.exists();
        fs::create_dir_all(&packs).map_err(Error::io("create", &packs))?;
        let lock = lock::acquire(directory)?;
        if !existed {
            for made in
                [Some(directory), directory.parent()].into_iter().flatten().filter(|made| !made.as_os_str().is_empty())
            {
                sync_directory(made)?;
            }
        }
        let discarded = discard_index(directory, anew)?;
        let index = open_index(&directory.join("index"))?;
        options.pack_size = options.pack_size.min(MOST_PACK_SIZE);
        if let Some(capacity) = options.capacity {
            // Nothing is evicted from the open pack, so it must be a small part of a small store.
            options.pack_size = options.pack_size.min((capacity / 16).max(1 << 20));
        }
        let used_bits = Marks::default();
        let undrawn = Marks::default();
        let kept = Marks::default();
        let held = Arc::new(Marks::default());
        let ledger = Ledger::open(index.as_ref())?;
        let recovered = recovery::recover(&packs, index.as_ref(), &ledger, (&used_bits, &undrawn, &kept))?;
        if let Some(discarded) = discarded {
            // Opened again for its notes alone; if it cannot be read, that is why it was thrown away.
            let kept = open_index(&discarded).and_then(|old| Ok(notes::take_over(old.as_ref(), index.as_ref())?));
            index.sync()?;
            if let Err(error) = kept {
                // What can still be read of it is for somebody who knows how.
                let unreadable = directory.join("index.unreadable");
                tracing::warn!(%error, kept = %unreadable.display(), "the notes of the old index are lost");
                if unreadable.exists() {
                    fs::remove_dir_all(&unreadable).map_err(Error::io("remove", &unreadable))?;
                }
                fs::rename(&discarded, &unreadable).map_err(Error::io("rename", &discarded))?;
            } else {
                fs::remove_dir_all(&discarded).map_err(Error::io("remove", &discarded))?;
            }
        }
        let next_pack = Arc::new(AtomicU32::new(recovered.next_pack));
        let used_bytes = Arc::new(AtomicU64::new(recovered.bytes));
        let writer = Arc::<Writer>::default();
        let sizes = (options.pack_size, options.reserve);
        let appender = |kind, open| Appender::new(kind, &packs, sizes, &writer, &next_pack, &used_bytes, open);
        let shared = Arc::new(Shared {
            blocks: appender(PackKind::Blocks, recovered.open_blocks),
            copies: appender(PackKind::Copies, recovered.open_copies),
            directory: packs,
            options,
            index,
            ledger,
            writer: Arc::clone(&writer),
            catalogue: RwLock::new(recovered.catalogue),
            pending: RwLock::default(),
            quarantine: RwLock::new(recovered.quarantine),
            missing: RwLock::new(recovered.missing),
            used_bits,
            held,
            undrawn,
            kept,
            undrawn_changed: Mutex::default(),
            dropping: RwLock::default(),
            collecting: Mutex::default(),
            visiting: AtomicBool::default(),
            reachable: RwLock::default(),
            holds: Arc::default(),
            next_hold: AtomicU64::default(),
            next_pack,
            used_bytes,
            unchecked_bytes: AtomicU64::new(u64::MAX / 2),
            files: Mutex::new(LruCache::new(open_files())),
            committing: Mutex::default(),
            broken: AtomicBool::default(),
            waiting: Mutex::default(),
            wake: Condvar::new(),
            _lock: lock,
        });
        let for_thread = Arc::clone(&shared);
        let mut store = Self { shared, threads: Vec::new() };
        // From here on a failure drops the store, which ends the threads.
        store.start("write", move || writer.run())?;
        store.start("commit", move || for_thread.commit_in_background())?;
        Ok(store)
    }

    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        self.threads.push(thread.map_err(Error::io("start a thread for", &self.shared.directory))?);
        Ok(())
    }

    /// Tells the store what is needed, so that it may make room by itself when its capacity is reached.
    pub fn set_reachable(&self, reachable: Arc<dyn Reachable>) {
        *self.shared.reachable.write().unwrap_or_else(PoisonError::into_inner) = Some(reachable);
    }

    /// Figures, without a scan.
    pub fn statistics(&self) -> Statistics {
        // In the order in which everybody takes them.
        let missing = self.shared.missing.read().unwrap_or_else(PoisonError::into_inner);
        let catalogue = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        Statistics {
            packs: catalogue.len() as u64,
            records: catalogue.values().map(|info| u64::from(info.records)).sum(),
            bytes: self.shared.used_bytes.load(Ordering::Relaxed),
            quarantined: self.shared.quarantine.read().unwrap_or_else(PoisonError::into_inner).len() as u64,
            missing_packs: missing.len() as u64,
        }
    }

    /// Bytes that may still be put, by the capacity and by the disk, without anything being dropped for them.
    pub fn room(&self) -> u64 {
        let shared = &self.shared;
        let free = shared.free().map_or(u64::MAX, |free| free.saturating_sub(shared.options.reserve + SLACK));
        let used = shared.used_bytes.load(Ordering::Relaxed);
        shared.options.capacity.map_or(free, |capacity| free.min(capacity.saturating_sub(used)))
    }

    /// Packs of a kind that are there.
    pub(crate) fn packs_of(&self, kind: PackKind) -> Vec<(u32, PackInfo)> {
        let missing = self.shared.missing.read().unwrap_or_else(PoisonError::into_inner);
        let catalogue = self.shared.catalogue.read().unwrap_or_else(PoisonError::into_inner);
        catalogue
            .iter()
            .filter(|(number, info)| info.kind == kind && info.state != PackState::Dead && !missing.contains(number))
            .map(|(number, info)| (*number, *info))
            .collect()
    }

    /// Some records of a pack, by their number in it. Empty when the pack is gone or its table is damaged.
    pub(crate) fn entries(&self, pack: u32, from: u64, count: u64) -> Result<Vec<TableEntry>> {
        self.shared.entries(pack, from, count)
    }

    /// Whether a block has a second copy, which is what makes it a root.
    pub fn is_root(&self, score: &Score) -> Result<bool> {
        Ok(self.shared.lookup(Tag::Copy, score)?.is_some())
    }

    /// What the read of a block came to, and the repair that follows from it.
    fn read(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let shared = &self.shared;
        let mut last = None;
        loop {
            let found = shared.find_and_use(Tag::Block, score)?;
            let Some(place) = found else { return self.read_copy(score, buffer) };
            match shared.read_place(&place, buffer)? {
                Reading::Good => return Ok(true),
                // Collection has moved it between the look-up and the read: look again.
                Reading::Gone if last != Some(place) => last = Some(place),
                Reading::Gone | Reading::Damaged => {
                    shared.quarantine(score, &place)?;
                    return self.read_copy(score, buffer);
                }
            }
        }
    }

    /// Reads the second copy, if the block has one, and makes a first one of it again.
    fn read_copy(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let shared = &self.shared;
        if let Some(place) = shared.find_and_use(Tag::Copy, score)? {
            let whole = matches!(shared.read_place(&place, buffer)?, Reading::Good) && score.matches(buffer);
            if whole {
                tracing::warn!(%score, "block was damaged or lost; its second copy takes its place");
                match shared.append(PackKind::Blocks, *score, buffer) {
                    Ok(place) => shared.do_not_draw(&place),
                    Err(error) => tracing::warn!(%score, %error, "cannot restore the first copy"),
                }
                return Ok(true);
            }
            shared.forget_copy(score, &place)?;
        }
        if shared.is_quarantined(score) {
            return Err(Error::Damaged { score: *score });
        }
        Ok(false)
    }
}

/// Puts the index aside when it is to be made anew, and says where it lies.
///
/// It lies there until the new one is complete: if the process dies before, the next opening finds it and
/// begins again, with nothing of the half-made index.
fn discard_index(directory: &Path, anew: bool) -> Result<Option<PathBuf>> {
    let (index, discarded) = (directory.join("index"), directory.join("index.discarded"));
    if discarded.exists() {
        if index.exists() {
            fs::remove_dir_all(&index).map_err(Error::io("remove", &index))?;
        }
    } else if anew && index.exists() {
        fs::rename(&index, &discarded).map_err(Error::io("rename", &index))?;
    } else {
        return Ok(None);
    }
    Ok(Some(discarded))
}

pub(crate) enum Reading {
    Good,
    Damaged,
    /// The pack's file is not there.
    Gone,
}

impl Shared {
    pub(crate) fn lookup(&self, tag: Tag, score: &Score) -> Result<Option<Place>> {
        let kind = if tag == Tag::Copy { PackKind::Copies } else { PackKind::Blocks };
        let pending = self.pending.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = pending.get(&(kind, *score)) {
            return Ok(Some(*place));
        }
        drop(pending);
        let key = tag.score(score);
        Ok(self.index.get(&key)?.map(|value| Place::from_value(&key, &value)).transpose()?)
    }

    fn find_and_use(&self, tag: Tag, score: &Score) -> Result<Option<Place>> {
        let _keep = self.dropping.read().unwrap_or_else(PoisonError::into_inner);
        let place = self.lookup(tag, score)?;
        if let Some(place) = &place {
            self.use_place(place);
            // Of the few that are not drawn, roots have a second copy, which is in use with the first.
            if tag == Tag::Block
                && self.undrawn.contains(place)
                && let Some(copy) = self.lookup(Tag::Copy, score)?
            {
                self.use_place(&copy);
            }
        }
        Ok(place)
    }

    /// Notes that a block is in use. To be called with `dropping` held for reading.
    fn use_place(&self, place: &Place) {
        self.used_bits.set(place);
        if !lock(&self.holds).is_empty() {
            self.held.set(place);
        }
    }

    /// Where a drawn block lies now; it is in use from now on.
    ///
    /// A collection may have moved it since it was drawn. What is in use, and so must stay, is the block where it is now,
    /// not what may still be readable where it was.
    fn use_drawn(&self, drawn: &Drawn) -> Result<Option<Place>> {
        let _keep = self.dropping.read().unwrap_or_else(PoisonError::into_inner);
        // In this order: with a pack its marks go last.
        let is_there = |place: &Place| {
            !self.undrawn.contains(place)
                && self.catalogue.read().unwrap_or_else(PoisonError::into_inner).contains_key(&place.pack)
        };
        let place = match drawn.place.filter(is_there) {
            Some(place) => Some(place),
            None => self.lookup(Tag::Block, &drawn.score)?,
        };
        if let Some(place) = &place {
            self.use_place(place);
        }
        Ok(place)
    }

    /// The index names another record of a block than the one at `from`. Who drew it there and holds it, holds the one
    /// that is named; nobody draws it there from now on. Returns whether that was so before.
    pub(crate) fn moved(&self, from: &Place, to: &Place) -> bool {
        let _alone = self.dropping.write().unwrap_or_else(PoisonError::into_inner);
        if self.held.contains(from) {
            self.held.set(to);
        }
        let was_undrawn = self.undrawn.contains(from);
        self.undrawn.set(from);
        was_undrawn
    }

    /// The records of a sealed pack, if its table is whole.
    pub(crate) fn whole_table(&self, pack: u32) -> Result<Option<Vec<TableEntry>>> {
        let Some(open) = self.file(pack)? else { return Ok(None) };
        let file = &open.file;
        let path = pack::path(&self.directory, pack);
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let table = pack::read_table(file, length).map_err(Error::io("read", &path))?;
        Ok(table.map(|(_, entries)| entries))
    }

    /// Bytes that are free on the disk; `None` when it cannot be asked.
    fn free(&self) -> Option<u64> {
        // What is set aside for packs is ours, too.
        let room = self.blocks.unused_room() + self.copies.unused_room();
        pack::free_beside(&self.directory).map(|free| free.saturating_add(room))
    }

    /// Whether so many bytes can be written and the reserve still be left.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        self.free().is_none_or(|free| free >= bytes + self.options.reserve)
    }

    pub(crate) fn is_quarantined(&self, score: &Score) -> bool {
        self.quarantine.read().unwrap_or_else(PoisonError::into_inner).contains(score)
    }

    pub(crate) fn file(&self, pack: u32) -> Result<Option<Arc<PackFile>>> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(&pack) {
            return Ok(Some(Arc::clone(file)));
        }
        let path = pack::path(&self.directory, pack);
        let opened = loop {
            match pack::open(&path) {
                // Others have taken what this process may open: one that is open makes room.
                Err(error) if is_too_many(&error) && files.pop_lru().is_some() => {}
                opened => break opened,
            }
        };
        match opened {
            Ok(file) => {
                let open = Arc::new(PackFile { file, is_ours: AtomicBool::default() });
                files.put(pack, Arc::clone(&open));
                Ok(Some(open))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::io("open", path)(source)),
        }
    }

    /// Says that this part of a pack is read soon, so that the disk can begin with it as a whole.
    pub(crate) fn will_read(&self, pack: u32, from: u64, to: u64) {
        // Whatever is wrong with the file is told to who reads it.
        if let Ok(Some(open)) = self.file(pack) {
            pack::will_read(&open.file, from..to);
        }
    }

    /// Forgets the marks of a pack that is gone.
    pub(crate) fn forget_marks(&self, pack: u32) {
        for marks in [&self.used_bits, &self.undrawn, &self.kept] {
            marks.forget(pack);
        }
    }

    pub(crate) fn forget_file(&self, pack: u32) {
        lock(&self.files).pop(&pack);
    }

    pub(crate) fn read_place(&self, place: &Place, buffer: &mut Vec<u8>) -> Result<Reading> {
        self.read_record(place, None, buffer)
    }

    /// Reads a block, and looks whether its record has this header, if there is one to compare with.
    fn read_record(&self, place: &Place, wanted: Option<&RecordHeader>, buffer: &mut Vec<u8>) -> Result<Reading> {
        let failed = |source| Error::io("read", pack::path(&self.directory, place.pack))(source);
        for appender in [&self.blocks, &self.copies] {
            // It was never on the disk, so there is no damage to look for.
            if appender.read_unwritten(place, buffer).map_err(failed)? {
                return Ok(Reading::Good);
            }
        }
        let Some(open) = self.file(place.pack)? else { return Ok(Reading::Gone) };
        match pack::read_record(&open.file, place.offset, place.length, buffer) {
            Ok(Some(header))
                if crc32fast::hash(buffer) == place.checksum
                    && wanted.is_none_or(|wanted| header == wanted.to_bytes()) =>
            {
                Ok(Reading::Good)
            }
            Ok(_) => Ok(Reading::Damaged),
            // The disk cannot read it: for us that is damage, and healing may write it elsewhere.
            Err(error) if pack::is_unreadable(&error) => Ok(Reading::Damaged),
            Err(source) => Err(failed(source)),
        }
    }

    pub(crate) fn entries(&self, pack: u32, from: u64, count: u64) -> Result<Vec<TableEntry>> {
        let as_size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        for appender in [&self.blocks, &self.copies] {
            if let Some(entries) = appender.entries(pack, as_size(from), as_size(count)) {
                return Ok(entries);
            }
        }
        let info = self.catalogue.read().unwrap_or_else(PoisonError::into_inner).get(&pack).copied();
        let (Some(info), Some(open)) = (info, self.file(pack)?) else { return Ok(Vec::new()) };
        if info.state == PackState::Open {
            // Could not be sealed when the store was opened, so it has no table.
            let entries = pack::read(&pack::path(&self.directory, pack), &open.file)?.entries;
            return Ok(entries.into_iter().skip(as_size(from)).take(as_size(count)).collect());
        }
        let trailer = Trailer { number: pack, records: info.records, offset: info.end, digest: [0; 32] };
        if !open.is_ours.load(Ordering::Relaxed) {
            if !pack::has_trailer(&open.file, &trailer) {
                // Another pack lies under this name: the index does not find its blocks here.
                return Ok(Vec::new());
            }
            open.is_ours.store(true, Ordering::Relaxed);
        }
        let count = count.min(u64::from(info.records).saturating_sub(from));
        let mut table = vec![0; as_size(count) * TableEntry::SIZE];
        let read = std::os::unix::fs::FileExt::read_exact_at(
            &open.file,
            &mut table,
            info.end + from * TableEntry::SIZE as u64,
        );
        if read.is_err() {
            return Ok(Vec::new());
        }
        Ok(table.as_chunks().0.iter().filter_map(TableEntry::from_bytes).collect())
    }

    /// Appends a block unless it is there; then it is in use from now on.
    fn append_new(&self, kind: PackKind, score: Score, block: &[u8]) -> Result<Place> {
        if let Some(place) = self.find_and_use(Tag::of(kind), &score)? {
            return Ok(place);
        }
        // Making room may have taken long, and another may have brought the same.
        if self.check_room(block.len() as u64)?
            && let Some(place) = self.find_and_use(Tag::of(kind), &score)?
        {
            return Ok(place);
        }
        self.append_unchecked(kind, score, block)
    }

    /// Appends a block that somebody else named if the name is right.
    fn append_if(&self, score: Score, block: &[u8], right: bool) -> Result<bool> {
        let right = right && check_length(block).is_ok();
        if right {
            self.append_new(PackKind::Blocks, score, block)?;
        }
        Ok(right)
    }

    /// Appends a block to the packs of a kind. Makes room first when the capacity asks for it.
    pub(crate) fn append(&self, kind: PackKind, score: Score, block: &[u8]) -> Result<Place> {
        self.check_room(block.len() as u64)?;
        self.append_unchecked(kind, score, block)
    }

    pub(crate) fn append_unchecked(&self, kind: PackKind, score: Score, block: &[u8]) -> Result<Place> {
        if self.broken.load(Ordering::Acquire) {
            return Err(Error::Broken);
        }
        let place = self.appender(kind).append(score, crc32fast::hash(block), block, |place| {
            self.pending.write().unwrap_or_else(PoisonError::into_inner).insert((kind, score), place);
        })?;
        let mut waiting = lock(&self.waiting);
        waiting.0 += block.len() as u64;
        if waiting.0 >= self.options.commit_every {
            self.wake.notify_one();
        }
        Ok(place)
    }

    pub(crate) fn appender(&self, kind: PackKind) -> &Appender {
        match kind {
            PackKind::Blocks => &self.blocks,
            PackKind::Copies => &self.copies,
        }
    }

    /// Fails when there is no room for so many bytes more. Returns whether room had to be made.
    fn check_room(&self, need: u64) -> Result<bool> {
        if self.unchecked_bytes.fetch_add(need, Ordering::Relaxed) >= SLACK {
            self.unchecked_bytes.store(0, Ordering::Relaxed);
            if let Some(free) = self.free().filter(|free| *free < self.options.reserve + SLACK) {
                self.unchecked_bytes.store(u64::MAX / 2, Ordering::Relaxed);
                return Err(Error::DiskFull { path: self.directory.clone(), free });
            }
        }
        let Some(capacity) = self.options.capacity else { return Ok(false) };
        // The record's header and its entry in the table, and perhaps a new pack.
        let need = need + 2 * RECORD_HEADER as u64 + sealed_by(1);
        let used = || self.used_bytes.load(Ordering::Relaxed);
        if used() + need <= capacity {
            return Ok(false);
        }
        if self.visiting.load(Ordering::Acquire) {
            // The collection that is at work will make room. It may itself be waiting for this block, so this
            // block must not wait for it.
            let bearable = used() + need <= capacity + capacity / 20;
            return if bearable { Ok(false) } else { Err(Error::Full { capacity, used: used() }) };
        }
        let reachable = self.reachable.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(reachable) = reachable {
            // A twentieth more than needed, so that not every block asks for a collection.
            let target = (capacity - capacity / 20).saturating_sub(need);
            self.make_room(reachable.as_ref(), target)?;
        }
        if used() + need <= capacity { Ok(true) } else { Err(Error::Full { capacity, used: used() }) }
    }

    /// Applies changes to the index that put or delete entries of blocks, and what follows from them.
    pub(crate) fn change_blocks(&self, changes: Vec<Change>) -> Result<()> {
        Ok(self.ledger.apply(self.index.as_ref(), changes)?)
    }

    pub(crate) fn quarantine(&self, score: &Score, place: &Place) -> Result<()> {
        if self.lookup(Tag::Block, score)? != Some(*place) {
            return Ok(());
        }
        tracing::warn!(%score, pack = place.pack, offset = place.offset, "damaged block is quarantined");
        self.undrawn.set(place);
        self.change_blocks(vec![
            self.undrawn_change(place.pack),
            Change::Delete(Tag::Block.score(score)),
            Change::Put(Tag::Quarantine.score(score), place.to_value()),
        ])?;
        self.pending.write().unwrap_or_else(PoisonError::into_inner).remove(&(PackKind::Blocks, *score));
        self.quarantine.write().unwrap_or_else(PoisonError::into_inner).insert(*score);
        Ok(())
    }

    /// From now on the record is not drawn as a randomizer; the next commit makes it last.
    pub(crate) fn do_not_draw(&self, place: &Place) {
        self.undrawn.set(place);
        lock(&self.undrawn_changed).insert(place.pack);
    }

    pub(crate) fn undrawn_change(&self, pack: u32) -> Change {
        Change::Put(Tag::Undrawn.pack(pack), self.undrawn.to_value(pack))
    }

    pub(crate) fn forget_copy(&self, score: &Score, place: &Place) -> Result<()> {
        if self.lookup(Tag::Copy, score)? == Some(*place) {
            self.pending.write().unwrap_or_else(PoisonError::into_inner).remove(&(PackKind::Copies, *score));
            self.index.apply(&[Change::Delete(Tag::Copy.score(score))])?;
        }
        Ok(())
    }

    /// Makes everything appended so far durable. Commits that wait for each other share their work.
    pub(crate) fn commit(&self) -> Result<()> {
        let _one = lock(&self.committing);
        if self.broken.load(Ordering::Acquire) {
            return Err(Error::Broken);
        }
        lock(&self.waiting).0 = 0;
        let work = self.copies.uncommitted().and_then(|mut work| {
            work.extend(self.blocks.uncommitted()?);
            Ok(work)
        });
        work.and_then(|work| if work.is_empty() { Ok(()) } else { self.commit_work(&work) }).inspect_err(|error| {
            // After a failed fdatasync the kernel may have dropped the pages and forgotten the error, so
            // nothing written here can be trusted any more (fsyncgate, 2018).
            tracing::error!(%error, "commit failed");
            self.broken.store(true, Ordering::Release);
        })
    }

    fn commit_work(&self, work: &[Uncommitted]) -> Result<()> {
        let new = |pack: &Uncommitted| {
            !self.catalogue.read().unwrap_or_else(PoisonError::into_inner).contains_key(&pack.number)
        };
        self.writer.drain().map_err(Error::io("write", &self.directory))?;
        for pack in work {
            pack.file.sync_data().map_err(Error::io("sync", pack::path(&self.directory, pack.number)))?;
        }
        if work.iter().any(new) {
            sync_directory(&self.directory)?;
        }
        let quarantine = self.quarantine.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut changes = Vec::new();
        for pack in work {
            let tag = Tag::of(pack.kind);
            for entry in &pack.entries {
                changes.push(Change::Put(tag.score(&entry.score), entry.place(pack.number).to_value()));
                if quarantine.contains(&entry.score) && tag == Tag::Block {
                    changes.push(Change::Delete(Tag::Quarantine.score(&entry.score)));
                }
            }
            let info = pack.info();
            changes.push(Change::Put(Tag::Pack.pack(pack.number), info.to_value()));
        }
        changes.extend(
            std::mem::take(&mut *lock(&self.undrawn_changed)).into_iter().map(|pack| self.undrawn_change(pack)),
        );
        self.change_blocks(changes)?;
        let mut catalogue = self.catalogue.write().unwrap_or_else(PoisonError::into_inner);
        for pack in work {
            catalogue.insert(pack.number, pack.info());
            self.appender(pack.kind).committed(pack);
        }
        drop(catalogue);
        let mut pending = self.pending.write().unwrap_or_else(PoisonError::into_inner);
        let mut quarantine = self.quarantine.write().unwrap_or_else(PoisonError::into_inner);
        for pack in work {
            for entry in &pack.entries {
                let key = (pack.kind, entry.score);
                if pending.get(&key) == Some(&entry.place(pack.number)) {
                    pending.remove(&key);
                }
                if pack.kind == PackKind::Blocks {
                    quarantine.remove(&entry.score);
                }
            }
        }
        Ok(())
    }

    fn commit_in_background(&self) {
        let mut waiting = lock(&self.waiting);
        while !waiting.1 {
            if waiting.0 < self.options.commit_every || self.broken.load(Ordering::Acquire) {
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(waiting);
            // A failure is kept in `broken` and told to the next caller.
            if let Err(error) = self.commit() {
                tracing::debug!(%error, "background commit");
            }
            waiting = lock(&self.waiting);
        }
    }

    pub(crate) fn save_hints(&self) -> Result<()> {
        let changes = |tag: Tag, marks: &Marks| {
            marks.take_changes().into_iter().map(move |(pack, bits)| match bits {
                Some(bits) => Change::Put(tag.pack(pack), bits),
                None => Change::Delete(tag.pack(pack)),
            })
        };
        let changes: Vec<_> = changes(Tag::Used, &self.used_bits).chain(changes(Tag::Kept, &self.kept)).collect();
        Ok(self.index.apply(&changes)?)
    }
}

impl Uncommitted {
    fn info(&self) -> PackInfo {
        PackInfo {
            kind: self.kind,
            state: if self.sealed { PackState::Sealed } else { PackState::Open },
            records: u32::try_from(self.records).unwrap_or(u32::MAX),
            end: self.end,
        }
    }
}

pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(Error::io("sync", directory))
}

impl BlockStore for PackStore {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        check_length(block)?;
        let score = Score::of(algorithm, block);
        let place = self.shared.append_new(PackKind::Blocks, score, block)?;
        self.shared.kept.set(&place);
        Ok(score)
    }

    fn put_many(&self, algorithm: Algorithm, blocks: &[&[u8]]) -> Result<Vec<Score>> {
        blocks.iter().try_for_each(|block| check_length(block))?;
        let scores = Score::of_many(algorithm, blocks);
        for (score, block) in scores.iter().zip(blocks) {
            let place = self.shared.append_new(PackKind::Blocks, *score, block)?;
            self.shared.kept.set(&place);
        }
        Ok(scores)
    }

    fn put_if(&self, score: &Score, block: &[u8]) -> Result<bool> {
        // The same, with one hash instead of two.
        self.shared.append_if(*score, block, score.matches(block))
    }

    fn put_if_many(&self, blocks: &[(Score, &[u8])]) -> Vec<Result<bool>> {
        let right = Score::match_many(blocks);
        let each = blocks.iter().zip(right);
        each.map(|((score, block), right)| self.shared.append_if(*score, block, right)).collect()
    }

    fn put_twice(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        let score = self.put(algorithm, block)?;
        // While it is looked up, it is not moved.
        let keep = self.shared.dropping.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = self.shared.lookup(Tag::Block, &score)? {
            // A root need not look random (a bare one does not), so it is nobody's randomizer.
            self.shared.do_not_draw(&place);
        }
        drop(keep);
        self.shared.append_new(PackKind::Copies, score, block)?;
        Ok(score)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        self.read(score, buffer)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        Ok(self.shared.find_and_use(Tag::Block, score)?.is_some())
    }

    fn most_blocks(&self) -> u64 {
        let pending = self.shared.pending.read().unwrap_or_else(PoisonError::into_inner).len() as u64;
        self.statistics().records + pending
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        // What waits for a commit would come back with it.
        self.shared.commit()?;
        let Some(place) = self.shared.lookup(Tag::Block, score)? else { return Ok(false) };
        self.shared.undrawn.set(&place);
        self.shared.change_blocks(vec![
            self.shared.undrawn_change(place.pack),
            Change::Delete(Tag::Block.score(score)),
            Change::Delete(Tag::Copy.score(score)),
            Change::Delete(Tag::Quarantine.score(score)),
        ])?;
        self.shared.quarantine.write().unwrap_or_else(PoisonError::into_inner).remove(score);
        Ok(true)
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.shared.commit()?;
        let mut bad = None;
        self.shared.index.scan(&[Tag::Block.byte()], &mut |key, _| match score_of_key(key) {
            Ok(score) => visit(score),
            Err(error) => {
                bad = Some(error);
                ControlFlow::Break(())
            }
        })?;
        bad.map_or(Ok(()), |error| Err(error.into()))
    }

    fn sync(&self) -> Result<()> {
        self.shared.commit()
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        Box::new(PackSampler::new(self, algorithm, seed))
    }

    fn get_drawn(&self, drawn: &Drawn, buffer: &mut Vec<u8>) -> Result<bool> {
        if let Some(place) = self.shared.use_drawn(drawn)? {
            // The score comes from a part of the pack's table, which nobody has compared with its hash: a wrong
            // one would go into a tuple that nobody can read. The record's own header has a checksum.
            let record = RecordHeader { score: drawn.score, length: place.length, checksum: place.checksum };
            if matches!(self.shared.read_record(&place, Some(&record), buffer)?, Reading::Good) {
                // Once more: a collection may have ended since it was drawn.
                self.shared.kept.set(&place);
                return Ok(true);
            }
        }
        self.get_into(&drawn.score, buffer)
    }

    fn expect_drawn(&self, drawn: &[Drawn]) {
        for (pack, from, to) in runs(drawn.iter().filter_map(|drawn| drawn.place).collect()) {
            self.shared.will_read(pack, from, to);
        }
    }

    fn place(&self, drawn: &Drawn) -> Result<Option<Place>> {
        Ok(self.shared.use_drawn(drawn)?.filter(|place| self.shared.blocks.is_written(place)))
    }

    fn hold(&self) -> Hold {
        self.shared.hold()
    }
}

impl Shared {
    pub(crate) fn hold(&self) -> Hold {
        let id = self.next_hold.fetch_add(1, Ordering::Relaxed);
        let _keep = self.dropping.read().unwrap_or_else(PoisonError::into_inner);
        // Read first: a pack that is made meanwhile has this number or a higher one.
        let next = self.next_pack.load(Ordering::Acquire);
        let first = |kind| self.appender(kind).open_pack().unwrap_or(next);
        let horizon = Horizon { blocks: first(PackKind::Blocks), copies: first(PackKind::Copies) };
        lock(&self.holds).insert(id, horizon);
        Hold::guarded(HoldEnd { holds: Arc::clone(&self.holds), held: Arc::clone(&self.held), id })
    }

    /// The first packs that were written to under any hold that lives.
    pub(crate) fn horizon(&self) -> Horizon {
        let none = Horizon { blocks: u32::MAX, copies: u32::MAX };
        lock(&self.holds).values().fold(none, |least, hold| Horizon {
            blocks: least.blocks.min(hold.blocks),
            copies: least.copies.min(hold.copies),
        })
    }
}

/// The first packs that were written to under a hold.
///
/// Of each kind its own: a pack of copies grows so slowly that it may have been open since long before.
#[derive(Clone, Copy)]
pub(crate) struct Horizon {
    blocks: u32,
    copies: u32,
}

impl Horizon {
    pub(crate) const fn of(&self, kind: PackKind) -> u32 {
        match kind {
            PackKind::Blocks => self.blocks,
            PackKind::Copies => self.copies,
        }
    }
}

struct HoldEnd {
    holds: Arc<Mutex<BTreeMap<u64, Horizon>>>,
    held: Arc<Marks>,
    id: u64,
}

impl Drop for HoldEnd {
    fn drop(&mut self) {
        let mut holds = lock(&self.holds);
        holds.remove(&self.id);
        if holds.is_empty() {
            self.held.clear_all();
        }
    }
}

impl Drop for PackStore {
    fn drop(&mut self) {
        let shared = &self.shared;
        // Who needs durability has called sync; what is left is committed as a courtesy.
        let saved = shared.commit().and_then(|()| shared.save_hints());
        lock(&shared.waiting).1 = true;
        shared.wake.notify_all();
        shared.writer.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        let given_back = shared.blocks.give_room_back().and_then(|()| shared.copies.give_room_back());
        let saved = saved.and_then(|()| given_back.map_err(Error::io("cut", &shared.directory)));
        if let Err(error) = saved {
            tracing::warn!(%error, "the last commit of the store failed");
        }
    }
}

/// All entries of the catalogue in an index.
pub(crate) fn read_catalogue(index: &dyn Index) -> Result<BTreeMap<u32, PackInfo>> {
    let mut catalogue = BTreeMap::new();
    let mut bad = None;
    index.scan(&[Tag::Pack.byte()], &mut |key, value| match pack_of_key(key)
        .and_then(|number| Ok((number, PackInfo::from_value(key, value)?)))
    {
        Ok((number, info)) => {
            catalogue.insert(number, info);
            ControlFlow::Continue(())
        }
        Err(error) => {
            bad = Some(error);
            ControlFlow::Break(())
        }
    })?;
    bad.map_or(Ok(catalogue), |error| Err(error.into()))
}
