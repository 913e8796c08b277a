//! How a file is stored: hash, tuple size, erasure code, stripe shape.

use cas::Algorithm;

use crate::{BLOCK, Code};

/// Parameters of a file; its root carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Hash of the scores in tuples.
    pub algorithm: Algorithm,
    /// Scores in a tuple, 2 to 8.
    pub tuple: u8,
    /// Erasure code, `None` for no parity.
    pub code: Code,
    /// Data source blocks in a stripe, 1 to 128.
    pub data: u8,
    /// Parity source blocks for a full stripe, 0 to 128.
    pub parity: u8,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { algorithm: Algorithm::Sha256, tuple: 3, code: Code::Leopard, data: 16, parity: 4 }
    }
}

/// A parameter is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// Tuples have 2 to 8 scores.
    #[error("a tuple has 2 to 8 blocks, not {0}")]
    Tuple(u8),
    /// Stripes have 1 to 128 data blocks.
    #[error("a stripe has 1 to 128 data blocks, not {0}")]
    Data(u8),
    /// Stripes have at most 128 parity blocks, and some exactly when there is a code.
    #[error("{0} parity blocks do not go with this erasure code (none without one, else 1 to 128)")]
    Parity(u8),
}

impl Parameters {
    /// These parameters without parity.
    #[must_use]
    pub const fn without_parity(self) -> Self {
        Self { code: Code::None, parity: 0, ..self }
    }

    /// Whether all are in range.
    pub fn check(&self) -> Result<(), ParametersError> {
        if !(2..=8).contains(&self.tuple) {
            return Err(ParametersError::Tuple(self.tuple));
        }
        if !(1..=128).contains(&self.data) {
            return Err(ParametersError::Data(self.data));
        }
        if self.parity > 128 || (self.code == Code::None) != (self.parity == 0) {
            return Err(ParametersError::Parity(self.parity));
        }
        Ok(())
    }

    /// Bytes of a tuple in a descriptor.
    pub(crate) const fn tuple_bytes(&self) -> usize {
        32 * self.tuple as usize
    }

    /// Tuples in one block of a descriptor level (`D` in the format).
    pub(crate) const fn tuples_per_block(&self) -> u64 {
        (BLOCK / self.tuple_bytes()) as u64
    }

    /// Most tuples in a root (`R` in the format).
    pub(crate) const fn tuples_in_root(&self) -> u64 {
        ((BLOCK - crate::root::HEADER) / self.tuple_bytes()) as u64
    }

    /// Parity blocks of a stripe with so many data blocks (`m(n)` in the format).
    pub const fn parity_of(&self, data: u64) -> u64 {
        (self.parity as u64 * data).div_ceil(self.data as u64)
    }
}
