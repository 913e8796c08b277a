//! References: what a URL says of a file, in binary and base58 (docs/format.md, section 6).

use std::{fmt, str::FromStr};

use cas::Score;

use crate::Key;

/// Names a stored file: the score of its root and, when it is sealed, its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Score of the root.
    pub root: Score,
    /// Key of a sealed file; `None` for a bare one.
    pub key: Option<Key>,
}

const SEALED: u8 = 1;

impl Reference {
    /// The binary form: flags, score, key.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![if self.key.is_some() { SEALED } else { 0 }];
        bytes.extend_from_slice(&self.root.to_binary());
        if let Some(key) = &self.key {
            bytes.extend_from_slice(key.as_bytes());
        }
        bytes
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReferenceError> {
        let (flags, rest) = bytes.split_first().ok_or(ReferenceError::Length)?;
        if flags & !SEALED != 0 {
            return Err(ReferenceError::Flags(*flags));
        }
        let (root, key) = rest.split_first_chunk().ok_or(ReferenceError::Length)?;
        let key = match (flags & SEALED != 0, key) {
            (false, []) => None,
            (true, key) => Some(Key::from_bytes(key.try_into().map_err(|_| ReferenceError::Length)?)),
            (false, _) => return Err(ReferenceError::Length),
        };
        Ok(Self { root: Score::from_binary(root).map_err(|_| ReferenceError::Algorithm(root[0]))?, key })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_bytes()).into_string())
    }
}

/// Why something is not a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not base58.
    #[error("the reference is not base58")]
    Base58,
    /// Too short or too long for what its flags say.
    #[error("the reference has the wrong length; part of the URL may be missing")]
    Length,
    /// A flag that this version does not know.
    #[error("the reference has unknown flags, {0:#04x}: part of the URL may be missing, or it is of a newer version")]
    Flags(u8),
    /// A hash that this version does not know.
    #[error("the reference names a hash algorithm {0:#04x} that this version does not know")]
    Algorithm(u8),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // 66 bytes take at most 91 digits; decoding costs the square of the length.
        if text.len() > 128 {
            return Err(ReferenceError::Length);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| ReferenceError::Base58)?;
        Self::from_bytes(&bytes)
    }
}
