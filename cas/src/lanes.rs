//! SHA-256 of several blocks at once: one core hashes four of them in the time of two (SHA-NI), or more.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

/// How many blocks are hashed at once on this machine; 1 where that would be no quicker.
///
/// A score must not depend on the machine that made it, so the first call compares what comes out with what the usual
/// implementation says, and takes the usual one for good where they differ.
pub(crate) fn width() -> usize {
    static WIDTH: OnceLock<usize> = OnceLock::new();
    *WIDTH.get_or_init(|| {
        let width = tape_sha256::lane_width();
        // Long ones of one length, and short ones of any.
        let right = [(0, 16_384), (77, 640)].into_iter().all(|(step, length)| {
            let block = |n: usize| (0..length + n * step).map(|at| (at * 7 + n * 31).to_le_bytes()[0]).collect();
            // Full groups, and one that is not.
            let blocks: Vec<Vec<u8>> = (0..2 * width + 3).map(block).collect();
            let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            let mut digests = vec![[0; 32]; blocks.len()];
            tape_sha256::hash_many(&blocks, &mut digests);
            blocks.iter().zip(&digests).all(|(block, digest)| *digest == one(block))
        });
        if !right {
            tracing::warn!(
                backend = tape_sha256::backend(),
                "this processor's hashing of several blocks is wrong and not used"
            );
        }
        if right { width.max(1) } else { 1 }
    })
}

fn one(block: &[u8]) -> [u8; 32] {
    Sha256::digest(block).into()
}

/// The digests of blocks, in their order. Blocks of the same length are hashed the quickest.
pub(crate) fn digests(blocks: &[&[u8]]) -> Vec<[u8; 32]> {
    if blocks.len() < 2 || width() == 1 {
        return blocks.iter().map(|block| one(block)).collect();
    }
    let mut digests = vec![[0; 32]; blocks.len()];
    tape_sha256::hash_many(blocks, &mut digests);
    digests
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_is_the_digest_of_its_block(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..40)) {
            let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(digests(&blocks), blocks.iter().map(|block| one(block)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn long_blocks_in_any_number() {
        let blocks: Vec<Vec<u8>> = (0..23_u8).map(|n| vec![n; crate::MAX_BLOCK - usize::from(n % 2)]).collect();
        let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        for many in 0..blocks.len() {
            let wanted: Vec<_> = blocks[..many].iter().map(|block| one(block)).collect();
            assert_eq!(digests(&blocks[..many]), wanted, "{many}");
        }
        assert!(width() > 0);
    }
}
