//! Scores: the hash of a block's bytes, tagged with its algorithm (Venti's word).

use std::{fmt, str::FromStr};

use sha2::Digest as _;

use crate::lanes;

/// A hash algorithm that names blocks. The codes are multicodec's (docs/format.md, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, the default: comparable with `sha256sum`.
    Sha256,
    /// BLAKE3-256, the fast alternative: comparable with `b3sum`.
    Blake3,
}

impl Algorithm {
    /// All of them, in the order of their codes.
    pub(crate) const ALL: [Self; 2] = [Self::Sha256, Self::Blake3];

    /// The one-byte code of the binary form.
    pub const fn code(self) -> u8 {
        match self {
            Self::Sha256 => 0x12,
            Self::Blake3 => 0x1e,
        }
    }

    /// The algorithm of a code, if we know it.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0x12 => Some(Self::Sha256),
            0x1e => Some(Self::Blake3),
            _ => None,
        }
    }

    /// The name in text forms and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }
}

impl FromStr for Algorithm {
    type Err = ParseScoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "blake3" => Ok(Self::Blake3),
            _ => Err(ParseScoreError::Algorithm),
        }
    }
}

/// The name of a block: algorithm and 32-byte digest of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score {
    algorithm: Algorithm,
    digest: [u8; 32],
}

impl Score {
    /// Length of the binary form: one code byte and the digest.
    pub const BINARY: usize = 33;

    /// Hashes a block.
    pub fn of(algorithm: Algorithm, block: &[u8]) -> Self {
        let digest = match algorithm {
            Algorithm::Sha256 => sha2::Sha256::digest(block).into(),
            Algorithm::Blake3 => *blake3::hash(block).as_bytes(),
        };
        Self { algorithm, digest }
    }

    /// Hashes blocks, in their order: quicker than one by one, most of all when they are [`Score::at_once`] or a
    /// multiple of it.
    pub fn of_many(algorithm: Algorithm, blocks: &[&[u8]]) -> Vec<Self> {
        match algorithm {
            Algorithm::Sha256 => lanes::digests(blocks).into_iter().map(|digest| Self { algorithm, digest }).collect(),
            Algorithm::Blake3 => blocks.iter().map(|block| Self::of(algorithm, block)).collect(),
        }
    }

    /// Whether each of some blocks has the score that stands beside it. Quicker than one by one.
    pub fn match_many(blocks: &[(Self, &[u8])]) -> Vec<bool> {
        let is_sha256 = |score: &Self| score.algorithm == Algorithm::Sha256;
        let together: Vec<_> = blocks.iter().filter(|(score, _)| is_sha256(score)).map(|(_, block)| *block).collect();
        let mut found = Self::of_many(Algorithm::Sha256, &together).into_iter();
        let matches = |(score, block): &(Self, &[u8])| {
            if is_sha256(score) { found.next() == Some(*score) } else { score.matches(block) }
        };
        blocks.iter().map(matches).collect()
    }

    /// How many blocks this machine hashes at once; 1 where that is no quicker.
    pub fn at_once(algorithm: Algorithm) -> usize {
        match algorithm {
            Algorithm::Sha256 => lanes::width(),
            Algorithm::Blake3 => 1,
        }
    }

    /// A score that was read from a descriptor, an index or the wire.
    pub const fn from_digest(algorithm: Algorithm, digest: [u8; 32]) -> Self {
        Self { algorithm, digest }
    }

    /// Reads the binary form.
    pub fn from_binary(bytes: &[u8; Self::BINARY]) -> Result<Self, ParseScoreError> {
        let algorithm = Algorithm::from_code(bytes[0]).ok_or(ParseScoreError::Algorithm)?;
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[1..]);
        Ok(Self { algorithm, digest })
    }

    /// The binary form: code byte, digest.
    pub fn to_binary(self) -> [u8; Self::BINARY] {
        let mut bytes = [0; Self::BINARY];
        bytes[0] = self.algorithm.code();
        bytes[1..].copy_from_slice(&self.digest);
        bytes
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest without its tag.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether `block` has this score.
    pub fn matches(&self, block: &[u8]) -> bool {
        Self::of(self.algorithm, block) == *self
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), hex::encode(self.digest))
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..", self.algorithm.name(), hex::encode(&self.digest[..4]))
    }
}

/// Why a text or binary form is not a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseScoreError {
    /// The algorithm is neither SHA-256 nor BLAKE3.
    #[error("unknown hash algorithm")]
    Algorithm,
    /// The digest is not 64 lower-case hex digits.
    #[error("digest is not 64 lower-case hex digits")]
    Digest,
}

impl FromStr for Score {
    type Err = ParseScoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digits) = text.split_once(':').ok_or(ParseScoreError::Algorithm)?;
        let algorithm = name.parse()?;
        let mut digest = [0; 32];
        // One score has one text form, so that texts can be compared: no upper case.
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseScoreError::Digest);
        }
        hex::decode_to_slice(digits, &mut digest).map_err(|_| ParseScoreError::Digest)?;
        Ok(Self { algorithm, digest })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn agrees_with_sha256sum_and_b3sum() {
        let sha = Score::of(Algorithm::Sha256, b"abc");
        assert_eq!(sha.to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let blake = Score::of(Algorithm::Blake3, b"abc");
        assert_eq!(blake.to_string(), "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
    }

    proptest! {
        #[test]
        fn forms_round_trip(digest: [u8; 32], sha: bool) {
            let algorithm = if sha { Algorithm::Sha256 } else { Algorithm::Blake3 };
            let score = Score::from_digest(algorithm, digest);
            prop_assert_eq!(score.to_string().parse::<Score>(), Ok(score));
            prop_assert_eq!(Score::from_binary(&score.to_binary()), Ok(score));
        }
    }

    #[test]
    fn refuses_what_is_not_a_score() {
        let good = Score::of(Algorithm::Sha256, b"").to_string();
        for bad in ["", "sha256:", "md5:00", &good[..70], &good.to_uppercase(), &good.replace(':', "")] {
            assert!(bad.parse::<Score>().is_err(), "{bad}");
        }
        assert!(Score::from_binary(&[0; 33]).is_err());
    }
}
