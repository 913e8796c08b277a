//! Which blocks are to be copied here, and which of them next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use cas::{MAX_BLOCK, Score};

use crate::{PeerId, Rate, TokenBucket};

/// Sources remembered for a block: more than a block has holders by default.
const SOURCES: usize = 4;

/// A block that could not be had is tried again after this time, which doubles six times: 1 minute to 64.
const PAUSE: Duration = Duration::from_mins(1);
const DOUBLINGS: u8 = 6;

/// How many blocks are looked at for one whose source is free, so that a call takes a bounded time.
const LOOKED_AT: usize = 1024;

/// What a queue keeps to.
#[derive(Clone, Copy, Debug)]
pub struct RepairSettings {
    /// How long a block waits before it is copied: whoever puts it may be about to push it.
    pub grace: Duration,
    /// Bytes copied in a second. Each block counts as [`MAX_BLOCK`] bytes.
    pub rate: Rate,
    /// Copies at a time from one peer.
    pub in_flight: usize,
    /// Most blocks in the queue.
    pub capacity: usize,
}

impl Default for RepairSettings {
    /// 30 seconds, 8 MiB a second, 16 from one peer, and 2^20 blocks, which are 128 GiB (and some 350 bytes of
    /// memory each).
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(30),
            rate: Rate { per_second: 8 << 20, burst: 8 << 20 },
            in_flight: 16,
            capacity: 1 << 20,
        }
    }
}

/// A block to be copied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The block.
    pub score: Score,
    /// Whom to ask for it.
    pub source: PeerId,
}

/// A saved entry that this program did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry of a repair queue: a key of {key} bytes, a value of {value}")]
pub struct NotAnEntry {
    /// Length of the key; expected are [`Score::BINARY`] bytes.
    pub key: usize,
    /// Length of the value; expected are 10 bytes and 32 for each source.
    pub value: usize,
}

/// A saved entry that changed: its key, and its value or `None` when it is to be removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// How endangered a block is: by live copies, then by the order in which blocks came. The least is first.
type Rank = (u8, u64);

#[derive(Clone, Debug)]
struct Entry {
    score: Score,
    /// Those that were named last come first; one that failed goes to the end.
    sources: Vec<PeerId>,
    attempts: u8,
    /// Sources that failed since it waited last.
    failed: usize,
    due: Duration,
}

/// Blocks to be copied here: the most endangered first, which are those with the fewest live copies, then the oldest.
///
/// What it holds outlives the process when the caller keeps what [`RepairQueue::take_changes`] returns and gives it
/// to [`RepairQueue::restore`]. Due times do not: they count from a start that the next process does not know.
#[derive(Debug)]
pub struct RepairQueue {
    settings: RepairSettings,
    bucket: TokenBucket,
    entries: BTreeMap<Rank, Entry>,
    ranks: HashMap<Score, Rank>,
    /// Entries whose time has come, not in flight.
    ready: BTreeSet<Rank>,
    /// Entries whose time is to come.
    waiting: BTreeSet<(Duration, Rank)>,
    flights: HashMap<Score, PeerId>,
    /// Flights from each peer.
    busy: HashMap<PeerId, usize>,
    changed: BTreeSet<Score>,
    arrivals: u64,
    crowded_out: u64,
}

impl RepairQueue {
    /// An empty queue.
    pub fn new(settings: RepairSettings) -> Self {
        Self {
            settings,
            bucket: TokenBucket::new(settings.rate),
            entries: BTreeMap::new(),
            ranks: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            flights: HashMap::new(),
            busy: HashMap::new(),
            changed: BTreeSet::new(),
            arrivals: 0,
            crowded_out: 0,
        }
    }

    /// Blocks in the queue, those in flight included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to copy.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Blocks with one live copy or none.
    pub fn endangered(&self) -> usize {
        self.entries.range(..(2, 0)).count()
    }

    /// Blocks that gave way because the queue was full, since the start.
    pub const fn crowded_out(&self) -> u64 {
        self.crowded_out
    }

    /// Whether a block is in the queue.
    pub fn contains(&self, score: &Score) -> bool {
        self.ranks.contains_key(score)
    }

