//! Doors to an OFF store.
//!
//! The door for people and programs without keys: OFF URLs over HTTP, a page, metrics (docs/gateway.md). The door for
//! S3 clients: buckets and objects (docs/s3.md).
//! What stands behind it is a [`Backend`]; the program gives one that has a store, a URL database and peers.

mod answer;
mod archive;
mod assets;
mod backend;
mod body;
mod byte_range;
mod conditions;
mod directory;
mod door;
mod gathering;
mod guard;
mod listing;
mod metrics;
mod place;
mod reading;
mod router;
mod s3;
mod trouble;
mod upload;
mod user;

pub use backend::{Backend, BackendError, KnownUrl};
pub use door::Gateway;
pub use s3::{
    AccessKey, BucketDoor, BucketsError, Catalogue, Holder, Keys, KeysError, Rights, SAVED_BUCKETS, SavedBuckets,
    Snapshot, Usage, domain_names, holders, reachable, references,
};
pub use trouble::Trouble;
