//! Objects that are put in parts.

use std::{collections::BTreeMap, ops::ControlFlow};

use s3s::{
    S3ErrorCode,
    crypto::{Checksum as _, Md5},
};

use crate::s3::{
    catalogue::each,
    committer::Plan,
    digest, entry,
    fault::{Fault, Result, fault},
    list::upload_of,
    object::{Part, PartOf, Sum, SumKind, Upload, Version},
    shelf::{Content, New, Shelf, Wish, now, signed},
};

/// Every part but the last is at least so long.
const LEAST_PART: u64 = 5 << 20;

/// A part that an upload is to be completed with.
pub(crate) struct Named {
    pub(crate) number: i32,
    pub(crate) etag: Option<String>,
    pub(crate) sums: Vec<(SumKind, String)>,
}

/// What the client says of the whole.
#[derive(Default)]
pub(crate) struct Whole {
    pub(crate) sums: Vec<(SumKind, String)>,
    pub(crate) composite: Option<bool>,
    pub(crate) length: Option<i64>,
}

const fn no_upload() -> Fault {
    fault(S3ErrorCode::NoSuchUpload, "there is no such upload")
}

const fn bad_part() -> Fault {
    fault(S3ErrorCode::InvalidPart, "a part is not there, or is not what was said")
}

fn part_number(number: i32) -> Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| fault(S3ErrorCode::InvalidArgument, "Part number must be an integer between 1 and 10000"))
}

impl Shelf {
    /// Begins one and gives its id.
    pub(crate) fn begin_upload(&self, bucket: &str, name: &str, upload: &Upload) -> Result<String> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        // In the order in which they begin, and not to be guessed.
        let id = format!("{:012x}{:020x}", now(), rand::random::<u128>() >> 48);
        let mut plan = Plan::default();
        plan.put(entry::upload(bucket, name, &id), upload)?;
        self.committer.commit(plan)?;
        Ok(id)
    }

    /// An upload that has begun and not ended.
    pub(crate) fn upload(&self, bucket: &str, name: &str, id: &str) -> Result<Upload> {
        self.bucket(bucket)?;
        if id.contains('\0') {
            return Err(no_upload());
        }
        self.read(&entry::upload(bucket, name, id))?.ok_or_else(no_upload)
    }

    /// Keeps a part, over one with the same number.
    pub(crate) fn put_part(
        &self,
        (bucket, name, id): (&str, &str, &str),
        number: i32,
        content: Content,
        etag: String,
        sum: Option<Sum>,
    ) -> Result<()> {
        let number = part_number(number)?;
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _one = self.lock_upload(id);
        self.upload(bucket, name, id)?;
        let piece = content.pieces.into_iter().next().ok_or(Fault::Lost("the bytes of a part"))?;
        let key = entry::part(id, number);
        let before = self.read::<Part>(&key)?.map_or(0, |part| part.piece.length);
        let mut plan = Plan::default();
        plan.holds(bucket, 0, signed(piece.length) - signed(before));
        plan.within(bucket, &held.settings());
        plan.put(key, &Part { piece, etag, sum, modified: now() })?;
        self.committer.commit(plan)
    }

    /// Whether a number can be that of a part.
    pub(crate) fn check_part_number(number: i32) -> Result<()> {
        part_number(number).map(|_| ())
    }

    /// All parts that are there.
    pub(crate) fn parts(&self, id: &str) -> Result<BTreeMap<u16, Part>> {
        let mut parts = BTreeMap::new();
        each(self.catalogue.as_ref(), &entry::parts(id), &mut |key, part| {
            parts.insert(key.last_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes)), part);
            ControlFlow::Continue(())
        })?;
        Ok(parts)
    }

    /// Forgets an upload and its parts.
    pub(crate) fn abort_upload(&self, bucket: &str, name: &str, id: &str) -> Result<()> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _one = self.lock_upload(id);
        self.upload(bucket, name, id)?;
        let mut plan = Plan::default();
        self.plan_end_of_upload(&mut plan, bucket, entry::upload(bucket, name, id))?;
        self.committer.commit(plan)
    }

    /// The upload of a key is gone, and so are its parts.
    pub(crate) fn plan_end_of_upload(&self, plan: &mut Plan, bucket: &str, key: Vec<u8>) -> Result<()> {
        let id = key.rsplit(|byte| *byte == 0).next().unwrap_or_default();
        let id = std::str::from_utf8(id).map_err(|_| Fault::Lost("the id of an upload"))?;
        for (number, part) in self.parts(id)? {
            plan.delete(entry::part(id, number));
            plan.holds(bucket, 0, -signed(part.piece.length));
        }
        plan.delete(key);
        Ok(())
    }

    /// Makes the object out of its parts.
    pub(crate) fn complete_upload(
        &self,
        (bucket, name, id): (&str, &str, &str),
        named: &[Named],
        whole: &Whole,
        wish: &Wish,
    ) -> Result<Version> {
        let held = self.bucket(bucket)?;
        let _gate = held.enter()?;
        let _upload = self.lock_upload(id);
        let upload = match self.upload(bucket, name, id) {
            // The answer to an earlier completion may have been lost.
            Err(missing) => match self.current(bucket, name)? {
                Some(done) if done.upload.as_deref() == Some(id) => return Ok(done),
                _ => return Err(missing),
            },
            upload => upload?,
        };
        let parts = self.parts(id)?;
        let chosen = choose(&parts, named)?;
        let mut md5 = Md5::new();
        for (_, part) in &chosen {
            md5.update(&hex::decode(&part.etag).map_err(|_| Fault::Lost("the MD5 of a part"))?);
        }
        let etag = format!("{}-{}", hex::encode(md5.finalize()), chosen.len());
        let length: u64 = chosen.iter().map(|(_, part)| part.piece.length).sum();
        if whole.length.is_some_and(|said| u64::try_from(said) != Ok(length)) {
            return Err(fault(S3ErrorCode::InvalidRequest, "the parts do not have the length that was said"));
        }
        let sum = whole_sum(&upload, &chosen, whole)?;
        let content = Content::of_pieces(chosen.iter().map(|(_, part)| part.piece.clone()).collect(), None);
        let parts = chosen
            .iter()
            .map(|(number, part)| PartOf {
                number: *number,
                length: part.piece.length,
                sum: part.sum.as_ref().map(|sum| sum.value.clone()),
            })
            .collect();
        let mut plan = Plan::default();
        self.plan_end_of_upload(&mut plan, bucket, entry::upload(bucket, name, id))?;
        let new = New { content, etag, sum, about: upload.about, parts, upload: Some(id.to_owned()) };
        let _object = self.lock(bucket, name);
        self.put_locked(bucket, name, new, wish, &held.settings(), plan)
    }

    /// Uploads of a bucket that began before a time, with name and id.
    pub(crate) fn uploads_before(&self, bucket: &str, prefix: &str, time: u64) -> Result<Vec<(String, String)>> {
        let mut old = Vec::new();
        each(self.catalogue.as_ref(), &entry::uploads(bucket, prefix.as_bytes()), &mut |key, upload: Upload| {
            if upload.initiated <= time {
                old.extend(upload_of(bucket, key).map(|(name, id)| (name.to_owned(), id.to_owned())));
            }
            ControlFlow::Continue(())
        })?;
        Ok(old)
    }
}

