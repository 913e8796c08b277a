//! A bucket as one directory, with a URL.

use std::sync::Arc;

use bytes::Bytes;
use offs::{ContentType, OffUrl};
use s3s::S3ErrorCode;

use crate::{
    gathering::{Gathering, components},
    s3::{
        contents::parse,
        fault::{Fault, Result, fault},
        list::{Asked, Entry},
        object::{Place, Version},
        read_object::TRIES,
        receive::SMALL,
        shelf::Shelf,
    },
    trouble::Trouble,
    upload,
};

/// A bucket as it was at one time, given out.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Opens a directory with the objects as files.
    pub url: OffUrl,
    /// Objects whose names cannot be paths, or lie below the name of another object; they are not in it.
    pub left_out: Vec<String>,
}

/// Names that are looked at at once.
const STEP: usize = 1000;

impl Shelf {
    /// Stores a directory with all current objects of a bucket, and gives its URL.
    pub(crate) fn snapshot(&self, bucket: &str) -> Result<Snapshot> {
        for _ in 1..TRIES {
            let (snapshot, shared) = self.take_snapshot(bucket)?;
            // From here on its URL keeps what it shares with objects, if those were there until now.
            let there = |(name, seq): &(String, u64)| Ok(self.of_number(bucket, name, *seq)?.is_some());
            if shared.iter().map(there).collect::<Result<Vec<_>>>()?.iter().all(|there| *there) {
                return Ok(snapshot);
            }
            self.backend.unpin(&snapshot.url).map_err(Trouble::from)?;
        }
        Err(fault(S3ErrorCode::OperationAborted, "the bucket changes too fast; try again"))
    }

    /// Stores a directory with all current objects of a bucket. Those with a file of their own are not stored again.
    fn take_snapshot(&self, bucket: &str) -> Result<(Snapshot, Vec<(String, u64)>)> {
        self.bucket(bucket)?;
        let mut shared = Vec::new();
        let store = self.backend.store();
        let _hold = store.hold();
        let options = self.backend.put_options();
        let mut gathering = Gathering::new(store.as_ref(), &options, self.backend.scratch())?;
        let mut left_out = Vec::new();
        let mut asked = Asked { most: STEP, ..Asked::default() };
        loop {
            let page = self.list(bucket, &asked)?;
            for entry in &page.entries {
                let Entry::One(name, version) = entry else { continue };
                if !self.add(&mut gathering, bucket, name, version)? {
                    left_out.push(name.clone());
                } else if matches!(version.pieces.as_slice(), [piece] if matches!(piece.place, Place::File(_))) {
                    shared.push((name.clone(), version.seq));
                }
                asked.after = Some(name.clone());
            }
            if !page.more {
                break;
            }
        }
        let stored = gathering.finish()?;
        let url = upload::give_out(self.backend.as_ref(), stored, Some(bucket.to_owned()), ContentType::directory())?;
        Ok((Snapshot { url, left_out }, shared))
    }

    /// The bytes of a small object, which may be packed or overwritten while it is read.
    fn small_bytes(&self, bucket: &str, name: &str, mut version: Version) -> Result<Bytes> {
        for _ in 1..TRIES {
            match self.bytes(&version, &(0..version.length)) {
                Err(Fault::Lost(_)) => version = self.version(bucket, name, Some(&version.id()))?,
                bytes => return bytes,
            }
        }
        self.bytes(&version, &(0..version.length))
    }

    /// Adds an object; `false` if it cannot be a file in a directory.
    fn add(&self, gathering: &mut Gathering<'_>, bucket: &str, name: &str, version: &Version) -> Result<bool> {
        let plain = name.strip_suffix('/').unwrap_or(name);
        // A name with an empty part, or with dots, would become another one.
        let parts = match components(plain.as_bytes()) {
            Ok(parts) if parts.join(&b'/') == plain.as_bytes() => parts,
            _ => return Ok(false),
        };
        let mtime = i64::try_from(version.modified / 1000).unwrap_or(i64::MAX);
        if gathering.parents(&parts).is_err() {
            return Ok(false);
        }
        let node = if name.ends_with('/') {
            // What clients make for an empty folder.
            if version.length > 0 {
                return Ok(false);
            }
            offs::Node::Directory
        } else {
            match &version.pieces[..] {
                [piece] if matches!(piece.place, Place::File(_)) => {
                    let Place::File(text) = &piece.place else { return Ok(false) };
                    offs::Node::File { reference: parse(text)?, size: version.length }
                }
                _ if version.length <= SMALL as u64 => {
                    let bytes = self.small_bytes(bucket, name, version.clone())?;
                    gathering.pack(&mut &bytes[..], bytes.len() as u64)?
                }
                _ => gathering.file(&mut self.reader(version, 0..version.length), version.length)?,
            }
        };
        match gathering.insert(parts, 0o644, mtime, node) {
            Err(Trouble::Request(_)) => Ok(false),
            done => {
                done?;
                Ok(true)
            }
        }
    }
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::File(error) => Self::File(error),
            other => Self::Snapshot(Arc::new(other)),
        }
    }
}
