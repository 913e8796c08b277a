//! What a node is told at its birth.

use std::net::{IpAddr, SocketAddr};

/// How a node behaves. Everything that depends on the network it is in is here.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches, each by itself")]
pub struct Settings {
    /// Whether it speaks IPv4.
    pub v4: bool,
    /// Whether it speaks IPv6.
    pub v6: bool,
    /// A network of loopback or private addresses: many nodes on one IP, no bogon is refused, no id must go with its
    /// address, nobody's packets are counted.
    pub private: bool,
    /// It only asks, and answers nobody (BEP 43).
    pub read_only: bool,
    /// Whether it tells strangers some of the info-hashes that it has peers of (BEP 51).
    pub samples: bool,
    /// Where to begin when no node is known.
    pub bootstrap: Vec<SocketAddr>,
    /// Addresses whose packets are never too many: other nodes of the same owner.
    pub siblings: Vec<IpAddr>,
    /// What it calls itself: two letters and a version.
    pub version: Option<[u8; 4]>,
}

impl Settings {
    /// A node of a private network.
    pub const fn private() -> Self {
        Self {
            v4: true,
            v6: false,
            private: true,
            read_only: false,
            samples: false,
            bootstrap: Vec::new(),
            siblings: Vec::new(),
            version: None,
        }
    }
}
