//! Small objects move from the catalogue into files, many to a file, where parity and peers keep them too.

use std::{collections::BTreeMap, ops::ControlFlow, time::Instant};

use cas::Hold;
use offs::{PutOptions, SystemDice};

use crate::s3::{
    committer::Plan,
    entry,
    fault::{Fault, Result},
    object::{Pack, Piece, Place, Version},
    shelf::{Shelf, signed},
};

/// A file is made when so many bytes wait.
const PACK: usize = 8 << 20;
/// Or so many objects.
const MOST: usize = 4096;
/// Or when one of them has waited so long.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);
/// Files that are shorter than this are joined, when there are so many.
const SHORT: u64 = 1 << 20;
const MANY_SHORT: usize = 8;

/// A small object, or one that is packed, on its way into another file.
struct Moving {
    bucket: String,
    name: String,
    seq: u64,
    bytes: Vec<u8>,
    /// The file that it comes from.
    from: Option<u64>,
}

/// What the packer remembers from one turn to the next.
#[derive(Default)]
pub(crate) struct Waiting {
    /// The last number that was given at a time.
    since: Option<(Instant, u64)>,
}

#[cfg(test)]
impl Waiting {
    pub(crate) const fn begun(when: Instant, last: u64) -> Self {
        Self { since: Some((when, last)) }
    }
}

impl Shelf {
    /// Packs what there is to pack; whether there may be more.
    pub(crate) fn pack(&self, waiting: &mut Waiting) -> Result<bool> {
        let (mut moving, more) = self.small()?;
        let old = match waiting.since {
            Some((when, last)) if when.elapsed() > PATIENCE => {
                waiting.since = None;
                moving.iter().any(|one| one.seq <= last)
            }
            Some(_) => false,
            None => {
                waiting.since = (!moving.is_empty()).then(|| (Instant::now(), self.committer.last()));
                false
            }
        };
        let ripe = more || old;
        if !ripe {
            moving.clear();
        }
        self.sparse(&mut moving);
        if moving.is_empty() {
            return Ok(false);
        }
        self.write_pack(&moving)?;
        Ok(more && ripe)
    }

    /// As many small objects as fill a file; whether there are more.
    fn small(&self) -> Result<(Vec<Moving>, bool)> {
        let (mut moving, mut bytes, mut full) = (Vec::new(), 0, false);
        self.catalogue.scan_from(entry::SMALL, entry::SMALL, &mut |key, value| {
            let Some((bucket, name, content)) = entry::split_owned(value) else {
                tracing::error!(number = entry::number(key), "a small object cannot be packed");
                return ControlFlow::Continue(());
            };
            bytes += content.len();
            let (bucket, name) = (bucket.to_owned(), name.to_owned());
            moving.push(Moving { bucket, name, seq: entry::number(key), bytes: content.to_vec(), from: None });
            full = bytes >= PACK || moving.len() >= MOST;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok((moving, full))
    }

    /// Adds the objects of files of which little is left, or that are short, as far as they fit.
    fn sparse(&self, moving: &mut Vec<Moving>) {
        let packs = self.committer.packs();
        let is_short = |pack: &Pack| pack.length < SHORT;
        let many = packs.iter().filter(|(_, pack)| is_short(pack)).count() >= MANY_SHORT;
        let mut room = PACK.saturating_sub(moving.iter().map(|one| one.bytes.len()).sum());
        for (number, pack) in packs {
            if pack.live * 2 >= pack.length && !(is_short(&pack) && many) {
                continue;
            }
            let Some(left) = usize::try_from(pack.live).ok().and_then(|live| room.checked_sub(live)) else { continue };
            room = left;
            if let Err(error) = self.residents(number, moving) {
                tracing::warn!(number, %error, "a packed file cannot be read, and is not packed again");
            }
        }
    }

    fn residents(&self, pack: u64, moving: &mut Vec<Moving>) -> Result<()> {
        let prefix = entry::residents(pack);
        let mut found = Vec::new();
        self.catalogue.scan_from(&prefix, &prefix, &mut |key, value| {
            found.push((entry::number(key), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        let mut read = Vec::new();
        for (seq, owner) in found {
            let (bucket, name, _) = entry::split_owned(&owner).ok_or(Fault::Lost("the owner of a packed object"))?;
            // What is deleted meanwhile need not be moved.
            let Some((_, version)) = self.of_number(bucket, name, seq)? else { continue };
            let bytes = self.bytes(&version, &(0..version.length))?.to_vec();
            let (bucket, name) = (bucket.to_owned(), name.to_owned());
            read.push(Moving { bucket, name, seq, bytes, from: Some(pack) });
        }
        moving.extend(read);
        Ok(())
    }

    /// The version with a number, and its key.
    pub(crate) fn of_number(&self, bucket: &str, name: &str, seq: u64) -> Result<Option<(Vec<u8>, Version)>> {
        let key = entry::object(bucket, name.as_bytes());
        if let Some(version) = self.read::<Version>(&key)?
            && version.seq == seq
        {
            return Ok(Some((key, version)));
        }
        let key = entry::version(bucket, name, seq);
        Ok(self.read(&key)?.map(|version| (key, version)))
    }

    fn write_pack(&self, moving: &[Moving]) -> Result<()> {
        let store = self.backend.store();
        let _hold: Hold = store.hold();
        let mut joined = Vec::new();
        for one in moving {
            joined.extend_from_slice(&one.bytes);
        }
        let options: PutOptions = self.backend.put_options();
        let stored = offs::put(store.as_ref(), &mut &joined[..], &options, Box::new(SystemDice::new()), &|_| {})?;
        let number = self.committer.next();
        let _locks = self.lock_all(moving.iter().map(|one| Self::lock_of(&one.bucket, &one.name)));
        let mut plan = Plan::default();
        let (mut at, mut live) = (0, 0);
        let mut left: BTreeMap<u64, i64> = BTreeMap::new();
        for one in moving {
            let length = one.bytes.len() as u64;
            let start = at;
            at += length;
            let Some((key, mut version)) = self.of_number(&one.bucket, &one.name, one.seq)? else { continue };
            version.pieces = vec![Piece { length, place: Place::Packed { pack: number, at: start } }];
            plan.put(key, &version)?;
            plan.put_bytes(entry::resident(number, one.seq), entry::owned(&one.bucket, &one.name, b""));
            match one.from {
                None => plan.delete(entry::small(one.seq)),
                Some(old) => {
                    plan.delete(entry::resident(old, one.seq));
                    *left.entry(old).or_default() -= signed(length);
                }
            }
            live += length;
        }
        for (old, change) in left {
            plan.lives(old, change);
        }
        if live > 0 {
            plan.makes_pack(number, Pack { reference: stored.reference.to_string(), length: at, live });
        }
        self.committer.commit(plan)
    }
}
