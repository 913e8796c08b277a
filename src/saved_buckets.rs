//! Lists of buckets that were saved (docs/s3.md, section 8).

use std::sync::{Mutex, PoisonError};

use cas::PackStore;
use gateway::{BucketDoor, SAVED_BUCKETS};
use offs::OffUrl;

use crate::{failure::Failure, url_database::UrlDatabase};

/// Those that are pinned, the last one last.
pub(crate) fn all(urls: &UrlDatabase) -> Vec<OffUrl> {
    let listed = urls.list().into_iter();
    listed
        .filter(|listed| listed.pinned && listed.url.content_type.as_str() == SAVED_BUCKETS)
        .map(|listed| listed.url)
        .collect()
}

/// Whether the index has no buckets although some were saved: then what they hold is needed, and nobody knows what it
/// is until they are brought back.
pub(crate) fn are_lost(store: &PackStore, urls: &Mutex<UrlDatabase>) -> Result<bool, Failure> {
    // In this order: whoever saves has buckets already.
    let saved = !all(&urls.lock().unwrap_or_else(PoisonError::into_inner)).is_empty();
    Ok(saved && BucketDoor::is_unused(store)?)
}
