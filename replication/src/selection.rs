//! The blocks that two peers both hold, and pieces of them.

use std::ops::{ControlFlow, Range};

use cas::{Fingerprint, Leaf, Result, Score};

use crate::{Bucket, Holdings, PeerId, Placement, holdings::Leaves};

/// Digest of whom blocks are placed on: two peers can compare what they have only when theirs agree.
///
/// The first 8 bytes of [`Placement::digest`].
pub type View = [u8; 8];

/// A bucket is 2^4 leaves wide.
const BUCKET_WIDTH: u8 = 4;

/// A piece of a selection: 2^`width` positions from `index` * 2^`width` on, as far as the selection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    /// Binary logarithm of the number of positions, at most [`Slice::WIDEST`].
    pub width: u8,
    /// Which one of this width.
    pub index: u32,
}

impl Slice {
    /// All leaves of all buckets.
    pub const WIDEST: u8 = 20;

    /// Whether the slice begins among the positions that a selection may have.
    pub(crate) const fn is_possible(self) -> bool {
        self.width <= Self::WIDEST && self.index < 1 << (Self::WIDEST - self.width)
    }
}

/// The buckets that two peers both hold.
///
/// Its leaves are numbered without gaps: the leaf n of the bucket at place i, ascending, has the position 16 i + n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    buckets: Vec<Bucket>,
    view: View,
}

impl Selection {
    /// What both peers hold. Weighs every bucket for every peer: to be kept as long as the placement stays.
    pub fn shared(placement: &Placement, one: &PeerId, other: &PeerId) -> Self {
        let both = |bucket: &Bucket| placement.holds(one, *bucket) && placement.holds(other, *bucket);
        let view = placement.digest().first_chunk().copied().unwrap_or_default();
        Self { buckets: Bucket::all().filter(both).collect(), view }
    }

    /// The buckets, ascending.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// Digest of the placement.
    pub const fn view(&self) -> View {
        self.view
    }

    /// The slice that is all of it; `None` when the two hold nothing in common.
    pub(crate) fn whole(&self) -> Option<Slice> {
        let width = self.end().checked_next_power_of_two()?.trailing_zeros();
        (!self.buckets.is_empty()).then(|| Slice { width: u8::try_from(width).unwrap_or(Slice::WIDEST), index: 0 })
    }

    /// The slices of a smaller width in a slice, as far as the selection goes.
    pub(crate) fn pieces(&self, slice: Slice, width: u8) -> impl Iterator<Item = Slice> + use<> {
        let range = self.positions(slice);
        let end = if range.is_empty() { 0 } else { range.end.div_ceil(1 << width) };
        (range.start >> width..end).map(move |index| Slice { width, index })
    }

    /// The slice of this width with a score in it, if it is selected.
    pub(crate) fn slice_of(&self, score: &Score, width: u8) -> Option<Slice> {
        let place = self.buckets.binary_search(&Bucket::of(score)).ok()?;
        let position = u32::try_from(place).ok()? * Leaf::OF_A_BUCKET + Leaf::of(score).number() % Leaf::OF_A_BUCKET;
        Some(Slice { width, index: position >> width })
    }

    /// The fingerprints of slices that follow each other.
    pub(crate) fn fingerprints(&self, holdings: &dyn Holdings, slices: &[Slice]) -> Result<Vec<Fingerprint>> {
        let mut last = None;
        slices.iter().map(|slice| self.fingerprint(holdings, *slice, &mut last)).collect()
    }

    /// `last` are the leaves that were read for the slice before, which often lies in the same bucket.
    fn fingerprint(
        &self,
        holdings: &dyn Holdings,
        slice: Slice,
        last: &mut Option<(Bucket, Leaves)>,
    ) -> Result<Fingerprint> {
        let mut sum = Fingerprint::default();
        let range = self.positions(slice);
        if slice.width >= BUCKET_WIDTH {
            for bucket in self.buckets_at(&range) {
                sum.merge(&holdings.bucket(*bucket)?);
            }
        } else if let [bucket] = self.buckets_at(&range) {
            let leaves = match *last {
                Some((read, leaves)) if read == *bucket => leaves,
                _ => last.insert((*bucket, holdings.leaves(*bucket)?)).1,
            };
            range.for_each(|at| sum.merge(&leaves[(at % Leaf::OF_A_BUCKET) as usize]));
        }
        Ok(sum)
    }

    /// The scores of a slice, ascending by digest, then algorithm; if they are more than `most`, only so many, and
    /// false.
    pub(crate) fn scores(&self, holdings: &dyn Holdings, slice: Slice, most: usize) -> Result<(Vec<Score>, bool)> {
        let mut scores = Vec::new();
        let mut whole = true;
        let range = self.positions(slice);
        for run in self.buckets_at(&range).chunk_by(|a, b| a.number().checked_add(1) == Some(b.number())) {
            let first = u32::from(run[0].number()) * Leaf::OF_A_BUCKET + range.start % Leaf::OF_A_BUCKET;
            let length = if slice.width < BUCKET_WIDTH { 1 << slice.width } else { leaves_in(run) };
            holdings.scores(first..first + length, &mut |score| {
                whole = scores.len() < most;
                scores.extend(whole.then_some(score));
                if whole { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if !whole {
                break;
            }
        }
        scores.sort_unstable_by_key(|score: &Score| (*score.digest(), score.algorithm()));
        Ok((scores, whole))
    }

    fn end(&self) -> u32 {
        leaves_in(&self.buckets)
    }

    fn positions(&self, slice: Slice) -> Range<u32> {
        let start = (slice.index << slice.width).min(self.end());
        start..(start + (1 << slice.width)).min(self.end())
    }

    /// The buckets of a range of positions that lies in one, or begins and ends with one.
    fn buckets_at(&self, range: &Range<u32>) -> &[Bucket] {
        let place = |position: u32| (position >> BUCKET_WIDTH) as usize;
        &self.buckets[place(range.start)..place(range.end.next_multiple_of(Leaf::OF_A_BUCKET))]
    }
}

/// Number of leaves of some buckets. At most 2^20.
fn leaves_in(buckets: &[Bucket]) -> u32 {
    u32::try_from(buckets.len()).map_or(Leaf::COUNT, |count| count * Leaf::OF_A_BUCKET)
}
