//! Tests of [`PackStore`]: crash, damage, capacity, collection.

use std::{
    error::Error as StdError,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use crate::{
    Algorithm, BlockStore, Damage, Error, FaultyStore, Goal, Index, MemoryIndex, MemoryStore, Options, PackStore,
    Reachable, RecordingStore, Score, StrictStore, conformance,
};

const FULL: usize = crate::MAX_BLOCK;

fn options() -> Options {
    Options { pack_size: 1 << 20, reserve: 0, commit_every: 300_000, ..Options::default() }
}

struct Home {
    directory: tempfile::TempDir,
    index: Arc<MemoryIndex>,
    options: Options,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory"), index: Arc::default(), options: options() }
    }

    fn open(&self) -> PackStore {
        let index: Arc<MemoryIndex> = Arc::clone(&self.index);
        PackStore::with_index(self.directory.path(), self.options.clone(), |_| Ok(Box::new(Arc::clone(&index))))
            .expect("open")
    }

    fn packs(&self) -> Vec<std::path::PathBuf> {
        let mut packs: Vec<_> = fs::read_dir(self.directory.path().join("packs"))
            .expect("packs")
            .map(|entry| entry.expect("entry").path())
            .collect();
        packs.sort();
        packs
    }
}

fn block(n: u32) -> Vec<u8> {
    let mut block = vec![u8::try_from(n % 256).expect("small"); FULL];
    block[..4].copy_from_slice(&n.to_be_bytes());
    block
}

fn fill(store: &PackStore, numbers: std::ops::Range<u32>) -> Vec<Score> {
    let scores = numbers.map(|n| store.put(Algorithm::Sha256, &block(n)).expect("put")).collect();
    store.sync().expect("sync");
    scores
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x40], at).expect("write");
}

/// An index as it is now.
fn snapshot(from: &MemoryIndex) -> Arc<MemoryIndex> {
    let index = Arc::new(MemoryIndex::default());
    from.scan(&[], &mut |key, value| {
        index.apply(&[crate::Change::Put(key.to_vec(), value.to_vec())]).expect("apply");
        std::ops::ControlFlow::Continue(())
    })
    .expect("scan");
    index
}

struct Pins(Vec<Score>);

impl Reachable for Pins {
    fn visit(&self, keep: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.0.iter().for_each(keep);
        Ok(())
    }
}

