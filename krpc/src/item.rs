//! Items: values that nodes keep for others, immutable ones and signed ones that may change (BEP 44).

use ed25519_dalek::{Signature, VerifyingKey};
use sha1::{Digest as _, Sha1};

use crate::{ErrorCode, Target};

/// Longest value, bencoded, in bytes.
pub const MAX_VALUE: usize = 1000;

/// Longest salt in bytes.
pub const MAX_SALT: usize = 64;

/// A value as it travels: one bencoded object of any type, at most [`MAX_VALUE`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value(Vec<u8>);

impl Value {
    /// Takes one bencoded object.
    ///
    /// # Errors
    /// [`ItemError::Value`] when it is not exactly one in canonical form, [`ItemError::ValueLength`] when it is too
    /// long.
    pub fn from_bencode(bytes: &[u8]) -> Result<Self, ItemError> {
        if bytes.len() > MAX_VALUE {
            return Err(ItemError::ValueLength { length: bytes.len() });
        }
        if crate::bencode::is_one_object(bytes) { Ok(Self(bytes.to_vec())) } else { Err(ItemError::Value) }
    }

    /// A byte string as a value. It is the type that every node takes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ItemError> {
        let mut value = format!("{}:", bytes.len()).into_bytes();
        value.extend_from_slice(bytes);
        if value.len() > MAX_VALUE { Err(ItemError::ValueLength { length: value.len() }) } else { Ok(Self(value)) }
    }

    /// The bytes, if the value is a byte string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        let (length, bytes) = self.0.split_at(self.0.iter().position(|byte| *byte == b':')?);
        length.iter().all(u8::is_ascii_digit).then_some(&bytes[1..])
    }

    /// The bencoded form.
    pub fn as_bencode(&self) -> &[u8] {
        &self.0
    }
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Found by the hash of its value.
    Immutable(Value),
    /// Found by the key that signs it, and changed by whoever has that.
    Mutable(MutableItem),
}

/// A signed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutableItem {
    /// The value.
    pub value: Value,
    /// Ed25519 public key of the author.
    pub key: [u8; 32],
    /// Distinguishes several items of one key; at most [`MAX_SALT`] bytes, may be empty.
    pub salt: Vec<u8>,
    /// Grows with each change, 0 to 2^63 - 1.
    pub sequence: i64,
    /// Over salt, sequence number and value.
    pub signature: [u8; 64],
}

/// What is wrong with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// The value is not one bencoded object.
    #[error("the value is not one bencoded object")]
    Value,
    /// The value is too long.
    #[error("a value has at most {MAX_VALUE} bytes, not {length}")]
    ValueLength {
        /// Its length, bencoded.
        length: usize,
    },
    /// The salt is too long.
    #[error("a salt has at most {MAX_SALT} bytes, not {length}")]
    SaltLength {
        /// Its length.
        length: usize,
    },
    /// The sequence number is negative.
    #[error("a sequence number is not negative")]
    Sequence,
    /// The signature is not the key's over this value.
    #[error("the signature is not right")]
    Signature,
}

impl ItemError {
    /// What the node that sent it is told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Value | Self::Sequence => ErrorCode::Protocol,
            Self::ValueLength { .. } => ErrorCode::ValueTooBig,
            Self::SaltLength { .. } => ErrorCode::SaltTooBig,
            Self::Signature => ErrorCode::Signature,
        }
    }
}

impl Item {
    /// Where it is kept.
    pub fn target(&self) -> Target {
        match self {
            Self::Immutable(value) => Target::from_bytes(Sha1::digest(value.as_bencode()).into()),
            Self::Mutable(item) => mutable_target(&item.key, &item.salt),
        }
    }

    /// Its value.
    pub const fn value(&self) -> &Value {
        match self {
            Self::Immutable(value) => value,
            Self::Mutable(item) => &item.value,
        }
    }
}

/// Where the item of a key and a salt is kept.
pub fn mutable_target(key: &[u8; 32], salt: &[u8]) -> Target {
    Target::from_bytes(Sha1::new().chain_update(key).chain_update(salt).finalize().into())
}

