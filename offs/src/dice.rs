//! Randomness, passed in.

use aes::Aes256;
use cas::Algorithm;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};

use crate::Key;

/// Where keys, fresh randomizers and padding come from. Tests pass one that repeats itself.
pub trait Dice: Send {
    /// A key for a sealed file.
    fn key(&mut self) -> Key;
    /// Fills a fresh randomizer block.
    fn randomizer(&mut self, block: &mut [u8]);
    /// Fills padding.
    fn padding(&mut self, bytes: &mut [u8]);
    /// Decides the order in which stored randomizers are drawn; `None` to use fresh ones only.
    fn order(&mut self, algorithm: Algorithm) -> Option<u64>;
    /// Whether blocks of the file itself may serve as randomizers of its later stripes.
    fn reuse(&self) -> bool {
        true
    }
}

/// Cryptographic randomness: AES-256 in counter mode, keyed by the operating system.
pub struct SystemDice(Ctr128BE<Aes256>);

impl SystemDice {
    /// Dice with a new key.
    pub fn new() -> Self {
        let key: [u8; 32] = rand::random();
        Self(Ctr128BE::new(&key.into(), &[0; 16].into()))
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
        self.0.apply_keystream(bytes);
    }
}

impl Default for SystemDice {
    fn default() -> Self {
        Self::new()
    }
}

impl Dice for SystemDice {
    fn key(&mut self) -> Key {
        let mut key = [0; 32];
        self.fill(&mut key);
        Key::from_bytes(key)
    }

    fn randomizer(&mut self, block: &mut [u8]) {
        self.fill(block);
    }

    fn padding(&mut self, bytes: &mut [u8]) {
        self.fill(bytes);
    }

    fn order(&mut self, _: Algorithm) -> Option<u64> {
        let mut seed = [0; 8];
        self.fill(&mut seed);
        Some(u64::from_be_bytes(seed))
    }
}
