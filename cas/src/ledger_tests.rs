//! Tests of arrivals, fingerprints and notes.

use std::{
    collections::BTreeSet,
    error::Error as StdError,
    fs,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;

use crate::{
    Algorithm, Arrivals, BlockStore, Change, Fingerprint, Goal, Index, Leaf, MemoryIndex, Options, PackStore,
    Reachable, Score, place::Tag,
};

struct Home {
    directory: tempfile::TempDir,
    index: Arc<MemoryIndex>,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory"), index: Arc::default() }
    }

    fn open(&self) -> PackStore {
        let options = Options { pack_size: 1 << 20, reserve: 0, ..Options::default() };
        PackStore::with_index(self.directory.path(), options, |_| Ok(Box::new(Arc::clone(&self.index)))).expect("open")
    }
}

fn copy(from: &MemoryIndex) -> Arc<MemoryIndex> {
    let index = Arc::new(MemoryIndex::default());
    let put = |key: &[u8], value: &[u8]| {
        index.apply(&[Change::Put(key.to_vec(), value.to_vec())]).expect("apply");
        ControlFlow::Continue(())
    };
    from.scan(&[], &mut { put }).expect("scan");
    index
}

fn block(n: u8) -> (Algorithm, [u8; 40]) {
    (if n.is_multiple_of(3) { Algorithm::Blake3 } else { Algorithm::Sha256 }, [n; 40])
}

fn score(n: u8) -> Score {
    let (algorithm, block) = block(n);
    Score::of(algorithm, &block)
}

fn put(store: &PackStore, n: u8) {
    let (algorithm, block) = block(n);
    store.put(algorithm, &block).expect("put");
}

fn committed(store: &PackStore, leaves: std::ops::Range<u32>) -> Vec<Score> {
    let mut scores = Vec::new();
    store
        .scores_between(leaves, &mut |score| {
            scores.push(score);
            ControlFlow::Continue(())
        })
        .expect("scores");
    scores
}

fn every(store: &PackStore) -> BTreeSet<Score> {
    committed(store, 0..Leaf::COUNT).into_iter().collect()
}

/// What is kept agrees with what is there.
fn check(store: &PackStore) {
    let scores = every(store);
    let buckets: BTreeSet<_> = scores.iter().map(|score| Leaf::of(score).bucket()).collect();
    for bucket in buckets.into_iter().chain(0..20) {
        let first = u32::from(bucket) * Leaf::OF_A_BUCKET;
        let leaves = store.leaves(bucket).expect("leaves");
        for (leaf, fingerprint) in (first..).zip(leaves) {
            let inside: Fingerprint = scores.iter().filter(|score| Leaf::of(score).number() == leaf).collect();
            assert_eq!(fingerprint, inside);
            assert_eq!(committed(store, leaf..leaf + 1).iter().collect::<Fingerprint>(), inside);
        }
        let inside: Fingerprint = scores.iter().filter(|score| Leaf::of(score).bucket() == bucket).collect();
        assert_eq!(store.fingerprint(bucket).expect("fingerprint"), inside);
    }
}

struct Pins(Vec<Score>);

