//! The door for S3 clients (docs/s3.md).
//!
//! From the outside in: [`door`] takes connections, [`front`] refuses what the library would let in, the library
//! (`s3s`) checks signatures and reads requests, [`operations`] and [`read_object`] do them on the [`shelf`], which
//! keeps objects as sealed files in the store and writes them down in its [`catalogue`].

mod access;
mod backup;
mod body;
mod catalogue;
mod chunks;
mod committer;
mod contents;
mod cors;
mod digest;
mod door;
mod entry;
mod fault;
mod form;
mod front;
mod holders;
mod keys;
mod lifecycle;
mod list;
mod object;
mod operations;
mod packer;
mod policy;
mod read_object;
mod receive;
mod service;
mod settings;
mod shelf;
#[cfg(test)]
mod shelf_tests;
mod snapshot;
mod target;
mod uploads;

pub use backup::{SAVED_BUCKETS, Saved as SavedBuckets};
pub use catalogue::Catalogue;
pub use door::{BucketDoor, BucketsError};
pub use holders::{Holder, holders, reachable, references};
pub use keys::{AccessKey, Keys, KeysError, Rights};
pub use object::Usage;
pub use snapshot::Snapshot;
pub use target::domain_names;
