//! Node ids that are made from the node's address (BEP 42), so that nobody can choose his place.

use std::net::{IpAddr, Ipv4Addr};

use crate::NodeId;

/// Bits of the address that decide, from the left; the others are free, so that a network has few ids.
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];

/// The first 21 bits that an id must have, in a `u32` from the left, for an address and the id's last byte.
fn prefix(address: IpAddr, last: u8) -> u32 {
    let seed = (last & 7) << 5;
    // The text of the BEP speaks of eight bytes always; its code and its vectors hash four for IPv4.
    let checksum = match address {
        IpAddr::V4(address) => {
            let mut bytes: [u8; 4] = std::array::from_fn(|at| address.octets()[at] & MASK_V4[at]);
            bytes[0] |= seed;
            crc32c::crc32c(&bytes)
        }
        IpAddr::V6(address) => {
            let mut bytes: [u8; 8] = std::array::from_fn(|at| address.octets()[at] & MASK_V6[at]);
            bytes[0] |= seed;
            crc32c::crc32c(&bytes)
        }
    };
    checksum & 0xffff_f800
}

/// An id that goes with an address. What the address does not decide comes from `random`.
pub fn secure_id(address: IpAddr, random: [u8; 20]) -> NodeId {
    let mut bytes = random;
    let prefix = prefix(address, random[19]).to_be_bytes();
    bytes[..2].copy_from_slice(&prefix[..2]);
    bytes[2] = prefix[2] | (random[2] & 0x07);
    NodeId::from_bytes(bytes)
}

/// Whether an id goes with an address. Local addresses go with any id.
pub fn is_secure(id: &NodeId, address: IpAddr) -> bool {
    let bytes = id.as_bytes();
    let found = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]) & 0xffff_f800;
    is_local(address) || found == prefix(address, bytes[19])
}

/// Addresses that mean nothing outside: loopback, private, link-local, unique-local.
pub fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Addresses that no node on the public network can have, and local ones.
pub fn is_bogon(address: IpAddr) -> bool {
    let never = match address.to_canonical() {
        IpAddr::V4(address) => is_bogon_v4(address),
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            // Global unicast is 2000::/3; of it 2001:db8::/32 is for documents.
            first & 0xe000 != 0x2000 || (first == 0x2001 && address.segments()[1] == 0x0db8)
        }
    };
    never || is_local(address)
}

fn is_bogon_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 0 || a >= 224 || (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18) || address.is_documentation()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Address, last byte, first three bytes (of the third only the upper five bits count). From BEP 42, and the
    /// last from libtorrent's own test.
    const VECTORS: [(&str, u8, [u8; 3]); 6] = [
        ("124.31.75.21", 1, [0x5f, 0xbf, 0xbf]),
        ("21.75.31.124", 86, [0x5a, 0x3c, 0xe9]),
        ("65.23.51.170", 22, [0xa5, 0xd4, 0x32]),
        ("84.124.73.14", 65, [0x1b, 0x03, 0x21]),
        ("43.213.53.83", 90, [0xe5, 0x6f, 0x6c]),
        ("2001:b829:2123:be84:e16c:d6ae:5290:49f1", 4, [0x0a, 0x8a, 0xd1]),
    ];

    #[test]
    fn ids_are_those_of_the_bep() {
        for (address, last, first) in VECTORS {
            let address: IpAddr = address.parse().expect("an address");
            let mut random = [7; 20];
            random[19] = last;
            let id = secure_id(address, random);
            assert_eq!(&id.as_bytes()[..2], &first[..2], "{address}");
            assert_eq!(id.as_bytes()[2] & 0xf8, first[2] & 0xf8, "{address}");
            assert!(is_secure(&id, address));
            let mut other = *id.as_bytes();
            other[1] ^= 1;
            assert!(!is_secure(&NodeId::from_bytes(other), address));
            assert!(is_secure(&NodeId::from_bytes(other), IpAddr::from([127, 0, 0, 1])));
        }
    }

    #[test]
    fn bogons_are_told_from_others() {
        for bogon in [
            "0.1.2.3",
            "127.0.0.1",
            "10.1.1.1",
            "192.168.0.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "2001:db8::1",
        ] {
            assert!(is_bogon(bogon.parse().expect("an address")), "{bogon}");
        }
        for good in ["8.8.8.8", "100.128.0.1", "2a00:1450::1", "::ffff:8.8.8.8"] {
            assert!(!is_bogon(good.parse().expect("an address")), "{good}");
        }
    }
}
