//! Tests of both sides of a comparison, over the bytes that they exchange.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use cas::{Algorithm, BlockStore, Leaf, MemoryIndex, Options, PackStore, Score};
use proptest::prelude::*;

use crate::{
    Ask, Bucket, Found, Holdings, MOST_RANGE, PeerId, Placement, RangeQuery, RangeReply, Reconciliation, ReplyError,
    Salt, ScoreSet, Selection, Slice, Step, answer,
};

/// Bytes of the envelope around a dictionary.
const ENVELOPE: usize = 60;

fn peer(n: u8) -> PeerId {
    PeerId::from_bytes([n; 32])
}

/// What the peers 0 and 1 of `peers` both hold.
fn selection(peers: u8, replicas: usize) -> Arc<Selection> {
    /// Weighing all buckets takes long, and many tests want the same.
    static KNOWN: Mutex<BTreeMap<(u8, usize), Arc<Selection>>> = Mutex::new(BTreeMap::new());
    let fresh = || {
        let placement = Placement::new((0..peers).map(peer).collect(), replicas);
        Arc::new(Selection::shared(&placement, &peer(0), &peer(1)))
    };
    Arc::clone(KNOWN.lock().expect("no test fails in here").entry((peers, replicas)).or_insert_with(fresh))
}

fn score(n: u64) -> Score {
    let algorithm = if n % 5 == 4 { Algorithm::Blake3 } else { Algorithm::Sha256 };
    Score::from_digest(algorithm, *blake3::hash(&n.to_be_bytes()).as_bytes())
}

/// The next query; what the other lacks on the way goes to `ours`.
fn ask(run: &mut Reconciliation, holdings: &dyn Holdings, ours: &mut Vec<Score>) -> Option<RangeQuery> {
    loop {
        match run.next_step(holdings).expect("step")? {
            Step::Ask(query) => return Some(query),
            Step::Lacks(scores) => ours.extend(scores),
        }
    }
}

#[derive(Default)]
struct Run {
    found: Found,
    trips: usize,
    bytes: usize,
}

impl Run {
    /// Goes on until the end or until so many trips were made.
    fn go(&mut self, run: &mut Reconciliation, ours: &dyn Holdings, theirs: (&Selection, &dyn Holdings), most: usize) {
        let until = self.trips.saturating_add(most);
        while self.trips < until
            && let Some(query) = ask(run, ours, &mut self.found.ours)
        {
            let asked = query.to_bytes();
            assert!(asked.len() <= MOST_RANGE, "{}", asked.len());
            let reply = answer(&RangeQuery::from_bytes(&asked).expect("a query"), theirs.0, theirs.1).expect("answer");
            let told = reply.to_bytes();
            assert!(told.len() <= MOST_RANGE, "{}", told.len());
            assert_eq!(RangeReply::from_bytes(&told), Ok(reply.clone()));
            let found = run.take(reply, ours).expect("take").expect("an honest reply");
            self.found.theirs.extend(found.theirs);
            self.found.ours.extend(found.ours);
            self.trips += 1;
            self.bytes += asked.len() + told.len() + 2 * ENVELOPE;
        }
    }
}

fn compare(selection: &Arc<Selection>, ours: &ScoreSet, theirs: &ScoreSet, salt: [u8; 8]) -> Run {
    let mut run = Run::default();
    let mut machine = Reconciliation::new(Arc::clone(selection), Salt(salt));
    run.go(&mut machine, ours, (selection, theirs), usize::MAX);
    assert_eq!(machine.left(), []);
    run
}

fn sorted(mut scores: Vec<Score>) -> Vec<Score> {
    scores.sort_unstable();
    scores
}

/// What is in one set, not in the other, and selected.
fn beyond(selection: &Selection, one: &BTreeSet<Score>, other: &BTreeSet<Score>) -> Vec<Score> {
    one.difference(other).filter(|score| selection.buckets().contains(&Bucket::of(score))).copied().collect()
}

