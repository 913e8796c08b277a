//! Reading a file: the descrambler, run over a store with all cores.

use std::{
    collections::BTreeMap,
    io::Write,
    num::NonZeroUsize,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel, sync_channel},
    },
    thread,
};

use cas::{BlockStore, Score};

use crate::{
    BLOCK, Descrambler, Error, Kind, Layout, Reference, Result, Root, Stripe, Want, heal::heal_file, root::RootError,
};

/// An open file.
pub struct FileReader<'a> {
    store: &'a dyn BlockStore,
    reference: Reference,
    root: Root,
    layout: Layout,
    /// Source blocks of descriptor levels, and of the content when it is read piecemeal.
    cache: Mutex<Cache>,
    /// Whether the whole file may be healed when a stripe cannot be read.
    may_heal: AtomicBool,
}

/// A few source blocks, oldest out first.
#[derive(Default)]
struct Cache {
    blocks: BTreeMap<(u8, u64), Arc<Vec<u8>>>,
    order: std::collections::VecDeque<(u8, u64)>,
}

/// Source blocks in the cache: 4 MiB.
const CACHED: usize = 32;

/// So many stripes without tuples end a walk over a file.
const MOST_UNREADABLE: u64 = 64;

/// Most bytes of stripes that are in work at a time.
const IN_FLIGHT_BYTES: usize = 48 << 20;

