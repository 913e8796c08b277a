//! Peers in the real world: links, and what is done over them.

pub(crate) mod arguments;
pub(crate) mod audit;
pub(crate) mod book;
pub(crate) mod care;
pub(crate) mod compare;
pub(crate) mod discover;
pub(crate) mod fetch;
#[cfg(test)]
mod flood_tests;
#[cfg(test)]
mod hostile_tests;
pub(crate) mod identity;
mod intake;
pub(crate) mod link;
pub(crate) mod meet;
pub(crate) mod pool;
pub(crate) mod pooled_store;
pub(crate) mod push;
#[cfg(test)]
mod raw_link;
pub(crate) mod repair;
pub(crate) mod server;
pub(crate) mod speed;
pub(crate) mod swarm;
pub(crate) mod sync;
pub(crate) mod threads;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cas::{BlockStore as _, PackStore, Score};
use replication::{
    Allowance, Allowances, Arrived, AuditSchedule, Bits, Bucket, Challenge, Lie, Liveness, Patience, PeerId, PeerKey,
    PeerStatus, Placement, Quota, Rate, Reason, Refusal, Rumour, Standing, Word,
};
use tokio::sync::Notify;

use crate::{
    failure::Failure,
    peers::{
        book::Book,
        identity::Identity,
        intake::Intake,
        link::{Link, LinkError},
        pool::Pool,
        threads::Threads,
    },
};

/// How long it is remembered that a peer could not be reached.
const UNREACHABLE: Duration = Duration::from_secs(5);

/// What the owner says about peers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Peers that hold each block.
    pub(crate) replicas: usize,
    /// How long a peer may be silent before its share of the blocks moves to others.
    pub(crate) patience: Patience,
    /// Bytes a second that repair may move.
    pub(crate) repair_rate: u64,
}

/// Everything about the peers of a home.
pub(crate) struct Peers {
    pub(crate) identity: Identity,
    pub(crate) store: Arc<PackStore>,
    pub(crate) settings: Settings,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Where blocks are read and stored for links.
    pub(crate) threads: Threads,
    pub(crate) intake: Arc<Intake>,
    home: PathBuf,
    pool: RwLock<Option<Pool>>,
    /// The members by the pool's log, which takes a while to be judged.
    members: Mutex<BTreeSet<PeerId>>,
    book: Mutex<Book>,
    links: Mutex<HashMap<PeerId, Arc<Line>>>,
    /// The port on which links are taken, when they are.
    port: AtomicU64,
    /// Which peers answered lately, and with what; and what they did.
    states: Mutex<HashMap<PeerId, State>>,
    liveness: Mutex<Liveness>,
    quota: Mutex<Quota>,
    pub(crate) connections: server::Connections,
    pub(crate) audits: Mutex<AuditSchedule>,
    started: Instant,
    /// Wakes who greets peers.
    pub(crate) greet: Notify,
    /// Tells that the pool is another one.
    pub(crate) pool_changed: Notify,
    /// Wakes who looks for what is new.
    pub(crate) look: Notify,
    pub(crate) pushes: push::Queue,
    pub(crate) repairs: repair::Repairs,
    pub(crate) fetches: fetch::Fetches,
    selections: compare::Selections,
    pub(crate) figures: Figures,
}

/// A line to a peer: its link when it is up, and one attempt at a time to bring it up.
#[derive(Default)]
struct Line {
    link: tokio::sync::Mutex<Option<Link>>,
    failed: Mutex<Option<(Instant, String)>>,
}

/// The owner is told at most once in so long that a peer refuses this one.
const TELL_AGAIN: Duration = Duration::from_hours(1);

