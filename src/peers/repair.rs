//! Copying here what belongs here.

use std::{
    collections::HashSet,
    ops::ControlFlow,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use cas::{BlockStore as _, Change, Score};
use replication::{Job, PeerId, Rate, RepairQueue, RepairSettings};
use tokio::{
    sync::Notify,
    task::{JoinSet, spawn_blocking},
};

use crate::{
    daemon::stop::Stop,
    peers::{Peers, lock},
};

/// Keys of the notes that keep the queue, and of those that say which blocks of it are roots.
const QUEUED: &[u8] = b"repair/";
const ROOTS: &[u8] = b"repair root/";

/// How long a block waits: whoever put it is most likely pushing it.
const GRACE: Duration = Duration::from_secs(5);
/// Copies at once, of all peers together.
const AT_ONCE: usize = 48;
/// How often what changed is written down.
const SAVING: Duration = Duration::from_secs(10);
/// How long nothing is copied when there is no room.
const NO_ROOM: Duration = Duration::from_mins(1);

/// What is to be copied here.
pub(crate) struct Repairs {
    queue: Mutex<RepairQueue>,
    roots: Mutex<HashSet<Score>>,
    /// Roots whose note is not written yet.
    new_roots: Mutex<Vec<Score>>,
    wake: Notify,
}

impl Repairs {
    /// An empty queue that copies so many bytes a second.
    pub(crate) fn new(per_second: u64) -> Self {
        let rate = Rate { per_second, burst: per_second };
        let queue = RepairQueue::new(RepairSettings { rate, grace: GRACE, ..RepairSettings::default() });
        Self { queue: Mutex::new(queue), roots: Mutex::default(), new_roots: Mutex::default(), wake: Notify::new() }
    }

    /// A block that a peer has belongs here.
    pub(crate) fn add(&self, peers: &Peers, score: Score, root: bool, source: PeerId) {
        if root && lock(&self.roots).insert(score) {
            lock(&self.new_roots).push(score);
        }
        let mut queue = lock(&self.queue);
        // Who names it has it; beyond that nothing is known.
        let copies = if queue.contains(&score) { 2 } else { 1 };
        queue.add(score, copies, &[source], peers.now());
        self.wake.notify_one();
    }

    /// Blocks that wait, and those of them of which one copy is known.
    pub(crate) fn len(&self) -> (usize, usize) {
        let queue = lock(&self.queue);
        (queue.len(), queue.endangered())
    }

    /// Writes down what changed, once what was copied is on stable storage.
    pub(crate) fn save(&self, peers: &Peers) {
        if let Err(error) = peers.store.sync() {
            tracing::warn!(%error, "what was copied is not on stable storage");
            return;
        }
        let changes = lock(&self.queue).take_changes();
        let mut notes = Vec::with_capacity(changes.len());
        for (score, value) in changes {
            let key = [QUEUED, &score].concat();
            if value.is_none() {
                notes.push(Change::Delete([ROOTS, &score].concat()));
            }
            notes.push(value.map_or_else(|| Change::Delete(key.clone()), |value| Change::Put(key.clone(), value)));
        }
        for score in std::mem::take(&mut *lock(&self.new_roots)) {
            notes.push(Change::Put([ROOTS, &score.to_binary()].concat(), Vec::new()));
        }
        if let Err(error) = peers.store.write_notes(&notes) {
            // They are found again when everything is looked through.
            tracing::warn!(%error, "the queue of repairs is not kept");
        }
    }

    /// Takes up what an earlier process left.
    fn restore(&self, peers: &Peers) {
        let now = peers.now();
        let mut queue = lock(&self.queue);
        let read = peers.store.scan_notes(QUEUED, &mut |key, value| {
            if let Err(error) = queue.restore(&key[QUEUED.len()..], value, now) {
                tracing::warn!(%error, "a note is passed over");
            }
            ControlFlow::Continue(())
        });
        let mut roots = lock(&self.roots);
        let read = read.and_then(|()| {
            peers.store.scan_notes(ROOTS, &mut |key, _| {
                let score = key[ROOTS.len()..].try_into().ok().and_then(|score| Score::from_binary(score).ok());
                roots.extend(score);
                ControlFlow::Continue(())
            })
        });
        if let Err(error) = read {
            tracing::warn!(%error, "the queue of repairs is begun anew");
        }
    }

    fn done(&self, score: &Score) {
        lock(&self.queue).done(score);
        lock(&self.roots).remove(score);
    }
}

/// Copies until it is told to stop.
pub(crate) async fn run(peers: Arc<Peers>, mut stop: Stop) {
    peers.repairs.restore(&peers);
    let mut under_way = JoinSet::new();
    let (mut saved, mut unsaved) = (peers.now(), false);
    loop {
        while under_way.len() < AT_ONCE {
            let Some(job) = lock(&peers.repairs.queue).next(peers.now()) else { break };
            let peers = Arc::clone(&peers);
            under_way.spawn(async move { peers.copy(job).await });
        }
        let idle = under_way.is_empty() && unsaved;
        if idle || peers.now() > saved + SAVING {
            let for_thread = Arc::clone(&peers);
            if let Err(error) = spawn_blocking(move || for_thread.repairs.save(&for_thread)).await {
                tracing::warn!(%error, "the queue of repairs is not kept");
            }
            (saved, unsaved) = (peers.now(), false);
        }
        unsaved |= !under_way.is_empty();
        let wakes = lock(&peers.repairs.queue).wakes().map(|at| at.saturating_sub(peers.now()));
        let pause = wakes.unwrap_or(SAVING).clamp(Duration::from_millis(20), SAVING);
        let room = tokio::select! {
            () = stop.asked() => break,
            Some(copied) = under_way.join_next() => copied.unwrap_or(true),
            () = tokio::time::sleep(pause) => true,
            () = peers.repairs.wake.notified() => true,
        };
        if !room {
            tokio::select! {
                () = stop.asked() => break,
                () = tokio::time::sleep(NO_ROOM) => {}
            }
        }
    }
    peers.repairs.save(&peers);
}

impl Peers {
    /// Copies one block here; `false` when there is no room.
    async fn copy(self: &Arc<Self>, job: Job) -> bool {
        let score = job.score;
        let root = lock(&self.repairs.roots).contains(&score);
        if !self.has_room() {
            lock(&self.repairs.queue).failed(&score, self.now());
            return false;
        }
        let here = self.store.contains(&score).unwrap_or(false);
        let fetched = if here {
            let store = Arc::clone(&self.store);
            let read = spawn_blocking(move || store.get(&score)).await;
            Ok(read.ok().and_then(Result::ok).flatten().map(bytes::Bytes::from))
        } else {
            self.fetch_from(&job.source, score).await
        };
        let Ok(Some(block)) = fetched else {
            lock(&self.repairs.queue).failed(&score, self.now());
            return true;
        };
        if root {
            let store = Arc::clone(&self.store);
            let kept = spawn_blocking(move || store.put_twice(score.algorithm(), &block)).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!(%error, "a root has no second copy");
            }
        }
        // What could not be kept is tried again later.
        let kept = self.store.contains(&score).unwrap_or(false);
        if kept {
            self.repairs.done(&score);
            self.figures.repaired.fetch_add(1, Ordering::Relaxed);
        } else {
            lock(&self.repairs.queue).failed(&score, self.now());
        }
        kept
    }
}
