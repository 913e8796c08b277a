//! Owner-free files: every stored block looks random, belongs to many files and to nobody.
//!
//! A file is cut into source blocks; each is enciphered and XORed with randomizer blocks taken from the
//! store. The [`Scrambler`] and the [`Descrambler`] do this as state machines without any I/O; [`put`] and
//! [`FileReader`] run them over a [`cas::BlockStore`] with all cores. The bytes are those of `docs/format.md`.
//!
//! ```
//! use cas::MemoryStore;
//! use offs::{FileReader, PutOptions, SystemDice, put};
//!
//! let store = MemoryStore::new();
//! let content = b"hello, pool".repeat(50_000);
//! let stored = put(&store, &mut &content[..], &PutOptions::default(), Box::new(SystemDice::new()), &|_| {})?;
//!
//! let file = FileReader::open(&store, &stored.reference)?;
//! let mut read = Vec::new();
//! file.copy(&mut read, &|_| {})?;
//! assert_eq!(read, content);
//!
//! // Another key opens nothing.
//! let mut stranger = stored.reference.clone();
//! stranger.key = Some(offs::Key::from_bytes([7; 32]));
//! assert!(FileReader::open(&store, &stranger).is_err());
//! # Ok::<(), offs::Error>(())
//! ```

mod content_type;
mod descrambler;
mod dice;
mod directory;
mod directory_reader;
mod erasure;
mod error;
mod file_reader;
mod file_writer;
mod heal;
mod layout;
mod leopard;
mod lister;
mod novelpoly;
mod off_url;
mod parameters;
mod randomizers;
mod reference;
mod root;
mod scrambler;
mod seal;
mod survey;

pub use content_type::{ContentType, DIRECTORY};
pub use descrambler::{Descrambler, Want};
pub use dice::{Dice, SystemDice};
pub use directory::{DirectoryError, DirectoryWriter, Entry, Head, Node, RECORD_LIMIT};
pub use directory_reader::DirectoryReader;
pub use erasure::{Code, ErasureCode, ErasureError};
pub use error::{Error, Result};
pub use file_reader::FileReader;
pub use file_writer::{PutOptions, Stored, put};
pub use heal::{HealReport, heal};
pub use layout::{Layout, Level, Stripe};
pub use lister::list;
pub use off_url::{OffUrl, OffUrlError};
pub use parameters::{Parameters, ParametersError};
pub use randomizers::Randomizers;
pub use reference::{Reference, ReferenceError};
pub use root::{Kind, Root, RootError};
pub use scrambler::{Job, Put, Scrambler};
pub use seal::Key;
pub use survey::{Survey, survey};

/// Size of every block of the owner-free layer, in bytes.
pub const BLOCK: usize = 131_072;
