//! A store that gives a number of blocks and then no more.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicU64, Ordering},
};

use cas::{Algorithm, BlockStore, Error, Result, Sampler, Score};

/// Fails every read after the first `limit`, which bounds the time of a run over a file of absurd length.
pub struct LimitedStore<'a> {
    store: &'a dyn BlockStore,
    limit: u64,
    reads: AtomicU64,
}

impl<'a> LimitedStore<'a> {
    pub fn new(store: &'a dyn BlockStore, limit: u64) -> Self {
        Self { store, limit, reads: AtomicU64::new(0) }
    }

    /// Whether a read was refused.
    pub fn is_exhausted(&self) -> bool {
        self.reads.load(Ordering::Relaxed) > self.limit
    }
}

impl BlockStore for LimitedStore<'_> {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        self.store.put(algorithm, block)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        if self.reads.fetch_add(1, Ordering::Relaxed) >= self.limit {
            return Err(Error::Broken);
        }
        self.store.get_into(score, buffer)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        self.store.contains(score)
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        self.store.remove(score)
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.store.scores(visit)
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        self.store.sampler(algorithm, seed)
    }
}
