//! The root: the one block that a URL names (docs/format.md, section 5).

use cas::Algorithm;

use crate::{BLOCK, Code, Key, Layout, Parameters, ParametersError};

/// Size of a root's header in bytes.
pub(crate) const HEADER: usize = 64;

/// Most bytes of content that a root can hold.
pub(crate) const INLINE: usize = BLOCK - HEADER;

/// Longest content, in bytes.
pub(crate) const MAX_LENGTH: u64 = 1 << 60;

const MAGIC: &[u8; 4] = b"OFF4";
const VERSION: u8 = 1;
const FLAG_INLINE: u8 = 1;

/// What the content of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    File,
    /// A directory object.
    Directory,
}

/// A root's header and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// File or directory.
    pub kind: Kind,
    /// How the file is stored.
    pub parameters: Parameters,
    /// Length of the content in bytes.
    pub length: u64,
    /// BLAKE3-256 of the content.
    pub content_hash: [u8; 32],
    /// Whether `body` is the content itself.
    pub inline: bool,
    /// The content, or the tuples of the last level.
    pub body: Vec<u8>,
}

/// Why a block is not a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// It does not begin like one.
    #[error("the block is no root, or the key in the URL is wrong")]
    Magic,
    /// A newer header.
    #[error("the root has version {0}, which this program does not know")]
    Version(u8),
    /// A field has a value that it cannot have.
    #[error("the root's {0} cannot be right")]
    Field(&'static str),
    /// A parameter is out of range.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

impl Root {
    /// Builds the block, padded by `padding` and enciphered with `key`.
    pub(crate) fn to_block(&self, key: Option<&Key>, padding: &mut dyn FnMut(&mut [u8])) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..4].copy_from_slice(MAGIC);
        block[4] = VERSION;
        block[5] = match self.kind {
            Kind::File => 0,
            Kind::Directory => 1,
        };
        block[6] = self.parameters.algorithm.code();
        block[7] = self.parameters.tuple;
        block[8] = self.parameters.code.id();
        block[9] = self.parameters.data;
        block[10] = self.parameters.parity;
        block[11] = if self.inline { FLAG_INLINE } else { 0 };
        block[16..24].copy_from_slice(&self.length.to_be_bytes());
        block[24..56].copy_from_slice(&self.content_hash);
        block[HEADER..HEADER + self.body.len()].copy_from_slice(&self.body);
        padding(&mut block[HEADER + self.body.len()..]);
        if let Some(key) = key {
            key.apply_to_root(&mut block);
        }
        block
    }

    /// Reads a root block, deciphering it in place. Every field is checked before it is used.
    pub fn from_block(block: &mut [u8], key: Option<&Key>) -> Result<Self, RootError> {
        if block.len() != BLOCK {
            return Err(RootError::Magic);
        }
        if let Some(key) = key {
            key.apply_to_root(block);
        }
        if !block.starts_with(MAGIC) {
            return Err(RootError::Magic);
        }
        if block[4] != VERSION {
            return Err(RootError::Version(block[4]));
        }
        let parameters = Parameters {
            algorithm: Algorithm::from_code(block[6]).ok_or(RootError::Field("hash algorithm"))?,
            tuple: block[7],
            code: Code::from_id(block[8]).ok_or(RootError::Field("erasure code"))?,
            data: block[9],
            parity: block[10],
        };
        parameters.check()?;
        let kind = match block[5] {
            0 => Kind::File,
            1 => Kind::Directory,
            _ => return Err(RootError::Field("kind")),
        };
        if block[11] & !FLAG_INLINE != 0 || block[12..16] != [0; 4] || block[56..HEADER] != [0; 8] {
            return Err(RootError::Field("flags"));
        }
        let inline = block[11] & FLAG_INLINE != 0;
        let mut length = [0; 8];
        length.copy_from_slice(&block[16..24]);
        let length = u64::from_be_bytes(length);
        // Bare files are never inline: their root is plain, and so would be their content.
        if inline != (key.is_some() && length <= INLINE as u64) {
            return Err(RootError::Field("flags"));
        }
        let body = if inline {
            usize::try_from(length).unwrap_or(INLINE)
        } else if length <= MAX_LENGTH {
            let tuples = Layout::new(parameters, length).levels().last().map_or(0, |last| last.tuples);
            usize::try_from(tuples).unwrap_or(usize::MAX) * parameters.tuple_bytes()
        } else {
            return Err(RootError::Field("length"));
        };
        let mut content_hash = [0; 32];
        content_hash.copy_from_slice(&block[24..56]);
        let body = block[HEADER..HEADER + body].to_vec();
        Ok(Self { kind, parameters, length, content_hash, inline, body })
    }
}
