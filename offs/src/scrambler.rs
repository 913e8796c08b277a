//! From source blocks to tuples: a state machine over the levels of a file, without I/O.

use std::collections::{BTreeMap, VecDeque};

use cas::Score;

use crate::{
    BLOCK, ErasureCode, Error, Key, Parameters, Result,
    layout::{Stripe, stripe},
};

/// One stripe to be scrambled. Jobs are independent of each other and may run on any thread.
pub struct Job {
    /// Which stripe.
    pub stripe: Stripe,
    /// Its data source blocks end to end; [`Job::run`] appends the parity source blocks.
    pub blocks: Vec<u8>,
}

/// What stores blocks and returns their scores, in their order.
pub type Put<'a> = dyn FnMut(&[&[u8]]) -> Result<Vec<Score>> + 'a;

/// Turns the stream of a file's source blocks into [`Job`]s, level upon level, and the jobs' tuples into the
/// body of the root.
pub struct Scrambler {
    parameters: Parameters,
    levels: Vec<Building>,
    jobs: VecDeque<Job>,
    body: Option<Vec<u8>>,
}

/// A level that is being built.
#[derive(Default)]
struct Building {
    /// Source blocks for the next stripe.
    gathered: Vec<u8>,
    sources: u64,
    /// Stripes handed out.
    stripes: u64,
    /// Stripes whose tuples came back, in order.
    returned: u64,
    /// Tuples that came back out of order.
    early: BTreeMap<u64, Vec<u8>>,
    /// Number of tuples that came back in order.
    tuples: u64,
    /// Tuples that are not yet in a block of the next level.
    tail: Vec<u8>,
    /// No more source blocks will come.
    ended: bool,
    /// The last tuples went to the next level, or to the root.
    closed: bool,
}

impl Scrambler {
    /// A scrambler for one file.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters, levels: vec![Building::default()], jobs: VecDeque::new(), body: None }
    }

    /// Takes the data source blocks of the next stripe of the content. All but the last stripe are full.
    pub fn feed(&mut self, blocks: Vec<u8>) {
        self.gather(0, blocks);
    }

    /// Says that the content has ended.
    pub fn end(&mut self, padding: &mut dyn FnMut(&mut [u8])) {
        self.end_level(0);
        self.settle(padding);
    }

    /// The next stripe to scramble, if there is one now.
    pub fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// Takes the tuples that a job made, in any order of jobs.
    pub fn done(&mut self, of: &Stripe, tuples: Vec<u8>, padding: &mut dyn FnMut(&mut [u8])) {
        let tuple_bytes = self.parameters.tuple_bytes();
        let level = &mut self.levels[usize::from(of.level)];
        level.early.insert(of.number, tuples);
        while let Some(tuples) = level.early.remove(&level.returned) {
            level.returned += 1;
            level.tuples += (tuples.len() / tuple_bytes) as u64;
            level.tail.extend_from_slice(&tuples);
        }
        self.settle(padding);
    }

    /// The tuples of the last level, once everything is done.
    pub fn take_body(&mut self) -> Option<Vec<u8>> {
        self.body.take()
    }

    /// Moves tuples up as far as they can go.
    fn settle(&mut self, padding: &mut dyn FnMut(&mut [u8])) {
        let in_root = self.parameters.tuples_in_root();
        let per_block = usize::try_from(self.parameters.tuples_per_block()).unwrap_or(usize::MAX);
        let block_bytes = per_block.saturating_mul(self.parameters.tuple_bytes());
        let mut at = 0;
        while at < self.levels.len() {
            let level = &mut self.levels[at];
            let finished = level.ended && level.returned == level.stripes && !level.closed;
            if level.tuples <= in_root {
                if finished {
                    level.closed = true;
                    self.body = Some(std::mem::take(&mut level.tail));
                }
                return;
            }
            let mut blocks = Vec::new();
            let whole = level.tail.len() / block_bytes * block_bytes;
            let rest = level.tail.split_off(whole);
            for tuples in level.tail.chunks(block_bytes) {
                push_padded(&mut blocks, tuples, padding);
            }
            level.tail = rest;
            if finished {
                level.closed = true;
                if !level.tail.is_empty() {
                    push_padded(&mut blocks, &std::mem::take(&mut level.tail), padding);
                }
            }
            let closed = level.closed;
            at += 1;
            if at == self.levels.len() {
                self.levels.push(Building::default());
            }
            self.gather(at, blocks);
            if closed && !self.levels[at].ended {
                self.end_level(at);
            }
        }
    }

    fn gather(&mut self, at: usize, blocks: Vec<u8>) {
        let stripe_bytes = usize::from(self.parameters.data) * BLOCK;
        let level = &mut self.levels[at];
        level.sources += (blocks.len() / BLOCK) as u64;
        if level.gathered.is_empty() {
            // The common case of the content: a whole stripe in a buffer of its own is not copied.
            level.gathered = blocks;
        } else {
            level.gathered.extend_from_slice(&blocks);
        }
        while self.levels[at].gathered.len() >= stripe_bytes {
            let level = &mut self.levels[at];
            let rest = level.gathered.split_off(stripe_bytes);
            let full = std::mem::replace(&mut level.gathered, rest);
            self.hand_out(at, full);
        }
    }

    fn end_level(&mut self, at: usize) {
        self.levels[at].ended = true;
        let last = std::mem::take(&mut self.levels[at].gathered);
        if !last.is_empty() {
            self.hand_out(at, last);
        }
    }

    fn hand_out(&mut self, at: usize, blocks: Vec<u8>) {
        let level = &mut self.levels[at];
        let number = level.stripes;
        level.stripes += 1;
        let up_to_here = number * u64::from(self.parameters.data) + (blocks.len() / BLOCK) as u64;
        let stripe = stripe(&self.parameters, u8::try_from(at).unwrap_or(u8::MAX), number, up_to_here);
        self.jobs.push_back(Job { stripe, blocks });
    }
}

