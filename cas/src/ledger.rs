//! What the index says of all blocks together: in which order they arrived, and fingerprints of ranges of them.
//!
//! Both change in the batch that makes a block known or unknown, so they are never wrong, not even after a crash.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{ControlFlow, Range},
    sync::Mutex,
};

use crate::{
    Algorithm, Change, Fingerprint, Index, IndexError, Leaf, PackStore, Result, Score,
    pack_store::lock,
    place::{Tag, score_of_key},
};

/// Most arrivals that are kept. Who asks for older ones compares ranges.
const KEPT: u64 = 1 << 20;

/// Most changes of one batch while the ledger is made.
const BATCH: usize = 4096;

/// Some of the blocks that were committed, in the order in which they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Drawn when the index is made: with another epoch the numbers mean other blocks.
    pub epoch: u64,
    /// The lowest number that is kept. A reader who has not seen all below it has missed some.
    pub first_kept: u64,
    /// The highest number that was given; 0 before the first.
    pub last: u64,
    /// Numbers and scores, ascending. A block that went and came again has two numbers.
    pub entries: Vec<(u64, Score)>,
}

/// The state of the arrival log, which the index keeps in one entry.
#[derive(Clone, Copy)]
struct Log {
    epoch: u64,
    first: u64,
    last: u64,
}

impl Log {
    /// Version of the ledger: with another one it is made anew.
    const VERSION: u8 = 1;

    /// Version, then epoch, first and last number, 8 bytes each, big-endian.
    fn change(self) -> Change {
        let mut value = vec![Self::VERSION];
        for number in [self.epoch, self.first, self.last] {
            value.extend_from_slice(&number.to_be_bytes());
        }
        Change::Put(vec![Tag::Ledger.byte()], value)
    }

    fn from_value(value: &[u8]) -> Option<Self> {
        let (&[Self::VERSION], numbers) = value.split_first_chunk::<1>()? else { return None };
        let &[epoch, first, last] = numbers.as_chunks().0 else { return None };
        Some(Self {
            epoch: u64::from_be_bytes(epoch),
            first: u64::from_be_bytes(first),
            last: u64::from_be_bytes(last),
        })
    }

    /// Gives a block the next number; the oldest entry goes when there are too many.
    fn arrive(&mut self, score: &Score, changes: &mut Vec<Change>) {
        self.last += 1;
        changes.push(Change::Put(arrival_key(self.last), score.to_binary().to_vec()));
        if self.last - self.first >= KEPT {
            changes.push(Change::Delete(arrival_key(self.first)));
            self.first += 1;
        }
    }
}

/// Keeps arrivals and fingerprints in step with the entries of blocks.
pub(crate) struct Ledger {
    /// Held while leaves are read, changed and written, so that no change is lost.
    state: Mutex<State>,
}

struct State {
    /// None until the ledger is made; then blocks are written without it.
    log: Option<Log>,
    /// Fingerprints of the 65,536 buckets. Summed up from the leaves when somebody asks for the first time, because
    /// most processes never do.
    buckets: Option<Vec<Fingerprint>>,
}

impl Ledger {
    /// The ledger of an index, if that has one.
    pub(crate) fn open(index: &dyn Index) -> Result<Self, IndexError> {
        let log = index.get(&[Tag::Ledger.byte()])?.and_then(|value| Log::from_value(&value));
        Ok(Self { state: Mutex::new(State { log, buckets: None }) })
    }

    /// Applies changes to the index, and with them what follows for arrivals and fingerprints.
    ///
    /// Every change to an entry of [`Tag::Block`] has to go this way.
    pub(crate) fn apply(&self, index: &dyn Index, mut changes: Vec<Change>) -> Result<(), IndexError> {
        let state = &mut *lock(&self.state);
        let Some(mut log) = state.log else { return index.apply(&changes) };
        let mut arrived = Vec::new();
        let deltas = deltas(index, &changes, |score| log.arrive(score, &mut arrived))?;
        for (leaf, delta) in &deltas {
            let mut fingerprint = leaf_in(index, *leaf)?;
            fingerprint.merge(delta);
            changes.push(leaf_change(*leaf, fingerprint));
        }
        if !arrived.is_empty() {
            changes.append(&mut arrived);
            changes.push(log.change());
        }
        index.apply(&changes)?;
        state.log = Some(log);
        if let Some(buckets) = &mut state.buckets {
            for (leaf, delta) in &deltas {
                buckets[usize::from(leaf.bucket())].merge(delta);
            }
        }
        Ok(())
    }

