//! What the doors need of the program behind them.

use std::{path::Path, sync::Arc};

use cas::BlockStore;
use offs::{OffUrl, PutOptions};
use serde_json::Value;

/// A URL that was written down.
#[derive(Clone, Debug)]
pub struct KnownUrl {
    /// The URL, with its key if it has one.
    pub url: OffUrl,
    /// When it was written down last, in seconds since 1970.
    pub time: u64,
    /// Whether what it needs is kept.
    pub pinned: bool,
}

/// Why something could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A URL that this store does not list.
    #[error("this URL is not listed here")]
    NotListed,
    /// In words for people.
    #[error("{0}")]
    Failed(String),
}

/// What stands behind the doors. Every method may wait for the disk or for peers.
pub trait Backend: Send + Sync + 'static {
    /// Where blocks are read, and put. What is missing here may come from peers.
    fn store(&self) -> Arc<dyn BlockStore>;

    /// Bytes that may still be stored without anything being dropped for them.
    fn room(&self) -> u64 {
        u64::MAX
    }

    /// How files are to be stored.
    fn put_options(&self) -> PutOptions;

    /// Where temporary files may be made.
    fn scratch(&self) -> &Path;

    /// Makes a stored file durable, writes its URL down and pins it. When this returns, the URL may be given out.
    ///
    /// # Errors
    /// When it cannot be promised; then nothing is pinned.
    fn keep(&self, url: &OffUrl) -> Result<(), BackendError>;

    /// The URL is no longer pinned.
    ///
    /// # Errors
    /// When it is not listed, or that cannot be written down.
    fn unpin(&self, url: &OffUrl) -> Result<(), BackendError>;

    /// URLs that were written down, the newest last.
    fn urls(&self) -> Vec<KnownUrl>;

    /// How everything is: the object that `offs status --json` prints.
    fn status(&self) -> Value;
}