fn push_padded(blocks: &mut Vec<u8>, tuples: &[u8], padding: &mut dyn FnMut(&mut [u8])) {
    let start = blocks.len();
    blocks.extend_from_slice(tuples);
    blocks.resize(start + BLOCK, 0);
    padding(&mut blocks[start + tuples.len()..]);
}

impl Job {
    /// Scrambles the stripe and returns its tuples, end to end.
    ///
    /// `xor_randomizer` XORs the next randomizer into the block that it is given and returns its score;
    /// `put` stores some blocks and returns their scores. The job's buffer holds rubbish afterwards.
    pub fn run(
        &mut self,
        parameters: &Parameters,
        key: Option<&Key>,
        coder: Option<&mut Box<dyn ErasureCode>>,
        xor_randomizer: &mut dyn FnMut(&mut [u8]) -> Result<Score>,
        put: &mut Put<'_>,
    ) -> Result<Vec<u8>> {
        let data = self.stripe.data * BLOCK;
        self.blocks.resize(self.stripe.tuples() * BLOCK, 0);
        if let Some(coder) = coder {
            let (data, parity) = self.blocks.split_at_mut(data);
            coder.encode(data, parity)?;
        }
        let mut tuples = Vec::with_capacity(self.stripe.tuples() * parameters.tuple_bytes());
        let mut positions = self.stripe.first_position..;
        // No more than are hashed together, so that they are in the processor's cache when it comes to that.
        for blocks in self.blocks.chunks_mut(Score::at_once(parameters.algorithm) * BLOCK) {
            let first = tuples.len();
            for (block, position) in blocks.chunks_exact_mut(BLOCK).zip(positions.by_ref()) {
                if let Some(key) = key {
                    key.apply_to_source(self.stripe.level, position, block);
                }
                tuples.extend_from_slice(&[0; 32]);
                for _ in 1..parameters.tuple {
                    let randomizer = xor_randomizer(block)?;
                    tuples.extend_from_slice(randomizer.digest());
                }
            }
            let mut scores = put(&blocks.chunks_exact(BLOCK).collect::<Vec<_>>())?.into_iter();
            for tuple in tuples[first..].chunks_exact_mut(parameters.tuple_bytes()) {
                let score = scores.next().ok_or(Error::Worker)?;
                tuple[..32].copy_from_slice(score.digest());
            }
        }
        Ok(tuples)
    }
}

/// `into ^= from`, for blocks of equal length.
pub(crate) fn xor(into: &mut [u8], from: &[u8]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into ^= from;
    }
}
