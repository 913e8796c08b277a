//! A store in memory.

use std::{collections::BTreeMap, ops::ControlFlow, sync::RwLock};

use crate::{
    Algorithm, BlockStore, Drawn, MAX_BLOCK, Result, Sampler, Score, block_store::check_length,
    permutation::Permutation,
};

/// Blocks in a map. Nothing survives the process; for tests and small jobs.
#[derive(Default)]
pub struct MemoryStore {
    blocks: RwLock<BTreeMap<Score, Vec<u8>>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is no block.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Score, Vec<u8>>> {
        self.blocks.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<Score, Vec<u8>>> {
        self.blocks.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl BlockStore for MemoryStore {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        check_length(block)?;
        let score = Score::of(algorithm, block);
        self.write().entry(score).or_insert_with(|| block.to_vec());
        Ok(score)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let blocks = self.read();
        let Some(block) = blocks.get(score) else { return Ok(false) };
        buffer.clear();
        buffer.extend_from_slice(block);
        Ok(true)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        Ok(self.read().contains_key(score))
    }

    fn most_blocks(&self) -> u64 {
        self.len() as u64
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        Ok(self.write().remove(score).is_some())
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        // A copy, so that `visit` may use the store.
        let scores: Vec<_> = self.read().keys().copied().collect();
        for score in scores {
            if visit(score).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        let scores: Vec<_> = self
            .read()
            .iter()
            .filter(|(score, block)| score.algorithm() == algorithm && block.len() == MAX_BLOCK)
            .map(|(score, _)| *score)
            .collect();
        let order = Permutation::new(scores.len() as u64, seed);
        Box::new(Shuffled { scores, order })
    }
}

/// A snapshot of scores, drawn in the order of a permutation.
struct Shuffled {
    scores: Vec<Score>,
    order: Permutation,
}

impl Sampler for Shuffled {
    fn next(&mut self) -> Result<Option<Drawn>> {
        let Some(at) = self.order.next() else { return Ok(None) };
        Ok(usize::try_from(at).ok().and_then(|at| self.scores.get(at).copied().map(Drawn::of)))
    }
}
