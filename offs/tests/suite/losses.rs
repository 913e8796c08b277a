//! Blocks go missing or bad; files are still read, and mended.

use std::collections::BTreeSet;

use cas::{BlockStore, FaultyStore, MemoryStore, Score};
use offs::{BLOCK, Code, Error, FileReader, Parameters, PutOptions, Reference, SystemDice, heal, put};

use crate::dice::expand;

type Store = FaultyStore<MemoryStore>;

fn setup(blocks: usize, parameters: Parameters, sealed: bool, warm: bool) -> (Store, Reference, Vec<u8>) {
    let store = FaultyStore::new(MemoryStore::new());
    let content = expand("content", blocks as u64, blocks * BLOCK - 3);
    let options = PutOptions { parameters, sealed, ..PutOptions::default() };
    let dice = || Box::new(SystemDice::new());
    if warm {
        let other = expand("other", 1, 4 * blocks * BLOCK);
        put(&store, &mut &other[..], &options, dice(), &|_| {}).expect("put");
    }
    let stored = put(&store, &mut &content[..], &options, dice(), &|_| {}).expect("put");
    (store, stored.reference, content)
}

/// Scores of the tuples of each stripe of the content.
fn stripes(store: &Store, reference: &Reference) -> Vec<Vec<Vec<Score>>> {
    let file = FileReader::open(store, reference).expect("open");
    let parameters = file.root().parameters;
    let tuple = 32 * usize::from(parameters.tuple);
    (0..file.layout().stripes(0))
        .map(|number| {
            let tuples = file.tuples(&file.layout().stripe(0, number)).expect("tuples");
            let score = |digest: &[u8]| Score::from_digest(parameters.algorithm, digest.try_into().expect("32 bytes"));
            tuples.chunks(tuple).map(|tuple| tuple.chunks(32).map(score).collect()).collect()
        })
        .collect()
}

fn read(store: &Store, reference: &Reference) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    FileReader::open(store, reference)?.copy(&mut content, &|_| {})?;
    Ok(content)
}

#[test]
fn any_four_of_twenty_may_go() {
    for code in [Code::Leopard, Code::Novelpoly] {
        for (sealed, warm) in [(true, true), (true, false), (false, true)] {
            let parameters = Parameters { code, ..Parameters::default() };
            let (store, reference, content) =
                setup(if code == Code::Leopard { 40 } else { 17 }, parameters, sealed, warm);
            let all = stripes(&store, &reference);
            for (number, stripe) in all.iter().enumerate() {
                // A short last stripe has as many parity blocks as it has.
                let parity =
                    FileReader::open(&store, &reference).expect("open").layout().stripe(0, number as u64).parity;
                for lost in 0..parity {
                    let score = stripe[(7 * lost + number) % stripe.len()][0];
                    if lost % 2 == 0 { store.lose(score) } else { store.damage(score) }
                }
            }
            assert!(read(&store, &reference).expect("read") == content, "{code:?} sealed {sealed} warm {warm}");
            let report = heal(&store, &reference).expect("heal");
            assert_eq!((report.unhealed.len(), report.lost_stripes), (0, 0));
            for score in all.iter().flatten().flatten() {
                assert!(store.contains(score).expect("contains"), "everything is back");
            }
            assert_eq!(heal(&store, &reference).expect("heal").healed, 0, "nothing is left to do");
        }
    }
}

#[test]
fn one_more_than_parity_is_named() {
    let (store, reference, content) = setup(16, Parameters::default(), true, true);
    let all = stripes(&store, &reference);
    let gone: BTreeSet<_> = all[0].iter().step_by(4).map(|tuple| tuple[0]).collect();
    assert_eq!(gone.len(), 5);
    for score in &gone {
        store.lose(*score);
    }
    let error = read(&store, &reference).expect_err("five of twenty");
    let Error::Lost { missing, damaged } = error else { panic!("{error}") };
    assert!(!missing.is_empty() && missing.iter().all(|score| gone.contains(score)) && damaged.is_empty());
    let report = heal(&store, &reference).expect("heal");
    assert_eq!(report.lost_stripes, 1);
    // One of them comes back from elsewhere: then the others can be healed.
    let one = gone.first().expect("one");
    let block = store.inner().get(one).expect("get").expect("still within");
    store.put(one.algorithm(), &block).expect("put");
    assert!(read(&store, &reference).expect("read") == content);
}

#[test]
fn without_parity_one_is_too_many() {
    let (store, reference, _) = setup(8, Parameters::default().without_parity(), true, true);
    let score = stripes(&store, &reference)[0][3][1];
    store.lose(score);
    assert!(matches!(read(&store, &reference), Err(Error::Lost { missing, .. }) if missing == [score]));
}

#[test]
fn a_tuple_that_lost_two_blocks_is_read_but_not_mended() {
    let (store, reference, content) = setup(16, Parameters::default(), true, true);
    let tuple = &stripes(&store, &reference)[0][2];
    store.lose(tuple[0]);
    store.lose(tuple[1]);
    assert!(read(&store, &reference).expect("read") == content);
    let report = heal(&store, &reference).expect("heal");
    let unhealed: BTreeSet<_> = report.unhealed.into_iter().collect();
    assert_eq!(unhealed, BTreeSet::from([tuple[0], tuple[1]]));
}

#[test]
fn descriptor_levels_are_healed_too() {
    let parameters = Parameters { tuple: 8, ..Parameters::default() };
    let (store, reference, content) = setup(500, parameters, true, false);
    let file = FileReader::open(&store, &reference).expect("open");
    assert_eq!(file.layout().levels().len(), 2);
    let stripe = file.layout().stripe(1, 0);
    let tuples = file.tuples(&stripe).expect("tuples");
    assert_eq!((stripe.data, stripe.parity), (2, 1));
    let first = Score::from_digest(parameters.algorithm, tuples[..32].try_into().expect("32 bytes"));
    store.lose(first);
    assert!(read(&store, &reference).expect("read") == content);
    assert!(store.contains(&first).expect("contains"), "reading healed it");
}

#[test]
fn a_lost_root_is_not_found() {
    let (store, reference, _) = setup(3, Parameters::default(), true, false);
    store.lose(reference.root);
    assert!(matches!(read(&store, &reference), Err(Error::NoRoot { root }) if root == reference.root));
}
