//! Buckets and objects over a store and a catalogue in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use cas::{BlockStore, Change, Index as _, MemoryIndex, MemoryStore, Visit};
use offs::{OffUrl, PutOptions};
use proptest::prelude::*;
use s3s::S3ErrorCode;
use serde_json::Value;

use crate::{
    Backend, BackendError, KnownUrl,
    s3::{
        backup,
        catalogue::Catalogue,
        digest::Expected,
        fault::{Fault, Result},
        holders::reachable,
        list::{Asked, Entry},
        object::{About, LifecycleRule, Place, SumKind, Upload, Version, Versioning},
        packer::Waiting,
        shelf::{Content, Doomed, New, Shelf, Wish},
        uploads::{Named, Whole},
    },
};

#[derive(Default)]
struct InMemory {
    store: Arc<MemoryStore>,
    index: MemoryIndex,
    pinned: Mutex<Vec<OffUrl>>,
}

impl Catalogue for InMemory {
    fn get(&self, key: &[u8]) -> cas::Result<Option<Vec<u8>>> {
        Ok(self.index.get(key)?)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> cas::Result<()> {
        Ok(self.index.scan_from(prefix, from, visit)?)
    }

    fn commit(&self, changes: &[Change]) -> cas::Result<()> {
        Ok(self.index.apply(changes)?)
    }
}

impl Backend for InMemory {
    fn store(&self) -> Arc<dyn BlockStore> {
        Arc::<MemoryStore>::clone(&self.store)
    }

    fn put_options(&self) -> PutOptions {
        PutOptions::default()
    }

    fn scratch(&self) -> &Path {
        Path::new(".")
    }

    fn keep(&self, url: &OffUrl) -> std::result::Result<(), BackendError> {
        self.pinned.lock().expect("pins").push(url.clone());
        Ok(())
    }

    fn unpin(&self, url: &OffUrl) -> std::result::Result<(), BackendError> {
        self.pinned.lock().expect("pins").retain(|pinned| pinned != url);
        Ok(())
    }

    fn urls(&self) -> Vec<KnownUrl> {
        Vec::new()
    }