/// The parts that are named, if all are there and in order.
fn choose<'a>(parts: &'a BTreeMap<u16, Part>, named: &[Named]) -> Result<Vec<(u16, &'a Part)>> {
    if named.is_empty() {
        return Err(fault(S3ErrorCode::MalformedXML, "no part is named"));
    }
    let mut chosen: Vec<(u16, &Part)> = Vec::new();
    for one in named {
        let number = u16::try_from(one.number).map_err(|_| bad_part())?;
        if chosen.last().is_some_and(|(last, _)| *last >= number) {
            return Err(fault(S3ErrorCode::InvalidPartOrder, "the parts are not named in ascending order"));
        }
        let part = parts.get(&number).ok_or_else(bad_part)?;
        if one.etag.as_ref().is_some_and(|etag| *etag != part.etag) {
            return Err(bad_part());
        }
        for (kind, value) in &one.sums {
            if part.sum.as_ref().is_some_and(|sum| sum.kind == *kind && sum.value != *value) {
                return Err(bad_part());
            }
        }
        chosen.push((number, part));
    }
    let (_, but_last) = chosen.split_last().ok_or_else(bad_part)?;
    if but_last.iter().any(|(_, part)| part.piece.length < LEAST_PART) {
        return Err(fault(S3ErrorCode::EntityTooSmall, "a part that is not the last is shorter than 5 MiB"));
    }
    Ok(chosen)
}

/// The checksum of the whole, from those of the parts.
fn whole_sum(upload: &Upload, chosen: &[(u16, &Part)], whole: &Whole) -> Result<Option<Sum>> {
    let Some(kind) = upload.sum.or_else(|| whole.sums.first().map(|(kind, _)| *kind)) else { return Ok(None) };
    let sums: Vec<_> = chosen.iter().filter_map(|(_, part)| part.sum.as_ref().filter(|sum| sum.kind == kind)).collect();
    if sums.len() < chosen.len() {
        // Parts came without: nothing can be said of the whole.
        return Ok(None);
    }
    let binary =
        |value: &str| base64_simd::STANDARD.decode_to_vec(value).map_err(|_| Fault::Lost("the checksum of a part"));
    let composite = whole.composite.unwrap_or(upload.composite && kind != SumKind::Crc64nvme);
    let value = if composite {
        let mut hasher = digest::hasher(&[kind]);
        for sum in &sums {
            hasher.update(&binary(&sum.value)?);
        }
        let value = digest::value(&hasher.finalize(), kind).ok_or(Fault::Worker)?;
        format!("{value}-{}", chosen.len())
    } else {
        let (algorithm, bytes) = match kind {
            SumKind::Crc32 => (crc_fast::CrcAlgorithm::Crc32IsoHdlc, 4),
            SumKind::Crc32c => (crc_fast::CrcAlgorithm::Crc32Iscsi, 4),
            SumKind::Crc64nvme => (crc_fast::CrcAlgorithm::Crc64Nvme, 8),
            // These cannot be joined.
            SumKind::Sha1 | SumKind::Sha256 => return Ok(None),
        };
        let mut joined = 0;
        for (sum, (_, part)) in sums.iter().zip(chosen) {
            let own = binary(&sum.value)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            joined = crc_fast::checksum_combine(algorithm, joined, own, part.piece.length);
        }
        base64_simd::STANDARD.encode_to_string(&joined.to_be_bytes()[8 - bytes..])
    };
    for (said, wanted) in &whole.sums {
        if *said == kind && wanted.split('-').next() != value.split('-').next() {
            return Err(fault(S3ErrorCode::BadDigest, "the parts do not have the checksum that was sent with them"));
        }
    }
    Ok(Some(Sum { kind, value, composite }))
}