#[test]
fn every_store_conforms() {
    conformance::check(MemoryStore::new);
    conformance::check(StrictStore::new);
    conformance::check(|| FaultyStore::new(MemoryStore::new()));
    conformance::check(|| RecordingStore::new(StrictStore::new()));
    let mut homes = Vec::new();
    conformance::check(|| {
        homes.push(Home::new());
        homes.last().expect("just pushed").open()
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn the_store_with_rocksdb_conforms() {
    let mut homes = Vec::new();
    conformance::check(|| {
        homes.push(tempfile::tempdir().expect("temporary directory"));
        PackStore::open(homes.last().expect("just pushed").path(), options()).expect("open")
    });
}

#[test]
fn what_was_synced_is_there_after_reopening() {
    let home = Home::new();
    let scores = fill(&home.open(), 0..30);
    assert!(home.packs().len() > 3, "packs are sealed at their size");
    let store = home.open();
    for (n, score) in (0..).zip(&scores) {
        assert_eq!(store.get(score).expect("get"), Some(block(n)));
    }
    fill(&store, 30..35);
    drop(store);
    assert_eq!(home.open().statistics().records, 35);
}

#[test]
fn only_one_owner() {
    let home = Home::new();
    let _store = home.open();
    let second = PackStore::with_index(home.directory.path(), options(), |_| Ok(Box::new(MemoryIndex::default())));
    assert!(
        matches!(second.err(), Some(Error::InUse { owner: Some(owner), .. }) if owner == std::process::id().to_string())
    );
}

#[test]
fn a_lost_index_is_made_again() {
    let mut home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..30);
    let root = store.put_twice(Algorithm::Blake3, b"root").expect("put");
    drop(store);
    home.index = Arc::default();
    let store = home.open();
    for (n, score) in (0..).zip(&scores) {
        assert_eq!(store.get(score).expect("get"), Some(block(n)));
    }
    assert!(store.contains(&root).expect("contains"));
}

#[test]
fn a_torn_end_is_cut_off() {
    for cut in [1, 63, 64, 65, 70_000, FULL as u64 + 63] {
        let mut home = Home::new();
        home.options.commit_every = u64::MAX;
        let store = home.open();
        let scores = fill(&store, 0..2);
        let before = fs::metadata(&home.packs()[0]).expect("metadata").len();
        store.put(Algorithm::Sha256, &block(2)).expect("put");
        // The process dies here: nothing is committed, no destructor runs.
        let index = snapshot(&home.index);
        drop(store);
        home.index = index;
        OpenOptions::new().write(true).open(&home.packs()[0]).expect("open").set_len(before + cut).expect("cut");
        let store = home.open();
        for (n, score) in (0..).zip(&scores) {
            assert_eq!(store.get(score).expect("get"), Some(block(n)), "cut {cut}");
        }
        assert_eq!(store.statistics().records, 2, "cut {cut}");
        let again = fill(&store, 2..4);
        drop(store);
        assert_eq!(home.open().get(&again[1]).expect("get"), Some(block(3)));
    }
}

#[test]
fn a_flipped_byte_is_never_returned_and_a_put_heals_it() {
    let home = Home::new();
    let scores = fill(&home.open(), 0..3);
    flip(&home.packs()[0], 64 + 64 + 1000);
    let store = home.open();
    assert!(matches!(store.get(&scores[0]), Err(Error::Damaged { score }) if score == scores[0]));
    assert!(!store.contains(&scores[0]).expect("contains"));
    drop(store);
    let store = home.open();
    assert!(matches!(store.get(&scores[0]), Err(Error::Damaged { .. })), "quarantine survives");
    assert_eq!(store.quarantined(), [scores[0]]);
    fill(&store, 0..1);
    assert_eq!(store.get(&scores[0]).expect("get"), Some(block(0)));
    assert_eq!(store.quarantined(), []);
    assert_eq!(store.get(&scores[1]).expect("get"), Some(block(1)), "its neighbours are not touched");
}

#[test]
fn a_healed_block_stays_healed_when_the_index_is_made_again() {
    let mut home = Home::new();
    let scores = fill(&home.open(), 0..3);
    flip(&home.packs()[0], 64 + 64 + 1000);
    let store = home.open();
    assert!(store.get(&scores[0]).is_err());
    fill(&store, 0..1);
    drop(store);
    home.index = Arc::default();
    let store = home.open();
    assert_eq!(store.quarantined(), []);
    assert_eq!(store.get(&scores[0]).expect("get"), Some(block(0)));
}

#[test]
fn what_only_looks_like_a_record_is_none() {
    // A block that holds a record header, behind a record whose own header is damaged.
    let mut home = Home::new();
    let store = home.open();
    let claimed = Score::of(Algorithm::Sha256, b"never stored");
    let forged = crate::RecordHeader { score: claimed, length: 4, checksum: crc32fast::hash(b"evil") };
    let mut carrier = vec![7; 1000];
    carrier[100..164].copy_from_slice(&forged.to_bytes());
    carrier[164..168].copy_from_slice(b"evil");
    store.put(Algorithm::Sha256, &carrier).expect("put");
    let after = store.put(Algorithm::Sha256, b"after").expect("put");
    drop(store);
    flip(&home.packs()[0], 64 + 20);
    home.index = Arc::default();
    let store = home.open();
    assert_eq!(store.get(&claimed).expect("get"), None);
    assert_eq!(store.get(&after).expect("get").as_deref(), Some(&b"after"[..]));
}

#[test]
fn a_root_survives_the_loss_of_either_copy() {
    for victim in 0..2 {
        let home = Home::new();
        let store = home.open();
        let root = store.put_twice(Algorithm::Sha256, &block(7)).expect("put");
        drop(store);
        assert_eq!(home.packs().len(), 2, "the copies lie in different packs");
        fs::remove_file(&home.packs()[victim]).expect("remove");
        let store = home.open();
        assert_eq!(store.get(&root).expect("get"), Some(block(7)));
        store.scrub(true, &mut |_| {}, &mut |_| {}).expect("scrub");
        drop(store);
        let other = home.packs()[0].clone();
        let store = home.open();
        assert_eq!(store.get(&root).expect("get"), Some(block(7)));
        assert_eq!(store.statistics().missing_packs, 0, "{other:?}");
    }
}

#[test]
fn scrub_names_every_damage() {
    let home = Home::new();
    let scores = fill(&home.open(), 0..20);
    let record = 64 + FULL as u64;
    flip(&home.packs()[0], 20);
    flip(&home.packs()[0], 64 + record + 30);
    flip(&home.packs()[1], 64 + 64 + 5);
    let length = fs::metadata(&home.packs()[1]).expect("metadata").len();
    flip(&home.packs()[1], length - 100);
    let store = home.open();
    let mut found = Vec::new();
    store.scrub(true, &mut |damage| found.push(damage), &mut |_| {}).expect("scrub");
    assert_eq!(
        found,
        [
            Damage::PackHeader { pack: 1 },
            Damage::RecordHeader { score: scores[1], pack: 1 },
            Damage::Table { pack: 2 },
            Damage::Block { score: scores[7], pack: 2 },
        ]
    );
    found.clear();
    store.scrub(false, &mut |damage| found.push(damage), &mut |_| {}).expect("scrub");
    assert_eq!(found, [], "packs were written anew, the block is in quarantine");
    for (n, score) in (0..).zip(&scores) {
        match store.get(score) {
            Err(Error::Damaged { .. }) => assert_eq!(n, 7),
            read => assert_eq!(read.expect("get"), Some(block(n))),
        }
    }
}

#[test]
fn scrub_names_each_damage_of_a_pack_of_many_records() {
    let home = Home::new();
    let store = home.open();
    let content = |n: u32| n.to_be_bytes().repeat(1300 + n as usize % 50);
    let algorithm = |n: u32| if n.is_multiple_of(3) { Algorithm::Blake3 } else { Algorithm::Sha256 };
    let scores: Vec<_> = (0..250).map(|n| store.put(algorithm(n), &content(n)).expect("put")).collect();
    drop(store);
    // So many records lie in the first pack, in several groups that are read by several threads.
    let offset = |wanted: u32| (0..wanted).fold(64, |at, n| at + 64 + content(n).len() as u64);
    assert!(offset(150) < fs::metadata(&home.packs()[0]).expect("metadata").len());
    let mut wanted = Vec::new();
    for n in [0, 5, 17, 31, 32, 77, 100, 149] {
        let score = scores[n as usize];
        // Every other one in its header.
        if wanted.len() % 2 == 0 {
            flip(&home.packs()[0], offset(n) + 64 + 1000);
            wanted.push(Damage::Block { score, pack: 1 });
        } else {
            flip(&home.packs()[0], offset(n) + 30);
            wanted.push(Damage::RecordHeader { score, pack: 1 });
        }
    }
    let store = home.open();
    let (mut found, mut progress) = (Vec::new(), Vec::new());
    let report = store.scrub(false, &mut |damage| found.push(damage), &mut |at| progress.push(at)).expect("scrub");
    assert_eq!(found, wanted);
    assert_eq!(report.blocks, 250);
    assert_eq!(report.bytes, (0..250).map(|n| content(n).len() as u64).sum::<u64>());
    assert!(progress.is_sorted() && progress.len() == 250 && progress.last() == Some(&report.bytes));
    for (n, score) in (0..).zip(&scores) {
        let is_lost = wanted.contains(&Damage::Block { score: *score, pack: 1 });
        match store.get(score) {
            Err(Error::Damaged { .. }) => assert!(is_lost, "{n}"),
            read => assert!(!is_lost && read.expect("get") == Some(content(n)), "{n}"),
        }
    }
}

#[test]
fn what_a_damaged_table_names_is_not_drawn() {
    let home = Home::new();
    fill(&home.open(), 0..9);
    let pack = &home.packs()[0];
    let length = fs::metadata(pack).expect("metadata").len();
    // In the digest of the last entry, and in the offset of the one before it.
    flip(pack, length - 64 - 10);
    flip(pack, length - 64 - 49 - 49 + 7);
    let store = home.open();
    let mut sampler = store.sampler(Algorithm::Sha256, 1);
    let (mut right, mut block) = (0, Vec::new());
    while let Some(drawn) = sampler.next().expect("draw") {
        if store.get_drawn(&drawn, &mut block).expect("get") {
            assert_eq!(Score::of(Algorithm::Sha256, &block), drawn.score);
            right += 1;
        }
    }
    // The one with the wrong offset is read by its score.
    assert_eq!(right, 8);
}

#[test]
fn exchanged_packs_mislead_nobody_and_are_rescued() {
    for (one, other) in [(0, 1), (0, 2)] {
        let home = Home::new();
        let store = home.open();
        let scores = fill(&store, 0..19);
        drop(store);
        let packs = home.packs();
        let spare = home.directory.path().join("spare");
        fs::rename(&packs[one], &spare).expect("rename");
        fs::rename(&packs[other], &packs[one]).expect("rename");
        fs::rename(&spare, &packs[other]).expect("rename");
        let store = home.open();
        let mut sampler = store.sampler(Algorithm::Sha256, 1);
        let mut block = Vec::new();
        while let Some(drawn) = sampler.next().expect("draw") {
            if store.get_drawn(&drawn, &mut block).expect("get") {
                assert!(store.get(&drawn.score).expect("what was drawn can be read").is_some());
            }
        }
        drop(sampler);
        let new = fill(&store, 100..103);
        store.scrub(true, &mut |_| {}, &mut |_| {}).expect("scrub");
        drop(store);
        let store = home.open();
        for (n, score) in (0..19).chain(100..).zip(scores.iter().chain(&new)) {
            assert_eq!(store.get(score).expect("get"), Some(self::block(n)), "{n} of {one} and {other}");
        }
        assert_eq!(store.scrub(false, &mut |damage| panic!("{damage:?}"), &mut |_| {}).expect("scrub").blocks, 22);
    }
}

#[test]
fn what_was_drawn_before_it_was_moved_is_held_where_it_is_now() {
    // When it is used: between the copying and the removal of the old packs, or after both.
    for removed in [false, true] {
        let home = Home::new();
        let store = home.open();
        let scores = fill(&store, 0..60);
        store.sync().expect("sync");
        let mut sampler = store.sampler(Algorithm::Sha256, 1);
        let drawn: Vec<_> = std::iter::from_fn(|| sampler.next().expect("draw")).collect();
        drop(sampler);
        if removed {
            let pins = Pins(scores.iter().copied().filter(|score| score.digest()[0] % 2 == 0).collect());
            store.collect(&pins, Goal::Unreachable).expect("collect");
        } else {
            for number in 1..8 {
                let entries = store.shared.whole_table(number).expect("read").expect("sealed");
                crate::gc::relocate(&store.shared, number, crate::PackKind::Blocks, &entries).expect("copy");
            }
            store.sync().expect("sync");
        }
        let hold = store.hold();
        let mut used = Vec::new();
        let mut block = Vec::new();
        for (n, drawn) in drawn.iter().enumerate() {
            let here = if n % 2 == 0 {
                store.place(drawn).expect("look up").is_some()
            } else {
                store.get_drawn(drawn, &mut block).expect("read")
            };
            used.extend(here.then_some(drawn.score));
        }
        assert!(used.len() > 20, "{}", used.len());
        store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
        for score in &used {
            assert!(store.get(score).expect("read").is_some(), "it is held, {removed}");
        }
        drop(hold);
    }
}

#[test]
fn of_two_records_of_a_block_that_is_held_which_the_index_names() {
    let home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..60);
    // A collection that did not come to its end has copied them all, and nobody remembers.
    store.sync().expect("sync");
    for number in 1..8 {
        let entries = store.shared.whole_table(number).expect("read").expect("sealed");
        crate::gc::relocate(&store.shared, number, crate::PackKind::Blocks, &entries).expect("copy");
    }
    drop(store);
    let store = home.open();
    fill(&store, 100..110);
    store.sync().expect("sync");
    let hold = store.hold();
    let mut sampler = store.sampler(Algorithm::Sha256, 1);
    let (mut used, mut old, mut block) = (Vec::new(), 0, Vec::new());
    for n in 0..40 {
        let drawn = sampler.next().expect("draw").expect("there are enough");
        let first = drawn.place.is_some_and(|place| place.pack < 8);
        if n % 2 == 0 {
            assert!(store.get_drawn(&drawn, &mut block).expect("read"));
        } else {
            assert!(store.place(&drawn).expect("look up").is_some());
        }
        old += usize::from(first && scores.contains(&drawn.score));
        used.push(drawn.score);
    }
    drop(sampler);
    assert!(old > 3, "some were drawn where they were first: {old}");
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    for score in &used {
        assert!(store.get(score).expect("read").is_some(), "it is held");
    }
    drop(hold);
}

#[test]
fn who_holds_a_root_holds_both_of_its_copies() {
    let home = Home::new();
    let store = home.open();
    let root = store.put_twice(Algorithm::Sha256, &block(7)).expect("put");
    fill(&store, 10..40);
    // What is written to under a hold stays anyway.
    store.shared.copies.seal().expect("seal");
    store.sync().expect("sync");
    let hold = store.hold();
    assert!(store.contains(&root).expect("look up"));
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    assert!(store.get(&root).expect("read").is_some() && store.is_root(&root).expect("look up"));
    drop(hold);
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    assert!(store.get(&root).expect("read").is_none() && !store.is_root(&root).expect("look up"));
}

#[test]
fn collection_drops_what_no_pin_needs() {
    let home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..60);
    let pins = Pins(scores.iter().copied().step_by(3).collect());
    let report = store.collect(&pins, Goal::Unreachable).expect("collect");
    assert_eq!((report.dropped, report.kept), (40, 20));
    assert!(report.bytes_after * 2 < report.bytes_before, "{report:?}");
    drop(store);
    let store = home.open();
    for (n, score) in (0..).zip(&scores) {
        assert_eq!(store.get(score).expect("get").is_some(), n % 3 == 0, "{n}");
    }
    assert_eq!(store.statistics().bytes, on_disk(&home, &store));
}

