//! How many peers a swarm has, in 256 bytes that can be united (BEP 33).

use std::net::IpAddr;

use sha1::{Digest as _, Sha1};

/// A Bloom filter of addresses: 2,048 bits, two hash functions.
#[derive(Clone, PartialEq, Eq)]
pub struct ScrapeFilter([u8; Self::LENGTH]);

impl ScrapeFilter {
    /// Length in bytes.
    pub const LENGTH: usize = 256;
    const BITS: u32 = 2048;

    /// A filter with nobody in it.
    pub const fn new() -> Self {
        Self([0; Self::LENGTH])
    }

    /// A filter that a node sent; `None` when it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The filter's bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// Puts an address in.
    pub fn insert(&mut self, address: IpAddr) {
        let digest = match address {
            IpAddr::V4(address) => Sha1::digest(address.octets()),
            IpAddr::V6(address) => Sha1::digest(address.octets()),
        };
        for word in [[digest[0], digest[1]], [digest[2], digest[3]]] {
            let bit = u16::from_le_bytes(word) % 2048;
            self.0[usize::from(bit / 8)] |= 1 << (bit % 8);
        }
    }

    /// Puts in whoever is in another.
    pub fn unite(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// About how many addresses are in it; it can tell up to some 6,000.
    pub fn estimate(&self) -> f64 {
        let set: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        let bits = f64::from(Self::BITS);
        // A full filter counts as one with a free bit: it stands for very many.
        let free = f64::from((Self::BITS - set).clamp(1, Self::BITS - 1));
        if set == 0 { 0.0 } else { (free / bits).ln() / (2.0 * (1.0 - 1.0 / bits).ln()) }
    }
}

impl std::fmt::Debug for ScrapeFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScrapeFilter(about {:.0})", self.estimate())
    }
}

impl Default for ScrapeFilter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// The filter of BEP 33's test vector.
    const VECTOR: &str = "f6c3f5eaa07ffd91bde89f777f26fb2bff37bdb8fb2bbaa2fd3ddde7bacfff75ee7ccbaefe5eedb1fbfaff67f6abff5e43ddbca3fd9b9ffdf4ffd3e9dff12d1b\
df59db53dbe9fa5b7ff3b8fdfcde1afb8bedd7be2f3ee71ebbbfe93bcdeefe148246c2bc5dbff7e7efdcf24fd8dc7adffd8fffdfddfff7a4bbeedf5cb95ce81f\
c7fcff1ff4ffffdfe5f7fdcbb7fd79b3fa1fc77bfe07fff905b7b7ffc7fefeffe0b8370bb0cd3f5b7f2bd93feb4386cfdd6f7fd5bfaf2e9ebffffeecd67adbf7\
c67f17efd5d75eba6ffeba7fff47a91eb1bfbb53e8abfb5762abe8ff237279bfefbfeef5ffc5febfdfe5adffadfee1fb737ffffbfd9f6aeffeee76b6fd8f72ef";

    #[test]
    fn agrees_with_the_bep() {
        let (mut v4, mut v6) = (ScrapeFilter::new(), ScrapeFilter::new());
        for last in 0..=255 {
            v4.insert(Ipv4Addr::new(192, 0, 2, last).into());
        }
        for last in 0..=0x3e7 {
            v6.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into());
        }
        v4.unite(&v6);
        assert_eq!(hex::encode(v4.as_bytes()), VECTOR);
        assert!((v4.estimate() - 1_224.930_85).abs() < 1e-4, "{}", v4.estimate());
        assert!(ScrapeFilter::new().estimate().abs() < f64::EPSILON);
        assert!(ScrapeFilter([0xff; 256]).estimate() > 6000.0);
    }
}