    fn status(&self) -> Value {
        Value::Null
    }
}

fn shelf() -> (Arc<InMemory>, Shelf) {
    let memory = Arc::new(InMemory::default());
    let backend: Arc<dyn Backend> = Arc::<InMemory>::clone(&memory);
    let catalogue: Arc<dyn Catalogue> = Arc::<InMemory>::clone(&memory);
    let shelf = Shelf::open(backend, catalogue).expect("a shelf");
    assert!(shelf.create_bucket("bucket").expect("a bucket"));
    (memory, shelf)
}

fn content(length: usize, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn new(content: Content) -> New {
    let about = About::default();
    New { content, etag: "e".to_owned(), sum: None, about, parts: Vec::new(), upload: None }
}

fn put(shelf: &Shelf, name: &str, bytes: &[u8]) -> Version {
    let content = if bytes.len() > crate::s3::receive::SMALL {
        shelf.store(&mut &*bytes, &Expected::default()).expect("stored").0
    } else {
        Content::small(Bytes::copy_from_slice(bytes))
    };
    shelf.put("bucket", name, new(content), &Wish::default()).expect("put")
}

fn get(shelf: &Shelf, name: &str, id: Option<&str>) -> Vec<u8> {
    let version = shelf.version("bucket", name, id).expect("a version");
    shelf.bytes(&version, &(0..version.length)).expect("bytes").to_vec()
}

fn is_code<T>(result: Result<T>, code: &S3ErrorCode) -> bool {
    matches!(result, Err(Fault::Code { code: found, .. }) if found == *code)
}

fn keep_only_what_is_needed(memory: &InMemory) {
    let mut needed = BTreeSet::new();
    reachable(memory.store.as_ref(), memory, &mut |score| {
        needed.insert(score.to_binary());
    })
    .expect("reachable");
    let mut all = Vec::new();
    memory
        .store
        .scores(&mut |score| {
            all.push(score);
            std::ops::ControlFlow::Continue(())
        })
        .expect("scores");
    for score in all.into_iter().filter(|score| !needed.contains(&score.to_binary())) {
        memory.store.remove(&score).expect("removed");
    }
}

#[test]
fn objects_come_change_and_go() {
    let (memory, shelf) = shelf();
    let lengths = [0, 1, 5000, 262_144, 262_145, 1_000_000];
    for (number, length) in (0..).zip(lengths) {
        put(&shelf, &format!("k{number}"), &content(length, number));
    }
    for (number, length) in (0..).zip(lengths) {
        assert_eq!(get(&shelf, &format!("k{number}"), None), content(length, number));
    }
    let usage = shelf.committer.usage("bucket");
    assert_eq!((usage.objects, usage.bytes), (6, lengths.iter().sum::<usize>() as u64));
    put(&shelf, "k5", b"less");
    assert_eq!(get(&shelf, "k5", None), b"less");
    assert!(is_code(shelf.delete_bucket("bucket"), &S3ErrorCode::BucketNotEmpty));
    for number in 0..6 {
        shelf.delete("bucket", &format!("k{number}"), None, &Wish::default()).expect("deleted");
    }
    let usage = shelf.committer.usage("bucket");
    assert_eq!((usage.objects, usage.bytes), (0, 0));
    keep_only_what_is_needed(&memory);
    assert_eq!(memory.store.most_blocks(), 0, "nothing is needed any more");
    shelf.delete_bucket("bucket").expect("deleted");
    assert!(is_code(shelf.current("bucket", "k").and_then(|_| shelf.bucket("bucket")), &S3ErrorCode::NoSuchBucket));
}

#[test]
fn another_process_sees_what_was_written() {
    let (memory, shelf) = shelf();
    let first = put(&shelf, "k", b"one");
    shelf.configure("bucket", |bucket| bucket.versioning = Versioning::Enabled).expect("configured");
    drop(shelf);
    let backend: Arc<dyn Backend> = Arc::<InMemory>::clone(&memory);
    let again = Shelf::open(backend, memory).expect("a shelf");
    assert_eq!(again.committer.usage("bucket").objects, 1);
    let second = put(&again, "k", b"two");
    assert!(second.seq > first.seq);
    assert_eq!(get(&again, "k", Some("null")), b"one");
}

#[test]
fn one_of_many_writers_makes_it() {
    let (_, shelf) = shelf();
    let create = Wish { is: None, is_not: Some(vec!["*".to_owned()]), seq: None };
    let made = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number: u8| {
                let (shelf, create) = (&shelf, &create);
                scope.spawn(move || {
                    let content = Content::small(Bytes::copy_from_slice(&[number]));
                    shelf.put("bucket", "k", new(content), create).is_ok()
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("joined")).filter(|made| *made).count()
    });
    assert_eq!(made, 1);
    let other = Wish { is: Some(vec!["x".to_owned()]), ..Wish::default() };
    assert!(is_code(shelf.delete("bucket", "k", None, &other), &S3ErrorCode::PreconditionFailed));
}

#[test]
fn a_quota_is_kept() {
    let (_, shelf) = shelf();
    shelf.configure("bucket", |bucket| bucket.most_bytes = Some(10)).expect("configured");
    put(&shelf, "a", b"12345");
    let over = new(Content::small(Bytes::from_static(b"123456")));
    let refused = shelf.put("bucket", "b", over, &Wish::default());
    assert!(is_code(refused, &S3ErrorCode::Custom("QuotaExceeded".into())));
    assert!(shelf.current("bucket", "b").expect("read").is_none());
    put(&shelf, "a", b"1234567890");
    shelf.configure("bucket", |bucket| bucket.most_objects = Some(1)).expect("configured");
    let second = shelf.put("bucket", "b", new(Content::small(Bytes::new())), &Wish::default());
    assert!(is_code(second, &S3ErrorCode::Custom("QuotaExceeded".into())));
}

#[test]
fn parts_count_for_a_quota() {
    let (_, shelf) = shelf();
    shelf.configure("bucket", |bucket| bucket.most_bytes = Some(100)).expect("configured");
    let upload = Upload { initiated: 0, about: About::default(), sum: None, composite: false };
    let id = shelf.begin_upload("bucket", "k", &upload).expect("begun");
    let part = |number: i32, length: usize| {
        let (content, digests) = shelf.store(&mut &content(length, 1)[..], &Expected::default()).expect("stored");
        shelf.put_part(("bucket", "k", &id), number, content, hex::encode(digests.md5), None)
    };
    let bytes = || shelf.committer.usage("bucket").bytes;
    part(1, 60).expect("within");
    assert!(is_code(part(2, 41), &S3ErrorCode::Custom("QuotaExceeded".into())));
    part(1, 50).expect("in place of the first");
    part(2, 50).expect("within");
    assert_eq!(bytes(), 100);
    let named = [Named { number: 1, etag: None, sums: Vec::new() }];
    let done = shelf.complete_upload(("bucket", "k", &id), &named, &Whole::default(), &Wish::default());
    assert_eq!((done.expect("what is full can be completed").length, bytes()), (50, 50));
    let other = shelf.begin_upload("bucket", "l", &upload).expect("begun");
    let (content, digests) = shelf.store(&mut &content(30, 2)[..], &Expected::default()).expect("stored");
    shelf.put_part(("bucket", "l", &other), 1, content, hex::encode(digests.md5), None).expect("within");
    shelf.abort_upload("bucket", "l", &other).expect("ended");
    assert_eq!(bytes(), 50);
}

#[test]
fn small_objects_are_packed_read_deleted_and_packed_again() {
    let (memory, shelf) = shelf();
    let of = |number: u64| content(4000 + usize::try_from(number).expect("small"), number);
    for number in 0..2300 {
        put(&shelf, &format!("{number:05}"), &of(number));
    }
    let mut waiting = Waiting::default();
    while shelf.pack(&mut waiting).expect("packed") {}
    let (packs, _) = packs(&shelf);
    assert_eq!(packs, 1, "nothing is old enough but for a whole file");
    let check = |shelf: &Shelf, gone: &dyn Fn(u64) -> bool| {
        for number in 0..2300 {
            let name = format!("{number:05}");
            if gone(number) {
                assert!(shelf.current("bucket", &name).expect("read").is_none());
            } else {
                assert_eq!(get(shelf, &name, None), of(number), "{name}");
            }
        }
    };
    check(&shelf, &|_| false);
    keep_only_what_is_needed(&memory);
    check(&shelf, &|_| false);
    let gone = |number: u64| !number.is_multiple_of(5);
    for number in (0..2300).filter(|number| gone(*number)) {
        shelf.delete("bucket", &format!("{number:05}"), None, &Wish::default()).expect("deleted");
    }
    let before = self::packs(&shelf).1;
    shelf.pack(&mut waiting).expect("packed");
    let after = self::packs(&shelf).1;
    assert!(after < before / 3, "what is left of the file was packed again: {after} of {before}");
    check(&shelf, &gone);
    keep_only_what_is_needed(&memory);
    check(&shelf, &gone);
    for number in (0..2300).filter(|number| !gone(*number)) {
        shelf.delete("bucket", &format!("{number:05}"), None, &Wish::default()).expect("deleted");
    }
    assert_eq!(self::packs(&shelf).0, 0);
    keep_only_what_is_needed(&memory);
    assert_eq!(memory.store.most_blocks(), 0);
    shelf.delete_bucket("bucket").expect("empty");
    let left: Vec<_> = memory.index_keys().into_iter().filter(|key| key != b"s").collect();
    assert!(left.is_empty(), "entries are left: {left:?}");
}

fn packs(shelf: &Shelf) -> (usize, u64) {
    let packs = shelf.committer.packs();
    (packs.len(), packs.iter().map(|(_, pack)| pack.length).sum())
}

impl InMemory {
    fn index_keys(&self) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.index
            .scan(b"", &mut |key, _| {
                keys.push(key.to_vec());
                std::ops::ControlFlow::Continue(())
            })
            .expect("scan");
        keys
    }
}

#[test]
fn many_are_deleted_with_one_write() {
    let (_, shelf) = shelf();
    shelf.configure("bucket", |bucket| bucket.versioning = Versioning::Enabled).expect("configured");
    let first = put(&shelf, "a", b"1");
    put(&shelf, "a", b"22");
    put(&shelf, "b", b"333");
    let doomed = |name: &str, version: Option<String>, is: Option<&str>| Doomed {
        name: name.to_owned(),
        version,
        wish: Wish { is: is.map(|tag| vec![tag.to_owned()]), ..Wish::default() },
    };
    let all = [
        doomed("a", None, None),
        doomed("b", None, Some("another")),
        doomed("a", Some(first.id()), None),
        doomed("none", None, None),
    ];
    let done = shelf.delete_all("bucket", &all).expect("deleted");
    assert!(done[0].as_ref().is_ok_and(|done| done.mark) && done[2].is_ok() && done[3].is_ok());
    assert!(matches!(done[1], Err(Fault::Code { .. })));
    assert!(shelf.current("bucket", "a").expect("read").expect("a mark").deleted);
    assert_eq!(get(&shelf, "b", None), b"333");
    let usage = shelf.committer.usage("bucket");
    // Two of "a", one of them a mark, one of "b", and the mark of what was never there.
    assert_eq!((usage.objects, usage.bytes), (4, 5));
}

#[test]
fn an_object_in_parts() {
    let (memory, shelf) = shelf();
    let upload = Upload { initiated: 0, about: About::default(), sum: Some(SumKind::Crc64nvme), composite: false };
    let id = shelf.begin_upload("bucket", "k", &upload).expect("begun");
    let expected = Expected { kinds: vec![SumKind::Crc64nvme], ..Expected::default() };
    let parts = [content(5 << 20, 1), content(5 << 20, 2), content(77, 3)];
    for (number, bytes) in (1..).zip(&parts) {
        let (content, digests) = shelf.store(&mut &bytes[..], &expected).expect("stored");
        let sum = digests.sums.first().cloned();
        shelf.put_part(("bucket", "k", &id), number, content, hex::encode(digests.md5), sum).expect("part");
    }
    keep_only_what_is_needed(&memory);
    assert!(shelf.current("bucket", "k").expect("read").is_none());
    let named: Vec<_> = (1..=3).map(|number| Named { number, etag: None, sums: Vec::new() }).collect();
    let at = ("bucket", "k", &*id);
    let done = shelf.complete_upload(at, &named, &Whole::default(), &Wish::default()).expect("completed");
    let whole = parts.concat();
    assert_eq!(get(&shelf, "k", None), whole);
    let mut digest = crate::s3::digest::Digest::new(&expected);
    digest.update(&whole);
    assert_eq!(done.sum, digest.finish().sums.first().cloned(), "the parts' checksums are joined");
    assert!(done.etag.ends_with("-3"));
    let again = shelf.complete_upload(at, &named, &Whole::default(), &Wish::default()).expect("completed again");
    assert_eq!(again, done, "an answer that was lost is given again");
    keep_only_what_is_needed(&memory);
    assert_eq!(get(&shelf, "k", None), whole);
    assert!(is_code(shelf.upload("bucket", "k", &id), &S3ErrorCode::NoSuchUpload));
    let other = shelf.begin_upload("bucket", "k", &upload).expect("begun");
    shelf.delete("bucket", "k", None, &Wish::default()).expect("deleted");
    shelf.delete_bucket("bucket").expect("an upload does not keep a bucket");
    assert!(shelf.parts(&other).expect("read").is_empty());
}

#[test]
fn life_cycles_end_what_their_rules_cover() {
    let (_, shelf) = shelf();
    for name in ["log/1", "log/2", "keep/1"] {
        put(&shelf, name, b"x");
    }
    let rule = LifecycleRule { enabled: true, prefix: "log/".to_owned(), date: Some(1), ..LifecycleRule::default() };
    shelf.configure("bucket", |bucket| bucket.lifecycle = vec![rule]).expect("configured");
    shelf.follow_life_cycles().expect("followed");
    let left = shelf.list("bucket", &Asked { most: 10, ..Asked::default() }).expect("list");
    assert_eq!(left.entries.iter().map(Entry::name).collect::<Vec<_>>(), ["keep/1"]);
}

#[test]
fn a_lost_catalogue_is_brought_back() {
    let (memory, shelf) = shelf();
    put(&shelf, "small", b"small");
    put(&shelf, "long", &content(300_000, 1));
    let first = shelf.save().expect("saved");
    put(&shelf, "later", b"later");
    let second = shelf.save().expect("saved");
    assert_ne!(first, second);
    assert_eq!(*memory.pinned.lock().expect("pins"), std::slice::from_ref(&second), "the one before is unpinned");
    drop(shelf);

    let lost = Arc::new(InMemory { store: Arc::clone(&memory.store), ..InMemory::default() });
    let saved = backup::read(lost.as_ref(), lost.as_ref(), &second).expect("read");
    backup::write(lost.as_ref(), &saved).expect("restored");
    assert_eq!(lost.index_keys(), memory.index_keys());
    let again = backup::write(lost.as_ref(), &saved);
    assert!(matches!(again, Err(Fault::NotEmpty)));
    let backend: Arc<dyn Backend> = Arc::<InMemory>::clone(&lost);
    let shelf = Shelf::open(backend, lost).expect("a shelf");
    assert_eq!((get(&shelf, "small", None), get(&shelf, "later", None)), (b"small".to_vec(), b"later".to_vec()));
    assert_eq!(get(&shelf, "long", None), content(300_000, 1));
    assert_eq!(shelf.committer.usage("bucket").objects, 3);

    let other = Arc::new(InMemory { store: Arc::clone(&memory.store), ..InMemory::default() });
    let file = offs::put(
        memory.store.as_ref(),
        &mut &b"something else"[..],
        &PutOptions::default(),
        Box::new(offs::SystemDice::new()),
        &|_| {},
    )
    .expect("stored");
    let url = OffUrl { reference: file.reference, ..second };
    assert!(matches!(backup::read(other.as_ref(), other.as_ref(), &url), Err(Fault::NotSaved)));
    assert!(backup::is_empty(other.as_ref()).expect("read"), "nothing of it is written");
}

/// What is done to objects, and what they should be afterwards.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8),
    Delete(usize),
    DeleteVersion(usize, usize),
    Versioning(bool),
    Pack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize, any::<u8>()).prop_map(|(name, byte)| Step::Put(name, byte)),
        2 => (0..4_usize).prop_map(Step::Delete),
        2 => (0..4_usize, 0..6_usize).prop_map(|(name, at)| Step::DeleteVersion(name, at)),
        1 => any::<bool>().prop_map(Step::Versioning),
        1 => Just(Step::Pack),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn versions_are_those_of_a_model(steps in steps()) {
        let (_, shelf) = shelf();
        // For each name the versions, the newest first: what clients call it, and its content unless it is a mark.
        let mut model: BTreeMap<String, Vec<(String, Option<u8>)>> = BTreeMap::new();
        let mut versioning = Versioning::Off;
        for step in steps {
            match step {
                Step::Versioning(on) => {
                    versioning = if on { Versioning::Enabled } else { Versioning::Suspended };
                    shelf.configure("bucket", |bucket| bucket.versioning = versioning).expect("configured");
                }
                Step::Put(name, byte) => {
                    let name = format!("n{name}");
                    let version = put(&shelf, &name, &[byte]);
                    let versions = model.entry(name).or_default();
                    versions.retain(|(id, _)| *id != version.id());
                    versions.insert(0, (version.id(), Some(byte)));
                }
                Step::Delete(name) => {
                    let name = format!("n{name}");
                    let deleted = shelf.delete("bucket", &name, None, &Wish::default()).expect("deleted");
                    let versions = model.entry(name).or_default();
                    if versioning == Versioning::Off {
                        versions.clear();
                    } else {
                        let id = deleted.version.expect("a mark");
                        versions.retain(|(known, _)| *known != id);
                        versions.insert(0, (id, None));
                    }
                }
                Step::DeleteVersion(name, at) => {
                    let name = format!("n{name}");
                    let versions = model.entry(name.clone()).or_default();
                    if at < versions.len() {
                        let (id, _) = versions.remove(at);
                        shelf.delete("bucket", &name, Some(&id), &Wish::default()).expect("deleted");
                    }
                }
                Step::Pack => {
                    let old = std::time::Instant::now().checked_sub(std::time::Duration::from_mins(2));
                    let mut waiting = Waiting::begun(old.expect("a time"), shelf.committer.last());
                    shelf.pack(&mut waiting).expect("packed");
                }
            }
            model.retain(|_, versions| !versions.is_empty());
        }
        for (name, versions) in &model {
            for (id, byte) in versions {
                let version = shelf.version("bucket", name, Some(id)).expect("a version");
                prop_assert_eq!(version.deleted, byte.is_none());
                if let Some(byte) = byte {
                    prop_assert_eq!(get(&shelf, name, Some(id)), vec![*byte]);
                }
            }
        }
        let current: Vec<_> =
            model.iter().filter(|(_, versions)| versions[0].1.is_some()).map(|(name, _)| name.clone()).collect();
        let asked = Asked { most: 1000, ..Asked::default() };
        let listed = shelf.list("bucket", &asked).expect("list");
        prop_assert_eq!(listed.entries.iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>(), current);
        let all: Vec<_> = model
            .iter()
            .flat_map(|(name, versions)| versions.iter().map(move |(id, _)| (name.clone(), id.clone())))
            .collect();
        let mut told = Vec::new();
        let (mut after, mut mark) = (None, None);
        loop {
            let asked = Asked { most: 2, after: after.clone(), ..Asked::default() };
            let page = shelf.list_versions("bucket", &asked, mark.as_deref()).expect("list");
            for entry in &page.entries {
                if let Entry::One(name, (version, _)) = entry {
                    told.push((name.clone(), version.id()));
                    (after, mark) = (Some(name.clone()), Some(version.id()));
                }
            }
            if !page.more {
                break;
            }
        }
        prop_assert_eq!(&told, &all);
        prop_assert_eq!(shelf.committer.usage("bucket").objects, all.len() as u64);
    }

    #[test]
    fn lists_are_those_of_a_model(
        names in prop::collection::btree_set("[ab/é]{1,6}", 0..30),
        prefix in "[ab/]{0,2}",
        delimiter in prop::option::of(prop_oneof![Just("/".to_owned()), Just("b".to_owned()), Just("ab".to_owned())]),
        most in 1..5_usize,
    ) {
        let (_, shelf) = shelf();
        for name in &names {
            put(&shelf, name, b"");
        }
        let mut wanted: Vec<String> = Vec::new();
        for name in names.iter().filter(|name| name.starts_with(&prefix)) {
            let rest = &name[prefix.len()..];
            let cut = delimiter.as_ref().and_then(|delimiter| Some(rest.find(delimiter.as_str())? + delimiter.len()));
            let told = cut.map_or_else(|| name.clone(), |cut| format!("{prefix}{}*", &rest[..cut]));
            if wanted.last() != Some(&told) {
                wanted.push(told);
            }
        }
        let mut told = Vec::new();
        let (mut after, mut after_all_of) = (None, false);
        loop {
            let asked = Asked { prefix: prefix.clone(), delimiter: delimiter.clone(), after: after.clone(), after_all_of, most };
            let page = shelf.list("bucket", &asked).expect("list");
            prop_assert!(page.entries.len() <= most);
            for entry in &page.entries {
                after = Some(entry.name().to_owned());
                after_all_of = matches!(entry, Entry::Together(_));
                told.push(if after_all_of { format!("{}*", entry.name()) } else { entry.name().to_owned() });
            }
            if !page.more {
                break;
            }
            prop_assert_eq!(page.entries.len(), most);
        }
        prop_assert_eq!(told, wanted);
    }
}

#[test]
fn a_small_object_is_a_note_and_a_long_one_a_file() {
    let (_, shelf) = shelf();
    let small = put(&shelf, "small", b"x");
    let long = put(&shelf, "long", &content(300_000, 1));
    assert_eq!(small.pieces[0].place, Place::Small);
    assert!(matches!(long.pieces[0].place, Place::File(_)));
}