/// Bytes in pack files, all of them sealed.
fn on_disk(home: &Home, store: &PackStore) -> u64 {
    store.shared.blocks.seal().expect("seal");
    store.shared.copies.seal().expect("seal");
    store.sync().expect("sync");
    home.packs().iter().map(|path| fs::metadata(path).expect("metadata").len()).sum()
}

#[test]
fn a_hold_keeps_what_is_in_use() {
    let home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..40);
    drop(store);
    // A new process has used nothing yet, but for the marks that were saved.
    let store = home.open();
    store.collect(&Pins(scores.clone()), Goal::AtMost(0)).expect("collect");
    let hold = store.hold();
    assert!(store.contains(&scores[3]).expect("contains"));
    let during = fill(&store, 100..103);
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    assert!(store.contains(&scores[3]).expect("contains"), "it was used under the hold");
    assert!(during.iter().all(|score| store.contains(score).expect("contains")), "put under the hold");
    drop(hold);
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    assert!(!store.contains(&scores[3]).expect("contains"));
}

#[test]
fn capacity_evicts_what_was_not_used_and_keeps_pins() {
    let mut home = Home::new();
    home.options.capacity = Some(8 << 20);
    let store = home.open();
    let pinned = fill(&store, 0..20);
    store.set_reachable(Arc::new(Pins(pinned.clone())));
    fill(&store, 20..200);
    assert!(store.statistics().bytes <= 8 << 20);
    for (n, score) in (0..).zip(&pinned) {
        assert_eq!(store.get(score).expect("get"), Some(block(n)), "pinned");
    }
    assert!(fill_pinned(&store, &pinned).len() > pinned.len());
    for (n, score) in (0..).zip(&pinned) {
        assert_eq!(store.get(score).expect("get"), Some(block(n)), "pinned to the end");
    }
}

