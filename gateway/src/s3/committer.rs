//! One thread writes the catalogue, and makes many changes durable at once.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::{self, JoinHandle},
};

use cas::Change;
use s3s::S3ErrorCode;

use crate::s3::{
    backup,
    catalogue::{Catalogue, each},
    entry,
    fault::{Fault, Result, fault},
    object::{Bucket, Pack, Usage},
};

/// Most changes that become durable at once.
const MOST: usize = 4096;

/// What is to be changed, all or nothing.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// What buckets will hold more or less: objects, bytes.
    usage: BTreeMap<String, (i64, i64)>,
    /// How many bytes of packed files belong to objects more or less.
    live: BTreeMap<u64, i64>,
    new_pack: Option<(u64, Pack)>,
    /// A bucket whose limits count.
    limits: Option<(String, Arc<Bucket>)>,
    /// A bucket that will be gone.
    gone: Option<String>,
}

impl Plan {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: &impl serde::Serialize) -> Result<()> {
        self.changes.push(Change::Put(key, serde_json::to_vec(value)?));
        Ok(())
    }

    pub(crate) fn put_bytes(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put(key, value));
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.changes.push(Change::Delete(key));
    }

    pub(crate) fn holds(&mut self, bucket: &str, objects: i64, bytes: i64) {
        let sum = self.usage.entry(bucket.to_owned()).or_default();
        *sum = (sum.0 + objects, sum.1 + bytes);
    }

    pub(crate) fn lives(&mut self, pack: u64, bytes: i64) {
        *self.live.entry(pack).or_default() += bytes;
    }

    pub(crate) fn makes_pack(&mut self, number: u64, pack: Pack) {
        self.new_pack = Some((number, pack));
    }

    pub(crate) fn within(&mut self, bucket: &str, settings: &Arc<Bucket>) {
        self.limits = Some((bucket.to_owned(), Arc::clone(settings)));
    }

    /// What another plan says is done, too. Neither has limits or makes a file.
    pub(crate) fn join(&mut self, other: Self) {
        self.changes.extend(other.changes);
        for (bucket, (objects, bytes)) in other.usage {
            self.holds(&bucket, objects, bytes);
        }
        for (pack, bytes) in other.live {
            self.lives(pack, bytes);
        }
    }

    pub(crate) fn drops(&mut self, bucket: &str) {
        self.gone = Some(bucket.to_owned());
    }
}

/// What is counted beside the catalogue's entries.
#[derive(Default)]
struct Counts {
    usage: BTreeMap<String, Usage>,
    packs: BTreeMap<u64, Pack>,
}

type Job = (Plan, SyncSender<Result<()>>);

/// The thread, for those who have something to write.
pub(crate) struct Committer {
    /// Until it is dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Mutex<Counts>>,
    last: Arc<AtomicU64>,
    /// How many writes there were.
    writes: AtomicU64,
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plus(value: u64, change: i64) -> u64 {
    value.saturating_add_signed(change)
}

impl Committer {
    /// Starts it over a catalogue; it ends when this is dropped.
    pub(crate) fn start(catalogue: Arc<dyn Catalogue>) -> Result<Self> {
        let counts = Arc::new(Mutex::new(read_counts(catalogue.as_ref())?));
        let last = match catalogue.get(entry::LAST)? {
            Some(value) => value.try_into().map(u64::from_be_bytes).map_err(|_| Fault::Lost("the last number"))?,
            // Numbers that were given must not be given again.
            None if !backup::is_empty(catalogue.as_ref())? => return Err(Fault::Lost("the last number")),
            None => 0,
        };
        let last = Arc::new(AtomicU64::new(last));
        let (jobs, waiting) = channel();
        let writer = Writer { catalogue, counts: Arc::clone(&counts), last: Arc::clone(&last) };
        let thread = thread::Builder::new().name("buckets".into()).spawn(move || writer.run(&waiting));
        let thread = Some(thread.map_err(|_| Fault::Worker)?);
        Ok(Self { jobs: Some(jobs), thread, counts, last, writes: AtomicU64::new(0) })
    }

    /// A number that no version had.
    pub(crate) fn next(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last number that was given.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Makes the changes; they are on stable storage when this returns, with every block put before.
    pub(crate) fn commit(&self, plan: Plan) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let (done, wait) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(Fault::Worker)?;
        jobs.send((plan, done)).map_err(|_| Fault::Worker)?;
        wait.recv().map_err(|_| Fault::Worker)?
    }

    /// How many writes there were since the start.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn usage(&self, bucket: &str) -> Usage {
        lock(&self.counts).usage.get(bucket).copied().unwrap_or_default()
    }

    pub(crate) fn pack(&self, number: u64) -> Option<Pack> {
        lock(&self.counts).packs.get(&number).cloned()
    }

    pub(crate) fn packs(&self) -> Vec<(u64, Pack)> {
        lock(&self.counts).packs.iter().map(|(number, pack)| (*number, pack.clone())).collect()
    }
}

