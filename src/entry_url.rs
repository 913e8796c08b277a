//! The URL of one file of a directory, which opens nothing else of it.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use cas::BlockStore;
use offs::{ContentType, Entry, Node, OffUrl};

use crate::{command::get, failure::Failure, restore};

/// The media type that a name's ending stands for.
pub(crate) fn type_by_ending(name: &Path) -> Option<ContentType> {
    mime_guess::from_path(name).first_raw().and_then(|guess| guess.parse().ok())
}

/// An entry's own URL. Small files, which share blocks with others, have none, and neither have directories and links.
pub(crate) fn own(entry: &Entry) -> Option<OffUrl> {
    let Node::File { reference, size } = &entry.node else { return None };
    let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    Some(OffUrl {
        content_type: type_by_ending(Path::new(OsStr::from_bytes(name))).unwrap_or_else(ContentType::octet_stream),
        length: *size,
        reference: reference.clone(),
        name: std::str::from_utf8(name).ok().filter(|name| OffUrl::check_name(name).is_ok()).map(str::to_owned),
        path: Vec::new(),
    })
}

/// A URL without a path: what came, or the own URL of what its path leads to.
pub(crate) fn alone(store: &dyn BlockStore, url: OffUrl) -> Result<OffUrl, Failure> {
    if url.path.is_empty() {
        return Ok(url);
    }
    let file = get::open(store, &url)?;
    let (entry, _) = restore::find(&file, &url.path)?;
    own(&entry).ok_or_else(|| Failure::NotAlone {
        path: String::from_utf8_lossy(&entry.path).into_owned(),
        what: match entry.node {
            Node::Directory => "a directory",
            Node::Link { .. } => "a link",
            Node::File { .. } | Node::Packed { .. } => "a small file that shares blocks with others",
        },
        directory: url.without_path().to_string(),
    })
}
