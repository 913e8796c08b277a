//! Fingerprints of sets of scores: two sets with the same fingerprint are the same set.

use std::array;

use crate::Score;

/// A fingerprint of a set of scores: the sum of their hashes modulo 2^256, and how many they are modulo 2^32.
///
/// The hash is BLAKE3 of a score's binary form, so that the algorithm counts too, read as a big-endian number.
/// A sum can be brought up to date when a score comes or goes, and fingerprints of disjoint sets can be added.
/// Whoever may choose blocks can find sets with equal sums (by the generalised birthday problem, with much work);
/// what he gains is that one comparison finds nothing missing, never a wrong block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Least significant first.
    sum: [u64; 4],
    count: u32,
}

impl Fingerprint {
    /// Length of the binary form: the sum, 32 bytes, and the count, 4 bytes, both big-endian.
    pub const BINARY: usize = 36;

    /// Number of scores.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A score comes into the set, in which it was not.
    pub fn add(&mut self, score: &Score) {
        self.merge(&Self::of(score));
    }

    /// A score leaves the set, in which it was.
    pub fn remove(&mut self, score: &Score) {
        self.merge(&Self::of(score).negated());
    }

    /// A set comes in that has nothing in common with this one.
    pub fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, more) in self.sum.iter_mut().zip(other.sum) {
            let (partly, over) = limb.overflowing_add(more);
            let (whole, over_again) = partly.overflowing_add(u64::from(carry));
            *limb = whole;
            carry = over || over_again;
        }
        self.count = self.count.wrapping_add(other.count);
    }

    fn of(score: &Score) -> Self {
        let mut bytes = [0; Self::BINARY];
        bytes[..32].copy_from_slice(blake3::hash(&score.to_binary()).as_bytes());
        bytes[35] = 1;
        Self::from_bytes(&bytes)
    }

    /// What makes nothing of this one when it is added: the two's complement.
    fn negated(self) -> Self {
        let mut negated = Self { sum: self.sum.map(|limb| !limb), count: self.count.wrapping_neg() };
        negated.merge(&Self { sum: [1, 0, 0, 0], count: 0 });
        negated
    }

    /// The binary form.
    pub fn to_bytes(self) -> [u8; Self::BINARY] {
        let mut bytes = [0; Self::BINARY];
        for (limb, place) in self.sum.iter().rev().zip(bytes.as_chunks_mut().0) {
            *place = limb.to_be_bytes();
        }
        bytes[32..].copy_from_slice(&self.count.to_be_bytes());
        bytes
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8; Self::BINARY]) -> Self {
        let limbs = bytes.as_chunks().0;
        let count = [bytes[32], bytes[33], bytes[34], bytes[35]];
        Self { sum: array::from_fn(|at| u64::from_be_bytes(limbs[3 - at])), count: u32::from_be_bytes(count) }
    }
}

impl<'a> FromIterator<&'a Score> for Fingerprint {
    fn from_iter<I: IntoIterator<Item = &'a Score>>(scores: I) -> Self {
        let mut fingerprint = Self::default();
        scores.into_iter().for_each(|score| fingerprint.add(score));
        fingerprint
    }
}

/// The scores whose digests begin with the same 20 bits: the finest division that fingerprints are kept of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf(u32);

impl Leaf {
    /// How many there are.
    pub const COUNT: u32 = 1 << 20;

    /// How many have the first 16 bits in common.
    pub const OF_A_BUCKET: u32 = 16;

    /// The leaf of a score.
    pub const fn of(score: &Score) -> Self {
        let digest = score.digest();
        Self(u32::from_be_bytes([0, digest[0], digest[1], digest[2]]) >> 4)
    }

    /// Its number: the 20 bits.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The number of its bucket: the first 16 of its bits.
    pub const fn bucket(self) -> u16 {
        let [first, second, _] = self.prefix();
        u16::from_be_bytes([first, second])
    }

    /// Three bytes that sort like the leaf's scores: the 20 bits, then zeros.
    pub(crate) const fn prefix(self) -> [u8; 3] {
        let [_, first, second, third] = (self.0 << 4).to_be_bytes();
        [first, second, third]
    }

    /// The leaf with a number below [`Leaf::COUNT`].
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Algorithm;

    fn scores(digests: &[[u8; 32]]) -> Vec<Score> {
        digests.iter().map(|digest| Score::from_digest(Algorithm::Sha256, *digest)).collect()
    }

    proptest! {
        #[test]
        fn sums_do_not_know_the_way(one: [u8; 32], more in prop::collection::vec(any::<[u8; 32]>(), 0..20)) {
            let (one, more) = (scores(&[one])[0], scores(&more));
            let sum: Fingerprint = more.iter().collect();
            let mut there_and_back = sum;
            there_and_back.add(&one);
            prop_assert_ne!(there_and_back, sum);
            there_and_back.remove(&one);
            prop_assert_eq!(there_and_back, sum);
            let (some, others) = more.split_at(more.len() / 2);
            let mut merged: Fingerprint = some.iter().rev().collect();
            merged.merge(&others.iter().collect());
            prop_assert_eq!(merged, sum);
            prop_assert_eq!(Fingerprint::from_bytes(&sum.to_bytes()), sum);
        }
    }

    #[test]
    fn the_binary_form_of_one_score_is_its_hash_and_one() {
        let score = Score::of(Algorithm::Blake3, b"abc");
        let bytes = [&score].into_iter().collect::<Fingerprint>().to_bytes();
        assert_eq!(bytes[..32], *blake3::hash(&score.to_binary()).as_bytes());
        assert_eq!(bytes[32..], [0, 0, 0, 1]);
        let other = Score::from_digest(Algorithm::Sha256, *score.digest());
        assert_ne!([&other].into_iter().collect::<Fingerprint>().to_bytes(), bytes, "the algorithm counts");
    }
}
