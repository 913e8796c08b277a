//! What is known of other peers: where they are, and who is not to be dealt with. `peers.json` in the home.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use replication::PeerId;
use serde_json::{Value, json};

use crate::failure::Failure;

/// Addresses of a peer that are kept, the best first.
const MOST_ADDRESSES: usize = 4;
/// Peers that are kept.
const MOST_PEERS: usize = 4096;

/// A peer in the book.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    addresses: Vec<SocketAddr>,
    /// Addresses that the owner gave; they are never forgotten.
    given: bool,
    /// Why nothing is to be done with it.
    ban: Option<String>,
}

/// Peers and their addresses.
#[derive(Debug, Default)]
pub(crate) struct Book {
    peers: BTreeMap<PeerId, Known>,
    /// How often something changed, and how often it had when it was written last.
    changes: u64,
    written: u64,
}

fn path(home: &Path) -> PathBuf {
    home.join("peers.json")
}

impl Book {
    /// Reads the book of a home; none is as good as an empty one.
    pub(crate) fn read(home: &Path) -> Result<Self, Failure> {
        let path = path(home);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Failure::io("read", path, source)),
        };
        // It can be found out again, so a damaged one is no reason to stop.
        let value: Value = serde_json::from_slice(&text).unwrap_or_else(|error| {
            crate::progress::warn(&format!("{} is damaged and begun anew: {error}", path.display()));
            Value::Null
        });
        let mut book = Self::default();
        for (peer, known) in value.as_object().into_iter().flatten() {
            let Ok(peer) = peer.parse() else { continue };
            let addresses = known["addresses"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|address| address.as_str()?.parse().ok()).collect();
            let ban = known["ban"].as_str().map(str::to_owned);
            book.peers.insert(peer, Known { addresses, given: known["given"] == true, ban });
        }
        Ok(book)
    }

    /// Writes the book, whole or not at all, when something changed.
    pub(crate) fn write(&mut self, home: &Path) -> Result<(), Failure> {
        if self.changes == self.written {
            return Ok(());
        }
        let path = path(home);
        let peers = self.peers.iter().map(|(peer, known)| {
            let addresses: Vec<_> = known.addresses.iter().map(ToString::to_string).collect();
            (peer.to_string(), json!({"addresses": addresses, "given": known.given, "ban": known.ban}))
        });
        let text = Value::Object(peers.collect()).to_string();
        crate::output_file::replace(&path, text.as_bytes()).map_err(|source| Failure::io("write", &path, source))?;
        self.written = self.changes;
        Ok(())
    }

    /// Where a peer may be.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<SocketAddr> {
        self.peers.get(peer).map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// All peers in it.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }

    /// Adds an address; whether it is new.
    pub(crate) fn add(&mut self, peer: &PeerId, address: SocketAddr) -> bool {
        if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
            return false;
        }
        if self.peers.len() >= MOST_PEERS && !self.peers.contains_key(peer) {
            return false;
        }
        let known = self.peers.entry(*peer).or_default();
        if known.addresses.contains(&address) {
            return false;
        }
        // Rumours do not push out what works: that is first.
        known.addresses.truncate(MOST_ADDRESSES - 1);
        known.addresses.push(address);
        self.changes += 1;
        true
    }

    /// Adds what the owner says.
    pub(crate) fn give(&mut self, peer: &PeerId, address: SocketAddr) {
        self.reached(peer, address);
        self.peers.entry(*peer).or_default().given = true;
        self.changes += 1;
    }

    /// The peer was reached there.
    pub(crate) fn reached(&mut self, peer: &PeerId, address: SocketAddr) {
        let known = self.peers.entry(*peer).or_default();
        if known.addresses.first() == Some(&address) {
            return;
        }
        known.addresses.retain(|other| *other != address);
        known.addresses.insert(0, address);
        known.addresses.truncate(MOST_ADDRESSES);
        self.changes += 1;
    }

    /// Changes whenever something becomes known.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// The best address of each peer but one.
    pub(crate) fn rumours(&self, but: &PeerId) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        let told = self.peers.iter().filter(move |(peer, known)| *peer != but && known.ban.is_none());
        told.filter_map(|(peer, known)| Some((*peer, *known.addresses.first()?)))
    }

    /// Why a peer is banned, if it is.
    pub(crate) fn ban(&self, peer: &PeerId) -> Option<&str> {
        self.peers.get(peer)?.ban.as_deref()
    }

    pub(crate) fn set_ban(&mut self, peer: &PeerId, why: &str) {
        self.peers.entry(*peer).or_default().ban = Some(why.to_owned());
        self.changes += 1;
    }

    /// Lifts a ban; whether there was one.
    pub(crate) fn lift_ban(&mut self, peer: &PeerId) -> bool {
        let lifted = self.peers.get_mut(peer).is_some_and(|known| known.ban.take().is_some());
        self.changes += u64::from(lifted);
        lifted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let home = tempfile::tempdir().expect("home");
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let mut book = Book::default();
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        assert!(book.add(&a, address(1)) && !book.add(&a, address(1)) && !book.add(&a, address(0)));
        for port in 2..10 {
            book.add(&a, address(port));
        }
        book.reached(&a, address(3));
        assert_eq!(book.addresses(&a)[0], address(3));
        assert!(book.addresses(&a).len() <= MOST_ADDRESSES);
        book.give(&b, address(7));
        book.set_ban(&b, "sent wrong bytes");
        book.write(home.path()).expect("write");
        let mut read = Book::read(home.path()).expect("read");
        assert_eq!(read.peers, book.peers);
        assert_eq!(read.rumours(&b).collect::<Vec<_>>(), [(a, address(3))]);
        assert!(read.lift_ban(&b) && !read.lift_ban(&b));
        std::fs::write(home.path().join("peers.json"), "{").expect("write");
        assert!(Book::read(home.path()).expect("read").peers.is_empty());
    }
}
