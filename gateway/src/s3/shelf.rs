//! Buckets and their objects, over a store and a catalogue (docs/s3.md). Everything here may wait for the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cas::Hold;
use s3s::S3ErrorCode;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::{
    backend::Backend,
    reading::Streams,
    s3::{
        catalogue::{Catalogue, each},
        committer::{Committer, Plan},
        contents::Blocks,
        entry,
        fault::{Fault, Result, fault},
        object::{About, Bucket, PartOf, Piece, Place, Sum, Usage, Version, Versioning},
        policy::Policy,
        receive::STORING,
    },
};

/// Locks for objects; two objects that share one wait for each other.
const LOCKS: usize = 256;

/// All buckets of a store.
pub(crate) struct Shelf {
    pub(crate) catalogue: Arc<dyn Catalogue>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) committer: Committer,
    pub(crate) streams: Arc<Streams>,
    pub(crate) blocks: Blocks,
    buckets: RwLock<BTreeMap<String, Arc<Held>>>,
    /// The right to store a long object.
    pub(crate) storing: Arc<Semaphore>,
    /// For objects. Taken after an upload's, and several of them in the order of their numbers.
    objects: Vec<Mutex<()>>,
    uploads: Vec<Mutex<()>>,
    /// Taken before the gate of a bucket.
    making: Mutex<()>,
}

/// A bucket that is there.
pub(crate) struct Held {
    /// Read by whoever writes into the bucket, written by who removes it; whether it is still there.
    gate: RwLock<bool>,
    settings: RwLock<(Arc<Bucket>, Option<Arc<Policy>>)>,
}

/// Settings, and the policy in them as it is read.
fn read(name: &str, settings: Bucket) -> (Arc<Bucket>, Option<Arc<Policy>>) {
    let policy = settings.policy.as_ref().map(|text| {
        Policy::parse(text, name).unwrap_or_else(|error| {
            tracing::warn!(bucket = name, error, "the policy of a bucket cannot be read, so nobody may use it");
            Policy::closed()
        })
    });
    (Arc::new(settings), policy.map(Arc::new))
}

impl Held {
    fn new(name: &str, settings: Bucket) -> Arc<Self> {
        Arc::new(Self { gate: RwLock::new(true), settings: RwLock::new(read(name, settings)) })
    }

    pub(crate) fn settings(&self) -> Arc<Bucket> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    pub(crate) fn policy(&self) -> Option<Arc<Policy>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// The right to write into it.
    pub(crate) fn enter(&self) -> Result<RwLockReadGuard<'_, bool>> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        if *gate { Ok(gate) } else { Err(no_bucket()) }
    }
}

/// Bytes that were received and stored, or are small enough to be in the catalogue.
pub(crate) struct Content {
    pub(crate) length: u64,
    pub(crate) bytes: Bytes,
    /// What is not in `bytes`.
    pub(crate) pieces: Vec<Piece>,
    /// Until it is written down, what was stored must not be evicted.
    pub(crate) hold: Option<Hold>,
}

impl Content {
    pub(crate) const fn small(bytes: Bytes) -> Self {
        Self { length: bytes.len() as u64, bytes, pieces: Vec::new(), hold: None }
    }

    pub(crate) fn of_pieces(pieces: Vec<Piece>, hold: Option<Hold>) -> Self {
        Self { length: pieces.iter().map(|piece| piece.length).sum(), bytes: Bytes::new(), pieces, hold }
    }
}

/// An object that is to be.
pub(crate) struct New {
    pub(crate) content: Content,
    pub(crate) etag: String,
    pub(crate) sum: Option<Sum>,
    pub(crate) about: About,
    pub(crate) parts: Vec<PartOf>,
    pub(crate) upload: Option<String>,
}

/// What must hold of the current version for a write to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// One of these, or `*` for any.
    pub(crate) is: Option<Vec<String>>,
    /// None of these, or `*` for nothing at all.
    pub(crate) is_not: Option<Vec<String>>,
    /// The version that is meant, by its number.
    pub(crate) seq: Option<u64>,
}

