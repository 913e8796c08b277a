//! Randomness from a seed, so that a run can be repeated.

/// A stream of random bytes: BLAKE3's extended output of a seed. Who knows the seed knows the bytes.
pub(crate) struct Dice {
    stream: blake3::OutputReader,
    buffer: [u8; 64],
    used: usize,
}

impl Dice {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { stream: blake3::Hasher::new_keyed(&seed).finalize_xof(), buffer: [0; 64], used: 64 }
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| {
            if self.used == self.buffer.len() {
                self.stream.fill(&mut self.buffer);
                self.used = 0;
            }
            self.used += 1;
            self.buffer[self.used - 1]
        })
    }

    pub(crate) fn number(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// A number below `end`, or 0 when that is 0. The bias is below `end` in 2^32.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // The product's upper half is below `end`, so it fits.
        usize::try_from((u64::from(self.number()) * u64::try_from(end).unwrap_or(u64::MAX)) >> 32).unwrap_or(0)
    }

    /// A time below `end`.
    pub(crate) fn time_below(&mut self, end: std::time::Duration) -> std::time::Duration {
        end.mul_f64(f64::from(self.number()) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let [mut one, mut two, mut other] = [[1; 32], [1; 32], [2; 32]].map(Dice::new);
        let numbers: Vec<_> = (0..100).map(|_| one.number()).collect();
        assert!(numbers.iter().all(|number| *number == two.number()));
        assert!(numbers.iter().any(|number| *number != other.number()));
        assert!((0..1000).all(|_| one.below(3) < 3));
        assert_eq!(one.below(0), 0);
    }
}
