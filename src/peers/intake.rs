//! Blocks that peers sent, on their way into the store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use cas::{Algorithm, BlockStore as _, Error as StoreError, PackStore, Score};
use tokio::sync::oneshot;

use crate::peers::{
    Admitted, lock,
    threads::{Panicked, Threads},
};

/// Threads that store what came, at most. While they are at work, what comes waits and goes together.
const MOST_AT_WORK: usize = 2;
/// Blocks that go together, at most, where the processor hashes no more at once.
const TOGETHER: usize = 16;

/// Blocks that wait to be compared with their scores and stored.
///
/// A processor hashes many blocks at once nearly as quickly as one (`cas`, `Score::match_many`). Nothing waits for
/// others to come: a block that comes when no thread is at work goes alone.
pub(crate) struct Intake {
    store: Arc<PackStore>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    blocks: VecDeque<Arrived>,
    at_work: usize,
}

struct Arrived {
    score: Score,
    block: Bytes,
    stored: oneshot::Sender<Result<bool, StoreError>>,
    /// The request that brought it is under way until it is stored.
    admitted: Option<Admitted>,
}

/// If a thread that is at work panics, nobody waits for ever for what it would have stored.
struct AtWork<'a>(&'a Intake);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut waiting = lock(&self.0.waiting);
            waiting.at_work -= 1;
            waiting.blocks.clear();
        }
    }
}

impl Intake {
    pub(crate) fn new(store: Arc<PackStore>) -> Self {
        Self { store, waiting: Mutex::default() }
    }

    /// Stores a block if it has the score that its sender says. Says whether it has.
    pub(crate) async fn take(
        self: &Arc<Self>,
        threads: &Threads,
        score: Score,
        block: Bytes,
        admitted: Option<Admitted>,
    ) -> Result<Result<bool, StoreError>, Panicked> {
        let (stored, result) = oneshot::channel();
        if self.add(Arrived { score, block, stored, admitted }) {
            let intake = Arc::clone(self);
            threads.begin(move || intake.store_waiting())?;
        }
        result.await.map_err(|_| Panicked)
    }

    /// Adds a block to those that wait. Says whether another thread is to begin storing them.
    fn add(&self, arrived: Arrived) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.blocks.push_back(arrived);
        let begins = waiting.at_work < MOST_AT_WORK;
        waiting.at_work += usize::from(begins);
        begins
    }

    /// Stores what waits until nothing does. It may wait for a collection to make room, which asks no peers: whatever it
    /// needs of the store never comes this way.
    fn store_waiting(&self) {
        let _at_work = AtWork(self);
        loop {
            let mut waiting = lock(&self.waiting);
            let count = waiting.blocks.len().min(Score::at_once(Algorithm::Sha256).max(TOGETHER));
            if count == 0 {
                waiting.at_work -= 1;
                return;
            }
            let arrived: Vec<_> = waiting.blocks.drain(..count).collect();
            drop(waiting);
            let blocks: Vec<_> = arrived.iter().map(|arrived| (arrived.score, &arrived.block[..])).collect();
            let stored = self.store.put_if_many(&blocks);
            for (Arrived { stored: told, admitted, .. }, stored) in arrived.into_iter().zip(stored) {
                drop(admitted);
                // Whoever waited may have gone.
                let _gone = told.send(stored);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cas::Options;
    use tokio::{
        task::JoinSet,
        time::{sleep, timeout},
    };

    use super::*;

    #[tokio::test]
    async fn each_of_many_is_told_what_became_of_its_own() {
        let home = tempfile::tempdir().expect("temporary directory");
        let store = Arc::new(PackStore::open(home.path(), Options::default()).expect("open"));
        let intake = Arc::new(Intake::new(Arc::clone(&store)));
        let threads = Arc::new(Threads::start().expect("threads"));
        let mut under_way = JoinSet::new();
        let block = |n: u32| Bytes::copy_from_slice(&n.to_be_bytes().repeat(500));
        for n in 0..300 {
            let (intake, threads) = (Arc::clone(&intake), Arc::clone(&threads));
            // Every seventh is sent under the name of another.
            let score = Score::of(Algorithm::Sha256, &block(n + u32::from(n % 7 == 0)));
            under_way.spawn(async move { (n, intake.take(&threads, score, block(n), None).await) });
        }
        let mut told = 0;
        while let Some(one) = under_way.join_next().await {
            let (n, taken) = one.expect("task");
            assert_eq!(taken.expect("thread").expect("store"), n % 7 != 0, "{n}");
            told += 1;
        }
        assert_eq!(told, 300);
        for n in 0..300 {
            let here = store.get(&Score::of(Algorithm::Sha256, &block(n))).expect("read");
            assert_eq!(here.as_deref(), (n % 7 != 0).then(|| block(n)).as_deref(), "{n}");
        }
        let idle = async {
            while lock(&intake.waiting).at_work > 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), idle).await.expect("no thread is at work for ever");
    }
}