impl Wish {
    fn check(&self, current: Option<&Version>) -> Result<()> {
        let named = |tags: &[String], etag: &str| tags.iter().any(|tag| tag == "*" || tag == etag);
        match (&self.is, current) {
            (Some(_), None) => return Err(fault(S3ErrorCode::NoSuchKey, "there is no such object")),
            (Some(tags), Some(version)) if !named(tags, &version.etag) => return Err(unmet()),
            _ => {}
        }
        match (&self.is_not, current) {
            (Some(tags), Some(version)) if named(tags, &version.etag) => Err(unmet()),
            _ => Ok(()),
        }
    }
}

pub(crate) const fn unmet() -> Fault {
    fault(S3ErrorCode::PreconditionFailed, "a condition of the request is not met")
}

pub(crate) const fn no_bucket() -> Fault {
    fault(S3ErrorCode::NoSuchBucket, "there is no such bucket")
}

pub(crate) const fn no_key() -> Fault {
    fault(S3ErrorCode::NoSuchKey, "there is no such object")
}

const fn no_version() -> Fault {
    fault(S3ErrorCode::NoSuchVersion, "there is no such version")
}

/// An object that is to be deleted, with others.
pub(crate) struct Doomed {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) wish: Wish,
}

/// What a deletion did.
pub(crate) struct Deleted {
    /// Whether a mark was made, or one was deleted.
    pub(crate) mark: bool,
    /// The version that was deleted, or the mark that was made.
    pub(crate) version: Option<String>,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Shelf {
    /// Reads the list of buckets.
    pub(crate) fn open(backend: Arc<dyn Backend>, catalogue: Arc<dyn Catalogue>) -> Result<Self> {
        if catalogue.get(entry::RESTORING)?.is_some() {
            return Err(Fault::HalfRestored);
        }
        let mut buckets = BTreeMap::new();
        each(catalogue.as_ref(), entry::BUCKETS, &mut |key, settings| {
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            let held = Held::new(&name, settings);
            buckets.insert(name, held);
            ControlFlow::Continue(())
        })?;
        let committer = Committer::start(Arc::clone(&catalogue))?;
        let locks = || (0..LOCKS).map(|_| Mutex::default()).collect();
        Ok(Self {
            catalogue,
            backend,
            committer,
            streams: Arc::default(),
            blocks: Blocks::default(),
            buckets: RwLock::new(buckets),
            storing: Arc::new(Semaphore::new(STORING)),
            objects: locks(),
            uploads: locks(),
            making: Mutex::default(),
        })
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>> {
        Ok(self.catalogue.get(key)?.map(|value| serde_json::from_slice(&value)).transpose()?)
    }

    /// While this lives nobody else changes the object.
    pub(crate) fn lock(&self, bucket: &str, name: &str) -> MutexGuard<'_, ()> {
        self.lock_number(Self::lock_of(bucket, name))
    }

    /// While this lives nobody else changes the upload.
    pub(crate) fn lock_upload(&self, id: &str) -> MutexGuard<'_, ()> {
        self.uploads[Self::lock_of(id, "")].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an object's lock.
    pub(crate) fn lock_of(bucket: &str, name: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        (bucket, name).hash(&mut hasher);
        usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0)
    }

