//! Notes: small entries that layers above keep in the index.

use std::ops::ControlFlow;

use crate::{Change, Index, IndexError, PackStore, Result, Visit, place::Tag};

/// Most notes of one batch while an index is made anew.
const BATCH: usize = 4096;

impl PackStore {
    /// The note under a key.
    ///
    /// Notes outlive the process and collections, and `repair index` keeps them if it can read the old index. Else
    /// they are lost: the packs do not have them. Who cannot do without keeps them elsewhere, too.
    pub fn note(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.shared.index.get(&note_key(key))?)
    }

    /// Writes and removes notes, all or none. They are on stable storage after the next sync of the index.
    pub fn write_notes(&self, changes: &[Change]) -> Result<()> {
        let changes: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Put(key, value) => Change::Put(note_key(key), value.clone()),
                Change::Delete(key) => Change::Delete(note_key(key)),
            })
            .collect();
        Ok(self.shared.index.apply(&changes)?)
    }

    /// Returns when every note that was written before is on stable storage.
    pub fn sync_notes(&self) -> Result<()> {
        Ok(self.shared.index.sync()?)
    }

    /// Calls `visit` with the notes whose key starts with `prefix` and is not below `from`, which starts with it, too,
    /// ascending, until it breaks off.
    pub fn scan_notes_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let (prefix, from) = (note_key(prefix), note_key(from));
        Ok(self.shared.index.scan_from(&prefix, &from, &mut |key, value| visit(&key[1..], value))?)
    }

    /// Calls `visit` with the notes whose key starts with `prefix`, ascending, until it breaks off.
    pub fn scan_notes(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        Ok(self.shared.index.scan(&note_key(prefix), &mut |key, value| visit(&key[1..], value))?)
    }
}

fn note_key(key: &[u8]) -> Vec<u8> {
    [&[Tag::Note.byte()], key].concat()
}

/// Takes the notes over from an index that is thrown away: all of them or, when one cannot be read, none.
pub(crate) fn take_over(old: &dyn Index, index: &dyn Index) -> Result<(), IndexError> {
    old.scan(&[Tag::Note.byte()], &mut |_, _| ControlFlow::Continue(()))?;
    let (mut notes, mut written) = (Vec::new(), Ok(()));
    old.scan(&[Tag::Note.byte()], &mut |key, value| {
        notes.push(Change::Put(key.to_vec(), value.to_vec()));
        if notes.len() >= BATCH {
            written = index.apply(&std::mem::take(&mut notes));
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    index.apply(&notes)
}
