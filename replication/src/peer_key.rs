//! The secret half of a peer's name.

use std::fmt;

use ed25519_dalek::Signer as _;

use crate::PeerId;

/// The Ed25519 key (RFC 8032) of a peer, or of an invitation.
pub struct PeerKey(ed25519_dalek::SigningKey);

impl PeerKey {
    /// The key of a seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The public key.
    pub fn id(&self) -> PeerId {
        PeerId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Signs a message. What is signed begins with what it is, so that no signature serves for two things.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKey(of {})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_right() {
        let key = PeerKey::from_seed([7; 32]);
        let signature = key.sign(b"message");
        assert!(key.id().verify(b"message", &signature));
        assert!(!key.id().verify(b"massage", &signature));
        assert!(!PeerKey::from_seed([8; 32]).id().verify(b"message", &signature));
        assert!(!PeerId::from_bytes([0xff; 32]).verify(b"message", &signature));
        // A key of small order, under which a signature of zeros would be good for any message.
        let mut small = [0; 32];
        small[0] = 1;
        let mut zero = [0; 64];
        zero[0] = 1;
        assert!(!PeerId::from_bytes(small).verify(b"message", &zero));
        assert!(!format!("{key:?}").contains("0707"), "a secret is not shown");
        assert!(!format!("{key:?}").contains("7, 7"), "a secret is not shown");
    }
}
