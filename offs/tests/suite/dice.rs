//! Dice that repeat themselves (the `expand` of fixtures/README.md).

use cas::Algorithm;
use offs::{Dice, Key};
use sha2::{Digest as _, Sha256};

/// The first `length` bytes of SHA-256(label | 0 | seed | counter) for counter = 0, 1, ...
pub(crate) fn expand(label: &str, seed: u64, length: usize) -> Vec<u8> {
    let mut stream = Stream::new(label, seed);
    let mut bytes = vec![0; length];
    stream.fill(&mut bytes);
    bytes
}

struct Stream {
    prefix: Sha256,
    counter: u64,
    rest: Vec<u8>,
}

impl Stream {
    fn new(label: &str, seed: u64) -> Self {
        let prefix = Sha256::new().chain_update(label).chain_update([0]).chain_update(seed.to_be_bytes());
        Self { prefix, counter: 0, rest: Vec::new() }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.rest.is_empty() {
                let digest = self.prefix.clone().chain_update(self.counter.to_be_bytes()).finalize();
                self.rest = digest.iter().rev().copied().collect();
                self.counter += 1;
            }
            *byte = self.rest.pop().expect("just filled");
        }
    }
}

/// Dice of a golden vector: fresh randomizers only.
pub(crate) struct VectorDice {
    seed: u64,
    randomizers: u64,
    padding: Stream,
}

impl VectorDice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, randomizers: 0, padding: Stream::new("padding", seed) }
    }
}

impl Dice for VectorDice {
    fn key(&mut self) -> Key {
        Key::from_bytes(expand("key", self.seed, 32).try_into().expect("32 bytes"))
    }

    fn randomizer(&mut self, block: &mut [u8]) {
        block.copy_from_slice(&expand(&format!("randomizer {}", self.randomizers), self.seed, block.len()));
        self.randomizers += 1;
    }

    fn padding(&mut self, bytes: &mut [u8]) {
        self.padding.fill(bytes);
    }

    fn order(&mut self, _: Algorithm) -> Option<u64> {
        None
    }

    fn reuse(&self) -> bool {
        false
    }
}
