//! Storing a file: the scrambler, run over a store with all cores.

use std::{
    io::Read,
    num::NonZeroUsize,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use cas::{BlockStore, Score};

use crate::{
    BLOCK, Dice, Error, Job, Key, Kind, Parameters, Randomizers, Reference, Result, Root, Scrambler, Stripe,
    randomizers::Draw,
    root::{INLINE, MAX_LENGTH},
    scrambler::xor,
};

/// How a file is to be stored.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Hash, tuple size, parity.
    pub parameters: Parameters,
    /// Whether it gets a key (see docs/threat-model.md for what a bare file gives away).
    pub sealed: bool,
    /// File or directory object.
    pub kind: Kind,
    /// Threads that scramble; at least one.
    pub workers: usize,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            parameters: Parameters::default(),
            sealed: true,
            kind: Kind::File,
            // Two for each core: while one waits for the disk, another computes.
            workers: 2 * thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

/// A file that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// How to get it back.
    pub reference: Reference,
    /// Its length in bytes.
    pub length: u64,
    /// BLAKE3-256 of its content.
    pub content_hash: [u8; 32],
}

/// Most bytes of stripes that are in work at a time.
const IN_FLIGHT_BYTES: usize = 48 << 20;

/// Stores everything that `source` yields, and returns how to get it back.
///
/// It is durable after a later [`BlockStore::sync`]. Memory is bounded whatever the length.
/// `progress` is told how many bytes were read.
pub fn put(
    store: &dyn BlockStore,
    source: &mut dyn Read,
    options: &PutOptions,
    dice: Box<dyn Dice>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Stored> {
    // What is read and written from here on stays until the root is there and the caller has pinned it.
    let _hold = store.hold();
    let parameters = &options.parameters;
    let mut randomizers = Randomizers::new(store, parameters, dice);
    let key = options.sealed.then(|| randomizers.key());
    let mut content = Content { source, hasher: blake3::Hasher::new(), length: 0, ended: false, progress };
    let mut first = content.read_stripe(parameters, Vec::new())?;
    let inline = options.sealed && content.ended && first.len() <= INLINE;
    let randomizers = Mutex::new(randomizers);
    let body = if inline {
        first
    } else {
        Content::pad(&mut first, &randomizers);
        let pipeline =
            Pipeline { store, parameters, key: key.as_ref(), randomizers: &randomizers, offered: Condvar::new() };
        pipeline.run(options.workers, first, &mut content)?
    };
    let root = Root {
        kind: options.kind,
        parameters: *parameters,
        length: content.length,
        content_hash: *content.hasher.finalize().as_bytes(),
        inline,
        body,
    };
    let block = root.to_block(key.as_ref(), &mut |bytes| lock(&randomizers).padding(bytes));
    let score = store.put_twice(parameters.algorithm, &block)?;
    Ok(Stored { reference: Reference { root: score, key }, length: root.length, content_hash: root.content_hash })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stream that is stored.
struct Content<'a> {
    source: &'a mut dyn Read,
    hasher: blake3::Hasher,
    length: u64,
    ended: bool,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Content<'_> {
    /// Reads a stripe's worth of bytes, or what is left, into `buffer`.
    fn read_stripe(&mut self, parameters: &Parameters, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        buffer.resize(usize::from(parameters.data) * BLOCK, 0);
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        buffer.truncate(filled);
        self.hasher.update(&buffer);
        self.length += filled as u64;
        if self.length > MAX_LENGTH {
            return Err(Error::TooLong);
        }
        (self.progress)(self.length);
        Ok(buffer)
    }

    /// Pads the last block of a stripe.
    fn pad(blocks: &mut Vec<u8>, randomizers: &Mutex<Randomizers<'_>>) {
        let length = blocks.len();
        blocks.resize(length.next_multiple_of(BLOCK), 0);
        if blocks.len() > length {
            lock(randomizers).padding(&mut blocks[length..]);
        }
    }
}

type Done = Result<(Stripe, Vec<u8>, Vec<u8>)>;

struct Pipeline<'a, 'store> {
    store: &'a dyn BlockStore,
    parameters: &'a Parameters,
    key: Option<&'a Key>,
    randomizers: &'a Mutex<Randomizers<'store>>,
    /// Told when a stripe is finished and its blocks are offered.
    offered: Condvar,
}

impl Pipeline<'_, '_> {
    /// Runs the whole content through `workers` threads and returns the body of the root.
    fn run(&self, workers: usize, first: Vec<u8>, content: &mut Content<'_>) -> Result<Vec<u8>> {
        let stripe_bytes = (usize::from(self.parameters.data) + usize::from(self.parameters.parity)) * BLOCK;
        let most = (IN_FLIGHT_BYTES / stripe_bytes).clamp(2, workers.max(1) + 2);
        let (to_workers, jobs) = sync_channel::<Job>(most);
        let jobs = &Mutex::new(jobs);
        let (to_us, results) = channel::<Done>();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers.max(1))
                .map(|_| {
                    let to_us = to_us.clone();
                    scope.spawn(move || self.work(jobs, &to_us))
                })
                .collect();
            drop(to_us);
            let body = self.feed(most, first, content, to_workers, &results);
            // The queue is closed now, so the threads end.
            let died = threads.into_iter().map(thread::ScopedJoinHandle::join).filter(Result::is_err).count();
            if died > 0 { Err(Error::Worker) } else { body }
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "the end of the sender is the end of the queue")]
    fn feed(
        &self,
        most: usize,
        first: Vec<u8>,
        content: &mut Content<'_>,
        to_workers: SyncSender<Job>,
        results: &Receiver<Done>,
    ) -> Result<Vec<u8>> {
        let mut padding = |bytes: &mut [u8]| lock(self.randomizers).padding(bytes);
        let mut scrambler = Scrambler::new(*self.parameters);
        let mut spare: Vec<Vec<u8>> = Vec::new();
        let mut in_flight = 0;
        let mut told_end = false;
        if !first.is_empty() {
            scrambler.feed(first);
        }
        loop {
            while let Some(job) = scrambler.next_job() {
                to_workers.send(job).map_err(|_| Error::Worker)?;
                in_flight += 1;
            }
            if content.ended && !told_end {
                told_end = true;
                scrambler.end(&mut padding);
                continue;
            }
            if let Some(body) = scrambler.take_body() {
                return Ok(body);
            }
            let result = if content.ended || in_flight >= most {
                Some(results.recv().map_err(|_| Error::Worker)?)
            } else {
                results.try_recv().ok()
            };
            if let Some(done) = result {
                let (stripe, tuples, buffer) = done?;
                in_flight -= 1;
                if spare.len() < most {
                    spare.push(buffer);
                }
                scrambler.done(&stripe, tuples, &mut padding);
            } else {
                let mut blocks = content.read_stripe(self.parameters, spare.pop().unwrap_or_default())?;
                Content::pad(&mut blocks, self.randomizers);
                if !blocks.is_empty() {
                    scrambler.feed(blocks);
                }
            }
        }
    }

    fn work(&self, jobs: &Mutex<Receiver<Job>>, to_us: &Sender<Done>) {
        let mut coder = self.parameters.code.coder();
        let mut scratch = Vec::with_capacity(BLOCK);
        loop {
            let Ok(mut job) = lock(jobs).recv() else { return };
            let mut stored = Vec::with_capacity(job.stripe.tuples());
            let mut randomizers = lock(self.randomizers);
            while randomizers.must_wait() {
                randomizers = self.offered.wait(randomizers).unwrap_or_else(PoisonError::into_inner);
            }
            let draws = randomizers.draw(job.stripe.tuples(), self.parameters);
            drop(randomizers);
            let done = draws.and_then(|draws| {
                let drawn = |draw: &Draw| match draw {
                    Draw::Stored(drawn) => Some(*drawn),
                    Draw::Fresh => None,
                };
                self.store.expect_drawn(&draws.iter().filter_map(drawn).collect::<Vec<_>>());
                let mut draws = draws.into_iter();
                let mut next =
                    |block: &mut [u8]| self.xor_randomizer(draws.next().unwrap_or(Draw::Fresh), block, &mut scratch);
                let mut put = |blocks: &[&[u8]]| {
                    let scores = self.store.put_many(self.parameters.algorithm, blocks)?;
                    stored.extend_from_slice(&scores);
                    Ok(scores)
                };
                job.run(self.parameters, self.key, coder.as_mut(), &mut next, &mut put)
            });
            lock(self.randomizers).offer(stored);
            self.offered.notify_all();
            // If nobody listens any more, the put has failed and has its error already.
            if to_us.send(done.map(|tuples| (job.stripe, tuples, job.blocks))).is_err() {
                return;
            }
        }
    }

    fn xor_randomizer(&self, draw: Draw, block: &mut [u8], scratch: &mut Vec<u8>) -> Result<Score> {
        if let Draw::Stored(drawn) = draw {
            match self.store.get_drawn(&drawn, scratch) {
                Ok(true) if scratch.len() == BLOCK => {
                    xor(block, scratch);
                    return Ok(drawn.score);
                }
                // It went, or is damaged: a fresh one does as well.
                Ok(_) | Err(cas::Error::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        scratch.clear();
        scratch.resize(BLOCK, 0);
        lock(self.randomizers).fresh(scratch);
        let score = self.store.put(self.parameters.algorithm, scratch)?;
        xor(block, scratch);
        Ok(score)
    }
}
