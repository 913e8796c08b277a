//! Files of all shapes go in and come out, and cost what they should.

use std::{collections::BTreeSet, ops::ControlFlow};

use cas::{Algorithm, BlockStore, MemoryStore, RecordingStore, Score, StrictStore};
use offs::{BLOCK, Code, FileReader, Parameters, PutOptions, Reference, SystemDice, list, put};
use proptest::prelude::*;

use crate::dice::expand;

fn store_with(store: &dyn BlockStore, content: &[u8], options: &PutOptions) -> Reference {
    put(store, &mut &content[..], options, Box::new(SystemDice::new()), &|_| {}).expect("put").reference
}

fn read(store: &dyn BlockStore, reference: &Reference) -> Vec<u8> {
    let mut content = Vec::new();
    FileReader::open(store, reference).expect("open").copy(&mut content, &|_| {}).expect("read");
    content
}

fn plain(tuple: u8) -> PutOptions {
    let parameters = Parameters { tuple, ..Parameters::default() }.without_parity();
    PutOptions { parameters, ..PutOptions::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_goes_in_comes_out(
        blocks in 0_usize..40,
        off_by in -2_isize..=2,
        tuple in 2_u8..=8,
        sealed: bool,
        sha: bool,
        shape in prop_oneof![Just((16, 0)), Just((16, 4)), Just((5, 3)), Just((1, 1)), Just((3, 7))],
        workers in 1_usize..4,
    ) {
        let length = (blocks * BLOCK).saturating_add_signed(off_by);
        let content = expand("content", blocks as u64, length);
        let (data, parity) = shape;
        let code = if parity == 0 { Code::None } else { Code::Leopard };
        let algorithm = if sha { Algorithm::Sha256 } else { Algorithm::Blake3 };
        let parameters = Parameters { algorithm, tuple, code, data, parity };
        let store = StrictStore::new();
        let reference = store_with(&store, &content, &PutOptions { parameters, sealed, workers, ..PutOptions::default() });
        prop_assert!(read(&store, &reference) == content);
        let file = FileReader::open(&store, &reference).expect("open");
        let end = length as u64;
        for (from, to) in [(0, end / 2), (end / 3, end / 3 + 7), (end / 2, end + 100), (end, end + 1)] {
            let mut piece = Vec::new();
            file.copy_range(from..to, &mut piece, &|_| {}).expect("range");
            let expected = &content[usize::try_from(from).unwrap()..usize::try_from(to.min(end)).unwrap()];
            prop_assert!(piece == expected);
            prop_assert!(file.read_piece(from..to).expect("piece") == expected);
        }
        store.sync().expect("sync");
    }
}

#[test]
fn several_levels_of_descriptors() {
    // 8 blocks a tuple: a root holds 511 tuples, so 700 source blocks need a second level.
    let store = MemoryStore::new();
    let content = expand("content", 1, 700 * BLOCK - 5);
    let options = PutOptions { parameters: Parameters { tuple: 8, ..Parameters::default() }, ..PutOptions::default() };
    let reference = store_with(&store, &content, &options);
    let file = FileReader::open(&store, &reference).expect("open");
    assert_eq!(file.layout().levels().len(), 2);
    assert!(read(&store, &reference) == content);
}

fn scores(store: &dyn BlockStore) -> BTreeSet<Score> {
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
fn an_empty_store_costs_two_bytes_a_byte_and_a_warm_one_one() {
    let store = MemoryStore::new();
    // 100 MiB. The stripes that are in work at the very beginning have no earlier blocks of the file to draw.
    let content = expand("content", 1, 800 * BLOCK);
    store_with(&store, &content, &PutOptions { workers: 32, ..plain(3) });
    let cold = store.len();
    assert!((1600..=1680).contains(&cold), "{cold} blocks for 800");
    store_with(&store, &content, &plain(3));
    // The blocks, the descriptor of 800 tuples fits into the root.
    assert_eq!(store.len() - cold, 801, "800 blocks and a root");
}

#[test]
fn no_randomizer_twice_in_a_file() {
    for warm in [false, true] {
        let store = MemoryStore::new();
        let content = expand("content", 2, 150 * BLOCK);
        if warm {
            store_with(&store, &content, &plain(3));
        }
        let before = scores(&store);
        let reference = store_with(&store, &content, &plain(3));
        let file = FileReader::open(&store, &reference).expect("open");
        let mut randomizers = Vec::new();
        let mut own = BTreeSet::new();
        for number in 0..file.layout().stripes(0) {
            let tuples = file.tuples(&file.layout().stripe(0, number)).expect("tuples");
            for tuple in tuples.chunks(96) {
                own.insert(tuple[..32].to_vec());
                randomizers.push(tuple[32..64].to_vec());
                randomizers.push(tuple[64..].to_vec());
            }
        }
        let different: BTreeSet<_> = randomizers.iter().cloned().collect();
        assert_eq!(different.len(), randomizers.len());
        assert_eq!(own.len(), 150);
        if warm {
            let known = |digest: &Vec<u8>| before.iter().any(|score| score.digest()[..] == digest[..]);
            assert!(randomizers.iter().all(known), "a warm store gives all randomizers");
        }
    }
}

#[test]
fn a_small_sealed_file_costs_one_block() {
    let store = MemoryStore::new();
    let reference = store_with(&store, b"x", &PutOptions::default());
    assert_eq!(store.len(), 1);
    assert_eq!(read(&store, &reference), b"x");
    let store = MemoryStore::new();
    let bare = PutOptions { sealed: false, ..PutOptions::default() };
    let reference = store_with(&store, b"x", &bare);
    assert_eq!(read(&store, &reference), b"x");
    assert_eq!(store.len(), 3 + 3 + 1, "by the letter: a tuple, a parity tuple and a root");
}

#[test]
fn a_range_touches_only_the_blocks_that_it_needs() {
    let store = RecordingStore::new(MemoryStore::new());
    let content = expand("content", 3, 600 * BLOCK);
    let options = PutOptions { parameters: Parameters { tuple: 8, ..Parameters::default() }, ..PutOptions::default() };
    let reference = store_with(&store, &content, &options);
    store.take_reads();
    let file = FileReader::open(&store, &reference).expect("open");
    let mut piece = Vec::new();
    let from = 300 * BLOCK + 17;
    file.copy_range(from as u64..(from + (1 << 20)) as u64, &mut piece, &|_| {}).expect("range");
    assert!(piece == content[from..from + (1 << 20)]);
    let reads = store.take_reads().len();
    // The root, at most two blocks of the descriptor, and nine source blocks, each of eight.
    assert!((1 + 8 + 9 * 8..=1 + 2 * 8 + 9 * 8).contains(&reads), "{reads}");
}

#[test]
fn listing_names_every_block() {
    let store = MemoryStore::new();
    let content = expand("content", 4, 530 * BLOCK);
    let options = PutOptions { parameters: Parameters { tuple: 8, ..Parameters::default() }, ..PutOptions::default() };
    let reference = store_with(&store, &content, &options);
    let mut listed = BTreeSet::new();
    list(&store, &reference, &mut |score| {
        listed.insert(*score);
    })
    .expect("list");
    assert_eq!(listed, scores(&store), "one file alone in its store needs everything in it");
}

#[test]
fn the_wrong_key_and_the_wrong_root_are_told_apart() {
    let store = MemoryStore::new();
    let reference = store_with(&store, b"secret", &PutOptions::default());
    let mut wrong = reference.clone();
    wrong.key = Some(offs::Key::from_bytes([1; 32]));
    assert!(matches!(FileReader::open(&store, &wrong), Err(offs::Error::Root { .. })));
    wrong.key = None;
    assert!(matches!(FileReader::open(&store, &wrong), Err(offs::Error::Root { .. })));
    wrong.root = Score::of(Algorithm::Sha256, b"elsewhere");
    assert!(matches!(FileReader::open(&store, &wrong), Err(offs::Error::NoRoot { .. })));
}

#[test]
fn a_full_disk_is_an_error_and_not_a_file() {
    let store = cas::FaultyStore::new(MemoryStore::new());
    store.fill_after(25);
    let content = expand("content", 5, 30 * BLOCK);
    let stored = put(&store, &mut &content[..], &plain(3), Box::new(SystemDice::new()), &|_| {});
    assert!(matches!(stored, Err(offs::Error::Store(cas::Error::DiskFull { .. }))));
}
