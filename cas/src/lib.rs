//! Content-addressed store: blocks by score.
//!
//! A block is at most 131,072 bytes and never changes; its [`Score`] is the hash of its bytes.
//! [`BlockStore`] is the contract; [`MemoryStore`] and [`PackStore`] keep it, and with the feature
//! `testing` a strict, a faulty and a recording store do too.
//! `conformance` is the suite that each of them passes.
//!
//! This crate knows nothing of sockets, URLs or tuples, and no function takes a score that the
//! caller chose for bytes of its own.
//!
//! ```
//! use cas::{Algorithm, BlockStore, MemoryStore};
//!
//! let store = MemoryStore::new();
//! let score = store.put(Algorithm::Sha256, b"a block")?;
//! assert_eq!(store.get(&score)?.as_deref(), Some(&b"a block"[..]));
//! # Ok::<(), cas::Error>(())
//! ```

mod appender;
mod block_store;
mod chunk;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
#[cfg(any(test, feature = "testing"))]
mod faulty_store;
mod fingerprint;
mod gc;
mod index;
mod lanes;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod lock;
mod marks;
mod memory_store;
mod notes;
mod pack;
mod pack_reader;
mod pack_store;
mod permutation;
mod place;
mod record;
#[cfg(any(test, feature = "testing"))]
mod recording_store;
mod recovery;
#[cfg(feature = "rocksdb")]
mod rocks_index;
mod sampler;
mod score;
mod scrub;
#[cfg(test)]
mod store_tests;
mod stream_file;
#[cfg(any(test, feature = "testing"))]
mod strict_store;
mod verdict;
mod writer;

pub use block_store::{BlockStore, Hold, MAX_BLOCK, check_length};
pub use error::{Error, IndexError, Result};
#[cfg(any(test, feature = "testing"))]
pub use faulty_store::FaultyStore;
pub use fingerprint::{Fingerprint, Leaf};
pub use gc::{GcReport, Goal, NoCollection, Reachable};
pub use index::{Change, Index, MemoryIndex, Visit};
pub use ledger::Arrivals;
pub use memory_store::MemoryStore;
pub use pack_reader::PackReader;
pub use pack_store::{Options, PackStore, Statistics};
pub use place::Place;
pub use record::{PackKind, RECORD_HEADER, RecordHeader, TableEntry, Trailer};
#[cfg(any(test, feature = "testing"))]
pub use recording_store::RecordingStore;
#[cfg(feature = "rocksdb")]
pub use rocks_index::RocksIndex;
pub use sampler::{Drawn, Sampler};
pub use score::{Algorithm, ParseScoreError, Score};
pub use scrub::{Damage, ScrubReport};
pub use stream_file::StreamFile;
#[cfg(any(test, feature = "testing"))]
pub use strict_store::StrictStore;
