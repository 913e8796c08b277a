//! The secret half of a mutable item's key.

use ed25519_dalek::Signer as _;

use crate::{ItemError, MAX_SALT, MutableItem, Value};

/// An Ed25519 key that signs items (BEP 44).
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a seed (RFC 8032).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The public key, by which items are found.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// A signed item.
    ///
    /// # Errors
    /// [`ItemError::SaltLength`] and [`ItemError::Sequence`] when those are not right.
    pub fn sign(&self, value: Value, salt: &[u8], sequence: i64) -> Result<MutableItem, ItemError> {
        if salt.len() > MAX_SALT {
            return Err(ItemError::SaltLength { length: salt.len() });
        }
        if sequence < 0 {
            return Err(ItemError::Sequence);
        }
        let signature = self.0.sign(&MutableItem::signed_bytes(salt, sequence, &value)).to_bytes();
        Ok(MutableItem { value, key: self.public(), salt: salt.to_vec(), sequence, signature })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey(of {})", hex::encode(self.public()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_right() {
        let key = SigningKey::from_seed([7; 32]);
        let value = || Value::from_bytes(b"value").expect("a value");
        let item = key.sign(value(), b"salt", 3).expect("an item");
        assert_eq!(item.verify(), Ok(()));
        assert_eq!(MutableItem { sequence: 4, ..item }.verify(), Err(ItemError::Signature));
        assert_eq!(key.sign(value(), &[0; 65], 3), Err(ItemError::SaltLength { length: 65 }));
        assert_eq!(key.sign(value(), b"", -1), Err(ItemError::Sequence));
        assert!(!format!("{key:?}").contains("0707"), "a secret is not shown");
    }
}
