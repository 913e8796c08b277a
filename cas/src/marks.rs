//! Bits for places: which blocks of a pack were used, or are needed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    pack_store::{MOST_PACK_SIZE, lock},
    place::Place,
};

/// One bit stands for this many bytes of a pack, so blocks of full size have a bit of their own
/// and small ones share one.
const GRANULE: u64 = 65_536;

/// Words for the largest pack. Smaller ones have as many, because a store may have been given a small capacity, and
/// with it small packs, when it had large ones.
const WORDS: usize = (MOST_PACK_SIZE / GRANULE / 64) as usize + 2;

/// A set of places with a bit each: 528 bytes for each pack that has any.
#[derive(Default)]
pub(crate) struct Marks {
    packs: RwLock<HashMap<u32, Arc<PackMarks>>>,
    /// Packs that have none any more, since they were last saved.
    cleared: Mutex<HashSet<u32>>,
}

struct PackMarks {
    words: Vec<AtomicU64>,
    /// Whether they changed since they were last saved.
    changed: AtomicBool,
}

impl PackMarks {
    fn new(words: impl Iterator<Item = u64>, changed: bool) -> Arc<Self> {
        let mut words: Vec<_> = words.map(AtomicU64::new).collect();
        words.resize_with(WORDS, AtomicU64::default);
        Arc::new(Self { words, changed: changed.into() })
    }
}

impl Marks {
    fn position(place: &Place) -> (usize, u64) {
        let bit = place.offset / GRANULE;
        let word = usize::try_from(bit / 64).unwrap_or(usize::MAX);
        (word.min(WORDS - 1), 1 << (bit % 64))
    }

    fn of_pack(&self, pack: u32) -> Option<Arc<PackMarks>> {
        self.packs.read().unwrap_or_else(PoisonError::into_inner).get(&pack).cloned()
    }

    fn replace(&self, pack: u32, marks: Arc<PackMarks>) {
        self.packs.write().unwrap_or_else(PoisonError::into_inner).insert(pack, marks);
    }

    pub(crate) fn set(&self, place: &Place) {
        let (word, bit) = Self::position(place);
        let marks = self.of_pack(place.pack).unwrap_or_else(|| {
            let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
            packs.entry(place.pack).or_insert_with(|| PackMarks::new(std::iter::empty(), true)).clone()
        });
        if marks.words[word].fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            marks.changed.store(true, Ordering::Release);
        }
    }

    pub(crate) fn contains(&self, place: &Place) -> bool {
        let (word, bit) = Self::position(place);
        self.of_pack(place.pack).is_some_and(|marks| marks.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// How many places of a pack are marked here and not in `other`, between two offsets.
    pub(crate) fn count_without(&self, other: &Self, pack: u32, from: u64, to: u64) -> u32 {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        let Some(marks) = packs.get(&pack) else { return 0 };
        let others = other.packs.read().unwrap_or_else(PoisonError::into_inner);
        let others = others.get(&pack);
        let word = |marks: &PackMarks, at: usize| marks.words[at].load(Ordering::Relaxed);
        let is_marked = |bit: u64| {
            let at = usize::try_from(bit / 64).unwrap_or(usize::MAX).min(WORDS - 1);
            let marked = word(marks, at) & !others.map_or(0, |others| word(others, at));
            marked >> (bit % 64) & 1 != 0
        };
        let last = WORDS as u64 * 64;
        (from / GRANULE..(to / GRANULE).min(last)).map(|bit| u32::from(is_marked(bit))).sum()
    }

    /// Takes over what others say of a pack, together.
    pub(crate) fn copy(&self, pack: u32, others: &[&Self]) {
        let others: Vec<_> = others.iter().filter_map(|other| other.of_pack(pack)).collect();
        if others.is_empty() {
            return self.clear(pack);
        }
        let word = |marks: &PackMarks, at: usize| marks.words[at].load(Ordering::Relaxed);
        let all: Vec<_> = (0..WORDS).map(|at| others.iter().fold(0, |all, marks| all | word(marks, at))).collect();
        let is_new = self.of_pack(pack).is_none_or(|marks| (0..WORDS).any(|at| word(&marks, at) != all[at]));
        if is_new {
            self.replace(pack, PackMarks::new(all.into_iter(), true));
        }
    }

    /// Forgets the marks of a pack that is gone, and with it what was saved of them.
    pub(crate) fn forget(&self, pack: u32) {
        self.packs.write().unwrap_or_else(PoisonError::into_inner).remove(&pack);
    }

    /// Takes all marks of a pack away.
    pub(crate) fn clear(&self, pack: u32) {
        if self.packs.write().unwrap_or_else(PoisonError::into_inner).remove(&pack).is_some() {
            lock(&self.cleared).insert(pack);
        }
    }

    /// Forgets all marks, which are not saved.
    pub(crate) fn clear_all(&self) {
        self.packs.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What changed since this was asked last, for keeping: the marks of a pack, or that it has none any more.
    pub(crate) fn take_changes(&self) -> Vec<(u32, Option<Vec<u8>>)> {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        let cleared = std::mem::take(&mut *lock(&self.cleared)).into_iter().filter(|pack| !packs.contains_key(pack));
        let mut changes: Vec<_> = cleared.map(|pack| (pack, None)).collect();
        let changed = packs.iter().filter(|(_, marks)| marks.changed.swap(false, Ordering::AcqRel));
        changes.extend(changed.map(|(pack, marks)| (*pack, Some(to_value(marks)))));
        changes
    }

    /// The marks of one pack.
    pub(crate) fn to_value(&self, pack: u32) -> Vec<u8> {
        self.of_pack(pack).map_or_else(Vec::new, |marks| to_value(&marks))
    }

    /// Takes marks back that [`Marks::take_changes`] or [`Marks::to_value`] gave. They are a hint: what does not fit is
    /// dropped.
    pub(crate) fn load(&self, pack: u32, value: &[u8]) {
        let words = value.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word));
        self.replace(pack, PackMarks::new(words, false));
    }
}

fn to_value(marks: &PackMarks) -> Vec<u8> {
    marks.words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_be_bytes()).collect()
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
        let mut changes = marks.take_changes();
        assert!(marks.take_changes().is_empty(), "saved");
        let (pack, value) = changes.pop().expect("one pack");
        copy.load(pack, &value.expect("marks"));
        assert!(copy.take_changes().is_empty(), "nothing new");
        assert!(copy.contains(&place(1998)) && !copy.contains(&place(1999)));
        let none = Marks::default();
        let offset = |n: u64| 64 + n * (131_072 + 64);
        assert_eq!(copy.count_without(&none, 1, offset(10), offset(26)), 8);
        assert_eq!(copy.count_without(&none, 1, offset(11), offset(12)), 0);
        assert_eq!(copy.count_without(&none, 2, offset(10), offset(26)), 0);
        assert_eq!(copy.count_without(&marks, 1, offset(10), offset(26)), 0);
        assert_eq!(copy.count_without(&none, 1, offset(10), u64::MAX), 995);
        copy.clear(1);
        assert!(!copy.contains(&place(0)));
        assert_eq!(copy.take_changes(), [(1, None)]);
        copy.copy(1, &[&none, &marks]);
        assert!(copy.contains(&place(0)));
    }
}
