//! The suite that every [`BlockStore`] passes.

use std::{collections::BTreeSet, ops::ControlFlow};

use crate::{Algorithm, BlockStore, Error, MAX_BLOCK, Score};

/// Checks the whole contract on stores that `open` makes, each of them empty.
///
/// # Panics
/// When the store breaks the contract; the message says how.
pub fn check<S: BlockStore>(mut open: impl FnMut() -> S) {
    put_returns_the_score(&open());
    many_are_put_as_each_would_be(&open());
    what_others_name_is_compared(&open());
    absence_is_not_an_error(&open());
    lengths_are_checked(&open());
    putting_twice_is_putting_once(&open());
    removed_is_absent(&open());
    scores_ascend(&open());
    sampler_draws_each_once(&open());
    threads_share_it(&open());
}

fn get(store: &dyn BlockStore, score: &Score) -> Option<Vec<u8>> {
    store.get(score).expect("get")
}

fn put_returns_the_score(store: &dyn BlockStore) {
    for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
        for length in [1, 63, 4096, MAX_BLOCK - 1, MAX_BLOCK] {
            let block: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let score = store.put(algorithm, &block).expect("put");
            assert_eq!(score, Score::of(algorithm, &block), "the store computes the score");
            assert_eq!(get(store, &score).as_deref(), Some(&block[..]), "what was put is read");
            assert!(store.contains(&score).expect("contains"));
            let twice = store.put_twice(algorithm, &block).expect("put twice");
            assert_eq!(twice, score, "a second copy has the same name");
            store.sync().expect("sync");
            let mut reused = vec![9; 200_000];
            assert!(store.get_into(&score, &mut reused).expect("get"), "after a sync");
            assert_eq!(reused, block, "a reused buffer holds the block and nothing else");
        }
    }
}

fn many_are_put_as_each_would_be(store: &dyn BlockStore) {
    for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
        let blocks: Vec<Vec<u8>> = (0..11_u8).map(|n| vec![n % 9; MAX_BLOCK - usize::from(n % 3)]).collect();
        let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let scores = store.put_many(algorithm, &blocks).expect("put");
        assert_eq!(scores, blocks.iter().map(|block| Score::of(algorithm, block)).collect::<Vec<_>>());
        for (score, block) in scores.iter().zip(&blocks) {
            assert_eq!(get(store, score).as_deref(), Some(*block));
        }
        assert!(store.put_many(algorithm, &[&[1], &[]]).is_err(), "no block is empty");
        assert_eq!(store.put_many(algorithm, &[]).expect("put"), []);
    }
}

fn what_others_name_is_compared(store: &dyn BlockStore) {
    let score = Score::of(Algorithm::Sha256, b"right");
    for wrong in [&b"wrong"[..], b"", &vec![0; MAX_BLOCK + 1]] {
        assert!(!store.put_if(&score, wrong).expect("put"), "other bytes are not stored");
    }
    assert_eq!(get(store, &score), None);
    assert_eq!(get(store, &Score::of(Algorithm::Sha256, b"wrong")), None, "not under their own name either");
    assert!(store.put_if(&score, b"right").expect("put"));
    assert_eq!(get(store, &score).as_deref(), Some(&b"right"[..]));

    // Every fifth one goes by the name of its neighbour, in either algorithm.
    let name = |n: u8| {
        let algorithm = [Algorithm::Sha256, Algorithm::Blake3][usize::from(n % 2)];
        Score::of(algorithm, &[n + u8::from(n.is_multiple_of(5)); 300])
    };
    let blocks: Vec<_> = (10..60).map(|n| [n; 300]).collect();
    let named: Vec<(Score, &[u8])> = blocks.iter().map(|block| (name(block[0]), &block[..])).collect();
    let taken: Vec<bool> = store.put_if_many(&named).into_iter().map(|taken| taken.expect("put")).collect();
    assert_eq!(taken, (10..60).map(|n| n % 5 != 0).collect::<Vec<_>>());
    for ((score, block), taken) in named.iter().zip(taken) {
        assert_eq!(get(store, score).as_deref(), taken.then_some(*block));
    }
    assert!(store.put_if_many(&[]).is_empty());
}