    /// Makes the ledger of an index that has none, or one of another version.
    pub(crate) fn make(&self, index: &dyn Index) -> Result<(), IndexError> {
        let state = &mut *lock(&self.state);
        if state.log.is_some() {
            return Ok(());
        }
        for tag in [Tag::Leaf, Tag::Arrival] {
            clear(index, tag)?;
        }
        let mut count = 0;
        for algorithm in Algorithm::ALL {
            count += make_leaves(index, &[Tag::Block.byte(), algorithm.code()])?;
        }
        // Nobody knows in which order they arrived: a reader sees that he has missed some, and compares ranges.
        let log = Log { epoch: rand::random(), first: count + 1, last: count };
        index.apply(&[log.change()])?;
        state.log = Some(log);
        Ok(())
    }

    fn arrivals(&self, index: &dyn Index, after: u64, limit: usize) -> Result<Arrivals> {
        let Some(log) = lock(&self.state).log else { return Ok(Arrivals::default()) };
        let mut entries = Vec::new();
        let from = after.saturating_add(1).max(log.first);
        scan_from(index, &[Tag::Arrival.byte()], &arrival_key(from), |key, value| {
            let unreadable = || IndexError::Entry { key: key.to_vec() };
            let number = key.get(1..).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
            let score = value.try_into().ok().and_then(|binary| Score::from_binary(binary).ok());
            let entry = number.zip(score).ok_or_else(unreadable)?;
            // What is committed from now on is for the next call, with its own `last`.
            let wanted = entries.len() < limit && entry.0 <= log.last;
            entries.extend(wanted.then_some(entry));
            Ok(if wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(Arrivals { epoch: log.epoch, first_kept: log.first, last: log.last, entries })
    }

    fn bucket(&self, index: &dyn Index, bucket: u16) -> Result<Fingerprint, IndexError> {
        let state = &mut *lock(&self.state);
        let buckets = match state.buckets.take() {
            Some(buckets) => buckets,
            None => sum_buckets(index)?,
        };
        let fingerprint = buckets[usize::from(bucket)];
        state.buckets = Some(buckets);
        Ok(fingerprint)
    }
}

/// What changes do to the fingerprints of leaves. Calls `arrived` for each block that the index did not have.
fn deltas(
    index: &dyn Index,
    changes: &[Change],
    mut arrived: impl FnMut(&Score),
) -> Result<BTreeMap<Leaf, Fingerprint>, IndexError> {
    let mut here = HashMap::new();
    let mut deltas = BTreeMap::<_, Fingerprint>::new();
    for change in changes {
        let (key, stays) = match change {
            Change::Put(key, _) => (key, true),
            Change::Delete(key) => (key, false),
        };
        if key.first() != Some(&Tag::Block.byte()) {
            continue;
        }
        let score = score_of_key(key)?;
        // Asked even if the caller has just looked: two may have put the same block, and collection moves blocks.
        let was = match here.insert(score, stays) {
            Some(was) => was,
            None => index.get(key)?.is_some(),
        };
        let delta = deltas.entry(Leaf::of(&score)).or_default();
        match (was, stays) {
            (false, true) => {
                delta.add(&score);
                arrived(&score);
            }
            (true, false) => delta.remove(&score),
            _ => {}
        }
    }
    deltas.retain(|_, delta| !delta.is_empty());
    Ok(deltas)
}

/// Adds the blocks whose keys start with `prefix` to their leaves, and counts them.
fn make_leaves(index: &dyn Index, prefix: &[u8]) -> Result<u64, IndexError> {
    let (mut count, mut changes) = (0, Vec::new());
    let mut current = (Leaf::new(0), Fingerprint::default());
    let mut finish = |(leaf, mut fingerprint): (Leaf, Fingerprint), most| {
        fingerprint.merge(&leaf_in(index, leaf)?);
        changes.push(leaf_change(leaf, fingerprint));
        if changes.len() > most { index.apply(&std::mem::take(&mut changes)) } else { Ok(()) }
    };
    scan_from(index, prefix, prefix, |key, _| {
        let score = score_of_key(key)?;
        count += 1;
        if Leaf::of(&score) != current.0 {
            finish(std::mem::replace(&mut current, (Leaf::of(&score), Fingerprint::default())), BATCH)?;
        }
        current.1.add(&score);
        Ok(ControlFlow::Continue(()))
    })?;
    finish(current, 0)?;
    Ok(count)
}

fn clear(index: &dyn Index, tag: Tag) -> Result<(), IndexError> {
    let mut changes = Vec::new();
    scan_from(index, &[tag.byte()], &[tag.byte()], |key, _| {
        changes.push(Change::Delete(key.to_vec()));
        if changes.len() >= BATCH {
            index.apply(&std::mem::take(&mut changes))?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    index.apply(&changes)
}

fn sum_buckets(index: &dyn Index) -> Result<Vec<Fingerprint>, IndexError> {
    let mut buckets = vec![Fingerprint::default(); 1 << 16];
    scan_from(index, &[Tag::Leaf.byte()], &[Tag::Leaf.byte()], |key, value| {
        let (leaf, fingerprint) = read_leaf(key, value)?;
        buckets[usize::from(leaf.bucket())].merge(&fingerprint);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(buckets)
}

/// Calls `visit` with the entries that start with `prefix`, from `from` on; its first error ends the scan.
fn scan_from(
    index: &dyn Index,
    prefix: &[u8],
    from: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, IndexError>,
) -> Result<(), IndexError> {
    let mut failure = Ok(());
    index.scan_from(prefix, from, &mut |key, value| {
        visit(key, value).unwrap_or_else(|error| {
            failure = Err(error);
            ControlFlow::Break(())
        })
    })?;
    failure
}

fn arrival_key(number: u64) -> Vec<u8> {
    let mut key = vec![Tag::Arrival.byte()];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn leaf_key(leaf: Leaf) -> [u8; 4] {
    let [first, second, third] = leaf.prefix();
    [Tag::Leaf.byte(), first, second, third]
}

fn leaf_change(leaf: Leaf, fingerprint: Fingerprint) -> Change {
    let key = leaf_key(leaf).to_vec();
    if fingerprint.is_empty() { Change::Delete(key) } else { Change::Put(key, fingerprint.to_bytes().to_vec()) }
}

fn leaf_in(index: &dyn Index, leaf: Leaf) -> Result<Fingerprint, IndexError> {
    let key = leaf_key(leaf);
    index.get(&key)?.map_or(Ok(Fingerprint::default()), |value| Ok(read_leaf(&key, &value)?.1))
}

fn read_leaf(key: &[u8], value: &[u8]) -> Result<(Leaf, Fingerprint), IndexError> {
    let read = || {
        let &[_, first, second, third] = key else { return None };
        let leaf = Leaf::new(u32::from_be_bytes([0, first, second, third]) >> 4);
        Some((leaf, Fingerprint::from_bytes(value.try_into().ok()?)))
    };
    read().ok_or_else(|| IndexError::Entry { key: key.to_vec() })
}

impl PackStore {
    /// At most `limit` blocks that were committed after the one with the number `after`, oldest first.
    pub fn arrivals(&self, after: u64, limit: usize) -> Result<Arrivals> {
        self.shared.ledger.arrivals(self.shared.index.as_ref(), after, limit)
    }

    /// The fingerprint of the committed blocks whose digests begin with these 16 bits, without those in quarantine.
    ///
    /// The first call reads some 40 MB of a store that is large; from then on the answer is in memory, in 2.6 MB.
    pub fn fingerprint(&self, bucket: u16) -> Result<Fingerprint> {
        Ok(self.shared.ledger.bucket(self.shared.index.as_ref(), bucket)?)
    }

    /// The fingerprints of the 16 leaves of a bucket.
    pub fn leaves(&self, bucket: u16) -> Result<[Fingerprint; Leaf::OF_A_BUCKET as usize]> {
        let mut leaves = [Fingerprint::default(); Leaf::OF_A_BUCKET as usize];
        let [first, second] = bucket.to_be_bytes();
        let prefix = [Tag::Leaf.byte(), first, second];
        scan_from(self.shared.index.as_ref(), &prefix, &prefix, |key, value| {
            let (leaf, fingerprint) = read_leaf(key, value)?;
            leaves[leaf.number() as usize % leaves.len()] = fingerprint;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(leaves)
    }

    /// Calls `visit` with the committed scores whose leaf has one of these numbers, ascending, until it breaks off.
    ///
    /// Like [`crate::BlockStore::scores`]: first all of SHA-256, then all of BLAKE3.
    pub fn scores_between(&self, leaves: Range<u32>, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        let mut broken = leaves.is_empty() || leaves.start >= Leaf::COUNT;
        for algorithm in Algorithm::ALL {
            if broken {
                break;
            }
            let prefix = [Tag::Block.byte(), algorithm.code()];
            let from = [&prefix[..], &Leaf::new(leaves.start).prefix()].concat();
            scan_from(self.shared.index.as_ref(), &prefix, &from, |key, _| {
                let score = score_of_key(key)?;
                if Leaf::of(&score).number() >= leaves.end {
                    return Ok(ControlFlow::Break(()));
                }
                let next = visit(score);
                broken = next.is_break();
                Ok(next)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_arrivals_are_kept() {
        let mut log = Log { epoch: 7, first: 1, last: 0 };
        let score = Score::of(Algorithm::Sha256, b"any");
        let mut changes = Vec::new();
        for _ in 0..KEPT {
            log.arrive(&score, &mut changes);
        }
        assert!(changes.iter().all(|change| matches!(change, Change::Put(..))));
        changes.clear();
        log.arrive(&score, &mut changes);
        assert_eq!(changes[1], Change::Delete(arrival_key(1)));
        assert_eq!((log.first, log.last), (2, KEPT + 1));
        let Change::Put(_, value) = log.change() else { panic!("not written") };
        assert_eq!(Log::from_value(&value).map(|log| (log.epoch, log.first)), Some((7, 2)));
    }
}
