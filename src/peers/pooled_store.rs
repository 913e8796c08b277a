//! A store that asks peers for what it lacks.

use std::{ops::ControlFlow, sync::Arc};

use cas::{Algorithm, BlockStore, Drawn, Error, Hold, PackStore, Result, Sampler, Score};

use crate::peers::Peers;

/// The local store, and behind it the pool. For threads that may block.
pub(crate) struct PooledStore {
    here: Arc<PackStore>,
    peers: Arc<Peers>,
}

impl PooledStore {
    pub(crate) fn new(peers: &Arc<Peers>) -> Self {
        Self { here: Arc::clone(&peers.store), peers: Arc::clone(peers) }
    }
}

impl BlockStore for PooledStore {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        let score = self.here.put(algorithm, block)?;
        self.peers.pushes.add(score, false);
        Ok(score)
    }

    fn put_many(&self, algorithm: Algorithm, blocks: &[&[u8]]) -> Result<Vec<Score>> {
        let scores = self.here.put_many(algorithm, blocks)?;
        for score in &scores {
            self.peers.pushes.add(*score, false);
        }
        Ok(scores)
    }

    fn put_twice(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        let score = self.here.put_twice(algorithm, block)?;
        self.peers.pushes.add(score, true);
        Ok(score)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let fetches = &self.peers.fetches;
        if let Some(block) = fetches.take(score) {
            return Ok(fill(buffer, &block));
        }
        let damaged = if fetches.is_under_way(score) {
            false
        } else {
            match self.here.get_into(score, buffer) {
                Ok(true) => return Ok(true),
                Ok(false) => false,
                Err(Error::Damaged { .. }) => true,
                Err(error) => return Err(error),
            }
        };
        match self.peers.runtime.block_on(self.peers.fetch(*score)) {
            Ok(block) => Ok(fill(buffer, &block)),
            Err(missing) => {
                tracing::debug!(%missing, "a block is missing");
                if damaged { Err(Error::Damaged { score: *score }) } else { Ok(false) }
            }
        }
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        self.here.contains(score)
    }

    fn most_blocks(&self) -> u64 {
        self.here.most_blocks()
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        self.here.remove(score)
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.here.scores(visit)
    }

    fn sync(&self) -> Result<()> {
        self.here.sync()
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        self.here.sampler(algorithm, seed)
    }

    fn get_drawn(&self, drawn: &Drawn, buffer: &mut Vec<u8>) -> Result<bool> {
        self.here.get_drawn(drawn, buffer)
    }

    fn expect_drawn(&self, drawn: &[Drawn]) {
        self.here.expect_drawn(drawn);
    }

    fn expect(&self, scores: &[Score]) {
        self.peers.fetch_ahead(scores);
    }

    fn silent(&self) -> Vec<String> {
        self.peers.fetches.silent().iter().map(ToString::to_string).collect()
    }

    fn hold(&self) -> Hold {
        self.here.hold()
    }
}

fn fill(buffer: &mut Vec<u8>, block: &[u8]) -> bool {
    buffer.clear();
    buffer.extend_from_slice(block);
    true
}