/// Waits for the thread, which has the catalogue: it must not be the one that closes it, when the process ends already.
impl Drop for Committer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that writes the buckets has panicked");
        }
    }
}

fn read_counts(catalogue: &dyn Catalogue) -> Result<Counts> {
    let mut counts = Counts::default();
    each(catalogue, entry::PACKS, &mut |key, pack| {
        counts.packs.insert(entry::number(key), pack);
        ControlFlow::Continue(())
    })?;
    let usages = entry::usage("");
    each(catalogue, &usages, &mut |key, usage| {
        counts.usage.insert(String::from_utf8_lossy(&key[usages.len()..]).into_owned(), usage);
        ControlFlow::Continue(())
    })?;
    Ok(counts)
}

struct Writer {
    catalogue: Arc<dyn Catalogue>,
    counts: Arc<Mutex<Counts>>,
    last: Arc<AtomicU64>,
}

impl Writer {
    fn run(&self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let mut batch = Batch::default();
            batch.add(first, &lock(&self.counts));
            while batch.changes.len() < MOST
                && let Ok(next) = waiting.try_recv()
            {
                batch.add(next, &lock(&self.counts));
            }
            self.write(batch);
        }
    }

    fn write(&self, batch: Batch) {
        let Batch { mut changes, counts, done } = batch;
        if done.is_empty() {
            return;
        }
        let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
        for (bucket, usage) in &counts.usage {
            changes.push(match usage {
                Some(usage) => Change::Put(entry::usage(bucket), json(serde_json::to_vec(usage))),
                None => Change::Delete(entry::usage(bucket)),
            });
        }
        for (number, pack) in &counts.packs {
            changes.push(match pack {
                Some(pack) => Change::Put(entry::pack(*number), json(serde_json::to_vec(pack))),
                None => Change::Delete(entry::pack(*number)),
            });
        }
        let last = self.last.load(Ordering::Relaxed).to_be_bytes().to_vec();
        changes.push(Change::Put(entry::LAST.to_vec(), last));
        let outcome = self.catalogue.commit(&changes).map_err(Arc::new);
        if outcome.is_ok() {
            let mut own = lock(&self.counts);
            for (bucket, usage) in counts.usage {
                match usage {
                    Some(usage) => own.usage.insert(bucket, usage),
                    None => own.usage.remove(&bucket),
                };
            }
            for (number, pack) in counts.packs {
                match pack {
                    Some(pack) => own.packs.insert(number, pack),
                    None => own.packs.remove(&number),
                };
            }
        } else if let Ok(found) = read_counts(self.catalogue.as_ref()) {
            // What was written may be there all the same.
            *lock(&self.counts) = found;
        }
        for one in done {
            let told = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(Fault::Commit(Arc::clone(error))),
            };
            // Whoever asked may have gone.
            let _gone = one.send(told);
        }
    }
}

/// What will be counted when the batch is written; `None` for what will be gone.
#[derive(Default)]
struct NewCounts {
    usage: BTreeMap<String, Option<Usage>>,
    packs: BTreeMap<u64, Option<Pack>>,
}

#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    counts: NewCounts,
    done: Vec<SyncSender<Result<()>>>,
}

impl Batch {
    fn add(&mut self, (plan, done): Job, counts: &Counts) {
        let usage = |batch: &Self, bucket: &String| match batch.counts.usage.get(bucket) {
            Some(new) => new.unwrap_or_default(),
            None => counts.usage.get(bucket).copied().unwrap_or_default(),
        };
        let mut new = BTreeMap::new();
        for (bucket, (objects, bytes)) in &plan.usage {
            let old = usage(self, bucket);
            let sum = Usage { objects: plus(old.objects, *objects), bytes: plus(old.bytes, *bytes) };
            if let Some((limited, settings)) = &plan.limits
                && limited == bucket
                && ((*bytes > 0 && settings.most_bytes.is_some_and(|most| sum.bytes > most))
                    || (*objects > 0 && settings.most_objects.is_some_and(|most| sum.objects > most)))
            {
                let code = S3ErrorCode::Custom("QuotaExceeded".into());
                let _gone = done.send(Err(fault(code, "the bucket's quota would be exceeded")));
                return;
            }
            new.insert(bucket.clone(), Some(sum));
        }
        if let Some(gone) = plan.gone {
            new.insert(gone, None);
        }
        self.counts.usage.extend(new);
        if let Some((number, pack)) = plan.new_pack {
            self.counts.packs.insert(number, Some(pack));
        }
        for (number, change) in plan.live {
            let old = match self.counts.packs.get(&number) {
                Some(new) => new.clone(),
                None => counts.packs.get(&number).cloned(),
            };
            let Some(mut pack) = old else { continue };
            pack.live = plus(pack.live, change);
            self.counts.packs.insert(number, Some(pack).filter(|pack| pack.live > 0));
        }
        self.changes.extend(plan.changes);
        self.done.push(done);
    }
}