impl Reachable for Pins {
    fn visit(&self, keep: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.0.iter().for_each(keep);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    PutTwice(u8),
    Sync,
    Remove(u8),
    Quarantine(u8),
    /// Blocks below this are kept.
    Collect(u8),
    Reopen,
    Crash,
    Rebuild,
    /// The index is of a version that had no ledger.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..24_u8;
    prop_oneof![
        8 => n.clone().prop_map(Step::Put),
        1 => n.clone().prop_map(Step::PutTwice),
        4 => Just(Step::Sync),
        2 => n.clone().prop_map(Step::Remove),
        2 => n.clone().prop_map(Step::Quarantine),
        1 => n.prop_map(Step::Collect),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        1 => Just(Step::Rebuild),
        1 => Just(Step::Forget),
    ]
}

fn take(home: &mut Home, mut store: PackStore, step: &Step) -> PackStore {
    match *step {
        Step::Put(n) => put(&store, n),
        Step::PutTwice(n) => {
            let (algorithm, block) = block(n);
            store.put_twice(algorithm, &block).expect("put");
        }
        Step::Sync => store.sync().expect("sync"),
        Step::Remove(n) => drop(store.remove(&score(n)).expect("remove")),
        Step::Quarantine(n) => {
            let place = store.shared.lookup(Tag::Block, &score(n)).expect("lookup");
            if let Some(place) = place {
                store.shared.quarantine(&score(n), &place).expect("quarantine");
            }
        }
        Step::Collect(n) => {
            store.collect(&Pins((0..n).map(score).collect()), Goal::Unreachable).expect("collect");
        }
        Step::Reopen | Step::Crash | Step::Rebuild | Step::Forget => {
            let at_crash = copy(&home.index);
            drop(store);
            match step {
                Step::Crash => home.index = at_crash,
                Step::Rebuild => home.index = Arc::default(),
                Step::Forget => home.index.apply(&[Change::Delete(vec![Tag::Ledger.byte()])]).expect("apply"),
                _ => {}
            }
            store = home.open();
        }
    }
    store
}

fn log(store: &PackStore, after: u64) -> Arrivals {
    store.arrivals(after, usize::MAX).expect("arrivals")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_ledger_is_right_whatever_happens(steps in prop::collection::vec(step(), 1..40)) {
        let mut home = Home::new();
        let mut store = home.open();
        for step in steps {
            if matches!(step, Step::Remove(_) | Step::Collect(_)) {
                // They commit first, so that what they drop may just have come.
                store.sync().expect("sync");
            }
            let (before, log_before) = (every(&store), log(&store, 0));
            store = take(&mut home, store, &step);
            check(&store);
            let (after, log_after) = (every(&store), log(&store, log_before.last));
            if matches!(step, Step::Rebuild | Step::Forget) {
                prop_assert_ne!(log_after.epoch, log_before.epoch);
                prop_assert_eq!((log_after.first_kept, log_after.last), (after.len() as u64 + 1, after.len() as u64));
            } else {
                prop_assert_eq!(log_after.epoch, log_before.epoch);
                let mut arrived: Vec<_> = log_after.entries.iter().map(|(_, score)| *score).collect();
                arrived.sort_unstable();
                let new: Vec<_> = after.difference(&before).copied().collect();
                prop_assert_eq!(arrived, new, "each new block once, and no other");
                let numbers: Vec<_> = log_after.entries.iter().map(|(number, _)| *number).collect();
                prop_assert_eq!(numbers, (log_before.last + 1..=log_after.last).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn many_writers_lose_no_change() {
    let home = Home::new();
    let store = home.open();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..120 {
                    put(store, n);
                    if n % 7 == thread {
                        store.sync().expect("sync");
                    }
                    if n % 11 == thread {
                        store.remove(&score(n / 2)).expect("remove");
                    }
                }
            });
        }
    });
    store.sync().expect("sync");
    check(&store);
    assert_eq!(every(&store), store_scores(&store));
}

fn store_scores(store: &PackStore) -> BTreeSet<Score> {
    let mut scores = BTreeSet::new();
    store
        .scores(&mut |score| {
            scores.insert(score);
            ControlFlow::Continue(())
        })
        .expect("scores");
    scores
}

#[test]
fn arrivals_come_in_portions() {
    let home = Home::new();
    let store = home.open();
    for n in 0..10 {
        put(&store, n);
    }
    assert_eq!(log(&store, 0).entries, [], "what is not committed may yet be lost");
    store.sync().expect("sync");
    let portion = store.arrivals(3, 4).expect("arrivals");
    assert_eq!((portion.first_kept, portion.last), (1, 10));
    assert_eq!(portion.entries, (4..8).map(|n| (n, score(u8::try_from(n - 1).expect("small")))).collect::<Vec<_>>());
    assert_eq!(store.arrivals(10, 4).expect("arrivals").entries, []);
    assert_eq!(store.arrivals(u64::MAX, 4).expect("arrivals").entries, []);
}

#[test]
fn the_scores_of_a_range_can_be_broken_off() {
    let home = Home::new();
    let store = home.open();
    (0..50).for_each(|n| put(&store, n));
    store.sync().expect("sync");
    for (most, range) in [(1, 0..Leaf::COUNT), (20, 0..Leaf::COUNT), (9, 0..0), (9, u32::MAX - 1..u32::MAX)] {
        let mut seen = 0;
        let mut visit = |_| {
            seen += 1;
            if seen == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scores_between(range.clone(), &mut visit).expect("scores");
        assert_eq!(seen, if range == (0..Leaf::COUNT) { most } else { 0 });
    }
}

#[test]
fn a_second_copy_makes_a_root() {
    let home = Home::new();
    let store = home.open();
    let root = store.put_twice(Algorithm::Sha256, b"root").expect("put");
    put(&store, 1);
    assert!(store.is_root(&root).expect("look") && !store.is_root(&score(1)).expect("look"));
}

#[test]
fn notes_outlive_collection_and_a_new_index() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let indexes = Mutex::new(std::collections::HashMap::<std::path::PathBuf, Arc<MemoryIndex>>::new());
    let index = |path: &Path| -> crate::Result<Box<dyn Index>> {
        // A folder stands for each index, because the store moves and removes folders.
        let marked = path.join("number");
        let number = fs::read_to_string(&marked).unwrap_or_else(|_| indexes.lock().expect("lock").len().to_string());
        fs::create_dir_all(path).and_then(|()| fs::write(&marked, &number)).expect("write");
        Ok(Box::new(Arc::clone(indexes.lock().expect("lock").entry(number.into()).or_default())))
    };
    let open = |anew| PackStore::open_index(directory.path(), Options::default(), anew, index).expect("open");
    let store = open(false);
    let notes = [(b"a1".to_vec(), b"x".to_vec()), (b"a2".to_vec(), Vec::new()), (b"b".to_vec(), b"z".to_vec())];
    store.write_notes(&notes.clone().map(|(key, value)| Change::Put(key, value))).expect("write");
    put(&store, 1);
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    drop(store);
    let store = open(true);
    assert_eq!(indexes.lock().expect("lock").len(), 2, "the index is a new one");
    assert_eq!(store.note(b"b").expect("note"), Some(b"z".to_vec()));
    store.write_notes(&[Change::Delete(b"b".to_vec())]).expect("write");
    assert_eq!(store.note(b"b").expect("note"), None);
    let mut found = Vec::new();
    store
        .scan_notes(b"a", &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scan");
    assert_eq!(found, notes[..2]);
}