#[test]
fn an_old_pack_of_copies_does_not_keep_blocks_from_eviction() {
    let mut home = Home::new();
    home.options.capacity = Some(8 << 20);
    let store = home.open();
    store.set_reachable(Arc::new(Pins(Vec::new())));
    store.put_twice(Algorithm::Sha256, &block(0)).expect("put");
    for round in 1..5 {
        let _hold = store.hold();
        fill(&store, 100 * round..100 * round + 30);
        store.put_twice(Algorithm::Blake3, &round.to_be_bytes()).expect("put");
    }
    assert!(store.statistics().bytes <= 8 << 20);
}

#[test]
fn a_table_is_not_believed_of_what_was_never_acknowledged() {
    let mut home = Home::new();
    home.options.commit_every = u64::MAX;
    let store = home.open();
    fill(&store, 0..1);
    let index = snapshot(&home.index);
    // This seals the pack, and then the power goes: the table is there, and a part of a block before it is not.
    let scores = fill(&store, 1..9);
    drop(store);
    home.index = index;
    let pack = OpenOptions::new().write(true).open(&home.packs()[0]).expect("open");
    pack.write_all_at(&[0; 4000], 64 + 64 + FULL as u64 + 100).expect("write");
    let store = home.open();
    assert_eq!(fill(&store, 1..2), scores[..1]);
    assert_eq!(store.get(&scores[0]).expect("get"), Some(block(1)));
}

