//! Sealing: AES-256-CTR with a key of the file's own (docs/format.md, section 4).

use std::fmt;

use aes::Aes256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};

/// The key of a sealed file. Whoever has it and the root's score can read the file.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A key that was read from a reference.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Enciphers or deciphers the source block at `position` of `level`; both are the same XOR.
    pub(crate) fn apply_to_source(&self, level: u8, position: u64, block: &mut [u8]) {
        self.apply(0, level, position, block);
    }

    /// Enciphers or deciphers the root.
    pub(crate) fn apply_to_root(&self, block: &mut [u8]) {
        self.apply(1, 0, 0, block);
    }

    fn apply(&self, domain: u8, level: u8, position: u64, block: &mut [u8]) {
        // A block has 8,192 counter values, so the counter never runs into the position before it.
        let mut counter = [0; 16];
        counter[0] = domain;
        counter[1] = level;
        counter[4..12].copy_from_slice(&position.to_be_bytes());
        Ctr128BE::<Aes256>::new(&self.0.into(), &counter.into()).apply_keystream(block);
    }
}

impl fmt::Debug for Key {
    /// Keys do not get into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_share_key_stream() {
        let key = Key::from_bytes([3; 32]);
        let mut streams = Vec::new();
        for level in 0..3 {
            for position in [0, 1, 256, 1 << 40] {
                let mut block = vec![0; 64];
                key.apply_to_source(level, position, &mut block);
                streams.push(block);
            }
        }
        let mut root = vec![0; 64];
        key.apply_to_root(&mut root);
        streams.push(root);
        streams.sort();
        streams.dedup();
        assert_eq!(streams.len(), 13);
    }
}
