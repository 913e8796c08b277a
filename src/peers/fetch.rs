//! Fetching a block that is not here.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cas::{BlockStore as _, Score};
use lru::LruCache;
use replication::{Bucket, Candidate, NotFound, PeerId, ReadPlan, ReadStep};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::peers::{Peers, link::LinkError, lock};

/// How long one block may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// A process is young for so long: not everybody has been greeted yet.
const YOUNG: Duration = Duration::from_secs(15);
/// How long it waits before it asks those again that failed.
const AGAIN: Duration = Duration::from_millis(500);
/// How long it is told that a peer did not answer.
const SILENT: Duration = Duration::from_mins(3);
/// How long it is remembered that nobody has a block.
const ABSENT: Duration = Duration::from_secs(20);
/// Blocks that are fetched ahead at once, and that wait for it.
const AHEAD: usize = 64;
const WAITING: usize = 1024;
/// Blocks that were fetched ahead and wait in memory for whoever reads them: 32 MiB. They are stored, too, but past the
/// page cache, so that reading them from there would be reading them from the disk.
const READY: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

type Fetched = Result<Bytes, Arc<NotFound>>;

/// Blocks that are on their way.
pub(crate) struct Fetches {
    under_way: Mutex<HashMap<Score, Arc<OnceCell<Fetched>>>>,
    absent: Mutex<HashMap<Score, (Instant, Arc<NotFound>)>>,
    ahead: Semaphore,
    waiting: Arc<Semaphore>,
    ready: Mutex<LruCache<Score, Bytes>>,
    /// Who did not answer, and when.
    silent: Mutex<HashMap<PeerId, Instant>>,
}

impl Default for Fetches {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
            absent: Mutex::default(),
            ahead: Semaphore::new(AHEAD),
            waiting: Arc::new(Semaphore::new(WAITING)),
            ready: Mutex::new(LruCache::new(READY)),
            silent: Mutex::default(),
        }
    }
}

impl Fetches {
    /// A block that was fetched ahead.
    pub(crate) fn take(&self, score: &Score) -> Option<Bytes> {
        lock(&self.ready).pop(score)
    }

    /// Who was asked for blocks within the last minutes, and did not answer since.
    pub(crate) fn silent(&self) -> Vec<PeerId> {
        let mut silent = lock(&self.silent);
        silent.retain(|_, at| at.elapsed() < SILENT);
        silent.keys().copied().collect()
    }

    /// Whether a block is on its way.
    pub(crate) fn is_under_way(&self, score: &Score) -> bool {
        lock(&self.under_way).contains_key(score)
    }
}

impl Peers {
    /// Who may have a block.
    fn candidates(&self, score: &Score) -> Vec<Candidate> {
        let placement = self.placement();
        let mut ranked = placement.ranked(Bucket::of(score));
        // Who has been silent for long may be back, and is asked last.
        ranked.extend(self.others().into_iter().filter(|peer| !placement.peers().contains(peer)));
        let askable = ranked.into_iter().enumerate().filter(|(_, peer)| *peer != self.id() && !self.is_banned(peer));
        // Who has left us waiting again and again is asked by those who greet; a reader does not wait for it.
        let askable = askable.filter(|(_, peer)| !self.is_left_alone(peer));
        let candidate = |(rank, peer): (usize, PeerId)| {
            let standing = self.state(&peer).standing;
            let connected = self.is_askable(&peer);
            let holder = rank < placement.replicas();
            // What differs by less is the same, so that the load follows the ranks.
            let usual = Duration::from_millis(20) * u32::try_from(standing.expected().as_millis() / 20).unwrap_or(500);
            Candidate { peer, connected, holder, usual }
        };
        askable.map(candidate).collect()
    }

    /// Fetches a block and stores it, unless somebody else is at it already.
    pub(crate) async fn fetch(self: &Arc<Self>, score: Score) -> Fetched {
        if let Some((_, missing)) = lock(&self.fetches.absent).get(&score).filter(|(at, _)| at.elapsed() < ABSENT) {
            return Err(Arc::clone(missing));
        }
        let cell = Arc::clone(lock(&self.fetches.under_way).entry(score).or_default());
        let fetched = cell.get_or_init(|| self.fetch_anew(score)).await.clone();
        lock(&self.fetches.under_way).remove(&score);
        // That nobody answered does not say that nobody has it.
        if let Err(missing) = &fetched
            && missing.failed.is_empty()
            && missing.silent.is_empty()
            && self.fetches.silent().is_empty()
        {
            let mut absent = lock(&self.fetches.absent);
            if absent.len() >= 65_536 {
                absent.retain(|_, (at, _)| at.elapsed() < ABSENT);
            }
            absent.insert(score, (Instant::now(), Arc::clone(missing)));
        }
        fetched
    }

