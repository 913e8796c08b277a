//! Enciphering a root through the public interface.

use std::sync::OnceLock;

use offs::{BLOCK, Key, Root};

/// The key of every sealed file that a target makes.
pub const KEY: [u8; 32] = [0x4b; 32];

/// Enciphers a root block with [`KEY`].
pub fn encipher_root(block: &mut [u8]) {
    static STREAM: OnceLock<Vec<u8>> = OnceLock::new();
    let stream = STREAM.get_or_init(|| {
        // A root is deciphered in place before it is looked at, and what was zero is then the key stream.
        let mut stream = vec![0; BLOCK];
        let refused = Root::from_block(&mut stream, Some(&Key::from_bytes(KEY)));
        assert!(refused.is_err() && stream.iter().any(|byte| *byte != 0), "a block of zeros was not deciphered");
        stream
    });
    for (byte, key) in block.iter_mut().zip(stream) {
        *byte ^= key;
    }
}
