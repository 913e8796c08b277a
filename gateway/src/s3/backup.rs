//! The catalogue as a stored file: what is left of the buckets when the index is lost (docs/s3.md, section 8).

use std::{
    io::{self, BufReader, BufWriter, Read, Seek as _, Write as _},
    ops::ControlFlow,
};

use cas::Change;
use offs::{ContentType, FileReader, Kind, OffUrl, SystemDice};

use crate::{
    backend::Backend,
    s3::{
        catalogue::Catalogue,
        committer::Plan,
        entry,
        fault::{Fault, Result},
        shelf::Shelf,
    },
    upload,
};

/// The media type of a saved catalogue.
pub const SAVED_BUCKETS: &str = "application/x-offs-buckets";

/// Begins every saved catalogue. Behind it are entries: lengths of key and value, 32 bits each, key, value.
const MAGIC: &[u8] = b"OFFB\x01";
/// The longest key or value that is believed.
const LONGEST: u32 = 64 << 20;
/// Entries that are written at once.
const STEP: usize = 1000;

fn failed(error: io::Error) -> Fault {
    Fault::File(offs::Error::Write(error))
}

impl Shelf {
    /// Stores the catalogue as a file and pins it, in place of the one before.
    pub(crate) fn save(&self) -> Result<OffUrl> {
        if is_empty(self.catalogue.as_ref())? {
            return Err(Fault::NothingToSave);
        }
        let store = self.backend.store();
        let _hold = store.hold();
        let mut spool = BufWriter::new(tempfile::tempfile_in(self.backend.scratch()).map_err(failed)?);
        spool.write_all(MAGIC).map_err(failed)?;
        let mut outcome = Ok(());
        self.catalogue.scan_from(b"", b"", &mut |key, value| {
            if key == entry::SAVED {
                return ControlFlow::Continue(());
            }
            let lengths =
                [key.len(), value.len()].map(|length| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
            outcome = [&lengths.concat(), key, value].iter().try_for_each(|part| spool.write_all(part));
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        outcome.map_err(failed)?;
        let mut spool = spool.into_inner().map_err(|error| failed(error.into_error()))?;
        spool.rewind().map_err(failed)?;
        let options = self.backend.put_options();
        let stored = offs::put(store.as_ref(), &mut spool, &options, Box::new(SystemDice::new()), &|_| {})?;
        let before: Option<String> = self.read(entry::SAVED)?;
        let media_type = SAVED_BUCKETS.parse::<ContentType>().map_err(|_| Fault::Lost("a media type"))?;
        let url = upload::give_out(self.backend.as_ref(), stored, Some("buckets".to_owned()), media_type)?;
        let mut plan = Plan::default();
        plan.put(entry::SAVED.to_vec(), &url.to_string())?;
        self.committer.commit(plan)?;
        if let Some(before) = before.and_then(|text| text.parse().ok())
            && let Err(error) = self.backend.unpin(&before)
        {
            // Who unpinned it himself need not be told.
            tracing::debug!(%error, "the catalogue that was saved before is not unpinned");
        }
        Ok(url)
    }
}

/// Whether there is nothing in a catalogue.
pub(crate) fn is_empty(catalogue: &dyn Catalogue) -> Result<bool> {
    let mut empty = true;
    catalogue.scan_from(b"", b"", &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    })?;
    Ok(empty)
}

/// A saved catalogue that was read, to be written.
pub struct Saved {
    url: OffUrl,
    changes: Vec<Change>,
}

/// Reads a saved catalogue, for an empty one.
pub(crate) fn read(backend: &dyn Backend, catalogue: &dyn Catalogue, url: &OffUrl) -> Result<Saved> {
    check_empty(catalogue)?;
    let store = backend.store();
    let file = FileReader::open_kind(store.as_ref(), &url.reference, Kind::File)?;
    let mut spool = BufWriter::new(tempfile::tempfile_in(backend.scratch()).map_err(failed)?);
    file.copy(&mut spool, &|_| {})?;
    let mut spool = spool.into_inner().map_err(|error| failed(error.into_error()))?;
    spool.rewind().map_err(failed)?;
    let mut saved = BufReader::new(spool);
    let mut magic = [0; MAGIC.len()];
    saved.read_exact(&mut magic).map_err(|_| Fault::NotSaved)?;
    if magic != *MAGIC {
        return Err(Fault::NotSaved);
    }
    // Everything is read before anything is written: half a catalogue would not be empty any more.
    let (mut changes, mut left) = (Vec::new(), file.length() - MAGIC.len() as u64);
    while left > 0 {
        let (key, value) = (read_length(&mut saved)?, read_length(&mut saved)?);
        let taken = 8 + u64::from(key) + u64::from(value);
        left = left.checked_sub(taken).ok_or(Fault::NotSaved)?;
        changes.push(Change::Put(read_bytes(&mut saved, key)?, read_bytes(&mut saved, value)?));
    }
    // Whatever was ever written has this in it.
    if !changes.iter().any(|change| matches!(change, Change::Put(key, _) if key == entry::LAST)) {
        return Err(Fault::NotSaved);
    }
    Ok(Saved { url: url.clone(), changes })
}

fn check_empty(catalogue: &dyn Catalogue) -> Result<()> {
    if !is_empty(catalogue)? && catalogue.get(entry::RESTORING)?.is_none() { Err(Fault::NotEmpty) } else { Ok(()) }
}

/// Writes a saved catalogue into an empty one.
pub(crate) fn write(catalogue: &dyn Catalogue, Saved { url, changes }: &Saved) -> Result<()> {
    check_empty(catalogue)?;
    // What is cut off in the middle is seen to be so.
    catalogue.commit(&[Change::Put(entry::RESTORING.to_vec(), Vec::new())])?;
    // What an earlier try has left may be of another list.
    let mut left = Vec::new();
    catalogue.scan_from(b"", b"", &mut |key, _| {
        if key != entry::RESTORING {
            left.push(Change::Delete(key.to_vec()));
        }
        ControlFlow::Continue(())
    })?;
    for step in left.chunks(STEP) {
        catalogue.commit(step)?;
    }
    for step in changes.chunks(STEP) {
        catalogue.commit(step)?;
    }
    // The next one is in place of this one.
    let saved = Change::Put(entry::SAVED.to_vec(), serde_json::to_vec(&url.to_string())?);
    catalogue.commit(&[saved, Change::Delete(entry::RESTORING.to_vec())])?;
    Ok(())
}

fn read_length(source: &mut impl Read) -> Result<u32> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes).map_err(|_| Fault::NotSaved)?;
    let length = u32::from_be_bytes(bytes);
    if length > LONGEST { Err(Fault::NotSaved) } else { Ok(length) }
}

fn read_bytes(source: &mut impl Read, length: u32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    source.read_exact(&mut bytes).map_err(|_| Fault::NotSaved)?;
    Ok(bytes)
}