/// What is known of a peer since this process began.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// When it said something last.
    pub(crate) heard: Option<Duration>,
    pub(crate) status: Option<PeerStatus>,
    pub(crate) standing: Standing,
    /// Bytes that it pushed to us, and that we gave to it.
    pub(crate) pushed: u64,
    pub(crate) given: u64,
    /// Whether it said that it has no room.
    pub(crate) full: bool,
    /// What it said when it refused us as one that is not of the pool or is banned, until it answers a member's question.
    pub(crate) refuses: Option<String>,
    /// When the owner was told that.
    told: Option<Duration>,
    /// When rumours were told to it last.
    rumours: Option<u64>,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) fetched: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) pushed: AtomicU64,
    pub(crate) repaired: AtomicU64,
    /// Blocks of pins that had too few copies when they were last looked at, and how many were looked at.
    pub(crate) endangered: AtomicU64,
    pub(crate) looked_at: AtomicU64,
    /// Peers that were not looked through since the placement changed.
    pub(crate) behind: AtomicU64,
    pub(crate) last_audit: Mutex<Option<String>>,
    pub(crate) last_care: Mutex<Option<Instant>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Reads what is known of the peers of a home.
    pub(crate) fn open(
        home: &Path,
        store: Arc<PackStore>,
        settings: Settings,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, Failure> {
        let (identity, repair_rate) = (Identity::open(home)?, settings.repair_rate);
        let pool = Pool::read(home)?;
        let members = pool.iter().flat_map(Pool::members).collect();
        let (liveness, quota) = (Liveness::new(settings.patience), Quota::new(Self::allowances()));
        let peers = Self {
            members: Mutex::new(members),
            liveness: Mutex::new(liveness),
            quota: Mutex::new(quota),
            connections: server::Connections::default(),
            audits: Mutex::default(),
            book: Mutex::new(Book::read(home)?),
            identity,
            intake: Arc::new(Intake::new(Arc::clone(&store))),
            store,
            settings,
            runtime,
            threads: Threads::start().map_err(|source| Failure::io("start threads for", home, source))?,
            home: home.to_owned(),
            pool: RwLock::new(pool),
            links: Mutex::default(),
            port: AtomicU64::new(0),
            states: Mutex::default(),
            started: Instant::now(),
            greet: Notify::new(),
            look: Notify::new(),
            pool_changed: Notify::new(),
            pushes: push::Queue::default(),
            repairs: repair::Repairs::new(repair_rate),
            fetches: fetch::Fetches::default(),
            selections: compare::Selections::default(),
            figures: Figures::default(),
        };
        peers.follow_members();
        Ok(peers)
    }

    /// Time since this began.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Brings what is kept of each member in line with who is one.
    fn follow_members(&self) {
        let (now, members) = (self.now(), self.others());
        let (mut liveness, mut quota, mut audits) = (lock(&self.liveness), lock(&self.quota), lock(&self.audits));
        for peer in liveness.live(now).into_iter().chain(lock(&self.states).keys().copied().collect::<Vec<_>>()) {
            if !members.contains(&peer) {
                liveness.remove(&peer);
                quota.remove_member(&peer);
                audits.remove(&peer);
            }
        }
        for peer in members {
            let stored = quota.stored(&peer);
            liveness.add(peer, now);
            quota.add_member(peer, stored);
            audits.add(peer, now);
        }
    }

    pub(crate) const fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// The port on which links are taken, when they are.
    pub(crate) fn port(&self) -> Option<u16> {
        u16::try_from(self.port.load(Ordering::Relaxed)).ok().filter(|port| *port != 0)
    }

    /// The only peer whose name begins like this.
    pub(crate) fn find(&self, name: &str) -> Result<PeerId, Failure> {
        if let Ok(peer) = name.parse() {
            return Ok(peer);
        }
        let mut known: BTreeSet<PeerId> = self.others().into_iter().chain(self.book().peers()).collect();
        known.retain(|peer| peer.to_string().starts_with(name));
        match known.len() {
            1 => known.pop_first().ok_or(Failure::NoPeer { name: name.to_owned() }),
            _ => Err(Failure::NoPeer { name: name.to_owned() }),
        }
    }

    pub(crate) fn set_port(&self, port: u16) {
        self.port.store(u64::from(port), Ordering::Relaxed);
    }

    pub(crate) fn pool(&self) -> RwLockReadGuard<'_, Option<Pool>> {
        self.pool.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pool and writes it down. Who was expelled loses its link at once.
    pub(crate) fn change_pool<T>(
        &self,
        change: impl FnOnce(&mut Option<Pool>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        let what = |pool: &Option<Pool>| pool.as_ref().map(|pool| (pool.id(), pool.heads()));
        let before = what(&pool);
        let changed = change(&mut pool)?;
        let after = what(&pool);
        // Entries that are known already come again and again; they are worth no writing.
        if after == before {
            return Ok(changed);
        }
        if after.map(|(id, _)| id) != before.map(|(id, _)| id) {
            self.pool_changed.notify_one();
        }
        match pool.as_ref() {
            Some(pool) => pool.write(&self.home)?,
            None => Pool::remove(&self.home)?,
        }
        let members: BTreeSet<_> = pool.iter().flat_map(Pool::members).collect();
        let open = pool.as_ref().is_some_and(Pool::is_open);
        drop(pool);
        lock(&self.links).retain(|peer, _| open || members.contains(peer));
        *lock(&self.members) = members;
        self.follow_members();
        self.greet.notify_one();
        self.look.notify_one();
        Ok(changed)
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Writes the book down; it is a convenience, so that not being able to is only said.
    pub(crate) fn save_book(&self) {
        if let Err(failure) = self.book().write(&self.home) {
            crate::report::tell(&failure);
        }
    }

    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        let belongs = match self.pool().as_ref() {
            Some(pool) => pool.is_open() || lock(&self.members).contains(peer),
            None => false,
        };
        belongs && !self.is_banned(peer)
    }

    /// Whether a peer was put out of the pool.
    fn is_expelled(&self, peer: &PeerId) -> bool {
        !self.is_member(peer) && self.pool().as_ref().is_some_and(|pool| pool.is_expelled(peer))
    }

    /// All members but this one; of an open pool, those that are known.
    pub(crate) fn others(&self) -> Vec<PeerId> {
        let open = self.pool().as_ref().is_some_and(Pool::is_open);
        let mut members: Vec<_> =
            if open { self.book().peers() } else { lock(&self.members).iter().copied().collect() };
        members.retain(|peer| *peer != self.id());
        members
    }

    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.book().ban(peer).is_some()
            || lock(&self.states).get(peer).is_some_and(|state| state.standing.is_banned(self.now()))
    }

    /// A copy of what is known of a peer.
    pub(crate) fn state(&self, peer: &PeerId) -> State {
        lock(&self.states).get(peer).cloned().unwrap_or_default()
    }

    fn with_state(&self, peer: &PeerId, change: impl FnOnce(&mut State)) {
        let mut states = lock(&self.states);
        // Strangers come and go; members are few.
        if states.len() >= 4096 && !states.contains_key(peer) {
            states.retain(|peer, _| lock(&self.members).contains(peer));
        }
        change(states.entry(*peer).or_default());
    }

    /// A peer said something.
    pub(crate) fn heard(&self, peer: &PeerId) {
        let now = self.now();
        self.with_state(peer, |state| {
            state.heard = Some(now);
            state.standing.heard();
        });
        let mut liveness = lock(&self.liveness);
        let back = !liveness.is_reachable(peer);
        liveness.heard(peer, now);
        drop(liveness);
        // Whoever speaks to us is there, whatever was found out a moment ago.
        if back && let Some(line) = lock(&self.links).get(peer) {
            *lock(&line.failed) = None;
        }
    }

    /// Whether a peer can be reached, as far as is known.
    pub(crate) fn is_reachable(&self, peer: &PeerId) -> bool {
        lock(&self.liveness).is_reachable(peer)
    }

    /// The members on which blocks are placed: this one, and who was not silent for longer than the grace time.
    pub(crate) fn live(&self) -> Vec<PeerId> {
        let mut live = lock(&self.liveness).live(self.now());
        live.push(self.id());
        live.sort_unstable();
        live
    }

    /// For each bucket, whether this peer holds it, or would if it is of roots.
    pub(crate) fn held_buckets(&self) -> Vec<bool> {
        let (placement, id) = (self.placement(), self.id());
        Bucket::all().map(|bucket| placement.root_holders(bucket).contains(&id)).collect()
    }

    pub(crate) fn placement(&self) -> Placement {
        Placement::new(self.live(), self.settings.replicas)
    }

    /// Bytes that may still be stored.
    pub(crate) fn free(&self) -> u64 {
        self.store.room().min(u64::MAX >> 1)
    }

    /// Whether a block fits without anything being evicted for it.
    pub(crate) fn has_room(&self) -> bool {
        self.free() > 1 << 20
    }

    /// Whether it is worth to ask a peer something now: it is not banned, was heard, and does not leave us waiting.
    pub(crate) fn is_askable(&self, peer: &PeerId) -> bool {
        self.is_reachable(peer) && !self.is_banned(peer) && !self.is_left_alone(peer)
    }

    /// Whether a peer was silent so often that it is not asked for a while.
    pub(crate) fn is_left_alone(&self, peer: &PeerId) -> bool {
        matches!(self.state(peer).standing.reason(self.now()), Some(Reason::Silent { .. }))
    }

    /// The link to a peer, which is made when there is none.
    pub(crate) async fn link(&self, peer: &PeerId) -> Result<Link, LinkError> {
        let line = Arc::clone(lock(&self.links).entry(*peer).or_default());
        let mut link = line.link.lock().await;
        if let Some(up) = link.as_ref().filter(|link| link.is_open()) {
            return Ok(up.clone());
        }
        *link = None;
        if let Some((_, why)) = lock(&line.failed).as_ref().filter(|(at, _)| at.elapsed() < UNREACHABLE) {
            return Err(LinkError::Unreachable { why: why.clone() });
        }
        let mut last = LinkError::NoAddress;
        let addresses = self.book().addresses(peer);
        for address in addresses {
            match Link::connect(&self.identity, address, Some(*peer)).await {
                Ok(made) => {
                    self.book().reached(peer, address);
                    self.heard(peer);
                    *lock(&line.failed) = None;
                    *link = Some(made.clone());
                    return Ok(made);
                }
                Err(error) => last = error,
            }
        }
        *lock(&line.failed) = Some((Instant::now(), last.to_string()));
        Err(last)
    }

    /// Notes what a peer did wrong, and forgets a link that does not answer, so that the next use makes it anew.
    pub(crate) fn failed(&self, peer: &PeerId, error: &LinkError) {
        tracing::debug!(%peer, %error, "a peer failed");
        let now = self.now();
        let took = Duration::ZERO;
        match error {
            LinkError::WrongBytes { score } => return self.lied(peer, Lie::WrongBytes, &format!("for {score}")),
            LinkError::Refused(refusal) => {
                self.with_state(peer, |state| {
                    state.full |= refusal.code == Refusal::FULL;
                    state.standing.refused(took);
                });
                if refusal.code == Refusal::STRANGER {
                    self.shut_out(peer, &refusal.text);
                }
            }
            // The one was counted when it happened, and the other is nothing that the peer did.
            LinkError::Unreachable { .. } | LinkError::NoAddress => {}
            LinkError::Timeout | LinkError::Io(_) | LinkError::Http(_) | LinkError::Wrong { .. } => {
                self.with_state(peer, |state| state.standing.timeout(now));
            }
        }
        if matches!(error, LinkError::Io(_) | LinkError::NoAddress) || self.is_left_alone(peer) {
            lock(&self.liveness).lost(peer);
        }
        if matches!(error, LinkError::Timeout | LinkError::Http(_) | LinkError::Wrong { .. }) {
            lock(&self.links).remove(peer);
        }
    }

    /// A peer says that we do not belong to the pool, which the owner has to know; but the peer does not say how often.
    fn shut_out(&self, peer: &PeerId, why: &str) {
        let why = crate::output::plain(&why.chars().take(100).collect::<String>());
        let now = self.now();
        let mut tell = false;
        self.with_state(peer, |state| {
            // Who has just joined may ask before it was heard of: only the second refusal counts.
            let is_again = state.refuses.replace(why.clone()).is_some();
            tell = is_again && state.told.is_none_or(|told| now.saturating_sub(told) > TELL_AGAIN);
        });
        if tell && self.is_member(peer) {
            self.with_state(peer, |state| state.told = Some(now));
            crate::progress::warn(&format!("peer {peer} refuses this one: {why}"));
        }
    }

    /// A peer lied: for a while nothing is asked of it and nothing taken.
    pub(crate) fn lied(&self, peer: &PeerId, lie: Lie, about: &str) {
        let now = self.now();
        self.with_state(peer, |state| state.standing.lied(lie, now));
        let reason = self.state(peer).standing.reason(now).map(|reason| reason.to_string()).unwrap_or_default();
        crate::progress::warn(&format!("peer {peer} is {reason} {about}"));
        lock(&self.links).remove(peer);
    }

    /// The owner wants nothing to do with a peer.
    pub(crate) fn ban(&self, peer: &PeerId, why: &str) {
        self.book().set_ban(peer, why);
        lock(&self.links).remove(peer);
        self.save_book();
    }

    /// A peer answered, with bytes that were right.
    pub(crate) fn came(&self, peer: &PeerId, bytes: usize, took: Duration) {
        self.with_state(peer, |state| state.standing.good(bytes as u64, took));
        self.heard(peer);
    }

    /// Bytes were given to a peer.
    pub(crate) fn went(&self, peer: &PeerId, bytes: usize) {
        self.with_state(peer, |state| state.given += bytes as u64);
    }

    /// Whether what a peer says of itself shows that it knows our pool.
    pub(crate) fn knows_pool(&self, peer: &PeerId, status: &PeerStatus) -> bool {
        let pool = self.pool().as_ref().map(Pool::pool_id);
        pool.is_some_and(|pool| status.pool == PeerStatus::proof(&pool, peer, &self.id()))
    }

    /// How this daemon is, for a peer: for one that does not belong to the pool, only that we know ours. With rumours when
    /// there are new ones.
    pub(crate) fn status_for(&self, peer: &PeerId) -> PeerStatus {
        let pool = self.pool();
        let proof = |pool: &Pool| PeerStatus::proof(&pool.pool_id(), &self.id(), peer);
        let pool_proof = pool.as_ref().map_or([0; 32], proof);
        let heads = pool.as_ref().map_or([0; 32], Pool::heads_hash);
        drop(pool);
        let version = format!("offs {}", env!("CARGO_PKG_VERSION"));
        if !self.is_member(peer) {
            return PeerStatus { pool: pool_proof, version, ..PeerStatus::default() };
        }
        let arrivals = self.store.arrivals(u64::MAX, 0);
        let (epoch, last) = arrivals.map_or((0, 0), |arrivals| (arrivals.epoch, arrivals.last));
        let mut status = PeerStatus {
            pool: pool_proof,
            version,
            port: self.port().unwrap_or(0),
            epoch,
            last,
            heads,
            free: self.free(),
            blocks: self.store.statistics().records,
            rumours: Vec::new(),
        };
        let book = self.book();
        let changes = book.changes();
        if self.state(peer).rumours != Some(changes) {
            status.rumours = book.rumours(peer).map(|(peer, address)| Rumour { peer, address }).take(64).collect();
            drop(book);
            self.with_state(peer, |state| state.rumours = Some(changes));
        }
        status
    }

    /// Takes what a peer says of itself; `from` is where it was seen.
    pub(crate) fn take_status(&self, peer: &PeerId, status: PeerStatus, from: IpAddr) {
        let member = self.is_member(peer) && self.knows_pool(peer, &status);
        if member {
            let mut book = self.book();
            if status.port != 0 {
                book.add(peer, (from, status.port).into());
            }
            let known = status.rumours.iter().filter(|rumour| rumour.peer != self.id());
            let mut news = 0;
            for rumour in known {
                news += usize::from(book.add(&rumour.peer, rumour.address));
            }
            drop(book);
            if news > 0 {
                self.greet.notify_one();
            }
        }
        let news = self.state(peer).status.is_none_or(|old| old.last != status.last || old.epoch != status.epoch);
        self.with_state(peer, |state| {
            state.full = status.free < 1 << 20;
            state.status = Some(PeerStatus { rumours: Vec::new(), ..status });
        });
        self.heard(peer);
        if member && news {
            self.look.notify_one();
        }
    }

    /// What peers may have: members are trusted with speed, and everybody's requests are bounded.
    pub(crate) fn allowances() -> Allowances {
        let defaults = Allowances::default();
        let bytes = Rate { per_second: 2 << 30, burst: 2 << 30 };
        let requests = Rate { per_second: 20_000, burst: 40_000 };
        Allowances { member: Allowance { bytes, requests, in_flight: 256, ..defaults.member }, ..defaults }
    }

    /// Takes a request of a peer or refuses it. The request lasts until what comes back is dropped.
    pub(crate) fn admit(self: &Arc<Self>, peer: PeerId) -> Result<Admitted, Refusal> {
        if self.is_banned(&peer) {
            return Err(Refusal::new(Refusal::STRANGER, "banned"));
        }
        let begun = lock(&self.quota).begin(peer, self.now());
        begun.map_err(|refusal| Refusal::new(Refusal::BUSY, refusal.to_string()))?;
        self.heard(&peer);
        Ok(Admitted { peers: Arc::clone(self), peer, held: 0 })
    }

    /// Whether a peer belongs to the pool.
    pub(crate) fn admit_member(&self, peer: &PeerId) -> Result<(), Refusal> {
        if self.is_member(peer) { Ok(()) } else { Err(self.stranger(peer)) }
    }

    fn stranger(&self, peer: &PeerId) -> Refusal {
        let text = if self.is_expelled(peer) { "expelled from this pool" } else { "not a member of this pool" };
        Refusal::new(Refusal::STRANGER, text)
    }

    /// Counts bytes that go to a peer or come from it.
    pub(crate) fn transfer(&self, peer: &PeerId, bytes: usize) -> Result<(), Refusal> {
        let counted = lock(&self.quota).transfer(peer, bytes as u64, self.now());
        counted.map_err(|refusal| Refusal::new(Refusal::BUSY, refusal.to_string()))
    }

    /// Counts bytes that are to be stored for a peer. Nothing that is here makes room for them: what a peer pushes must
    /// not drop what another one trusts us to keep.
    pub(crate) fn store_for(&self, peer: &PeerId, bytes: usize) -> Result<(), Refusal> {
        if !self.has_room() {
            return Err(Refusal::new(Refusal::FULL, "there is no room"));
        }
        let counted = lock(&self.quota).store(peer, bytes as u64);
        counted.map_err(|refusal| Refusal::new(Refusal::FULL, refusal.to_string()))?;
        self.with_state(peer, |state| state.pushed += bytes as u64);
        Ok(())
    }

    /// Answers a word; may wait for the disk.
    pub(crate) fn answer(&self, peer: &PeerId, from: IpAddr, word: Word) -> Result<Vec<u8>, Refusal> {
        let failed = |error: cas::Error| {
            tracing::warn!(%error, "a peer's question failed");
            Refusal::new(Refusal::FAILED, "the store failed")
        };
        // Who brings an invitation is no member yet, and must be able to say so; who asks how we are may be one that
        // we do not know yet.
        if !matches!(word, Word::Status(_) | Word::Members { .. } | Word::Join { .. }) {
            self.admit_member(peer)?;
        }
        match word {
            Word::Status(status) => {
                self.take_status(peer, *status, from);
                Ok(self.status_for(peer).to_bencode())
            }
            Word::Members { heads, entries } => self.answer_members(peer, &heads, &entries),
            Word::Join { inviter, key, proof } => self.answer_join(peer, (&inviter, &key), proof),
            Word::Have { scores } => {
                // What is here counts only when it survives the loss of power.
                self.store.sync().map_err(failed)?;
                self.which(&scores, |here| here).map_err(failed)
            }
            Word::Offer { scores } => self.which(&scores, |here| !here).map_err(failed),
            Word::Since { epoch, after, limit } => {
                self.answer_since(peer, epoch, after, limit).map_err(failed).map(|arrived| arrived.to_bencode())
            }
            Word::List { from, buckets } => {
                self.answer_list(from, &buckets).map_err(failed).map(|arrived| arrived.to_bencode())
            }
            Word::Range(arguments) => self.answer_range(peer, &arguments),
            Word::Audit { score, nonce } => {
                let block = self.store.get(&score).ok().flatten();
                let block = block.ok_or_else(|| Refusal::new(Refusal::PROTOCOL, "that block is not here"))?;
                Ok(replication::proof_to_bencode(Challenge { nonce, score }.proof(&block).as_bytes()))
            }
        }
    }

    fn which(&self, scores: &[Score], say: impl Fn(bool) -> bool) -> cas::Result<Vec<u8>> {
        let here = scores.iter().map(|score| self.store.contains(score).map(&say));
        Ok(Bits(here.collect::<cas::Result<_>>()?).to_bencode())
    }

    fn answer_members(&self, peer: &PeerId, heads: &[[u8; 32]], entries: &[Vec<u8>]) -> Result<Vec<u8>, Refusal> {
        // Entries prove themselves, so they are taken from anybody: one of them may be what makes this peer a member.
        if !entries.is_empty() {
            let added = self.change_pool(|pool| Ok(pool.as_mut().map_or(0, |pool| pool.add(entries))));
            added.map_err(|failure| {
                crate::report::tell(&failure);
                Refusal::new(Refusal::FAILED, "the log cannot be written")
            })?;
        }
        if !self.is_member(peer) {
            return Err(self.stranger(peer));
        }
        let pool = self.pool();
        let (missing, heads) = pool.as_ref().map(|pool| (pool.missing(heads), pool.heads())).unwrap_or_default();
        Ok(replication::members_to_bencode(&missing, &heads))
    }

    /// Lets in who brings an invitation, and gives it the log.
    fn answer_join(&self, peer: &PeerId, invitation: (&PeerId, &PeerId), proof: [u8; 64]) -> Result<Vec<u8>, Refusal> {
        let key = PeerKey::from_seed(self.identity.seed());
        let admitted = self.change_pool(|pool| {
            let pool = pool.as_mut().ok_or(Failure::NoPool)?;
            Ok(pool.admit(&key, invitation, *peer, proof)?)
        });
        admitted.map_err(|failure| Refusal::new(Refusal::STRANGER, crate::report::in_one_line(&failure)))?;
        self.answer_members(peer, &[], &[])
    }

    /// The blocks that came since, in buckets that the asker holds.
    fn answer_since(&self, peer: &PeerId, epoch: u64, after: u64, limit: u64) -> cas::Result<Arrived> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(replication::MOST_SCORES);
        let arrivals = self.store.arrivals(after, limit)?;
        if arrivals.epoch != epoch || after + 1 < arrivals.first_kept {
            // The asker has to look through everything; the epoch that comes back says so.
            return Ok(Arrived { epoch: arrivals.epoch, next: arrivals.last, ..Arrived::default() });
        }
        let placement = self.placement();
        let placement = if placement.peers().contains(peer) {
            placement
        } else {
            Placement::new([placement.peers(), &[*peer]].concat(), placement.replicas())
        };
        let next = arrivals.entries.last().map_or(after, |(number, _)| *number);
        let mut arrived = Arrived { epoch, next, more: next < arrivals.last, ..Arrived::default() };
        for (_, score) in &arrivals.entries {
            let root = self.store.is_root(score)?;
            let bucket = Bucket::of(score);
            let wanted = placement.holders_of(bucket, root).contains(peer);
            if wanted {
                arrived.scores.push(*score);
                arrived.roots.push(root);
            }
        }
        Ok(arrived)
    }

    /// The blocks in the buckets that are asked for, from one on.
    fn answer_list(&self, from: u16, buckets: &[u8]) -> cas::Result<Arrived> {
        let asked = |bucket: u32| buckets.is_empty() || buckets[(bucket / 8) as usize] >> (7 - bucket % 8) & 1 == 1;
        let epoch = self.store.arrivals(u64::MAX, 0)?.epoch;
        let mut arrived = Arrived { epoch, ..Arrived::default() };
        // To begin a scan costs as much as to pass over some scores, so that what lies near is one scan.
        let near = u64::from(Bucket::COUNT) * 16 / (self.store.statistics().records + 1);
        let mut next = u32::from(from);
        while let Some(begin) = (next..Bucket::COUNT).find(|bucket| asked(*bucket)) {
            let mut end = begin + 1;
            for bucket in begin + 1..Bucket::COUNT {
                if asked(bucket) {
                    end = bucket + 1;
                } else if u64::from(bucket - end) >= near {
                    break;
                }
            }
            (next, arrived.more) = (end, false);
            self.store.scores_between(begin * 16..end * 16, &mut |score| {
                let bucket = u32::from(Bucket::of(&score).number());
                let last = arrived.scores.last().map(|last| u32::from(Bucket::of(last).number()));
                if arrived.scores.len() >= replication::MOST_SCORES / 2 && last != Some(bucket) {
                    (next, arrived.more) = (bucket, true);
                    return ControlFlow::Break(());
                }
                if asked(bucket) {
                    arrived.scores.push(score);
                }
                ControlFlow::Continue(())
            })?;
            if arrived.more {
                break;
            }
        }
        // A bucket with more than fits (2^28 blocks here, at least) would come in part, and the rest at the next look.
        arrived.scores.truncate(replication::MOST_SCORES);
        for score in &arrived.scores {
            arrived.roots.push(self.store.is_root(score)?);
        }
        arrived.next = u64::from(next);
        Ok(arrived)
    }
}

/// A request of a peer that is under way, from its head until its answer is sent, and the bytes that are held for it.
pub(crate) struct Admitted {
    peers: Arc<Peers>,
    peer: PeerId,
    held: u64,
}

impl Admitted {
    /// Counts bytes that are about to be held.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = lock(&self.peers.quota).hold(&self.peer, bytes as u64);
        held.map_err(|refusal| Refusal::new(Refusal::BUSY, refusal.to_string()))?;
        self.held += bytes as u64;
        Ok(())
    }

    /// Only so many bytes are held from now on.
    pub(crate) fn hold_only(&mut self, bytes: usize) -> Result<(), Refusal> {
        lock(&self.peers.quota).let_go(&self.peer, std::mem::take(&mut self.held));
        self.hold(bytes)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut quota = lock(&self.peers.quota);
        quota.let_go(&self.peer, self.held);
        quota.end(&self.peer);
    }
}