/// Common, ours and theirs. Some begin with the same bits, so that leaves of any size occur.
fn sets() -> impl Strategy<Value = [BTreeSet<Score>; 2]> {
    let near = (0..40_u8, 0..3_u8, any::<[u8; 2]>(), any::<bool>()).prop_map(|(a, b, rest, sha)| {
        let mut digest = [0; 32];
        digest[..5].copy_from_slice(&[7, a, b << 4, rest[0], rest[1]]);
        Score::from_digest(if sha { Algorithm::Sha256 } else { Algorithm::Blake3 }, digest)
    });
    let scores = || prop_oneof![3 => any::<u64>().prop_map(score), 1 => near.clone()];
    let some = |most| prop::collection::btree_set(scores(), 0..most);
    let many = (0..6000_u64, any::<u64>()).prop_map(|(n, from)| (0..n).map(|n| score(from.wrapping_add(n))).collect());
    (some(200), many, some(300), prop_oneof![some(5), some(1200)]).prop_map(|(some, many, ours, theirs)| {
        let common: BTreeSet<Score> = some.union(&many).copied().collect();
        [ours, theirs].map(|own| own.union(&common).copied().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_differs_is_found_and_nothing_else(
        [ours, theirs] in sets(), salt: [u8; 8], peers in prop_oneof![Just((2, 3)), Just((4, 2)), Just((9, 3))],
    ) {
        let selection = selection(peers.0, peers.1);
        let (one, other) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
        let run = compare(&selection, &one, &other, salt);
        prop_assert_eq!(sorted(run.found.theirs), beyond(&selection, &theirs, &ours));
        prop_assert_eq!(sorted(run.found.ours), beyond(&selection, &ours, &theirs));
    }

    #[test]
    fn an_interrupted_run_goes_on([ours, theirs] in sets(), salts: [[u8; 8]; 2], most in 1..8_usize) {
        let selection = selection(2, 2);
        let (one, other): (ScoreSet, ScoreSet) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
        let mut run = Run::default();
        let mut machine = Reconciliation::new(Arc::clone(&selection), Salt(salts[0]));
        run.go(&mut machine, &one, (&selection, &other), most);
        // A query without a reply.
        ask(&mut machine, &one, &mut run.found.ours);
        let mut machine = Reconciliation::resume(Arc::clone(&selection), Salt(salts[1]), machine.left());
        run.go(&mut machine, &one, (&selection, &other), usize::MAX);
        prop_assert_eq!(sorted(run.found.theirs), beyond(&selection, &theirs, &ours));
        prop_assert_eq!(sorted(run.found.ours), beyond(&selection, &ours, &theirs));
    }

    #[test]
    fn foreign_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = RangeQuery::from_bytes(&bytes);
        let _ = RangeReply::from_bytes(&bytes);
    }

    #[test]
    fn no_query_makes_the_answerer_panic(
        width in 0..24_u8, pieces in 0..24_u8, slices in prop::collection::btree_set(0..5000_u32, 0..20), list: bool,
    ) {
        let selection = selection(4, 2);
        let ask = if list {
            Ask::List { width, slices: slices.into_iter().map(|index| (index, 1)).collect(), ids: Vec::new() }
        } else {
            Ask::Compare { width, pieces, slices: slices.into_iter().collect(), own: None }
        };
        let mut query = RangeQuery { view: selection.view(), salt: Salt([1; 8]), ask };
        if let Ask::List { slices, ids, .. } = &mut query.ask {
            ids.resize(slices.len(), [0; 8]);
        }
        if let Ok(read) = RangeQuery::from_bytes(&query.to_bytes()) {
            prop_assert_eq!(&read, &query);
            let reply = answer(&read, &selection, &(0..50).map(score).collect::<ScoreSet>()).expect("answer");
            prop_assert!(reply.to_bytes().len() <= MOST_RANGE);
        }
    }

    /// Whatever is replied, the asker ends, and what it was told lies in what it asked for.
    #[test]
    fn hostile_replies_end(seed: [u8; 32], replies in prop::collection::vec((0..6_u8, any::<u16>()), 1..60)) {
        let selection = selection(4, 2);
        let ours: ScoreSet = (0..3000).map(score).collect();
        let theirs: ScoreSet = (2900..3100).map(score).collect();
        let mut machine = Reconciliation::new(Arc::clone(&selection), Salt([3; 8]));
        for (kind, number) in replies {
            let Some(query) = ask(&mut machine, &ours, &mut Vec::new()) else { break };
            let mut reply = answer(&query, &selection, &theirs).expect("answer");
            match (kind, &mut reply) {
                (0, RangeReply::Pieces(pieces)) => pieces.iter_mut().for_each(|piece| piece[0] ^= seed[0]),
                (1, RangeReply::Pieces(pieces)) => pieces.truncate(usize::from(number) % 70),
                (1, RangeReply::Listed { slices, .. }) => *slices = u32::from(number) % 3,
                (2, RangeReply::Listed { scores, .. }) => scores.push(score(u64::from(number))),
                (3, RangeReply::Listed { lacks, .. }) => lacks.resize(usize::from(number) % 50, seed[1]),
                (4, reply) => *reply = RangeReply::Same,
                (5, reply) => *reply = RangeReply::Listed { slices: 0, scores: Vec::new(), lacks: Vec::new() },
                _ => {}
            }
            if let Ok(found) = machine.take(reply, &ours).expect("take") {
                prop_assert!(found.theirs.len() <= 7800);
                let selected = |score: &Score| selection.buckets().contains(&Bucket::of(score));
                prop_assert!(found.theirs.iter().chain(&found.ours).all(selected));
            }
            prop_assert!(machine.left().len() <= Leaf::COUNT as usize);
        }
    }
}

#[test]
fn who_always_says_too_much_or_different_is_left_in_bounded_time() {
    let selection = selection(2, 2);
    let ours = ScoreSet::default();
    let mut machine = Reconciliation::new(Arc::clone(&selection), Salt([0; 8]));
    let mut trips = 0;
    while let Some(query) = ask(&mut machine, &ours, &mut Vec::new()) {
        let reply = match query.ask {
            Ask::Compare { width, pieces, slices, .. } => {
                RangeReply::Pieces(vec![[9; 8]; slices.len() << (width - pieces)])
            }
            Ask::List { .. } => RangeReply::Listed { slices: 0, scores: Vec::new(), lacks: Vec::new() },
        };
        assert_eq!(machine.take(reply, &ours).expect("take"), Ok(Found::default()));
        trips += 1;
        assert!(trips <= 1 << 16);
    }
    assert!(!machine.left().is_empty(), "nothing of it was seen");
}

#[test]
fn another_view_is_told() {
    let (ours, theirs) = (selection(4, 2), selection(5, 2));
    assert_ne!(ours.view(), selection(4, 3).view());
    let mut machine = Reconciliation::new(ours, Salt([0; 8]));
    let none = ScoreSet::default();
    let query = ask(&mut machine, &none, &mut Vec::new()).expect("something to ask");
    let reply = answer(&query, &theirs, &none).expect("answer");
    assert_eq!(RangeReply::from_bytes(&reply.to_bytes()), Ok(reply.clone()));
    assert_eq!(machine.take(reply, &none).expect("take"), Err(ReplyError::View { theirs: theirs.view() }));
}

#[test]
fn who_holds_nothing_in_common_asks_nothing() {
    let placement = Placement::new(vec![peer(0), peer(1)], 1);
    let nothing = Arc::new(Selection::shared(&placement, &peer(0), &peer(1)));
    let mut machine = Reconciliation::new(nothing, Salt([0; 8]));
    assert_eq!(machine.next_step(&ScoreSet::default()).expect("step"), None);
}

#[test]
fn a_leaf_that_is_too_large_comes_in_portions() {
    let crowded = |n: u32| {
        let mut digest = [5; 32];
        digest[28..].copy_from_slice(&n.to_be_bytes());
        Score::from_digest(Algorithm::Blake3, digest)
    };
    let selection = selection(2, 2);
    let theirs: ScoreSet = (0..20_000).map(crowded).collect();
    let mut ours = ScoreSet::default();
    for wanted in [7800, 15_600, 20_000] {
        let mut run = Run::default();
        let mut machine = Reconciliation::new(Arc::clone(&selection), Salt([2; 8]));
        run.go(&mut machine, &ours, (&selection, &theirs), usize::MAX);
        ours.extend(run.found.theirs);
        assert_eq!(ours.leaves(Bucket::new(0x0505)).expect("leaves")[0].count(), wanted);
        assert_eq!(machine.left().is_empty(), wanted == 20_000);
    }
}

#[test]
fn a_store_on_disk_and_a_set_in_memory_compare() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = Options { pack_size: 1 << 20, reserve: 0, ..Options::default() };
    let store = PackStore::with_index(directory.path(), options, |_| Ok(Box::new(MemoryIndex::default())));
    let store = store.expect("open");
    let put = |n: u32| {
        let algorithm = if n.is_multiple_of(2) { Algorithm::Sha256 } else { Algorithm::Blake3 };
        store.put(algorithm, &n.to_be_bytes()).expect("put")
    };
    let ours: Vec<_> = (0..400).map(put).collect();
    store.sync().expect("sync");
    let theirs: ScoreSet = ours[10..].iter().copied().chain((0..7).map(score)).collect();
    let selection = selection(2, 2);
    let mut run = Run::default();
    let fresh = || Reconciliation::new(Arc::clone(&selection), Salt([6; 8]));
    run.go(&mut fresh(), &store, (&selection, &theirs), usize::MAX);
    assert_eq!(sorted(run.found.ours), sorted(ours[..10].to_vec()));
    assert_eq!(sorted(run.found.theirs), sorted((0..7).map(score).collect()));
    let mut run = Run::default();
    run.go(&mut fresh(), &theirs, (&selection, &store), usize::MAX);
    assert_eq!((run.found.theirs.len(), run.found.ours.len()), (10, 7));
}

#[test]
fn a_new_peer_gets_everything_in_few_trips() {
    let theirs: ScoreSet = (0..100_000).map(score).collect();
    let selection = selection(2, 2);
    let run = compare(&selection, &ScoreSet::default(), &theirs, [1; 8]);
    assert_eq!(run.found.theirs.len(), 100_000);
    assert!(run.trips < 30 && run.bytes < 3_600_000, "{} trips, {} bytes", run.trips, run.bytes);
    let run = compare(&selection, &theirs, &ScoreSet::default(), [1; 8]);
    assert_eq!(run.found.ours.len(), 100_000);
    assert!(run.trips < 5 && run.bytes < 3000, "{} trips, {} bytes", run.trips, run.bytes);
}

/// The bounds of docs/protocol.md; `examples/reconcile.rs` prints the figures for more scores.
#[test]
fn little_is_sent_for_what_differs() {
    let selection = selection(2, 2);
    for (differences, trips, bytes) in [(0, 1, 400), (1, 4, 4000), (1000, 6, 400_000), (10_000, 12, 1_500_000)] {
        let only = |from: u64, count| (from..from + count).map(score);
        let ours = (0..100_000).map(score).chain(only(1 << 32, differences / 2)).collect();
        let theirs = (0..100_000).map(score).chain(only(1 << 33, differences.div_ceil(2))).collect();
        let run = compare(&selection, &ours, &theirs, [4; 8]);
        let found = run.found.ours.len() + run.found.theirs.len();
        assert_eq!(found as u64, differences);
        assert!(run.trips <= trips && run.bytes <= bytes, "{differences}: {} trips, {} bytes", run.trips, run.bytes);
    }
}

#[test]
fn bytes_of_a_query_and_a_reply() {
    let ask = Ask::Compare { width: 14, pieces: 7, slices: vec![3, 4, 200], own: None };
    let query = RangeQuery { view: *b"placings", salt: Salt(*b"saltsalt"), ask };
    assert_eq!(query.to_bytes(), b"d1:ci7e1:k8:saltsalt1:pi14e1:r4:\x03\x00\xc3\x011:v8:placingse");
    assert_eq!(RangeQuery::from_bytes(&query.to_bytes()), Err(crate::NotARange), "there are but 64 of this width");
    let ask = Ask::List { width: 1, slices: vec![(3, 1), (9, 0)], ids: vec![*b"shortids"] };
    let query = RangeQuery { ask, ..query };
    assert_eq!(query.to_bytes(), b"d1:i8:shortids1:k8:saltsalt1:pi1e1:r4:\x03\x01\x05\x001:v8:placingse");
    assert_eq!(RangeQuery::from_bytes(&query.to_bytes()), Ok(query));
    let digest = Score::from_digest(Algorithm::Sha256, *b"digest of one block, or a second");
    let reply = RangeReply::Listed { slices: 2, scores: vec![digest], lacks: vec![0x80] };
    assert_eq!(reply.to_bytes(), b"d1:ai18e1:m1:\x801:ni2e1:s32:digest of one block, or a seconde");
    assert_eq!(RangeReply::from_bytes(&reply.to_bytes()), Ok(reply));
    assert_eq!(RangeReply::from_bytes(b"de"), Ok(RangeReply::Same));
    assert_eq!(Slice::WIDEST, 20);
}
