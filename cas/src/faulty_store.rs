//! A store with faults, for tests.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{Algorithm, BlockStore, Error, Result, Sampler, Score};

/// Wraps a store; chosen blocks are damaged or missing, and room runs out after a number of puts.
pub struct FaultyStore<S> {
    store: S,
    damaged: Mutex<BTreeSet<Score>>,
    missing: Mutex<BTreeSet<Score>>,
    puts_left: AtomicU64,
}

impl<S: BlockStore> FaultyStore<S> {
    /// A store without faults yet.
    pub fn new(store: S) -> Self {
        Self { store, damaged: Mutex::default(), missing: Mutex::default(), puts_left: AtomicU64::new(u64::MAX) }
    }

    /// From now on reads of the block report damage, until it is put again.
    pub fn damage(&self, score: Score) {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(score);
    }

    /// From now on the block is not there, until it is put again.
    pub fn lose(&self, score: Score) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(score);
    }

    /// After so many puts the disk is full.
    pub fn fill_after(&self, puts: u64) {
        self.puts_left.store(puts, Ordering::Relaxed);
    }

    /// The store within.
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn has(set: &Mutex<BTreeSet<Score>>, score: &Score) -> bool {
        set.lock().unwrap_or_else(PoisonError::into_inner).contains(score)
    }
}

impl<S: BlockStore> BlockStore for FaultyStore<S> {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        let left = self.puts_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() {
            return Err(Error::DiskFull { path: "faulty".into(), free: 0 });
        }
        let score = self.store.put(algorithm, block)?;
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).remove(&score);
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(&score);
        Ok(score)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        if Self::has(&self.damaged, score) {
            return Err(Error::Damaged { score: *score });
        }
        if Self::has(&self.missing, score) {
            return Ok(false);
        }
        self.store.get_into(score, buffer)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        Ok(!Self::has(&self.damaged, score) && !Self::has(&self.missing, score) && self.store.contains(score)?)
    }

    fn most_blocks(&self) -> u64 {
        self.store.most_blocks()
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        Ok(self.contains(score)? && self.store.remove(score)?)
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.store.scores(&mut |score| {
            let gone = Self::has(&self.damaged, &score) || Self::has(&self.missing, &score);
            if gone { ControlFlow::Continue(()) } else { visit(score) }
        })
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        self.store.sampler(algorithm, seed)
    }
}
