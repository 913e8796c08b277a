//! Where buckets and objects are written down.

use std::ops::ControlFlow;

use cas::{BlockStore as _, Change, PackStore, Visit};
use serde::de::DeserializeOwned;

use crate::s3::fault::Result;

/// An ordered map beside the blocks, whose changes become durable together with them.
pub trait Catalogue: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> cas::Result<Option<Vec<u8>>>;

    /// Calls `visit` with the entries whose key starts with `prefix` and is not below `from`, which starts with
    /// `prefix` too, ascending, until it breaks off.
    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> cas::Result<()>;

    /// Makes all changes or none. When this returns they are on stable storage, and so is every block that was put
    /// before; after a crash no change is there without those blocks.
    fn commit(&self, changes: &[Change]) -> cas::Result<()>;
}

/// Calls `visit` with the key and the value, read as JSON, of each entry below a prefix, until it breaks off.
pub(crate) fn each<T: DeserializeOwned>(
    catalogue: &dyn Catalogue,
    prefix: &[u8],
    visit: &mut dyn FnMut(&[u8], T) -> ControlFlow<()>,
) -> Result<()> {
    let mut failed = Ok(());
    catalogue.scan_from(prefix, prefix, &mut |key, value| match serde_json::from_slice(value) {
        Ok(value) => visit(key, value),
        Err(error) => {
            failed = Err(error);
            ControlFlow::Break(())
        }
    })?;
    Ok(failed?)
}

/// The notes of a pack store that begin so.
const NOTES: &[u8] = b"s3/";

fn note(key: &[u8]) -> Vec<u8> {
    [NOTES, key].concat()
}

impl Catalogue for PackStore {
    fn get(&self, key: &[u8]) -> cas::Result<Option<Vec<u8>>> {
        self.note(&note(key))
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> cas::Result<()> {
        self.scan_notes_from(&note(prefix), &note(from), &mut |key, value| visit(&key[NOTES.len()..], value))
    }

    fn commit(&self, changes: &[Change]) -> cas::Result<()> {
        self.sync()?;
        let changes: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Put(key, value) => Change::Put(note(key), value.clone()),
                Change::Delete(key) => Change::Delete(note(key)),
            })
            .collect();
        self.write_notes(&changes)?;
        self.sync_notes()
    }
}
