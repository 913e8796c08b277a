//! Places in the key space: nodes, what is looked up, and the distance between them.

use std::fmt;

/// The id of a node: 20 bytes (BEP 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 20]);

/// What is looked up: an info-hash, the target of an item (BEP 44), or a node's id that is sought.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target([u8; 20]);

/// The XOR of two places; less is nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u8; 20]);

impl NodeId {
    /// Length in bytes.
    pub const LENGTH: usize = 20;

    /// An id from its bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// How far it is from what is looked up.
    pub fn distance(&self, target: &Target) -> Distance {
        Distance(std::array::from_fn(|at| self.0[at] ^ target.0[at]))
    }

    /// The id as a place to look up.
    pub const fn as_target(&self) -> Target {
        Target(self.0)
    }
}

impl Target {
    /// A target from its bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The target's bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl Distance {
    /// Number of leading bits that the two places share, at most 160.
    pub fn shared_bits(&self) -> u32 {
        let zero_bytes = self.0.iter().take_while(|byte| **byte == 0).count();
        let rest = self.0.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
        // At most 20 bytes.
        8 * u32::try_from(zero_bytes).unwrap_or(0) + rest
    }
}

/// The text is not 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 40 hexadecimal digits")]
pub struct NotHex;

macro_rules! shown_in_hex {
    ($($kind:ident)*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::str::FromStr for $kind {
            type Err = NotHex;

            fn from_str(text: &str) -> Result<Self, NotHex> {
                hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NotHex)
            }
        }

        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($kind))
            }
        }
    )*};
}
shown_in_hex!(NodeId Target Distance);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_order_and_count() {
        let id = |first: u8, last: u8| {
            let mut bytes = [0; 20];
            (bytes[0], bytes[19]) = (first, last);
            NodeId::from_bytes(bytes)
        };
        let target = id(0, 0).as_target();
        assert!(id(0, 255).distance(&target) < id(1, 0).distance(&target));
        assert_eq!(id(0, 0).distance(&target).shared_bits(), 160);
        assert_eq!(id(0, 1).distance(&target).shared_bits(), 159);
        assert_eq!(id(1, 0).distance(&target).shared_bits(), 7);
        assert_eq!(id(0x80, 0).distance(&target).shared_bits(), 0);
    }
}
