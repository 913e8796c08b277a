//! The default code: Leopard Reed-Solomon, always in its high-rate variant (docs/format.md, section 3.1).

use reed_solomon_simd::{
    engine::DefaultEngine,
    rate::{HighRateDecoder, HighRateEncoder, RateDecoder as _, RateEncoder as _},
};

use crate::{BLOCK, ErasureCode, ErasureError};

/// Keeps its working memory from stripe to stripe.
pub(crate) struct Leopard {
    encoder: Option<HighRateEncoder<DefaultEngine>>,
}

impl Leopard {
    pub(crate) const fn new() -> Self {
        Self { encoder: None }
    }
}

fn failed(error: reed_solomon_simd::Error) -> ErasureError {
    ErasureError::Library { detail: error.to_string() }
}

impl ErasureCode for Leopard {
    fn encode(&mut self, data: &[u8], parity: &mut [u8]) -> Result<(), ErasureError> {
        let (n, m) = (data.len() / BLOCK, parity.len() / BLOCK);
        let encoder = match &mut self.encoder {
            Some(encoder) => {
                encoder.reset(n, m, BLOCK).map_err(failed)?;
                encoder
            }
            none => none.insert(HighRateEncoder::new(n, m, BLOCK, DefaultEngine::new(), None).map_err(failed)?),
        };
        for block in data.chunks_exact(BLOCK) {
            encoder.add_original_shard(block).map_err(failed)?;
        }
        let result = encoder.encode().map_err(failed)?;
        for (block, made) in parity.chunks_exact_mut(BLOCK).zip(result.recovery_iter()) {
            block.copy_from_slice(made);
        }
        Ok(())
    }

    fn rebuild(
        &mut self,
        data: usize,
        parity: usize,
        have: &[(usize, &[u8])],
    ) -> Result<Vec<(usize, Vec<u8>)>, ErasureError> {
        if have.len() < data {
            return Err(ErasureError::TooFew { have: have.len(), need: data });
        }
        let mut decoder = HighRateDecoder::new(data, parity, BLOCK, DefaultEngine::new(), None).map_err(failed)?;
        for (at, block) in have {
            if *at < data {
                decoder.add_original_shard(*at, block).map_err(failed)?;
            } else {
                decoder.add_recovery_shard(*at - data, block).map_err(failed)?;
            }
        }
        let result = decoder.decode().map_err(failed)?;
        let mut rebuilt: Vec<_> = result.restored_original_iter().map(|(at, block)| (at, block.to_vec())).collect();
        rebuilt.sort_unstable_by_key(|(at, _)| *at);
        Ok(rebuilt)
    }
}
