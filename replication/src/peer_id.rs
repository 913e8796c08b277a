//! Names of peers.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, VerifyingKey};

/// Names a peer: its Ed25519 public key (RFC 8032), which the link proves that it has.
///
/// Text form: base58 with Bitcoin's alphabet, 43 or 44 letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

/// Text that names no peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id: expected 32 bytes in base58")]
pub struct NotAPeerId;

impl PeerId {
    /// Length of the binary form, in bytes.
    pub const BINARY: usize = 32;

    /// The peer with this public key.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the signature is this peer's over the message. Strict: no key of small order, and one form of a
    /// signature only.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }

    /// The first letters, for lists that people read.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

impl FromStr for PeerId {
    type Err = NotAPeerId;

    fn from_str(text: &str) -> Result<Self, NotAPeerId> {
        // Longer text cannot be one, and decoding base58 takes quadratic time.
        if text.len() > 44 {
            return Err(NotAPeerId);
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| NotAPeerId)?;
        bytes.try_into().map(Self).map_err(|_| NotAPeerId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let peer = PeerId::from_bytes([7; 32]);
        assert_eq!(peer.to_string().parse(), Ok(peer));
        for wrong in ["", "0", "abc", &"1".repeat(45), &format!("{peer}1")] {
            assert_eq!(wrong.parse::<PeerId>(), Err(NotAPeerId), "{wrong}");
        }
    }
}
