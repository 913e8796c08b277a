//! The id of a query, which its answer repeats.

use std::fmt;

/// 1 to 32 bytes. We send 4, because some nodes answer no others, and echo what we are sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    length: u8,
    bytes: [u8; Self::MOST],
}

impl TransactionId {
    /// Longest id that is echoed, in bytes. Others are not answered: they are a way to make answers long.
    pub const MOST: usize = 32;

    /// One of ours.
    pub fn ours(number: u32) -> Self {
        let mut bytes = [0; Self::MOST];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Self { length: 4, bytes }
    }

    /// Reads an id; `None` when it is empty or too long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let length =
            u8::try_from(bytes.len()).ok().filter(|length| (1..=Self::MOST).contains(&usize::from(*length)))?;
        let mut id = Self { length, bytes: [0; Self::MOST] };
        id.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(id)
    }

    /// The id's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The number of one of ours; `None` for any other.
    pub fn number(&self) -> Option<u32> {
        self.as_bytes().try_into().ok().map(u32::from_be_bytes)
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({})", hex::encode(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_length_are_echoed() {
        for length in 1..=32 {
            let bytes = vec![9; length];
            assert_eq!(TransactionId::from_bytes(&bytes).expect("an id").as_bytes(), bytes);
        }
        assert_eq!(TransactionId::from_bytes(&[]), None);
        assert_eq!(TransactionId::from_bytes(&[0; 33]), None);
        assert_eq!(TransactionId::ours(0x0102_0304).as_bytes(), [1, 2, 3, 4]);
        assert_eq!(TransactionId::ours(7).number(), Some(7));
        assert_eq!(TransactionId::from_bytes(b"aa").expect("an id").number(), None);
    }
}
