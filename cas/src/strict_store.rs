//! A store that forgives nothing, for tests.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
};

use crate::{Algorithm, BlockStore, MemoryStore, Result, Sampler, Score};

/// Stricter than any real store: what was not synced can be taken away at any time, buffers come back filled
/// with rubbish when a block is absent, and every block is hashed on every read.
#[derive(Default)]
pub struct StrictStore {
    store: MemoryStore,
    unsynced: Mutex<BTreeSet<Score>>,
}

impl StrictStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: everything that was not synced is gone.
    pub fn crash(&self) -> Result<()> {
        for score in std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.store.remove(&score)?;
        }
        Ok(())
    }
}

impl BlockStore for StrictStore {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        let known = self.store.contains(&Score::of(algorithm, block))?;
        let score = self.store.put(algorithm, block)?;
        if !known {
            self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).insert(score);
        }
        Ok(score)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let found = self.store.get_into(score, buffer)?;
        if !found {
            buffer.clear();
            buffer.extend_from_slice(b"rubbish");
        }
        assert!(!found || score.matches(buffer), "a block with a wrong hash got into the store");
        Ok(found)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        self.store.contains(score)
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).remove(score);
        self.store.remove(score)
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.store.scores(visit)
    }

    fn sync(&self) -> Result<()> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        self.store.sampler(algorithm, seed)
    }
}