    /// Several locks, in the order of their numbers.
    pub(crate) fn lock_all(&self, numbers: impl Iterator<Item = usize>) -> Vec<MutexGuard<'_, ()>> {
        let numbers: BTreeSet<_> = numbers.collect();
        numbers.into_iter().map(|number| self.lock_number(number)).collect()
    }

    fn lock_number(&self, number: usize) -> MutexGuard<'_, ()> {
        self.objects[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Buckets

    /// A bucket by its name.
    pub(crate) fn bucket(&self, name: &str) -> Result<Arc<Held>> {
        self.find_bucket(name).ok_or_else(no_bucket)
    }

    pub(crate) fn find_bucket(&self, name: &str) -> Option<Arc<Held>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All buckets.
    pub(crate) fn buckets(&self) -> Vec<(String, Arc<Bucket>)> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.iter().map(|(name, held)| (name.clone(), held.settings())).collect()
    }

    /// All buckets with what they hold.
    pub(crate) fn usages(&self) -> Vec<(String, Usage)> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.keys().map(|name| (name.clone(), self.committer.usage(name))).collect()
    }

    /// Makes a bucket; `false` if it is there already.
    pub(crate) fn create_bucket(&self, name: &str) -> Result<bool> {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.find_bucket(name).is_some() {
            return Ok(false);
        }
        let settings = Bucket { created: now(), ..Bucket::default() };
        let mut plan = Plan::default();
        plan.put(entry::bucket(name), &settings)?;
        self.committer.commit(plan)?;
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Held::new(name, settings));
        Ok(true)
    }

    /// Removes an empty bucket.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<()> {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.bucket(name)?;
        let mut gate = held.gate.write().unwrap_or_else(PoisonError::into_inner);
        if !*gate {
            return Err(no_bucket());
        }
        let objects = entry::object(name, b"");
        let mut empty = true;
        self.catalogue.scan_from(&objects, &objects, &mut |_, _| {
            empty = false;
            ControlFlow::Break(())
        })?;
        if !empty {
            return Err(fault(S3ErrorCode::BucketNotEmpty, "the bucket is not empty"));
        }
        let mut plan = Plan::default();
        plan.delete(entry::bucket(name));
        plan.drops(name);
        let uploads = entry::uploads(name, b"");
        let mut ids = Vec::new();
        self.catalogue.scan_from(&uploads, &uploads, &mut |key, _| {
            ids.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        for key in ids {
            self.plan_end_of_upload(&mut plan, name, key)?;
        }
        self.committer.commit(plan)?;
        *gate = false;
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    /// Changes the settings of a bucket.
    pub(crate) fn configure(&self, name: &str, change: impl FnOnce(&mut Bucket)) -> Result<()> {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.bucket(name)?;
        let _gate = held.enter()?;
        let mut settings = Bucket::clone(&held.settings());
        change(&mut settings);
        let mut plan = Plan::default();
        plan.put(entry::bucket(name), &settings)?;
        self.committer.commit(plan)?;
        *held.settings.write().unwrap_or_else(PoisonError::into_inner) = read(name, settings);
        Ok(())
    }

    // Objects

    /// The current version, marks of deletion included.
    pub(crate) fn current(&self, bucket: &str, name: &str) -> Result<Option<Version>> {
        self.read(&entry::object(bucket, name.as_bytes()))
    }

    /// The current object, or the version that is asked for.
    pub(crate) fn version(&self, bucket: &str, name: &str, id: Option<&str>) -> Result<Version> {
        self.bucket(bucket)?;
        let current = self.current(bucket, name)?;
        let Some(id) = id else { return current.filter(|version| !version.deleted).ok_or_else(no_key) };
        if let Some(current) = current
            && current.id() == id
        {
            return Ok(current);
        }
        self.older(bucket, name, id)?.ok_or_else(no_version)
    }

    /// A version that is not the current one.
    fn older(&self, bucket: &str, name: &str, id: &str) -> Result<Option<Version>> {
        if id != "null" {
            let seq = u64::from_str_radix(id, 16)
                .map_err(|_| fault(S3ErrorCode::InvalidArgument, "Invalid version id specified"))?;
            let version: Option<Version> = self.read(&entry::version(bucket, name, seq))?;
            return Ok(version.filter(|version| !version.null));
        }
        let mut found = None;
        self.each_older(bucket, name, &mut |version| {
            if version.null {
                found = Some(version);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Calls `visit` with each version that is not the current one, the newest first.
    pub(crate) fn each_older(
        &self,
        bucket: &str,
        name: &str,
        visit: &mut dyn FnMut(Version) -> ControlFlow<()>,
    ) -> Result<()> {
        let prefix = entry::versions(bucket, name);
        each(self.catalogue.as_ref(), &prefix, &mut |key, version| {
            // Else it is one of an object whose name goes on behind a zero.
            if key.len() == prefix.len() + 8 { visit(version) } else { ControlFlow::Continue(()) }
        })
    }

    /// Puts an object, over whatever has its name. Durable when this returns.
    pub(crate) fn put(&self, bucket: &str, name: &str, new: New, wish: &Wish) -> Result<Version> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _one = self.lock(bucket, name);
        self.put_locked(bucket, name, new, wish, &held.settings(), Plan::default())
    }

    /// The same, by who has the lock and the right, and has more to change.
    pub(crate) fn put_locked(
        &self,
        bucket: &str,
        name: &str,
        new: New,
        wish: &Wish,
        settings: &Arc<Bucket>,
        mut plan: Plan,
    ) -> Result<Version> {
        let current = self.current(bucket, name)?;
        wish.check(current.as_ref().filter(|version| !version.deleted))?;
        if new.content.length > 0 && new.content.pieces.is_empty() && self.backend.room() < new.content.length {
            // The index may take what the packs may not, but it must not fill what is left for it.
            return Err(fault(S3ErrorCode::Custom("InsufficientStorage".into()), "the store is full"));
        }
        let seq = self.committer.next();
        let mut pieces = new.content.pieces;
        if !new.content.bytes.is_empty() {
            plan.put_bytes(entry::small(seq), entry::owned(bucket, name, &new.content.bytes));
            pieces = vec![Piece { length: new.content.length, place: Place::Small }];
        }
        let version = Version {
            seq,
            null: settings.versioning != Versioning::Enabled,
            modified: now(),
            deleted: false,
            length: new.content.length,
            etag: new.etag,
            pieces,
            parts: new.parts,
            upload: new.upload,
            sum: new.sum,
            about: new.about,
        };
        plan.within(bucket, settings);
        self.plan_new(&mut plan, bucket, name, current, &version, settings.versioning)?;
        self.committer.commit(plan)?;
        drop(new.content.hold);
        Ok(version)
    }

    /// `version` becomes the current one.
    fn plan_new(
        &self,
        plan: &mut Plan,
        bucket: &str,
        name: &str,
        current: Option<Version>,
        version: &Version,
        versioning: Versioning,
    ) -> Result<()> {
        plan.put(entry::object(bucket, name.as_bytes()), version)?;
        plan.holds(bucket, 1, signed(version.length));
        if version.null && versioning != Versioning::Off && current.as_ref().is_none_or(|current| !current.null) {
            // There is one `null` at most.
            if let Some(older) = self.older(bucket, name, "null")? {
                plan.delete(entry::version(bucket, name, older.seq));
                Self::plan_release(plan, bucket, &older);
            }
        }
        match current {
            Some(current) if version.null && current.null => Self::plan_release(plan, bucket, &current),
            Some(current) => plan.put(entry::version(bucket, name, current.seq), &current)?,
            None => {}
        }
        Ok(())
    }

    /// What a version had belongs to nobody any more.
    fn plan_release(plan: &mut Plan, bucket: &str, version: &Version) {
        plan.holds(bucket, -1, -signed(version.length));
        for piece in &version.pieces {
            match &piece.place {
                Place::Small => plan.delete(entry::small(version.seq)),
                Place::Packed { pack, .. } => {
                    plan.delete(entry::resident(*pack, version.seq));
                    plan.lives(*pack, -signed(piece.length));
                }
                // Collection sees that nothing refers to it.
                Place::File(_) => {}
            }
        }
    }

    /// Deletes an object, or one version of it. What is not there is deleted already.
    pub(crate) fn delete(&self, bucket: &str, name: &str, id: Option<&str>, wish: &Wish) -> Result<Deleted> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _one = self.lock(bucket, name);
        let mut plan = Plan::default();
        let deleted = self.plan_delete(&mut plan, bucket, (name, id), wish, held.settings().versioning)?;
        self.commit(plan)?;
        Ok(deleted)
    }

    /// Deletes many objects with one write; each may fail by itself.
    pub(crate) fn delete_all(&self, bucket: &str, doomed: &[Doomed]) -> Result<Vec<Result<Deleted>>> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _locks = self.lock_all(doomed.iter().map(|one| Self::lock_of(bucket, &one.name)));
        let versioning = held.settings().versioning;
        let (mut plan, mut planned) = (Plan::default(), BTreeSet::new());
        let mut deleted = Vec::new();
        for one in doomed {
            if !planned.insert(&one.name) {
                // What becomes of it the second time depends on what became of it the first time.
                self.commit(std::mem::take(&mut plan))?;
                planned = BTreeSet::from([&one.name]);
            }
            let mut part = Plan::default();
            let id = one.version.as_deref();
            let done = self.plan_delete(&mut part, bucket, (&one.name, id), &one.wish, versioning);
            if done.is_ok() {
                plan.join(part);
            }
            deleted.push(done);
        }
        self.commit(plan)?;
        Ok(deleted)
    }

    fn commit(&self, plan: Plan) -> Result<()> {
        if plan.changes.is_empty() { Ok(()) } else { self.committer.commit(plan) }
    }

    fn plan_delete(
        &self,
        plan: &mut Plan,
        bucket: &str,
        (name, id): (&str, Option<&str>),
        wish: &Wish,
        versioning: Versioning,
    ) -> Result<Deleted> {
        let current = self.current(bucket, name)?;
        wish.check(current.as_ref().filter(|version| !version.deleted))?;
        if let Some(id) = id {
            return self.plan_delete_version(plan, bucket, (name, id), wish, current);
        }
        if wish.seq.is_some() && wish.seq != current.as_ref().map(|current| current.seq) {
            return Err(unmet());
        }
        if versioning == Versioning::Off {
            if let Some(current) = current {
                plan.delete(entry::object(bucket, name.as_bytes()));
                Self::plan_release(plan, bucket, &current);
            }
            return Ok(Deleted { mark: false, version: None });
        }
        let mark = Version {
            seq: self.committer.next(),
            null: versioning == Versioning::Suspended,
            modified: now(),
            deleted: true,
            length: 0,
            etag: String::new(),
            pieces: Vec::new(),
            parts: Vec::new(),
            upload: None,
            sum: None,
            about: About::default(),
        };
        self.plan_new(plan, bucket, name, current, &mark, versioning)?;
        Ok(Deleted { mark: true, version: Some(mark.id()) })
    }

    fn plan_delete_version(
        &self,
        plan: &mut Plan,
        bucket: &str,
        (name, id): (&str, &str),
        wish: &Wish,
        current: Option<Version>,
    ) -> Result<Deleted> {
        let is_current = current.as_ref().is_some_and(|current| current.id() == id);
        let gone = if is_current { current } else { self.older(bucket, name, id)? };
        let Some(gone) = gone else { return Ok(Deleted { mark: false, version: Some(id.to_owned()) }) };
        if wish.seq.is_some_and(|seq| seq != gone.seq) {
            return Err(unmet());
        }
        Self::plan_release(plan, bucket, &gone);
        if is_current {
            let mut newest = None;
            self.each_older(bucket, name, &mut |version| {
                newest = Some(version);
                ControlFlow::Break(())
            })?;
            match newest {
                Some(newest) => {
                    plan.delete(entry::version(bucket, name, newest.seq));
                    plan.put(entry::object(bucket, name.as_bytes()), &newest)?;
                }
                None => plan.delete(entry::object(bucket, name.as_bytes())),
            }
        } else {
            plan.delete(entry::version(bucket, name, gone.seq));
        }
        Ok(Deleted { mark: gone.deleted, version: Some(id.to_owned()) })
    }

    /// Changes what is said of a version.
    pub(crate) fn annotate(
        &self,
        bucket: &str,
        name: &str,
        id: Option<&str>,
        change: impl FnOnce(&mut About),
    ) -> Result<Version> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _one = self.lock(bucket, name);
        let mut version = self.version(bucket, name, id)?;
        if version.deleted {
            return Err(fault(S3ErrorCode::MethodNotAllowed, "that version is the mark of a deletion"));
        }
        change(&mut version.about);
        let is_current = self.current(bucket, name)?.is_some_and(|current| current.seq == version.seq);
        let key =
            if is_current { entry::object(bucket, name.as_bytes()) } else { entry::version(bucket, name, version.seq) };
        let mut plan = Plan::default();
        plan.put(key, &version)?;
        self.committer.commit(plan)?;
        Ok(version)
    }
}