#[test]
fn bytes_are_counted_right_after_a_rebuild() {
    let mut home = Home::new();
    fill(&home.open(), 0..60);
    home.index = Arc::default();
    let store = home.open();
    let before = store.statistics().bytes;
    assert_eq!(before, on_disk(&home, &store));
    assert_eq!(before, store.statistics().bytes, "tables count from the beginning");
    store.collect(&Pins(Vec::new()), Goal::Unreachable).expect("collect");
    assert_eq!(store.statistics().bytes, on_disk(&home, &store));
}

#[test]
fn what_was_dropped_stays_dropped_when_a_pack_is_mended() {
    let home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..20);
    let root = store.put_twice(Algorithm::Sha256, &block(500)).expect("put");
    store.sync().expect("sync");
    assert!(store.remove(&root).expect("remove") && store.remove(&scores[3]).expect("remove"));
    drop(store);
    home.packs().iter().for_each(|pack| flip(pack, 20));
    let store = home.open();
    store.scrub(true, &mut |_| {}, &mut |_| {}).expect("scrub");
    assert!(!store.contains(&root).expect("contains") && !store.contains(&scores[3]).expect("contains"));
    assert!(store.contains(&scores[4]).expect("contains"));
}

/// Ends a hold while it says what is needed, as a writer does who comes to his end just then.
struct Ending(std::sync::Mutex<Option<crate::Hold>>);

