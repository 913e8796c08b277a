//! A store that counts, for tests.

use std::{
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

use crate::{Algorithm, BlockStore, Result, Sampler, Score};

/// Wraps a store and notes which blocks were read.
pub struct RecordingStore<S> {
    store: S,
    reads: Mutex<Vec<Score>>,
}

impl<S: BlockStore> RecordingStore<S> {
    /// Records what `store` is asked from now on.
    pub fn new(store: S) -> Self {
        Self { store, reads: Mutex::default() }
    }

    /// Takes the scores that were read, in order.
    pub fn take_reads(&self) -> Vec<Score> {
        std::mem::take(&mut *self.reads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: BlockStore> BlockStore for RecordingStore<S> {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        self.store.put(algorithm, block)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).push(*score);
        self.store.get_into(score, buffer)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        self.store.contains(score)
    }

    fn most_blocks(&self) -> u64 {
        self.store.most_blocks()
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
