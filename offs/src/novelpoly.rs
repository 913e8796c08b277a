//! The older code, in pure Rust: `reed-solomon-novelpoly` (docs/format.md, section 3.2).

use reed_solomon_novelpoly::{CodeParams, WrappedShard};

use crate::{BLOCK, ErasureCode, ErasureError};

/// The library wants a power of two of data shards and interleaves the payload's symbols over them; so
/// blocks are padded with zero blocks that are never stored, and transposed.
pub(crate) struct Novelpoly;

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn failed(error: reed_solomon_novelpoly::Error) -> ErasureError {
    ErasureError::Library { detail: error.to_string() }
}

fn coder(padded: usize, parity: usize) -> Result<reed_solomon_novelpoly::ReedSolomon, ErasureError> {
    Ok(CodeParams::derive_parameters(padded + parity, padded).map_err(failed)?.make_encoder())
}

impl ErasureCode for Novelpoly {
    fn encode(&mut self, data: &[u8], parity: &mut [u8]) -> Result<(), ErasureError> {
        let (n, m) = (data.len() / BLOCK, parity.len() / BLOCK);
        let padded = n.next_power_of_two();
        let mut payload = vec![0; padded * BLOCK];
        for (at, block) in data.chunks_exact(BLOCK).enumerate() {
            for (symbol, pair) in block.chunks_exact(2).enumerate() {
                payload[2 * (symbol * padded + at)..][..2].copy_from_slice(pair);
            }
        }
        let shards: Vec<WrappedShard> = coder(padded, m)?.encode(&payload).map_err(failed)?;
        for (block, shard) in parity.chunks_exact_mut(BLOCK).zip(&shards[padded..]) {
            block.copy_from_slice(AsRef::<[u8]>::as_ref(shard));
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
        let padded = data.next_power_of_two();
        let mut shards = vec![None; padded + parity];
        for shard in &mut shards[data..padded] {
            *shard = Some(WrappedShard::new(vec![0; BLOCK]));
        }
        for (at, block) in have {
            let shard = if *at < data { *at } else { padded + (*at - data) };
            shards[shard] = Some(WrappedShard::new(block.to_vec()));
        }
        let missing: Vec<_> = (0..data).filter(|at| shards[*at].is_none()).collect();
        let payload = coder(padded, parity)?.reconstruct(shards).map_err(failed)?;
        let row = |at: usize| {
            (0..BLOCK / 2)
                .flat_map(|symbol| {
                    let place = 2 * (symbol * padded + at);
                    [payload[place], payload[place + 1]]
                })
                .collect()
        };
        Ok(missing.into_iter().map(|at| (at, row(at))).collect())
    }
}
