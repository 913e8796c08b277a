//! Files that an enemy made.

use cas::{Algorithm, BlockStore, MemoryStore, Score};
use offs::{BLOCK, Error, Reference, heal, list, survey};

use crate::dice::expand;

/// A bare file of 2^60 bytes and tuples of two blocks, in ten blocks: all tuples of a level are the same.
fn endless(store: &MemoryStore) -> Reference {
    let put = |block: &[u8]| store.put(Algorithm::Sha256, block).expect("put");
    let tuple_of = |source: &[u8], seed: u64| {
        let randomizer = expand("randomizer", seed, BLOCK);
        let own: Vec<u8> = source.iter().zip(&randomizer).map(|(a, b)| a ^ b).collect();
        [*put(&own).digest(), *put(&randomizer).digest()].concat()
    };
    let mut tuple = tuple_of(&vec![0; BLOCK], 0);
    let (mut tuples, mut level) = (1_u64 << 43, 0);
    while tuples > 2047 {
        level += 1;
        tuple = tuple_of(&tuple.repeat(2048), level);
        tuples /= 2048;
    }
    let mut root = vec![0; BLOCK];
    root[..11].copy_from_slice(b"OFF4\x01\x00\x12\x02\x00\x10\x00");
    root[16..24].copy_from_slice(&(1_u64 << 60).to_be_bytes());
    let body = tuple.repeat(usize::try_from(tuples).expect("small"));
    root[64..64 + body.len()].copy_from_slice(&body);
    Reference { root: put(&root), key: None }
}

#[test]
fn descriptors_that_repeat_themselves_are_not_walked_for_ever() {
    let store = MemoryStore::new();
    let reference = endless(&store);
    let mut visited = 0;
    let listed = list(&store, &reference, &mut |_: &Score| visited += 1);
    assert!(matches!(listed, Err(Error::Repeats { root }) if root == reference.root), "{listed:?}");
    assert!(visited < 1_000_000, "{visited}");
    assert!(matches!(survey(&store, &reference), Err(Error::Repeats { .. })));
    assert!(matches!(heal(&store, &reference), Err(Error::Repeats { .. })));
}