impl MutableItem {
    /// The bytes that are signed.
    pub fn signed_bytes(salt: &[u8], sequence: i64, value: &Value) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(salt.len() + value.as_bencode().len() + 64);
        if !salt.is_empty() {
            bytes.extend_from_slice(format!("4:salt{}:", salt.len()).as_bytes());
            bytes.extend_from_slice(salt);
        }
        bytes.extend_from_slice(format!("3:seqi{sequence}e1:v").as_bytes());
        bytes.extend_from_slice(value.as_bencode());
        bytes
    }

    /// Checks lengths, sequence number and signature. Nothing else may be believed of an item before.
    pub fn verify(&self) -> Result<(), ItemError> {
        if self.salt.len() > MAX_SALT {
            return Err(ItemError::SaltLength { length: self.salt.len() });
        }
        if self.sequence < 0 {
            return Err(ItemError::Sequence);
        }
        let key = VerifyingKey::from_bytes(&self.key).map_err(|_| ItemError::Signature)?;
        let signed = Self::signed_bytes(&self.salt, self.sequence, &self.value);
        key.verify_strict(&signed, &Signature::from_bytes(&self.signature)).map_err(|_| ItemError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};

    use super::*;

    // The vectors of BEP 44.
    const KEY: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";
    /// Scalar and prefix, not a seed.
    const SECRET: &str = "e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74db7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d";
    const VALUE: &[u8] = b"12:Hello World!";
    const MUTABLE: [(&[u8], &str, &str); 2] = [
        (
            b"",
            "4a533d47ec9c7d95b1ad75f576cffc641853b750",
            "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
        ),
        (
            b"foobar",
            "411eba73b6f087ca51a3795d9c8c938d365e32c1",
            "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17ddf9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
        ),
    ];

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).expect("hex").try_into().expect("the length")
    }

    fn item(salt: &[u8], signature: &str) -> MutableItem {
        MutableItem {
            value: Value::from_bencode(VALUE).expect("a value"),
            key: bytes(KEY),
            salt: salt.to_vec(),
            sequence: 1,
            signature: bytes(signature),
        }
    }

    #[test]
    fn items_are_those_of_the_bep() {
        let immutable = Item::Immutable(Value::from_bencode(VALUE).expect("a value"));
        assert_eq!(immutable.target().to_string(), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
        let secret = ExpandedSecretKey::from_bytes(&bytes(SECRET));
        for (salt, target, signature) in MUTABLE {
            let item = item(salt, signature);
            assert_eq!(Item::Mutable(item.clone()).target().to_string(), target);
            assert_eq!(item.verify(), Ok(()));
            let signed = MutableItem::signed_bytes(salt, 1, &item.value);
            let key = VerifyingKey::from_bytes(&item.key).expect("a key");
            let again = raw_sign::<sha2::Sha512>(&secret, &signed, &key);
            assert_eq!(again.to_bytes(), item.signature);
        }
    }

    #[test]
    fn targets_of_bep_46() {
        let key = bytes("8543d3e6115f0f98c944077a4493dcd543e49c739fd998550a1f614ab36ed63e");
        assert_eq!(mutable_target(&key, b"").to_string(), "cc3f9d90b572172053626f9980ce261a850d050b");
        assert_eq!(mutable_target(&key, b"n").to_string(), "59ee7c2cb9b4f7eb1986ee2d18fd2fdb8a56554f");
    }

    #[test]
    fn what_is_not_signed_is_refused() {
        let (salt, _, signature) = MUTABLE[1];
        let good = item(salt, signature);
        let value = Value::from_bytes(b"Hello World?").expect("a value");
        let mut flipped = good.signature;
        flipped[40] ^= 1;
        for (bad, error) in [
            (MutableItem { sequence: 2, ..good.clone() }, ItemError::Signature),
            (MutableItem { sequence: -1, ..good.clone() }, ItemError::Sequence),
            (MutableItem { salt: Vec::new(), ..good.clone() }, ItemError::Signature),
            (MutableItem { salt: vec![0; 65], ..good.clone() }, ItemError::SaltLength { length: 65 }),
            (MutableItem { value, ..good.clone() }, ItemError::Signature),
            (MutableItem { signature: flipped, ..good.clone() }, ItemError::Signature),
            (MutableItem { key: [0xff; 32], ..good }, ItemError::Signature),
        ] {
            assert_eq!(bad.verify(), Err(error));
        }
    }

    #[test]
    fn values_are_one_object_of_bounded_length() {
        for good in [&b"i5e"[..], b"0:", b"le", b"d1:ai1e1:bi2ee", b"l4:spami-3ee"] {
            assert_eq!(Value::from_bencode(good).expect("a value").as_bencode(), good);
        }
        for bad in [&b""[..], b"i5", b"i05e", b"i-0e", b"5:abcd", b"i1ei2e", b"d1:bi1e1:ai2ee", b"d1:ai1e1:ai2ee", b"x"]
        {
            assert_eq!(Value::from_bencode(bad), Err(ItemError::Value), "{}", String::from_utf8_lossy(bad));
        }
        assert!(Value::from_bytes(&[0; 996]).is_ok());
        assert_eq!(Value::from_bytes(&[0; 997]), Err(ItemError::ValueLength { length: 1001 }));
        assert!(Value::from_bencode(&[b"l".repeat(400), b"e".repeat(400)].concat()).is_err(), "too deep");
    }
}
