//! The index: an ordered map from keys to small values, which the packs can rebuild.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, PoisonError, RwLock},
};

use crate::IndexError;

/// One change of an atomic batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set the value of a key.
    Put(Vec<u8>, Vec<u8>),
    /// Remove a key.
    Delete(Vec<u8>),
}

/// What is called with the key and the value of each entry of a scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered map. [`crate::PackStore`] decides what its keys mean.
pub trait Index: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Makes all changes or none. They survive the end of the process.
    fn apply(&self, changes: &[Change]) -> Result<(), IndexError>;

    /// Calls `visit` with the entries whose key starts with `prefix` and is not below `from`, which starts with
    /// `prefix` too, ascending, until it breaks off.
    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError>;

    /// Calls `visit` with the entries whose key starts with `prefix`, ascending, until it breaks off.
    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.scan_from(prefix, prefix, visit)
    }

    /// Returns when everything applied before survives a loss of power.
    fn sync(&self) -> Result<(), IndexError>;

    /// Puts itself in order after very many changes, so that looking something up costs as little as it can.
    fn settle(&self) {}
}

/// A shared index, so that it can outlive the store that uses it.
impl<I: Index + ?Sized> Index for Arc<I> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        self.as_ref().get(key)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        self.as_ref().apply(changes)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        self.as_ref().scan_from(prefix, from, visit)
    }

    fn sync(&self) -> Result<(), IndexError> {
        self.as_ref().sync()
    }

    fn settle(&self) {
        self.as_ref().settle();
    }
}

/// An index in memory. For tests, and for reading packs without a database.
#[derive(Default)]
pub struct MemoryIndex {
    entries: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.entries.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn apply(&self, changes: &[Change]) -> Result<(), IndexError> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    entries.insert(key.clone(), value.clone());
                }
                Change::Delete(key) => {
                    entries.remove(key);
                }
            }
        }
        Ok(())
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let found: Vec<_> = self
            .entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .range(from.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for (key, value) in found {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), IndexError> {
        Ok(())
    }
}
