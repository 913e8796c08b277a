//! Erasure codes behind one trait.

use crate::{leopard::Leopard, novelpoly::Novelpoly};

/// Which erasure code a file's stripes use; the id stands in its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No parity.
    None,
    /// The crate `reed-solomon-novelpoly`.
    Novelpoly,
    /// The crate `reed-solomon-simd`, high rate.
    Leopard,
}

impl Code {
    /// The id in a root.
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Novelpoly => 1,
            Self::Leopard => 2,
        }
    }

    /// The code of an id.
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Novelpoly),
            2 => Some(Self::Leopard),
            _ => None,
        }
    }

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Novelpoly => "novelpoly",
            Self::Leopard => "leopard",
        }
    }

    /// An encoder and decoder of this code.
    pub fn coder(self) -> Option<Box<dyn ErasureCode>> {
        match self {
            Self::None => None,
            Self::Novelpoly => Some(Box::new(Novelpoly)),
            Self::Leopard => Some(Box::new(Leopard::new())),
        }
    }
}

/// A systematic maximum-distance-separable code over source blocks.
pub trait ErasureCode: Send {
    /// Fills the blocks of `parity` from those of `data`; both are whole blocks end to end.
    fn encode(&mut self, data: &[u8], parity: &mut [u8]) -> Result<(), ErasureError>;

    /// Rebuilds data blocks. `have` lists (number, bytes) of blocks that are known, parity blocks numbered
    /// from `data` on; with at least `data` of them every missing data block is returned.
    fn rebuild(
        &mut self,
        data: usize,
        parity: usize,
        have: &[(usize, &[u8])],
    ) -> Result<Vec<(usize, Vec<u8>)>, ErasureError>;
}

/// An erasure code refused its input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErasureError {
    /// Fewer blocks than the code needs.
    #[error("{have} blocks are too few to rebuild a stripe of {need}")]
    TooFew {
        /// Blocks that are known.
        have: usize,
        /// Blocks that are needed.
        need: usize,
    },
    /// The library refused.
    #[error("the erasure code failed: {detail}")]
    Library {
        /// In its own words.
        detail: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BLOCK;

    fn block(seed: usize) -> Vec<u8> {
        let mut state = seed as u64 + 1;
        (0..BLOCK)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    /// Every code rebuilds from any `data` blocks; here the harshest losses for each shape.
    #[test]
    fn any_k_of_k_plus_m_rebuild() {
        for code in [Code::Novelpoly, Code::Leopard] {
            for (data, parity) in [(16, 4), (1, 1), (5, 3), (3, 7), (2, 1), (10, 1), (7, 2), (16, 5), (1, 4)] {
                let mut coder = code.coder().expect("a code");
                let sources: Vec<_> = (0..data).map(block).collect();
                let mut check = vec![0; parity * BLOCK];
                coder.encode(&sources.concat(), &mut check).expect("encode");
                let all: Vec<&[u8]> = sources.iter().map(Vec::as_slice).chain(check.chunks(BLOCK)).collect();
                for first_lost in 0..=data {
                    let have: Vec<_> = (0..data + parity)
                        .filter(|at| !(first_lost..first_lost + parity).contains(at))
                        .map(|at| (at, all[at]))
                        .collect();
                    let rebuilt = coder.rebuild(data, parity, &have).expect("rebuild");
                    let lost: Vec<_> = (first_lost..(first_lost + parity).min(data)).collect();
                    assert_eq!(rebuilt.iter().map(|(at, _)| *at).collect::<Vec<_>>(), lost, "{code:?} {data}+{parity}");
                    for (at, bytes) in rebuilt {
                        assert!(bytes == sources[at], "{code:?} {data}+{parity} block {at}");
                    }
                }
                let few: Vec<_> = (0..data - 1).map(|at| (at, all[at])).collect();
                assert!(matches!(coder.rebuild(data, parity, &few), Err(ErasureError::TooFew { .. })));
            }
        }
    }
}