impl Cache {
    fn insert(&mut self, at: (u8, u64), block: Arc<Vec<u8>>) {
        if self.blocks.insert(at, block).is_none() {
            self.order.push_back(at);
        }
        if self.order.len() > CACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.blocks.remove(&oldest);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> FileReader<'a> {
    /// Reads and checks the root.
    ///
    /// # Errors
    /// [`Error::NoRoot`] when it is not here, [`Error::Root`] when it cannot be opened with this key.
    pub fn open(store: &'a dyn BlockStore, reference: &Reference) -> Result<Self> {
        let score = reference.root;
        let mut block = Vec::new();
        if !store.get_into(&score, &mut block)? {
            return Err(Error::NoRoot { root: score });
        }
        if !score.matches(&block) {
            return Err(cas::Error::Damaged { score }.into());
        }
        let opened = Root::from_block(&mut block, reference.key.as_ref());
        let root = opened.map_err(|source: RootError| Error::Root { root: score, source })?;
        let length = if root.inline { 0 } else { root.length };
        let layout = Layout::new(root.parameters, length);
        let reference = reference.clone();
        Ok(Self { store, reference, root, layout, cache: Mutex::default(), may_heal: AtomicBool::new(true) })
    }

    /// Opens a file that must be of a kind.
    pub fn open_kind(store: &'a dyn BlockStore, reference: &Reference, kind: Kind) -> Result<Self> {
        let file = Self::open(store, reference)?;
        let expected = match kind {
            Kind::File => "file",
            Kind::Directory => "directory",
        };
        if file.root.kind == kind { Ok(file) } else { Err(Error::Kind { root: reference.root, expected }) }
    }

    /// Does not try to heal the whole file when a stripe cannot be read.
    #[must_use]
    pub(crate) fn without_healing(self) -> Self {
        self.may_heal.store(false, Ordering::Relaxed);
        self
    }

    /// The root.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// Levels, stripes and positions. That of an inline file is empty.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What was opened.
    pub const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Length of the content in bytes.
    pub const fn length(&self) -> u64 {
        self.root.length
    }

    /// Calls `visit` with every stripe, from the top level down, and with its tuples.
    ///
    /// Gives up after [`MOST_UNREADABLE`] stripes whose tuples are lost: what lies under a lost descriptor is lost
    /// with it, and the file's length may be a lie that would take years to walk.
    ///
    /// # Errors
    /// [`Error::Repeats`] when the descriptors that can be read are more than there are blocks in the store.
    /// Each of an honest file's has a block of its own; only a bare one that was made to waste time can name the
    /// same again and again.
    pub(crate) fn walk(&self, mut visit: impl FnMut(&Stripe, Result<Vec<u8>>) -> Result<()>) -> Result<()> {
        let most = self.store.most_blocks().saturating_add(MOST_UNREADABLE);
        let per_block = self.root.parameters.tuples_per_block();
        let mut unreadable = 0;
        for level in (0..self.layout.levels().len()).rev() {
            let top = level + 1 == self.layout.levels().len();
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            for number in 0..self.layout.stripes(level) {
                let stripe = self.layout.stripe(level, number);
                if !top && stripe.first_position / per_block > most {
                    return Err(Error::Repeats { root: self.reference.root });
                }
                let tuples = self.tuples(&stripe);
                unreadable += u64::from(matches!(tuples, Err(Error::Lost { .. })));
                visit(&stripe, tuples)?;
                if unreadable > MOST_UNREADABLE {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The tuples of a stripe, end to end.
    pub fn tuples(&self, stripe: &Stripe) -> Result<Vec<u8>> {
        let bytes = self.root.parameters.tuple_bytes();
        let top = usize::from(stripe.level) + 1 == self.layout.levels().len();
        let as_size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        if top {
            let from = as_size(stripe.first_position) * bytes;
            return Ok(self.root.body[from..from + stripe.tuples() * bytes].to_vec());
        }
        let per_block = self.root.parameters.tuples_per_block();
        let mut tuples = Vec::with_capacity(stripe.tuples() * bytes);
        let mut position = stripe.first_position;
        let end = position + stripe.tuples() as u64;
        while position < end {
            let block = self.source(stripe.level + 1, position / per_block)?;
            let here = (end - position).min(per_block - position % per_block);
            let from = as_size(position % per_block) * bytes;
            tuples.extend_from_slice(&block[from..from + as_size(here) * bytes]);
            position += here;
        }
        Ok(tuples)
    }

    /// One source block, from the cache if it is there.
    fn source(&self, level: u8, number: u64) -> Result<Arc<Vec<u8>>> {
        if let Some(block) = lock(&self.cache).blocks.get(&(level, number)) {
            return Ok(Arc::clone(block));
        }
        let stripe = self.layout.stripe_of(level, number);
        let at = usize::try_from(number - stripe.first_source).unwrap_or(usize::MAX);
        let blocks = self.read_stripe(&stripe, at..at + 1, Vec::new())?;
        let block = Arc::new(blocks[at * BLOCK..(at + 1) * BLOCK].to_vec());
        lock(&self.cache).insert((level, number), Arc::clone(&block));
        Ok(block)
    }

    /// Reads data blocks of a stripe into `buffer`, at their places.
    fn read_stripe(&self, stripe: &Stripe, wanted: Range<usize>, buffer: Vec<u8>) -> Result<Vec<u8>> {
        match self.try_stripe(stripe, wanted.clone(), buffer) {
            Err(Error::Lost { .. }) if self.may_heal.load(Ordering::Relaxed) && self.is_healable() => {
                // A block of this stripe may be an earlier stripe's own block, which that stripe can rebuild.
                let healed = heal_file(self.store, &self.reference)?;
                tracing::info!(healed = healed.healed, "healed the file to read a stripe");
                if healed.healed == 0 {
                    self.may_heal.store(false, Ordering::Relaxed);
                }
                self.try_stripe(stripe, wanted, Vec::new())
            }
            read => read,
        }
    }

    /// Whether it is bearable to go over the whole file for one stripe: up to about 400 GiB.
    fn is_healable(&self) -> bool {
        self.layout.levels().iter().map(|level| level.tuples).sum::<u64>() <= 1 << 22
    }

    fn try_stripe(&self, stripe: &Stripe, wanted: Range<usize>, buffer: Vec<u8>) -> Result<Vec<u8>> {
        let tuples = self.tuples(stripe)?;
        self.store.expect(&self.scores(&tuples, wanted.clone()));
        let key = self.reference.key.clone();
        let mut reading = Descrambler::new(self.root.parameters, key, *stripe, tuples, wanted, buffer);
        drive(self.store, &mut reading)?;
        Ok(reading.into_blocks())
    }

    /// The blocks of some of a stripe's tuples.
    fn scores(&self, tuples: &[u8], wanted: Range<usize>) -> Vec<Score> {
        let bytes = self.root.parameters.tuple_bytes();
        let digests = tuples[wanted.start * bytes..wanted.end * bytes].as_chunks().0;
        digests.iter().map(|digest| Score::from_digest(self.root.parameters.algorithm, *digest)).collect()
    }

    /// Writes the whole content to `out` and checks its hash.
    pub fn copy(&self, out: &mut dyn Write, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut hashing = Hashing { out, hasher: &mut hasher };
        self.copy_range(0..self.root.length, &mut hashing, progress)?;
        let found = *hasher.finalize().as_bytes();
        let expected = self.root.content_hash;
        if found == expected { Ok(()) } else { Err(Error::ContentHash { expected, found }) }
    }

    /// Writes a range of the content, cut at its end, to `out`. Touches only the blocks that it needs.
    pub fn copy_range(&self, range: Range<u64>, out: &mut dyn Write, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let range = range.start.min(self.root.length)..range.end.min(self.root.length);
        if range.is_empty() {
            return Ok(());
        }
        if self.root.inline {
            let as_size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            out.write_all(&self.root.body[as_size(range.start)..as_size(range.end)]).map_err(Error::Write)?;
            progress(range.end - range.start);
            return Ok(());
        }
        Copying { file: self, range, progress }.run(out)
    }

    /// Reads a piece of the content, keeping what it read for the next piece: for many small reads in order.
    pub fn read_piece(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut piece = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0).min(1 << 20));
        if self.root.inline {
            self.copy_range(range, &mut piece, &|_| {})?;
            return Ok(piece);
        }
        let mut at = range.start;
        let end = range.end.min(self.root.length);
        while at < end {
            let block = self.source(0, at / BLOCK as u64)?;
            let from = usize::try_from(at % BLOCK as u64).unwrap_or(0);
            let here = usize::try_from(end - at).unwrap_or(usize::MAX).min(BLOCK - from);
            piece.extend_from_slice(&block[from..from + here]);
            at += here as u64;
        }
        Ok(piece)
    }
}

/// Answers a descrambler from a store until it is done. Healed blocks go back into the store.
pub(crate) fn drive(store: &dyn BlockStore, reading: &mut Descrambler) -> Result<u64> {
    let mut block = Vec::new();
    let mut healed = 0;
    loop {
        match reading.want()? {
            Want::Block(score) => match store.get_into(&score, &mut block) {
                Ok(true) => reading.supply(&block),
                Ok(false) => reading.absent(false),
                Err(cas::Error::Damaged { .. }) => reading.absent(true),
                Err(error) => return Err(error.into()),
            },
            Want::Healed(score, block) => match store.put(score.algorithm(), &block) {
                Ok(_) => healed += 1,
                // The reader has what it wants; that it could not be kept must not stop it.
                Err(error) => tracing::warn!(%score, %error, "cannot keep a healed block"),
            },
            Want::Done => return Ok(healed),
        }
    }
}

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: &'a mut blake3::Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// A range that is being copied out by several threads.
struct Copying<'a, 'b> {
    file: &'a FileReader<'b>,
    range: Range<u64>,
    progress: &'a (dyn Fn(u64) + Sync),
}

/// A stripe to read: its number in the level, and a buffer to use.
type Task = (u64, Vec<u8>);
type Answer = (u64, Result<Vec<u8>>);

impl Copying<'_, '_> {
    fn run(&self, out: &mut dyn Write) -> Result<()> {
        let stripe_bytes = u64::from(self.file.root.parameters.data) * BLOCK as u64;
        let stripes = self.range.start / stripe_bytes..self.range.end.div_ceil(stripe_bytes);
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
        // Two for each core: while one waits for the disk, another computes.
        let workers = (2 * cores).min(stripes.end - stripes.start);
        if workers < 2 {
            return self.run_alone(stripes, out);
        }
        let most = (IN_FLIGHT_BYTES as u64 / stripe_bytes).clamp(2, 3 * workers);
        let (to_workers, tasks) = sync_channel::<Task>(usize::try_from(most).unwrap_or(usize::MAX));
        let (to_us, answers) = channel::<Answer>();
        let tasks = &Mutex::new(tasks);
        thread::scope(|scope| {
            for _ in 0..workers {
                let to_us = to_us.clone();
                scope.spawn(move || self.work(tasks, &to_us));
            }
            drop(to_us);
            self.write_in_order(stripes, most, to_workers, &answers, out)
        })
    }

    fn run_alone(&self, stripes: Range<u64>, out: &mut dyn Write) -> Result<()> {
        let mut buffer = Vec::new();
        for number in stripes {
            let stripe = self.file.layout.stripe(0, number);
            buffer = self.file.read_stripe(&stripe, self.wanted(&stripe), buffer)?;
            self.write(&stripe, &buffer, out)?;
        }
        Ok(())
    }

    fn work(&self, tasks: &Mutex<Receiver<Task>>, to_us: &Sender<Answer>) {
        loop {
            let Ok((number, buffer)) = lock(tasks).recv() else { return };
            let stripe = self.file.layout.stripe(0, number);
            let read = self.file.read_stripe(&stripe, self.wanted(&stripe), buffer);
            if to_us.send((number, read)).is_err() {
                return;
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "the end of the sender is the end of the queue")]
    fn write_in_order(
        &self,
        mut stripes: Range<u64>,
        most: u64,
        to_workers: std::sync::mpsc::SyncSender<Task>,
        answers: &Receiver<Answer>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut next = stripes.start;
        let end = stripes.end;
        let mut early = BTreeMap::new();
        let mut spare = Vec::new();
        let mut asked = 0;
        while next < end {
            while asked < most
                && let Some(number) = stripes.next()
            {
                to_workers.send((number, spare.pop().unwrap_or_default())).map_err(|_| Error::Worker)?;
                asked += 1;
            }
            let (number, read) = answers.recv().map_err(|_| Error::Worker)?;
            early.insert(number, read?);
            while let Some(blocks) = early.remove(&next) {
                self.write(&self.file.layout.stripe(0, next), &blocks, out)?;
                spare.push(blocks);
                next += 1;
                asked -= 1;
            }
        }
        Ok(())
    }

    /// Which data blocks of a stripe are in the range.
    fn wanted(&self, stripe: &Stripe) -> Range<usize> {
        let block = BLOCK as u64;
        let first = (self.range.start / block).max(stripe.first_source) - stripe.first_source;
        let end = self.range.end.div_ceil(block).min(stripe.first_source + stripe.data as u64) - stripe.first_source;
        usize::try_from(first).unwrap_or(0)..usize::try_from(end).unwrap_or(0)
    }

    fn write(&self, stripe: &Stripe, blocks: &[u8], out: &mut dyn Write) -> Result<()> {
        let start = stripe.first_source * BLOCK as u64;
        let end = start + (stripe.data * BLOCK) as u64;
        let as_size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (from, to) = (self.range.start.max(start), self.range.end.min(end));
        out.write_all(&blocks[as_size(from - start)..as_size(to - start)]).map_err(Error::Write)?;
        (self.progress)(to - self.range.start);
        Ok(())
    }
}
