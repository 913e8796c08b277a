//! From the names of nodes to their addresses, and what follows from an address.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

use crate::{failure::Failure, progress::warn};

/// Well-known nodes of the public network, where one who knows nobody begins.
const PUBLIC: [&str; 4] = [
    "dht.libtorrent.org:25401",
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "router.utorrent.com:6881",
];

/// All addresses of `HOST:PORT`.
pub(crate) fn resolve(name: &str) -> Result<Vec<SocketAddr>, Failure> {
    let port = name.rsplit_once(':').and_then(|(host, port)| port.parse().ok().filter(|_| !host.is_empty()));
    if port.is_none_or(|port: u16| port == 0) {
        return Err(Failure::NoPort { name: name.to_owned() });
    }
    let found = name.to_socket_addrs().map_err(|source| Failure::Name { name: name.to_owned(), source })?;
    Ok(found.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())).collect())
}

/// All addresses of the names, and of the well-known nodes if `public`. With `tolerant`, a name that has none is passed
/// over, with a warning: one of several may be gone.
pub(crate) fn resolve_all(names: &[String], public: bool, tolerant: bool) -> Result<Vec<SocketAddr>, Failure> {
    let mut found = Vec::new();
    let well_known = PUBLIC.iter().copied().filter(|_| public);
    for name in names.iter().map(String::as_str).chain(well_known) {
        match resolve(name) {
            Ok(addresses) => found.extend(addresses),
            Err(failure @ Failure::Name { .. }) if tolerant => warn(&format!("{failure}; it is passed over")),
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

/// Whether an address is one of a private network. Where all are, the node is in private mode.
pub(crate) fn is_private(address: &SocketAddr) -> bool {
    krpc::is_local(address.ip())
}

/// Whether a node that listens there and begins at those nodes is in a private network: all that it listens on is
/// private, where an address that stands for all of them is what the nodes are.
pub(crate) fn is_private_network(listening: &[SocketAddr], bootstrap: &[SocketAddr]) -> bool {
    let known = !bootstrap.is_empty() && bootstrap.iter().all(is_private);
    listening.iter().all(|address| is_private(address) || (is_any(address) && known))
}

/// Whether an address stands for all addresses of the machine.
fn is_any(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}
