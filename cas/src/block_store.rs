//! The contract of a store.

use std::{any::Any, ops::ControlFlow};

use crate::{Algorithm, Drawn, Error, Place, Result, Sampler, Score};

/// The longest block, in bytes.
pub const MAX_BLOCK: usize = 131_072;

/// Whether a block may have this length.
///
/// # Errors
/// [`Error::BlockLength`].
pub fn check_length(block: &[u8]) -> Result<()> {
    let length = block.len();
    if (1..=MAX_BLOCK).contains(&length) { Ok(()) } else { Err(Error::BlockLength { length }) }
}

/// Blocks by score. Blocking and object safe; every implementation passes `conformance`.
pub trait BlockStore: Send + Sync {
    /// Stores a block of 1 to [`MAX_BLOCK`] bytes and returns its score, which the store computes.
    ///
    /// The block can be read at once. It survives a crash when a later [`BlockStore::sync`] has returned.
    /// Putting a block that is there stores nothing; putting one that is damaged repairs it.
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score>;

    /// Stores blocks like [`BlockStore::put`], and returns their scores in their order. Quicker than one by one where
    /// the store hashes several at once. When it fails, some of them may have been stored.
    fn put_many(&self, algorithm: Algorithm, blocks: &[&[u8]]) -> Result<Vec<Score>> {
        blocks.iter().map(|block| self.put(algorithm, block)).collect()
    }

    /// Like [`BlockStore::put`], and keeps a second copy that does not share the first one's fate.
    /// For roots, which nothing else can rebuild.
    fn put_twice(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        self.put(algorithm, block)
    }

    /// Stores a block that somebody else says has this score, if it has; `false`, and nothing is stored, if not.
    fn put_if(&self, score: &Score, block: &[u8]) -> Result<bool> {
        if check_length(block).is_err() || !score.matches(block) {
            return Ok(false);
        }
        self.put(score.algorithm(), block).map(|_| true)
    }

    /// Stores blocks like [`BlockStore::put_if`], and says of each what became of it, in their order. Quicker than one
    /// by one where the store hashes several at once.
    fn put_if_many(&self, blocks: &[(Score, &[u8])]) -> Vec<Result<bool>> {
        blocks.iter().map(|(score, block)| self.put_if(score, block)).collect()
    }

    /// Reads a block into `buffer`, whose old content goes.
    ///
    /// - `Ok(true)`: the buffer holds the block.
    /// - `Ok(false)`: there is no such block; the buffer's content is unspecified.
    /// - [`crate::Error::Damaged`]: it was here and its bytes are wrong; they are not in the buffer's keeping.
    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool>;

    /// Reads a block. `None` when there is no such block.
    fn get(&self, score: &Score) -> Result<Option<Vec<u8>>> {
        let mut buffer = Vec::new();
        Ok(self.get_into(score, &mut buffer)?.then_some(buffer))
    }

    /// Whether the store has the block. A block that is known to be damaged is not there.
    fn contains(&self, score: &Score) -> Result<bool>;

    /// A number that is not less than that of the blocks here, without a scan.
    fn most_blocks(&self) -> u64 {
        u64::MAX
    }

    /// Forgets a block. `false` when it was not there.
    fn remove(&self, score: &Score) -> Result<bool>;

    /// Calls `visit` with every score in ascending order until it breaks off.
    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()>;

    /// Returns when every block put before is on stable storage.
    fn sync(&self) -> Result<()>;

    /// Draws stored blocks of exactly [`MAX_BLOCK`] bytes at random, each at most once, without a scan.
    /// `seed` decides the order.
    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_>;

    /// Reads a block that a sampler drew; like [`BlockStore::get_into`], and sometimes quicker.
    fn get_drawn(&self, drawn: &Drawn, buffer: &mut Vec<u8>) -> Result<bool> {
        self.get_into(&drawn.score, buffer)
    }

    /// Says that blocks that a sampler drew will be read soon, so that a disk can begin with them.
    fn expect_drawn(&self, drawn: &[Drawn]) {
        let _ = drawn;
    }

    /// Where a block lies on disk, for whoever can read the packs himself ([`PackReader`](crate::PackReader)); it counts
    /// as used from now on. `None` when it lies in no pack, or not yet.
    fn place(&self, drawn: &Drawn) -> Result<Option<Place>> {
        let _ = drawn;
        Ok(None)
    }

    /// Says that these blocks will be read soon, so that a store that has to fetch them can begin.
    fn expect(&self, scores: &[Score]) {
        let _ = scores;
    }

    /// Who was asked for blocks lately and did not answer, for people: what is missing may be there.
    fn silent(&self) -> Vec<String> {
        Vec::new()
    }

    /// While the hold lives, no block that is put or read is evicted.
    fn hold(&self) -> Hold {
        Hold::nothing()
    }
}

/// Keeps blocks from eviction while it lives; see [`BlockStore::hold`].
pub struct Hold(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Any + Send + Sync>);

impl Hold {
    /// A hold for stores that never evict.
    pub fn nothing() -> Self {
        Self(Box::new(()))
    }

    /// A hold that ends when `guard` is dropped.
    pub fn guarded(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}
