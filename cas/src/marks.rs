//! Bits for places: which blocks of a pack were used, or are needed.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::place::Place;

/// One bit stands for this many bytes of a pack, so blocks of full size have a bit of their own
/// and small ones share one.
const GRANULE: u64 = 65_536;

/// A set of places with a bit each: 512 bytes for a pack of 256 MiB.
#[derive(Default)]
pub(crate) struct Marks {
    packs: RwLock<HashMap<u32, Arc<Vec<AtomicU64>>>>,
    words: usize,
}

impl Marks {
    /// Marks for packs of at most `pack_size` bytes.
    pub(crate) fn new(pack_size: u64) -> Self {
        let words = usize::try_from(pack_size / GRANULE / 64 + 2).unwrap_or(usize::MAX);
        Self { packs: RwLock::default(), words }
    }

    fn position(&self, place: &Place) -> (usize, u64) {
        let bit = place.offset / GRANULE;
        let word = usize::try_from(bit / 64).unwrap_or(usize::MAX);
        (word.min(self.words - 1), 1 << (bit % 64))
    }

    fn bits(&self, pack: u32) -> Option<Arc<Vec<AtomicU64>>> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner).get(&pack).cloned()
    }

    pub(crate) fn set(&self, place: &Place) {
        let (word, bit) = self.position(place);
        let bits = self.bits(place.pack).unwrap_or_else(|| {
            let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new((0..self.words).map(|_| AtomicU64::new(0)).collect());
            packs.entry(place.pack).or_insert_with(fresh).clone()
        });
        bits[word].fetch_or(bit, Ordering::Relaxed);
    }

    pub(crate) fn contains(&self, place: &Place) -> bool {
        let (word, bit) = self.position(place);
        self.bits(place.pack).is_some_and(|bits| bits[word].load(Ordering::Relaxed) & bit != 0)
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
        words.resize_with(self.words, AtomicU64::default);
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
        let marks = Marks::new(256 << 20);
        let place = |n: u64| Place { pack: 1, offset: 64 + n * (131_072 + 64), length: 131_072, checksum: 0 };
        for n in (0..2000).step_by(2) {
            marks.set(&place(n));
        }
        for n in 0..2000 {
            assert_eq!(marks.contains(&place(n)), n % 2 == 0, "{n}");
        }
        let copy = Marks::new(256 << 20);
        for (pack, value) in marks.to_values() {
            copy.load(pack, &value);
        }
        assert!(copy.contains(&place(1998)) && !copy.contains(&place(1999)));
        copy.clear(1);
        assert!(!copy.contains(&place(0)));
    }
}
