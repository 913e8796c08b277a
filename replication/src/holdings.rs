//! What a peer has, as far as comparing it with another's needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{ControlFlow, Range},
};

use cas::{Fingerprint, Leaf, PackStore, Result, Score};

use crate::Bucket;

/// The fingerprints of the leaves of a bucket.
pub type Leaves = [Fingerprint; Leaf::OF_A_BUCKET as usize];

/// A set of scores with fingerprints of its ranges.
pub trait Holdings {
    /// The fingerprint of a bucket.
    fn bucket(&self, bucket: Bucket) -> Result<Fingerprint>;

    /// The fingerprints of a bucket's 16 leaves.
    fn leaves(&self, bucket: Bucket) -> Result<Leaves>;

    /// Calls `visit` with the scores whose leaf has one of these numbers, each once, until it breaks off.
    fn scores(&self, leaves: Range<u32>, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()>;
}

impl Holdings for PackStore {
    fn bucket(&self, bucket: Bucket) -> Result<Fingerprint> {
        self.fingerprint(bucket.number())
    }

    fn leaves(&self, bucket: Bucket) -> Result<Leaves> {
        self.leaves(bucket.number())
    }

    fn scores(&self, leaves: Range<u32>, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.scores_between(leaves, visit)
    }
}

/// Scores in memory. For tests and simulation.
#[derive(Clone, Debug, Default)]
pub struct ScoreSet {
    leaves: BTreeMap<u32, (Fingerprint, BTreeSet<Score>)>,
}

impl ScoreSet {
    fn within(&self, leaves: Range<u32>) -> impl Iterator<Item = (&u32, &(Fingerprint, BTreeSet<Score>))> {
        self.leaves.range(leaves)
    }
}

fn leaves_of(bucket: Bucket) -> Range<u32> {
    let first = u32::from(bucket.number()) * Leaf::OF_A_BUCKET;
    first..first + Leaf::OF_A_BUCKET
}

impl Extend<Score> for ScoreSet {
    fn extend<I: IntoIterator<Item = Score>>(&mut self, scores: I) {
        for score in scores {
            let (fingerprint, inside) = self.leaves.entry(Leaf::of(&score).number()).or_default();
            if inside.insert(score) {
                fingerprint.add(&score);
            }
        }
    }
}

impl FromIterator<Score> for ScoreSet {
    fn from_iter<I: IntoIterator<Item = Score>>(scores: I) -> Self {
        let mut set = Self::default();
        set.extend(scores);
        set
    }
}

impl Holdings for ScoreSet {
    fn bucket(&self, bucket: Bucket) -> Result<Fingerprint> {
        let mut sum = Fingerprint::default();
        self.within(leaves_of(bucket)).for_each(|(_, (fingerprint, _))| sum.merge(fingerprint));
        Ok(sum)
    }

    fn leaves(&self, bucket: Bucket) -> Result<Leaves> {
        let mut leaves = Leaves::default();
        for (leaf, (fingerprint, _)) in self.within(leaves_of(bucket)) {
            leaves[(leaf % Leaf::OF_A_BUCKET) as usize] = *fingerprint;
        }
        Ok(leaves)
    }

    fn scores(&self, leaves: Range<u32>, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        for score in self.within(leaves).flat_map(|(_, (_, scores))| scores) {
            if visit(*score).is_break() {
                break;
            }
        }
        Ok(())
    }
}
