//! Bits for places: which blocks of a pack were used, or are needed.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{pack_store::MOST_PACK_SIZE, place::Place};

/// One bit stands for this many bytes of a pack, so blocks of full size have a bit of their own
/// and small ones share one.
const GRANULE: u64 = 65_536;

/// Words for the largest pack. Smaller ones have as many, because a store may have been given a small capacity, and
/// with it small packs, when it had large ones.
const WORDS: usize = (MOST_PACK_SIZE / GRANULE / 64) as usize + 2;

/// A set of places with a bit each: 528 bytes for each pack that has any.
#[derive(Default)]
pub(crate) struct Marks {
    packs: RwLock<HashMap<u32, Arc<Vec<AtomicU64>>>>,
}

impl Marks {
    fn position(place: &Place) -> (usize, u64) {
        let bit = place.offset / GRANULE;
        let word = usize::try_from(bit / 64).unwrap_or(usize::MAX);
        (word.min(WORDS - 1), 1 << (bit % 64))
    }

    fn bits(&self, pack: u32) -> Option<Arc<Vec<AtomicU64>>> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner).get(&pack).cloned()
    }

    pub(crate) fn set(&self, place: &Place) {
        let (word, bit) = Self::position(place);
        let bits = self.bits(place.pack).unwrap_or_else(|| {
            let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new((0..WORDS).map(|_| AtomicU64::new(0)).collect());
            packs.entry(place.pack).or_insert_with(fresh).clone()
        });
        bits[word].fetch_or(bit, Ordering::Relaxed);
    }

    pub(crate) fn contains(&self, place: &Place) -> bool {
        let (word, bit) = Self::position(place);
        self.bits(place.pack).is_some_and(|bits| bits[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// How many places of a pack are marked between two offsets.
    pub(crate) fn count(&self, pack: u32, from: u64, to: u64) -> u32 {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        let Some(bits) = packs.get(&pack) else { return 0 };
        let marked = |bit: u64| {
            let word = usize::try_from(bit / 64).ok().and_then(|word| bits.get(word));
            word.is_some_and(|word| word.load(Ordering::Relaxed) >> (bit % 64) & 1 != 0)
        };
        (from / GRANULE..to / GRANULE).map(|bit| u32::from(marked(bit))).sum()
    }

    /// Takes over what `other` says of a pack.
    pub(crate) fn copy(&self, pack: u32, other: &Self) {
        match other.bits(pack) {
            Some(bits) => {
                let copied = bits.iter().map(|word| AtomicU64::new(word.load(Ordering::Relaxed))).collect();
                self.packs.write().unwrap_or_else(PoisonError::into_inner).insert(pack, Arc::new(copied));
            }
            None => self.clear(pack),
        }
    }

    /// Forgets a pack's marks.
    pub(crate) fn clear(&self, pack: u32) {
        self.packs.write().unwrap_or_else(PoisonError::into_inner).remove(&pack);
    }

    /// Forgets all marks.
    pub(crate) fn clear_all(&self) {
        self.packs.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The marks of every pack, for keeping.
    pub(crate) fn to_values(&self) -> Vec<(u32, Vec<u8>)> {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        packs.iter().map(|(pack, bits)| (*pack, to_value(bits))).collect()
    }

    /// The marks of one pack.
    pub(crate) fn to_value(&self, pack: u32) -> Vec<u8> {
        self.bits(pack).map_or_else(Vec::new, |bits| to_value(&bits))
    }

    /// Takes marks back that [`Marks::to_values`] gave. They are a hint: what does not fit is dropped.
    pub(crate) fn load(&self, pack: u32, value: &[u8]) {
        let mut words: Vec<_> =
            value.as_chunks().0.iter().map(|word| AtomicU64::new(u64::from_be_bytes(*word))).collect();
        words.resize_with(WORDS, AtomicU64::default);
        self.packs.write().unwrap_or_else(PoisonError::into_inner).insert(pack, Arc::new(words));
    }
}

fn to_value(bits: &[AtomicU64]) -> Vec<u8> {
    bits.iter().flat_map(|word| word.load(Ordering::Relaxed).to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_full_size_do_not_share_a_mark() {
        let marks = Marks::default();
        let place = |n: u64| Place { pack: 1, offset: 64 + n * (131_072 + 64), length: 131_072, checksum: 0 };
        for n in (0..2000).step_by(2) {
            marks.set(&place(n));
        }
        for n in 0..2000 {
            assert_eq!(marks.contains(&place(n)), n % 2 == 0, "{n}");
        }
        let copy = Marks::default();
        for (pack, value) in marks.to_values() {
            copy.load(pack, &value);
        }
        assert!(copy.contains(&place(1998)) && !copy.contains(&place(1999)));
        let offset = |n: u64| 64 + n * (131_072 + 64);
        assert_eq!(copy.count(1, offset(10), offset(26)), 8);
        assert_eq!(copy.count(1, offset(11), offset(12)), 0);
        assert_eq!(copy.count(2, offset(10), offset(26)), 0);
        copy.clear(1);
        assert!(!copy.contains(&place(0)));
    }
}
