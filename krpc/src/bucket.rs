//! The nodes that share so many leading bits with us, and those that wait for a place.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{Contact, secure_id::is_secure};

/// A node that answered a query of ours at least once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) contact: Contact,
    /// When it answered last.
    pub(crate) heard: Duration,
    /// When it asked us last. That may be forged, but then somebody takes trouble for nothing.
    pub(crate) asked: Duration,
    /// Queries since then that it did not answer.
    pub(crate) failures: u8,
}

/// Nodes at a distance, and replacements for them.
pub(crate) struct Bucket {
    entries: Vec<Entry>,
    /// Nodes for which there was no room, the latest last.
    replacements: Vec<Entry>,
    /// When a lookup went through this part of the key space.
    pub(crate) refreshed: Duration,
}

/// Whether a verified node got a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has one, and this node has none any more.
    Instead(Contact),
    Taken,
    Waits,
    Refused,
}

impl Bucket {
    /// Replacements that are kept.
    const WAITING: usize = 8;

    /// After how many unanswered queries a node goes although there is no replacement.
    const PATIENCE: u8 = 3;

    pub(crate) const fn new(now: Duration) -> Self {
        Self { entries: Vec::new(), replacements: Vec::new(), refreshed: now }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn entry_mut(&mut self, contact: &Contact) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.contact == *contact)
    }

    /// Gives a place to a node that has just answered, if there is one: a free one, that of a node that does not
    /// answer, or that of one whose id does not go with its address (BEP 42). With `distinct`, one node of each
    /// network (a /24, or a /64 of IPv6) has a place.
    pub(crate) fn insert(&mut self, entry: Entry, size: usize, distinct: bool) -> Place {
        let address = entry.contact.address.ip();
        if distinct && self.entries.iter().any(|other| same_network(other.contact.address.ip(), address)) {
            return Place::Refused;
        }
        if self.entries.len() < size {
            self.entries.push(entry);
            return Place::Taken;
        }
        let secure = |entry: &Entry| is_secure(&entry.contact.id, entry.contact.address.ip());
        let loser = self
            .entries
            .iter()
            .position(|other| other.failures > 0)
            .or_else(|| secure(&entry).then(|| self.entries.iter().position(|other| !secure(other))).flatten());
        if let Some(loser) = loser {
            let out = std::mem::replace(&mut self.entries[loser], entry);
            return Place::Instead(out.contact);
        }
        self.replacements.retain(|other| {
            let other = other.contact.address;
            if distinct { !same_network(other.ip(), address) } else { other != entry.contact.address }
        });
        if self.replacements.len() == Self::WAITING {
            self.replacements.remove(0);
        }
        self.replacements.push(entry);
        Place::Waits
    }

    /// Notes an unanswered query. The node goes when there is another for its place, or after some of these; it is
    /// returned then, with the one that has its place now.
    /// `placed` tells whether an address has a place already.
    pub(crate) fn fail(
        &mut self,
        contact: &Contact,
        distinct: bool,
        placed: &dyn Fn(SocketAddr) -> bool,
    ) -> Option<(Contact, Option<Contact>)> {
        self.replacements.retain(|other| other.contact != *contact);
        let at = self.entries.iter().position(|entry| entry.contact == *contact)?;
        self.entries[at].failures = self.entries[at].failures.saturating_add(1);
        while let Some(next) = self.replacements.pop() {
            let network = |other: &Entry| same_network(other.contact.address.ip(), next.contact.address.ip());
            let taken = distinct && self.entries.iter().enumerate().any(|(index, other)| index != at && network(other));
            if !taken && !placed(next.contact.address) {
                self.entries[at] = next;
                return Some((*contact, Some(next.contact)));
            }
        }
        (self.entries[at].failures >= Self::PATIENCE).then(|| (self.entries.swap_remove(at).contact, None))
    }

    /// Forgets replacements at an address.
    pub(crate) fn forget_waiting(&mut self, at: &dyn Fn(SocketAddr) -> bool) {
        self.replacements.retain(|entry| !at(entry.contact.address));
    }

    /// Removes a node at once: its address has another id now.
    pub(crate) fn remove(&mut self, contact: &Contact) {
        self.entries.retain(|entry| entry.contact != *contact);
        self.replacements.retain(|entry| entry.contact != *contact);
    }
}

/// Whether two addresses are in one network: a /24, or a /64 of IPv6.
pub(crate) fn same_network(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        _ => false,
    }
}
