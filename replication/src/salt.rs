//! Short fingerprints and short ids, which mean something in one comparison only.

use cas::{Fingerprint, Score};

/// Eight random bytes that whoever asks draws for a comparison.
///
/// Two different sets look alike to one comparison in 2^64, and to the next one, with its own salt, they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; 8]);

/// The short form of a fingerprint or a score.
pub type Short = [u8; 8];

impl Salt {
    /// The short fingerprint of an empty set.
    pub(crate) const EMPTY: Short = [0; 8];

    /// The first 8 bytes of BLAKE3(salt, binary form); of an empty set, zeros.
    pub(crate) fn fingerprint(self, fingerprint: &Fingerprint) -> Short {
        if fingerprint.is_empty() { Self::EMPTY } else { self.short(&fingerprint.to_bytes()) }
    }

    /// The first 8 bytes of BLAKE3(salt, binary form of the score).
    pub(crate) fn id(self, score: &Score) -> Short {
        self.short(&score.to_binary())
    }

    fn short(self, bytes: &[u8]) -> Short {
        let hash = blake3::Hasher::new().update(&self.0).update(bytes).finalize();
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}