    /// Adds a block of which `copies` live copies are known, or brings what is known of it up to date.
    pub fn add(&mut self, score: Score, copies: u8, sources: &[PeerId], now: Duration) {
        let due = now + self.settings.grace;
        let mut entry = Entry { score, sources: sources.to_vec(), attempts: 0, failed: 0, due };
        let mut order = self.arrivals;
        if let Some((rank, old)) = self.take(&score) {
            order = rank.1;
            entry.attempts = old.attempts;
            entry.due = old.due;
            entry.sources.extend(old.sources.into_iter().filter(|source| !sources.contains(source)));
        } else {
            self.arrivals += 1;
        }
        entry.sources.truncate(SOURCES);
        self.insert((copies, order), entry);
        self.make_room();
    }

    /// The next block to copy, and from whom; `None` when none is due, all sources are busy or the rate is used up.
    /// [`RepairQueue::done`] or [`RepairQueue::failed`] must follow.
    pub fn next(&mut self, now: Duration) -> Option<Job> {
        if !self.bucket.allows(MAX_BLOCK as u64, now) {
            return None;
        }
        self.ripen(now);
        let mut looked_at = self.ready.iter().take(LOOKED_AT);
        let (rank, job) = looked_at.find_map(|rank| Some((*rank, self.job(rank)?)))?;
        self.ready.remove(&rank);
        self.flights.insert(job.score, job.source);
        *self.busy.entry(job.source).or_default() += 1;
        self.bucket.spend(MAX_BLOCK as u64, now);
        Some(job)
    }

    /// When [`RepairQueue::next`] may have something, if nothing else happens; `None` when that does not come with
    /// time alone.
    pub fn wakes(&self) -> Option<Duration> {
        let free = self.ready.iter().take(LOOKED_AT).any(|rank| self.job(rank).is_some());
        let due = if free { Some(Duration::ZERO) } else { self.waiting.first().map(|(due, _)| *due) };
        due.map(|due| due.max(self.bucket.ready_at(MAX_BLOCK as u64)))
    }

    /// The block is here, or is no longer wanted.
    pub fn done(&mut self, score: &Score) {
        self.land(score);
        if self.take(score).is_some() {
            self.changed.insert(*score);
        }
    }

    /// The source of the block did not give it. Another source is tried at once; when all have failed, it waits.
    pub fn failed(&mut self, score: &Score, now: Duration) {
        let source = self.land(score);
        let Some((rank, mut entry)) = self.take(score) else { return };
        if let Some(at) = entry.sources.iter().position(|one| Some(one) == source.as_ref()) {
            entry.sources[at..].rotate_left(1);
        }
        entry.failed += 1;
        entry.due = now;
        if entry.failed >= entry.sources.len() {
            entry.failed = 0;
            entry.due = now + PAUSE * (1 << entry.attempts);
            entry.attempts = (entry.attempts + 1).min(DOUBLINGS);
        }
        self.insert(rank, entry);
    }

