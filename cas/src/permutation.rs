//! A random order of the numbers below n, in constant memory.

/// Yields each number below `n` once, in an order that the seed decides.
///
/// A four-round Feistel network over the next even power of two, with cycle walking
/// (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002): no table, no scan.
pub(crate) struct Permutation {
    n: u64,
    next: u64,
    half: u32,
    seed: u64,
}

impl Permutation {
    pub(crate) fn new(n: u64, seed: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self { n, next: 0, half: bits.div_ceil(2).max(1), seed }
    }

    fn round(&self, value: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (value >> self.half, value & mask);
        for round in 0..4_u64 {
            (left, right) = (right, left ^ (mix(right ^ self.seed.rotate_left(16) ^ (round << 56)) & mask));
        }
        (left << self.half) | right
    }
}

impl Iterator for Permutation {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.next >= self.n {
            return None;
        }
        let mut value = self.round(self.next);
        self.next += 1;
        while value >= self.n {
            value = self.round(value);
        }
        Some(value)
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yields_each_number_once() {
        for n in [0, 1, 2, 3, 4, 5, 16, 17, 1000, 4097] {
            let mut seen: Vec<_> = Permutation::new(n, 7).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn differs_by_seed() {
        let order = |seed| Permutation::new(1000, seed).collect::<Vec<_>>();
        assert_ne!(order(1), order(2));
        assert_ne!(order(1), (0..1000).collect::<Vec<_>>());
    }
}