    async fn fetch_anew(self: &Arc<Self>, score: Score) -> Fetched {
        let deadline = self.now() + DEADLINE;
        loop {
            let not_found = match self.try_to_fetch(score, deadline).await {
                Ok(block) => {
                    self.figures.fetched.fetch_add(1, Ordering::Relaxed);
                    return Ok(block);
                }
                Err(not_found) => not_found,
            };
            // Peers that are there, or whom nobody has looked for yet, may answer in a moment.
            let hope = self.now() < YOUNG || not_found.failed.iter().any(|peer| self.is_reachable(peer));
            if not_found.failed.is_empty() || !hope || self.now() + AGAIN > deadline {
                self.figures.missed.fetch_add(1, Ordering::Relaxed);
                return Err(Arc::new(not_found));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn try_to_fetch(self: &Arc<Self>, score: Score, deadline: Duration) -> Result<Bytes, NotFound> {
        let mut plan = ReadPlan::new(self.candidates(&score), self.now(), deadline);
        let mut under_way = JoinSet::new();
        loop {
            let until = match plan.poll(self.now()) {
                ReadStep::Ask(peer) => {
                    let peers = Arc::clone(self);
                    under_way.spawn(async move { (peer, peers.fetch_from(&peer, score).await) });
                    continue;
                }
                ReadStep::GiveUp(not_found) => {
                    self.note_silence(&not_found);
                    return Err(not_found);
                }
                ReadStep::Wait(until) => until,
            };
            let wait = until.saturating_sub(self.now());
            match timeout(wait, under_way.join_next()).await {
                Ok(Some(Ok((_, Ok(Some(block)))))) => return Ok(block),
                Ok(Some(Ok((peer, Ok(None))))) => plan.absent(&peer),
                Ok(Some(Ok((peer, Err(_))))) => plan.failed(&peer),
                // A task panicked; its peer counts as silent.
                Ok(Some(Err(error))) => tracing::warn!(%error, "a request ended"),
                Ok(None) => tokio::time::sleep(wait).await,
                // It is late.
                Err(_) => {}
            }
        }
    }

    /// Who had not answered when the time was up counts as silent, as if the request had been waited for.
    fn note_silence(&self, not_found: &NotFound) {
        for peer in &not_found.silent {
            self.failed(peer, &LinkError::Timeout);
        }
        let mut silent = lock(&self.fetches.silent);
        for peer in not_found.silent.iter().chain(&not_found.failed) {
            silent.insert(*peer, Instant::now());
        }
        for peer in &not_found.absent {
            silent.remove(peer);
        }
    }

    /// Asks one peer, and stores what comes when it is right.
    pub(crate) async fn fetch_from(self: &Arc<Self>, peer: &PeerId, score: Score) -> Result<Option<Bytes>, LinkError> {
        let began = Instant::now();
        let got = match self.link(peer).await {
            Ok(link) => link.get(&score).await,
            Err(error) => Err(error),
        };
        let Some(block) = got.inspect_err(|error| self.failed(peer, error))? else { return Ok(None) };
        let stored = self.intake.take(&self.threads, score, block.clone(), None).await;
        match stored.map_err(std::io::Error::other)? {
            Ok(true) => {}
            Ok(false) => {
                let error = LinkError::WrongBytes { score };
                self.failed(peer, &error);
                return Err(error);
            }
            // It can be used all the same.
            Err(error) => {
                tracing::warn!(%error, "what was fetched is not kept");
                if !score.matches(&block) {
                    return Err(LinkError::WrongBytes { score });
                }
            }
        }
        lock(&self.fetches.silent).remove(peer);
        self.came(peer, block.len(), began.elapsed());
        Ok(Some(block))
    }

    /// Begins to fetch blocks that will be read soon.
    pub(crate) fn fetch_ahead(self: &Arc<Self>, scores: &[Score]) {
        for score in scores {
            if self.store.contains(score).unwrap_or(true) {
                continue;
            }
            let Ok(place) = Arc::clone(&self.fetches.waiting).try_acquire_owned() else { return };
            let (peers, score) = (Arc::clone(self), *score);
            self.runtime.spawn(async move {
                let slot = peers.fetches.ahead.acquire().await;
                // Whoever needed it meanwhile has fetched it.
                let here = peers.store.contains(&score).unwrap_or(true);
                if !here && let Ok(block) = peers.fetch(score).await {
                    lock(&peers.fetches.ready).put(score, block);
                }
                drop((slot, place));
            });
        }
    }
}