    /// What has changed since the last call, to be kept by the caller.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|score| (score.to_binary().to_vec(), self.saved(&score))).collect()
    }

    /// Takes up an entry that an earlier process saved. It is due at once.
    pub fn restore(&mut self, key: &[u8], value: &[u8], now: Duration) -> Result<(), NotAnEntry> {
        let wrong = NotAnEntry { key: key.len(), value: value.len() };
        let key = key.try_into().map_err(|_| wrong)?;
        let score = Score::from_binary(key).map_err(|_| wrong)?;
        let (order, rest) = value.split_first_chunk().ok_or(wrong)?;
        let ([copies, attempts], rest) = rest.split_first_chunk().ok_or(wrong)?;
        let (sources, []) = rest.as_chunks::<{ PeerId::BINARY }>() else { return Err(wrong) };
        let sources = sources.iter().take(SOURCES).copied().map(PeerId::from_bytes).collect();
        let order = u64::from_be_bytes(*order);
        self.done(&score);
        self.arrivals = self.arrivals.max(order.saturating_add(1));
        self.insert(
            (*copies, order),
            Entry { score, sources, attempts: (*attempts).min(DOUBLINGS), failed: 0, due: now },
        );
        self.changed.remove(&score);
        self.make_room();
        Ok(())
    }

    fn saved(&self, score: &Score) -> Option<Vec<u8>> {
        let rank = self.ranks.get(score)?;
        let entry = self.entries.get(rank)?;
        let mut value = rank.1.to_be_bytes().to_vec();
        value.extend([rank.0, entry.attempts]);
        entry.sources.iter().for_each(|source| value.extend(source.as_bytes()));
        Some(value)
    }

    /// The job of an entry, with the least busy of its sources; of equal ones the first.
    fn job(&self, rank: &Rank) -> Option<Job> {
        let entry = self.entries.get(rank)?;
        let flights = |source: &PeerId| self.busy.get(source).copied().unwrap_or(0);
        let mut free = entry.sources.iter().filter(|source| flights(source) < self.settings.in_flight);
        // After a failure the order counts: the source that failed last is the last.
        let source = if entry.attempts > 0 { free.next() } else { free.min_by_key(|one| flights(one)) };
        source.map(|source| Job { score: entry.score, source: *source })
    }

    fn ripen(&mut self, now: Duration) {
        while let Some((due, rank)) = self.waiting.first().copied()
            && due <= now
        {
            self.waiting.pop_first();
            self.ready.insert(rank);
        }
    }

    fn insert(&mut self, rank: Rank, entry: Entry) {
        self.ranks.insert(entry.score, rank);
        self.changed.insert(entry.score);
        if !self.flights.contains_key(&entry.score) {
            self.waiting.insert((entry.due, rank));
        }
        self.entries.insert(rank, entry);
    }

    fn take(&mut self, score: &Score) -> Option<(Rank, Entry)> {
        let rank = self.ranks.remove(score)?;
        let entry = self.entries.remove(&rank)?;
        self.ready.remove(&rank);
        self.waiting.remove(&(entry.due, rank));
        Some((rank, entry))
    }

    /// Ends a flight; returns whose it was.
    fn land(&mut self, score: &Score) -> Option<PeerId> {
        let source = self.flights.remove(score)?;
        let flights = self.busy.entry(source).or_default();
        *flights -= 1;
        if *flights == 0 {
            self.busy.remove(&source);
        }
        Some(source)
    }

    fn make_room(&mut self) {
        while self.entries.len() > self.settings.capacity
            && let Some((_, entry)) = self.entries.last_key_value()
        {
            let score = entry.score;
            self.take(&score);
            self.changed.insert(score);
            self.crowded_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use cas::Algorithm;
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: RepairSettings = RepairSettings {
        grace: Duration::ZERO,
        rate: Rate { per_second: 1 << 30, burst: 1 << 30 },
        in_flight: 2,
        capacity: 8,
    };

    fn score(number: u8) -> Score {
        Score::from_digest(Algorithm::Sha256, [number; 32])
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_most_endangered_come_first_and_the_oldest_of_equals() {
        let mut queue = RepairQueue::new(SETTINGS);
        for (number, copies) in [(1, 2), (2, 1), (3, 2), (4, 1), (5, 0)] {
            queue.add(score(number), copies, &[peer(number)], Duration::ZERO);
        }
        assert_eq!((queue.len(), queue.endangered()), (5, 3));
        let order: Vec<_> = std::iter::from_fn(|| queue.next(Duration::ZERO)).map(|job| job.score).collect();
        assert_eq!(order, [5, 2, 4, 1, 3].map(score));
        for score in &order {
            queue.done(score);
        }
        assert!(queue.is_empty() && queue.wakes().is_none());
    }

    #[test]
    fn a_peer_has_so_many_flights_and_another_helps_out() {
        let mut queue = RepairQueue::new(SETTINGS);
        for number in 0..5 {
            queue.add(score(number), 1, &[peer(1), peer(2)], Duration::ZERO);
        }
        let jobs: Vec<_> = std::iter::from_fn(|| queue.next(Duration::ZERO)).collect();
        assert_eq!(jobs.iter().map(|job| job.source).collect::<Vec<_>>(), [1, 2, 1, 2].map(peer));
        assert_eq!(queue.wakes(), None, "that a flight ends does not come with time");
        queue.done(&jobs[0].score);
        assert_eq!(queue.next(Duration::ZERO), Some(Job { score: score(4), source: peer(1) }));
    }

    #[test]
    fn failures_change_the_source_and_wait_longer_each_time() {
        let mut queue = RepairQueue::new(SETTINGS);
        queue.add(score(1), 1, &[peer(1), peer(2)], Duration::ZERO);
        let mut now = Duration::ZERO;
        for wait in [60, 120, 240, 480, 960, 1920, 3840, 3840] {
            for source in [1, 2] {
                let job = queue.next(now).expect("a job");
                assert_eq!(job.source, peer(source));
                queue.failed(&job.score, now);
            }
            assert_eq!(queue.next(now + seconds(wait - 1)), None);
            now += seconds(wait);
            assert_eq!(queue.wakes(), Some(now));
        }
    }

    #[test]
    fn grace_and_rate_delay() {
        let rate = Rate { per_second: MAX_BLOCK as u64, burst: MAX_BLOCK as u64 };
        let mut queue = RepairQueue::new(RepairSettings { grace: seconds(30), rate, ..SETTINGS });
        queue.add(score(1), 1, &[peer(1)], Duration::ZERO);
        queue.add(score(2), 1, &[peer(1)], Duration::ZERO);
        assert_eq!((queue.next(Duration::ZERO), queue.wakes()), (None, Some(seconds(30))));
        assert!(queue.next(seconds(30)).is_some());
        assert_eq!((queue.next(seconds(30)), queue.wakes()), (None, Some(seconds(31))));
        assert!(queue.next(seconds(31)).is_some());
    }

    #[test]
    fn the_least_endangered_give_way() {
        let mut queue = RepairQueue::new(SETTINGS);
        for number in 0..10 {
            queue.add(score(number), if number < 5 { 2 } else { 1 }, &[peer(1)], Duration::ZERO);
        }
        assert_eq!((queue.len(), queue.crowded_out()), (8, 2));
        assert!(queue.contains(&score(2)) && !queue.contains(&score(3)) && !queue.contains(&score(4)));
    }

    #[test]
    fn what_nobody_saved_is_refused() {
        let mut queue = RepairQueue::new(SETTINGS);
        let key = score(1).to_binary();
        for (key, value) in [(&key[..], &[0; 9][..]), (&key[1..], &[0; 10]), (&key, &[0; 41]), (&[0; 33], &[0; 10])] {
            let wrong = NotAnEntry { key: key.len(), value: value.len() };
            assert_eq!(queue.restore(key, value, Duration::ZERO), Err(wrong));
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Add(u8, u8, Vec<u8>),
        Next,
        Done(u8),
        Failed(u8),
        Save,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0_u8..16, 0_u8..4, prop::collection::vec(0_u8..6, 0..6)).prop_map(|(n, c, s)| Act::Add(n, c, s)),
            4 => Just(Act::Next),
            2 => (0_u8..16).prop_map(Act::Done),
            2 => (0_u8..16).prop_map(Act::Failed),
            1 => Just(Act::Save),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_it_is_bounded_and_can_be_restored(acts in prop::collection::vec((act(), 0_u64..100), 0..200)) {
            let mut queue = RepairQueue::new(SETTINGS);
            let mut saved = BTreeMap::new();
            let mut now = Duration::ZERO;
            for (act, pause) in acts {
                now += seconds(pause);
                match act {
                    Act::Add(number, copies, sources) => {
                        let sources: Vec<_> = sources.into_iter().map(peer).collect();
                        queue.add(score(number), copies, &sources, now);
                    }
                    Act::Next => {
                        let expected = queue.wakes().is_some_and(|at| at <= now);
                        let flying = queue.flights.len();
                        let job = queue.next(now);
                        prop_assert!(job.is_some() || !expected || queue.wakes().is_none_or(|at| at > now));
                        prop_assert_eq!(queue.flights.len(), flying + usize::from(job.is_some()));
                    }
                    Act::Done(number) => queue.done(&score(number)),
                    Act::Failed(number) => queue.failed(&score(number), now),
                    Act::Save => for (key, value) in queue.take_changes() {
                        match value {
                            Some(value) => saved.insert(key, value),
                            None => saved.remove(&key),
                        };
                    },
                }
                prop_assert!(queue.len() <= SETTINGS.capacity);
                prop_assert!(queue.busy.values().all(|flights| *flights <= SETTINGS.in_flight));
                prop_assert_eq!(queue.busy.values().sum::<usize>(), queue.flights.len());
                prop_assert_eq!(queue.ranks.len(), queue.entries.len());
            }
            for (key, value) in queue.take_changes() {
                match value {
                    Some(value) => saved.insert(key, value),
                    None => saved.remove(&key),
                };
            }
            let mut again = RepairQueue::new(SETTINGS);
            for (key, value) in &saved {
                prop_assert_eq!(again.restore(key, value, now), Ok(()));
            }
            let known = |queue: &RepairQueue| -> Vec<_> {
                queue.entries.iter().map(|(rank, entry)| (*rank, entry.score, entry.sources.clone())).collect()
            };
            prop_assert_eq!(known(&again), known(&queue));
            prop_assert!(again.take_changes().is_empty());
        }
    }
}