impl Reachable for Ending {
    fn visit(&self, _: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>> {
        drop(self.0.lock().expect("a hold").take());
        Ok(())
    }
}

#[test]
fn what_a_writer_wrote_and_read_who_ends_during_a_collection_stays() {
    let home = Home::new();
    let store = home.open();
    let read = store.put(Algorithm::Sha256, &block(1)).expect("put");
    let unneeded = store.put(Algorithm::Sha256, &block(2)).expect("put");
    store.sync().expect("sync");
    // What the writer finds there is in a pack that is older than his.
    store.collect(&Pins(vec![read, unneeded]), Goal::Unreachable).expect("collect");
    let hold = store.hold();
    store.get(&read).expect("get").expect("there");
    let written = store.put(Algorithm::Sha256, &block(3)).expect("put");
    store.sync().expect("sync");
    store.collect(&Ending(std::sync::Mutex::new(Some(hold))), Goal::Unreachable).expect("collect");
    assert!(store.contains(&written).expect("contains"), "written under a hold that ended meanwhile");
    assert!(store.contains(&read).expect("contains"), "read under it");
    assert!(!store.contains(&unneeded).expect("contains"));
    store.collect(&Pins(vec![]), Goal::Unreachable).expect("collect");
    assert!(!store.contains(&written).expect("contains") && !store.contains(&read).expect("contains"));
}

/// Reads a root to find out what is needed, which may heal it.
struct Reading(std::sync::Weak<PackStore>, Score);

impl Reachable for Reading {
    fn visit(&self, keep: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>> {
        keep(&self.1);
        self.0.upgrade().expect("the store is open").get(&self.1)?;
        Ok(())
    }
}

#[test]
fn a_root_that_is_healed_during_a_collection_waits_for_no_other() {
    let mut home = Home::new();
    home.options.capacity = Some(4 << 20);
    let store = Arc::new(home.open());
    let root = store.put_twice(Algorithm::Sha256, &block(5)).expect("put");
    store.sync().expect("sync");
    flip(&home.packs()[0], 64 + 64 + 1000);
    store.set_reachable(Arc::new(Reading(Arc::downgrade(&store), root)));
    for n in 100..200 {
        store.put(Algorithm::Sha256, &block(n)).expect("put");
    }
    assert_eq!(store.get(&root).expect("get"), Some(block(5)));
}

#[test]
fn writers_readers_and_collections_get_along() {
    let home = Home::new();
    let store = home.open();
    let hold = store.hold();
    let known = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let (store, known) = (&store, &known);
        let writers: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn(move || {
                    let mut buffer = Vec::new();
                    for n in 1000 * thread..1000 * thread + 100 {
                        let score = store.put(Algorithm::Blake3, &block(n)).expect("put");
                        let before = {
                            let mut known = known.lock().expect("not poisoned");
                            known.push((score, n));
                            known[known.len() * 7 / 8]
                        };
                        for (score, n) in [(score, n), before] {
                            assert!(store.get_into(&score, &mut buffer).expect("get"), "{n} is gone");
                            assert!(buffer == block(n), "{n} is wrong");
                        }
                    }
                })
            })
            .collect();
        scope.spawn(move || {
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                store.sync().expect("sync");
                let pins = known.lock().expect("not poisoned").iter().map(|(score, _)| *score).collect();
                store.collect(&Pins(pins), Goal::Unreachable).expect("collect");
                let mut sampler = store.sampler(Algorithm::Blake3, 1);
                let mut block = Vec::new();
                while let Some(drawn) = sampler.next().expect("draw") {
                    assert!(store.get_drawn(&drawn, &mut block).expect("get") && drawn.score.matches(&block));
                }
            }
        });
    });
    drop(hold);
    store.sync().expect("sync");
    store.scrub(false, &mut |damage| panic!("{damage:?}"), &mut |_| {}).expect("scrub");
    drop(store);
    let store = home.open();
    for (score, n) in known.into_inner().expect("not poisoned") {
        assert_eq!(store.get(&score).expect("get"), Some(block(n)));
    }
}

