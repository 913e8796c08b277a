//! Dice that always fall the same way, so that a finding can be repeated.

use cas::Algorithm;
use offs::{Dice, Key};

use crate::KEY;

/// The one key, randomizers that differ in their first bytes only, and padding of zeros.
#[derive(Default)]
pub struct LoadedDice {
    drawn: u64,
}

impl Dice for LoadedDice {
    fn key(&mut self) -> Key {
        Key::from_bytes(KEY)
    }

    fn randomizer(&mut self, block: &mut [u8]) {
        self.drawn += 1;
        block.fill(0xa5);
        block[..8].copy_from_slice(&self.drawn.to_be_bytes());
    }

    fn padding(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn order(&mut self, _: Algorithm) -> Option<u64> {
        None
    }
}