fn absence_is_not_an_error(store: &dyn BlockStore) {
    let score = Score::of(Algorithm::Sha256, b"not here");
    assert_eq!(get(store, &score), None);
    assert!(!store.contains(&score).expect("contains"));
    assert!(!store.remove(&score).expect("remove"));
    let other = Score::from_digest(Algorithm::Blake3, *store.put(Algorithm::Sha256, b"here").expect("put").digest());
    assert_eq!(get(store, &other), None, "the algorithm is part of the name");
}

fn lengths_are_checked(store: &dyn BlockStore) {
    for length in [0, MAX_BLOCK + 1] {
        let answer = store.put(Algorithm::Sha256, &vec![0; length]);
        assert!(matches!(answer, Err(Error::BlockLength { length: l }) if l == length), "length {length}");
    }
}

fn putting_twice_is_putting_once(store: &dyn BlockStore) {
    let first = store.put(Algorithm::Sha256, b"same").expect("put");
    store.sync().expect("sync");
    assert_eq!(store.put(Algorithm::Sha256, b"same").expect("put"), first);
    let mut count = 0;
    store
        .scores(&mut |_| {
            count += 1;
            ControlFlow::Continue(())
        })
        .expect("scores");
    assert_eq!(count, 1);
}

fn removed_is_absent(store: &dyn BlockStore) {
    let score = store.put_twice(Algorithm::Sha256, b"to go").expect("put");
    assert!(store.remove(&score).expect("remove"));
    assert_eq!(get(store, &score), None);
    assert!(!store.remove(&score).expect("remove"));
    assert_eq!(store.put(Algorithm::Sha256, b"to go").expect("put"), score);
    assert_eq!(get(store, &score).as_deref(), Some(&b"to go"[..]), "it can come back");
}

fn scores_ascend(store: &dyn BlockStore) {
    let mut put = BTreeSet::new();
    for n in 0..200_u32 {
        let algorithm = if n % 3 == 0 { Algorithm::Blake3 } else { Algorithm::Sha256 };
        put.insert(store.put(algorithm, &n.to_be_bytes()).expect("put"));
    }
    let mut listed = Vec::new();
    store
        .scores(&mut |score| {
            listed.push(score);
            ControlFlow::Continue(())
        })
        .expect("scores");
    assert_eq!(listed, put.into_iter().collect::<Vec<_>>());
    let mut first = None;
    store
        .scores(&mut |score| {
            assert!(first.replace(score).is_none(), "visiting goes on after a break");
            ControlFlow::Break(())
        })
        .expect("scores");
}

fn sampler_draws_each_once(store: &dyn BlockStore) {
    let mut full = BTreeSet::new();
    for n in 0..40_u8 {
        full.insert(store.put(Algorithm::Sha256, &vec![n; MAX_BLOCK]).expect("put"));
        store.put(Algorithm::Sha256, &vec![n; 1000]).expect("put");
        store.put(Algorithm::Blake3, &vec![n; MAX_BLOCK]).expect("put");
    }
    store.sync().expect("sync");
    let draw = |seed| {
        let mut sampler = store.sampler(Algorithm::Sha256, seed);
        let mut drawn = Vec::new();
        let mut block = Vec::new();
        while let Some(one) = sampler.next().expect("next") {
            assert!(store.get_drawn(&one, &mut block).expect("get"), "what was drawn is there");
            assert!(one.score.matches(&block));
            drawn.push(one.score);
        }
        drawn
    };
    let first = draw(1);
    assert_eq!(first.len(), full.len(), "each block of full size and right algorithm, once");
    assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), full);
    assert_ne!(first, draw(2), "the seed decides the order");
    store.remove(&first[0]).expect("remove");
    assert!(!draw(1).contains(&first[0]), "what was removed is not drawn");
}

fn threads_share_it(store: &dyn BlockStore) {
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            scope.spawn(move || {
                for n in 0..50_u32 {
                    // Half of the blocks are everybody's, half are the thread's own.
                    let block = if n % 2 == 0 { n.to_be_bytes() } else { (n + 1000 * thread).to_be_bytes() };
                    let score = store.put(Algorithm::Sha256, &block).expect("put");
                    assert_eq!(get(store, &score).as_deref(), Some(&block[..]));
                    if n % 10 == 0 {
                        store.sync().expect("sync");
                    }
                }
            });
        }
    });
}