/// Pins everything that it puts until the store refuses, which it must.
fn fill_pinned(store: &PackStore, pinned: &[Score]) -> Vec<Score> {
    let mut pins = pinned.to_vec();
    for n in 1000..1200 {
        store.set_reachable(Arc::new(Pins(pins.clone())));
        match store.put(Algorithm::Sha256, &block(n)) {
            Ok(score) => pins.push(score),
            Err(Error::Full { .. }) => return pins,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a store of 8 MiB took 25 MiB of pinned blocks");
}

/// Draws everything.
fn draw_all(store: &PackStore, algorithm: Algorithm) -> Vec<Score> {
    let mut sampler = store.sampler(algorithm, 1);
    std::iter::from_fn(|| sampler.next().expect("draw").map(|drawn| drawn.score)).collect()
}

#[test]
fn what_is_likely_to_stay_is_drawn_first() {
    let home = Home::new();
    let store = home.open();
    let pushed: Vec<_> = (0..240).map(|n| Score::of(Algorithm::Sha256, &block(n))).collect();
    for (n, score) in (0..).zip(&pushed) {
        assert!(store.put_if(score, &block(n)).expect("put"));
    }
    let own = fill(&store, 240..320);
    store.sync().expect("sync");
    // By chance it would be 10 of 40.
    let first = |store: &PackStore, seed: u64, wanted: &[Score]| {
        let mut sampler = store.sampler(Algorithm::Sha256, seed);
        let drawn = (0..40).map(|_| sampler.next().expect("draw").expect("enough").score);
        let of_them = drawn.filter(|score| wanted.contains(score)).count();
        assert!(of_them >= 20, "{of_them} of 40");
    };
    first(&store, 1, &own);
    drop(store);
    let store = home.open();
    first(&store, 2, &own);
    // What pins need is what stays, whoever put it.
    store.collect(&Pins(pushed[..80].to_vec()), Goal::AtMost(250 * FULL as u64)).expect("collect");
    first(&store, 3, &pushed[..80]);
    let drawn = draw_all(&store, Algorithm::Sha256);
    let each: std::collections::HashSet<_> = drawn.iter().collect();
    assert_eq!(each.len(), drawn.len(), "each once");
    assert_eq!(drawn.len() as u64, store.statistics().records, "and all");
}

#[test]
fn blocks_of_the_other_algorithm_that_stay_do_not_end_the_preference() {
    let home = Home::new();
    let store = home.open();
    for n in 0..600 {
        assert!(store.put_if(&Score::of(Algorithm::Sha256, &block(n)), &block(n)).expect("put"));
    }
    let own = fill(&store, 600..900);
    for n in 0..300 {
        store.put(Algorithm::Blake3, &block(n)).expect("put");
    }
    store.sync().expect("sync");
    for seed in 1..4 {
        let mut sampler = store.sampler(Algorithm::Sha256, seed);
        let drawn = (0..200).map(|_| sampler.next().expect("draw").expect("enough").score);
        let of_them = drawn.filter(|score| own.contains(score)).count();
        // By chance it would be 67.
        assert!(of_them >= 130, "{of_them} of 200 with seed {seed}");
    }
}

#[test]
fn a_pack_that_vanished_takes_no_room() {
    let home = Home::new();
    let store = home.open();
    fill(&store, 0..60);
    let (before, pack) = (store.statistics().bytes, home.packs()[2].clone());
    let length = fs::metadata(&pack).expect("metadata").len();
    fs::remove_file(&pack).expect("remove");
    for _ in 0..2 {
        store.scrub(true, &mut |_| {}, &mut |_| {}).expect("scrub");
        assert_eq!(store.statistics().bytes, before - length);
    }
    drop(store);
    assert_eq!(home.open().statistics().bytes, before - length);
}

#[test]
fn what_a_collection_found_is_remembered() {
    let home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..60);
    let kept = |store: &PackStore| {
        let places =
            scores.iter().filter_map(|score| store.shared.lookup(crate::place::Tag::Block, score).expect("found"));
        places.filter(|place| store.shared.kept.contains(place)).count()
    };
    assert_eq!(kept(&store), 60);
    drop(store);
    let store = home.open();
    assert_eq!(kept(&store), 60);
    store.collect(&Pins(scores[..5].to_vec()), Goal::AtMost(50 * FULL as u64)).expect("collect");
    assert_eq!(kept(&store), 5);
    drop(store);
    assert_eq!(kept(&home.open()), 5);
}

#[test]
fn a_capacity_is_kept_to_with_blocks_of_any_size() {
    for size in [3, 200, 5000, FULL] {
        let mut home = Home::new();
        home.options.capacity = Some(6 << 20);
        let store = home.open();
        let mut n = 0_u32;
        let full = loop {
            let mut small = block(n);
            small.truncate(size);
            small[..3].copy_from_slice(&n.to_be_bytes()[1..]);
            n += 1;
            if let Err(error) = store.put_twice(Algorithm::Sha256, &small) {
                break error;
            }
        };
        assert!(matches!(full, Error::Full { .. }), "{full:?}");
        let said = store.statistics().bytes;
        let bytes = on_disk(&home, &store);
        assert!(bytes <= 6 << 20, "{bytes} with blocks of {size}");
        assert_eq!((said, store.statistics().bytes), (bytes, bytes), "blocks of {size}");
        drop(store);
        assert_eq!(home.open().statistics().bytes, bytes);
    }
}

#[test]
fn a_capacity_that_became_small_makes_room_at_once() {
    let mut home = Home::new();
    let store = home.open();
    let scores = fill(&store, 0..60);
    drop(store);
    // Of each pack some blocks were used lately, and nothing is needed.
    let store = home.open();
    store.collect(&Pins(scores.clone()), Goal::AtMost(0)).expect("collect");
    for score in scores.iter().step_by(3) {
        assert!(store.contains(score).expect("contains"));
    }
    drop(store);
    home.options.capacity = Some(2 << 20);
    let store = home.open();
    store.set_reachable(Arc::new(Pins(Vec::new())));
    let _hold = store.hold();
    let new = fill(&store, 100..108);
    assert!(new.iter().all(|score| store.contains(score).expect("contains")));
    assert!(store.statistics().bytes <= 2 << 20);
}

#[test]
fn a_small_capacity_does_not_confuse_the_blocks_of_large_packs() {
    let mut home = Home::new();
    home.options.pack_size = Options::default().pack_size;
    let store = home.open();
    fill(&store, 0..200);
    let root = store.put_twice(Algorithm::Sha256, &block(200)).expect("put");
    fill(&store, 201..300);
    drop(store);
    home.options.capacity = Some(64 << 20);
    let store = home.open();
    let drawn = draw_all(&store, Algorithm::Sha256);
    assert!(!drawn.contains(&root), "a root is nobody's randomizer");
    assert_eq!(drawn.len(), 299);
    // Of one pack, one block is needed.
    let pin = Score::of(Algorithm::Sha256, &block(250));
    let report = store.collect(&Pins(vec![pin]), Goal::Unreachable).expect("collect");
    assert_eq!((report.kept, report.dropped), (1, 300), "the root and its copy go, too");
}
