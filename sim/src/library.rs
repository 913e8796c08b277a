//! Files as the owner-free layer stores them: which blocks they need.

use std::collections::BTreeSet;

use cas::{Algorithm, Score};
use rand::{RngExt as _, rngs::SmallRng, seq::SliceRandom as _};
use replication::Bucket;

/// Blocks of a tuple.
pub(crate) const TUPLE: usize = 3;

/// Data and parity blocks of a stripe.
pub(crate) const DATA: u32 = 16;
pub(crate) const PARITY: u32 = 4;

/// Parity blocks of a stripe with so many data blocks (docs/format.md).
pub(crate) const fn parity_of(data: u32) -> u32 {
    (PARITY * data).div_ceil(DATA)
}

/// A block: its number in the library.
pub(crate) type Block = u32;

pub(crate) struct Stripe {
    /// How many of the tuples have data, and how many are needed.
    pub(crate) data: usize,
    pub(crate) tuples: Vec<[Block; TUPLE]>,
}

pub(crate) struct File {
    pub(crate) root: Block,
    pub(crate) stripes: Vec<Stripe>,
}

/// All files that were put, and their blocks.
#[derive(Default)]
pub(crate) struct Library {
    pub(crate) files: Vec<File>,
    /// Whether each block is a root.
    pub(crate) roots: Vec<bool>,
    /// The bucket of each block.
    pub(crate) buckets: Vec<Bucket>,
    /// The blocks in each bucket.
    in_bucket: Vec<Vec<Block>>,
    /// The files that need each block.
    pub(crate) needed_by: Vec<Vec<u32>>,
}

impl Library {
    pub(crate) fn new() -> Self {
        Self { in_bucket: vec![Vec::new(); 1 << 16], ..Self::default() }
    }

    pub(crate) fn blocks(&self) -> Block {
        u32::try_from(self.roots.len()).unwrap_or(Block::MAX)
    }

    pub(crate) fn in_bucket(&self, bucket: Bucket) -> &[Block] {
        &self.in_bucket[usize::from(bucket.number())]
    }

    /// Puts a file of `sources` source blocks; returns the blocks that are new.
    ///
    /// Randomizers come from what is stored where it is put, none twice. When that runs dry, a tuple gets one fresh
    /// block and one that the file stored in an earlier stripe (docs/decisions/0009).
    pub(crate) fn put(&mut self, sources: u32, stored: &BTreeSet<Block>, dice: &mut SmallRng) -> Vec<Block> {
        let first = self.blocks();
        let mut drawn: Vec<_> = stored.iter().copied().filter(|block| !self.roots[index(*block)]).collect();
        drawn.shuffle(dice);
        let (mut own, mut stripes) = (Vec::new(), Vec::new());
        for start in (0..sources).step_by(index(DATA)) {
            let stripe = self.stripe(DATA.min(sources - start), &mut drawn, &mut own);
            own.extend(stripe.tuples.iter().map(|tuple| tuple[0]));
            stripes.push(stripe);
        }
        let root = self.add(true);
        self.note(File { root, stripes });
        (first..self.blocks()).collect()
    }

    fn stripe(&mut self, data: u32, drawn: &mut Vec<Block>, own: &mut Vec<Block>) -> Stripe {
        let tuples = (0..data + parity_of(data)).map(|_| {
            let stored = self.add(false);
            let first = drawn.pop().unwrap_or_else(|| self.add(false));
            let second = drawn.pop().or_else(|| own.pop()).unwrap_or_else(|| self.add(false));
            [stored, first, second]
        });
        Stripe { data: index(data), tuples: tuples.collect() }
    }

    fn add(&mut self, root: bool) -> Block {
        let block = self.blocks();
        self.roots.push(root);
        self.needed_by.push(Vec::new());
        let bucket = Bucket::of(&score(block));
        self.buckets.push(bucket);
        self.in_bucket[usize::from(bucket.number())].push(block);
        block
    }

    fn note(&mut self, file: File) {
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        for block in file.blocks() {
            self.needed_by[index(block)].push(number);
        }
        self.files.push(file);
    }

    /// Any block of any file, to be read.
    pub(crate) fn any_block(&self, dice: &mut SmallRng) -> Option<Block> {
        let file = self.files.get(dice.random_range(0..self.files.len().max(1)))?;
        let stripe = &file.stripes[dice.random_range(0..file.stripes.len())];
        Some(stripe.tuples[dice.random_range(0..stripe.tuples.len())][dice.random_range(0..TUPLE)])
    }
}

impl File {
    /// All blocks that it uses.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> {
        let of_tuples = self.stripes.iter().flat_map(|stripe| stripe.tuples.iter().flatten().copied());
        of_tuples.chain([self.root])
    }

    /// Whether it can be read when these blocks can: its root, and of each stripe as many whole tuples as it has data.
    pub(crate) fn is_readable(&self, has: impl Fn(Block) -> bool) -> bool {
        let whole =
            |stripe: &Stripe| stripe.tuples.iter().filter(|tuple| tuple.iter().all(|block| has(*block))).count();
        has(self.root) && self.stripes.iter().all(|stripe| whole(stripe) >= stripe.data)
    }

    /// Whether it could be read if there were no parity.
    pub(crate) fn is_readable_without_parity(&self, has: impl Fn(Block) -> bool) -> bool {
        let mut needed = self.stripes.iter().flat_map(|stripe| stripe.tuples.iter().take(stripe.data).flatten());
        has(self.root) && needed.all(|block| has(*block))
    }
}

/// The score of a block: random, with its number at the end.
pub(crate) fn score(block: Block) -> Score {
    let mut digest = *Score::of(Algorithm::Blake3, &block.to_be_bytes()).digest();
    digest[28..].copy_from_slice(&block.to_be_bytes());
    Score::from_digest(Algorithm::Blake3, digest)
}

/// The number of a block.
pub(crate) fn block(score: &Score) -> Block {
    let [.., a, b, c, d] = *score.digest();
    u32::from_be_bytes([a, b, c, d])
}

pub(crate) fn index(block: Block) -> usize {
    usize::try_from(block).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn files_share_randomizers_and_use_none_twice() {
        let mut library = Library::new();
        let mut dice = SmallRng::seed_from_u64(1);
        let first: BTreeSet<_> = library.put(100, &BTreeSet::new(), &mut dice).into_iter().collect();
        // 100 data and 25 parity blocks, the root, a fresh block for each tuple, a second one in the first stripe.
        assert_eq!(first.len(), 125 + 1 + 125 + 20);
        let second = library.put(100, &first, &mut dice);
        assert_eq!(second.len(), 125 + 1, "the rest is drawn");
    }

    #[test]
    fn a_stripe_stands_the_loss_of_its_parity() {
        let mut library = Library::new();
        library.put(32, &BTreeSet::new(), &mut SmallRng::seed_from_u64(1));
        let file = &library.files[0];
        let lost = |count: usize| file.stripes[1].tuples[..count].iter().map(|tuple| tuple[1]).collect::<Vec<_>>();
        for (count, readable) in [(0, true), (4, true), (5, false)] {
            let gone = lost(count);
            assert_eq!(file.is_readable(|block| !gone.contains(&block)), readable);
            assert_eq!(file.is_readable_without_parity(|block| !gone.contains(&block)), count == 0);
        }
        assert!(!file.is_readable(|block| block != file.root));
        assert_eq!(block(&score(77)), 77);
    }
}
