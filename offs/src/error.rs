//! What can go wrong with an owner-free file.

use std::io;

use cas::Score;

use crate::{DirectoryError, ErasureError, ReferenceError, RootError};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure to store or to open a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cas::Error),
    /// The root is not in the store.
    #[error("{root} is not here")]
    NoRoot {
        /// Score of the root.
        root: Score,
    },
    /// The root cannot be read.
    #[error("{root} cannot be opened")]
    Root {
        /// Score of the root.
        root: Score,
        /// Why not.
        source: RootError,
    },
    /// So many blocks of a stripe are missing that parity cannot make up for them.
    #[error("{} and parity cannot make up for them", lost_text(missing, damaged))]
    Lost {
        /// Blocks that are not here.
        missing: Vec<Score>,
        /// Blocks that are damaged.
        damaged: Vec<Score>,
    },
    /// All blocks are here and whole, and yet do not fit together: the writer's parity is wrong.
    #[error("stripe {stripe} of level {level} was written with parity that does not fit its data")]
    Inconsistent {
        /// Level of the stripe.
        level: u8,
        /// Its number.
        stripe: u64,
    },
    /// The file's descriptors name the same blocks again and again.
    #[error(
        "{root} is the root of a file that names more descriptor blocks than there are blocks here: it was made to waste time"
    )]
    Repeats {
        /// Score of the root.
        root: Score,
    },
    /// The content is not what the root says.
    #[error("the content has hash {}, but its root says {}", blake3::Hash::from_bytes(*found), blake3::Hash::from_bytes(*expected))]
    ContentHash {
        /// BLAKE3-256 in the root.
        expected: [u8; 32],
        /// BLAKE3-256 of what was read.
        found: [u8; 32],
    },
    /// The URL's length is not the file's.
    #[error("the URL says {url} bytes, but the file has {root}")]
    Length {
        /// In the URL.
        url: u64,
        /// In the root.
        root: u64,
    },
    /// The file is longer than the format allows.
    #[error("a file has at most 2^60 bytes")]
    TooLong,
    /// The source could not be read.
    #[error("cannot read the source")]
    Read(#[source] io::Error),
    /// The destination could not be written.
    #[error("cannot write the output")]
    Write(#[source] io::Error),
    /// The erasure code failed.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    /// The directory object is not one.
    #[error("the directory object is not valid")]
    Directory(#[from] DirectoryError),
    /// A reference inside a directory object is not one.
    #[error("a reference in the directory is not valid")]
    Reference(#[from] ReferenceError),
    /// What a directory says of a file's length is not what the file's root says.
    #[error("the directory says {directory} bytes of a file that has {root}")]
    EntryLength {
        /// In the directory.
        directory: u64,
        /// In the root.
        root: u64,
    },
    /// A file was expected and the root is a directory's, or the other way round.
    #[error("{root} is not a {expected}")]
    Kind {
        /// Score of the root.
        root: Score,
        /// What was expected.
        expected: &'static str,
    },
    /// A thread of the pipeline died.
    #[error("a worker thread died")]
    Worker,
}

fn lost_text(missing: &[Score], damaged: &[Score]) -> String {
    let some = |scores: &[Score]| {
        let named: Vec<_> = scores.iter().take(4).map(ToString::to_string).collect();
        let more = if scores.len() > 4 { ", ..." } else { "" };
        format!("({}{more})", named.join(", "))
    };
    let part = |scores: &[Score], what: &str| match scores.len() {
        0 => None,
        1 => Some(format!("1 block is {what} {}", some(scores))),
        n => Some(format!("{n} blocks are {what} {}", some(scores))),
    };
    let parts: Vec<_> = [part(missing, "missing"), part(damaged, "damaged")].into_iter().flatten().collect();
    parts.join(", ")
}
