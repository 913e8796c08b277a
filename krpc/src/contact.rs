//! A node and where it is reached, and the compact forms of both (BEPs 5 and 32).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::NodeId;

/// A node: its id and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Contact {
    /// Its id.
    pub id: NodeId,
    /// Where it is reached.
    pub address: SocketAddr,
}

/// IPv4 or IPv6: each has tables, nodes and peers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4: 6 bytes an address, 26 a node.
    V4,
    /// IPv6: 18 bytes an address, 38 a node.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Length of a compact address: IP and port.
    pub const fn address_length(self) -> usize {
        match self {
            Self::V4 => 6,
            Self::V6 => 18,
        }
    }
}

/// Appends IP and port, in network order.
pub fn push_address(bytes: &mut Vec<u8>, address: &SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    }
    bytes.extend_from_slice(&address.port().to_be_bytes());
}

/// Reads a compact address of either family. `None` when the length is another or the port is 0.
pub fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip: IpAddr = match ip.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    let port = u16::from_be_bytes(*port);
    (port != 0).then_some(SocketAddr::new(ip, port))
}

/// The compact form of nodes: id and address of each. Those of the other family are left out.
pub fn compact_nodes(contacts: &[Contact], family: Family) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(contacts.len() * (NodeId::LENGTH + family.address_length()));
    for contact in contacts.iter().filter(|contact| Family::of(&contact.address) == family) {
        bytes.extend_from_slice(contact.id.as_bytes());
        push_address(&mut bytes, &contact.address);
    }
    bytes
}

/// Reads compact nodes. A tail that is no whole node is dropped, and so are nodes with port 0.
pub fn parse_nodes(bytes: &[u8], family: Family) -> impl Iterator<Item = Contact> + '_ {
    bytes.chunks_exact(NodeId::LENGTH + family.address_length()).filter_map(|node| {
        let (id, address) = node.split_first_chunk::<{ NodeId::LENGTH }>()?;
        Some(Contact { id: NodeId::from_bytes(*id), address: parse_address(address)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_forms_round_trip() {
        let contact = |last, address: &str| Contact {
            id: NodeId::from_bytes([last; 20]),
            address: address.parse().expect("an address"),
        };
        let all = [contact(1, "1.2.3.4:5"), contact(2, "[2001::7]:6881"), contact(3, "9.9.9.9:65535")];
        let mut v4 = compact_nodes(&all, Family::V4);
        assert_eq!(v4.len(), 52);
        assert_eq!(v4[20..26], [1, 2, 3, 4, 0, 5]);
        v4.extend_from_slice(&[1; 25]);
        assert_eq!(parse_nodes(&v4, Family::V4).collect::<Vec<_>>(), [all[0], all[2]]);
        v4[24..26].fill(0);
        assert_eq!(parse_nodes(&v4, Family::V4).collect::<Vec<_>>(), [all[2]]);
        let v6 = compact_nodes(&all, Family::V6);
        assert_eq!(v6.len(), 38);
        assert_eq!(parse_nodes(&v6, Family::V6).collect::<Vec<_>>(), [all[1]]);
        assert_eq!(parse_address(&[0; 7]), None);
    }
}
