//! What can go wrong in a store.

use std::{error::Error as StdError, io, path::PathBuf};

use crate::Score;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a store. Absence of a block is not one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored bytes of a block are not those that were put; they are never returned.
    #[error("block {score} is damaged")]
    Damaged {
        /// The block.
        score: Score,
    },
    /// The block is longer than [`crate::MAX_BLOCK`] or empty.
    #[error("a block has 1 to {max} bytes, not {length}", max = crate::MAX_BLOCK)]
    BlockLength {
        /// Its length.
        length: usize,
    },
    /// The capacity setting is reached and everything in the store is pinned or in use.
    #[error("the store's capacity of {capacity} bytes is used up by {used} bytes that are pinned or in use")]
    Full {
        /// The setting, in bytes.
        capacity: u64,
        /// Bytes in packs.
        used: u64,
    },
    /// The file system has too little room left to go on safely.
    #[error("no space left on {path}: {free} bytes are free")]
    DiskFull {
        /// The store's directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
    },
    /// Another process owns the store.
    #[error("{path} is in use by {}", owner.as_deref().map_or_else(|| "another process".to_owned(), |id| format!("process {id}")))]
    InUse {
        /// The store's directory.
        path: PathBuf,
        /// Process id in the lock file, if it could be read.
        owner: Option<String>,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The index failed or is damaged; it can be rebuilt from the packs.
    #[error("the index cannot be used")]
    Index(#[from] IndexError),
    /// An earlier write to stable storage failed, so the store takes no more until it is opened anew.
    #[error("an earlier write of the store failed")]
    Broken,
    /// What is reachable from the pins could not be found out, so nothing may be dropped.
    #[error("cannot tell which blocks are needed")]
    Reachable(#[source] Box<dyn StdError + Send + Sync>),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| {
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                Self::DiskFull { path, free: 0 }
            } else {
                Self::Io { action, path, source }
            }
        }
    }
}

/// A failure of an [`crate::Index`].
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The index is damaged on disk.
    #[error("the index is damaged: {detail}")]
    Damaged {
        /// The database's own words.
        detail: String,
    },
    /// The index has an entry that this version cannot read.
    #[error("the index has an unreadable entry under key {}", hex::encode(key))]
    Entry {
        /// Its key.
        key: Vec<u8>,
    },
    /// There is no room for it.
    #[error("there is no room left for the index: {detail}")]
    Full {
        /// The database's own words.
        detail: String,
    },
    /// The database failed for another reason.
    #[error("the index failed: {detail}")]
    Failed {
        /// The database's own words.
        detail: String,
    },
}
