//! The nodes that we know, of one family, sorted by how far they are (BEP 5; Kademlia, section 2.4).
//!
//! Bucket `n` has nodes whose first `n` bits are ours and whose next is not. The first buckets, in which most of the
//! key space lies, are wide, as libtorrent has them: that saves a lookup its first rounds. Only nodes that answered a
//! query of ours get in; one that has only asked us may be anybody.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use crate::{
    Contact, Distance, NodeId, Target,
    bucket::{Bucket, Entry, Place},
    dice::Dice,
};

/// Nodes in a bucket, and nodes that answer for a target.
pub(crate) const K: usize = 8;

const WIDE: [usize; 4] = [128, 64, 32, 16];

/// How long a node is believed to be there without a sign of it.
const FAR_LIFE: Duration = Duration::from_mins(15);

/// The same for our neighbours, whom nobody else knows as well as we do.
const NEAR_LIFE: Duration = Duration::from_mins(1);

/// The nodes of a family.
pub(crate) struct RoutingTable {
    own: NodeId,
    buckets: Vec<Bucket>,
    /// Which id an address has: one each. In a public network the ports of an IP count as one address.
    ids: HashMap<SocketAddr, NodeId>,
    /// Whether an IP has one place in all and a network one in each bucket.
    distinct: bool,
}

impl RoutingTable {
    pub(crate) fn new(own: NodeId, distinct: bool) -> Self {
        Self { own, buckets: Vec::new(), ids: HashMap::new(), distinct }
    }

    pub(crate) const fn own(&self) -> NodeId {
        self.own
    }

    /// Number of nodes.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(Bucket::entries)
    }

    fn key(&self, address: SocketAddr) -> SocketAddr {
        key(address, self.distinct)
    }

    fn index(&self, id: &NodeId) -> Option<usize> {
        let shared = id.distance(&self.own.as_target()).shared_bits();
        (shared < 160).then(|| usize::try_from(shared).unwrap_or(0))
    }

    /// Takes a node that has just answered.
    pub(crate) fn heard(&mut self, contact: Contact, now: Duration) {
        let Some(index) = self.index(&contact.id) else { return };
        let key = self.key(contact.address);
        if let Some(id) = self.ids.get(&key).copied() {
            let known = self.entry_mut(&Contact { id, ..contact });
            match known {
                Some(entry) if id == contact.id => {
                    (entry.heard, entry.failures) = (now, 0);
                    return;
                }
                // Another id at the same address: the old one is gone.
                Some(_) => self.forget(&Contact { id, ..contact }),
                // Another port of the same IP.
                None => return,
            }
        }
        while self.buckets.len() <= index {
            self.buckets.push(Bucket::new(now));
        }
        let bucket = &mut self.buckets[index];
        // Another address with the same id: the first keeps it for as long as it answers.
        if bucket.entries().iter().any(|entry| entry.contact.id == contact.id && entry.failures == 0) {
            return;
        }
        let entry = Entry { contact, heard: now, asked: now, failures: 0 };
        let size = WIDE.get(index).copied().unwrap_or(K);
        match bucket.insert(entry, size, self.distinct) {
            Place::Taken => {}
            Place::Instead(out) => drop(self.ids.remove(&self.key(out.address))),
            Place::Waits | Place::Refused => return,
        }
        self.ids.insert(key, contact.id);
        // It may have waited elsewhere, under another id.
        let distinct = self.distinct;
        for bucket in &mut self.buckets {
            bucket.forget_waiting(&|address| self::key(address, distinct) == key);
        }
    }

    /// Notes that a node asks us something.
    pub(crate) fn asked(&mut self, contact: &Contact, now: Duration) {
        if let Some(entry) = self.entry_mut(contact) {
            entry.asked = now;
        }
    }

    /// Whether a node of this id would get a place if it answered.
    pub(crate) fn wants(&self, contact: &Contact) -> bool {
        let Some(index) = self.index(&contact.id) else { return false };
        if let Some(id) = self.ids.get(&self.key(contact.address)) {
            return *id != contact.id;
        }
        let size = WIDE.get(index).copied().unwrap_or(K);
        self.buckets.get(index).is_none_or(|bucket| {
            bucket.entries().len() < size || bucket.entries().iter().any(|entry| entry.failures > 0)
        })
    }

    /// Notes that a node did not answer. `true` when it is out.
    pub(crate) fn failed(&mut self, contact: &Contact) -> bool {
        let Some(index) = self.index(&contact.id) else { return false };
        let distinct = self.distinct;
        let key = |address| key(address, distinct);
        let Self { ids, buckets, .. } = self;
        let Some(bucket) = buckets.get_mut(index) else { return false };
        let Some((out, instead)) = bucket.fail(contact, distinct, &|address| ids.contains_key(&key(address))) else {
            return false;
        };
        ids.remove(&key(out.address));
        if let Some(next) = instead {
            ids.insert(key(next.address), next.id);
            for bucket in buckets {
                bucket.forget_waiting(&|address| key(address) == key(next.address));
            }
        }
        true
    }

    /// Removes a node at once.
    pub(crate) fn forget(&mut self, contact: &Contact) {
        let Some(bucket) = self.index(&contact.id).and_then(|index| self.buckets.get_mut(index)) else { return };
        if bucket.entry_mut(contact).is_some() {
            bucket.remove(contact);
            self.ids.remove(&self.key(contact.address));
        }
    }

    fn entry_mut(&mut self, contact: &Contact) -> Option<&mut Entry> {
        let index = self.index(&contact.id)?;
        self.buckets.get_mut(index)?.entry_mut(contact)
    }

    /// The nodes nearest to a target, the nearest first: those that answered our last query.
    pub(crate) fn closest(&self, target: &Target, count: usize) -> Vec<Contact> {
        let shared = usize::try_from(self.own.distance(target).shared_bits()).unwrap_or(0);
        let (below, from) = self.buckets.split_at(shared.min(self.buckets.len()));
        let mut nearest = Nearest { target, found: Vec::with_capacity(count), sorted: 0, count };
        // Nodes of our bucket for the target are nearer to it than we are; those of higher buckets are as far as we
        // are in their first bits; those of each lower bucket are farther than all before.
        if let Some((first, higher)) = from.split_first() {
            nearest.add(first.entries());
            nearest.next_group();
            for bucket in higher {
                nearest.add(bucket.entries());
            }
        }
        for bucket in below.iter().rev() {
            nearest.next_group();
            if nearest.sorted == count {
                break;
            }
            nearest.add(bucket.entries());
        }
        nearest.found.into_iter().map(|(_, contact)| contact).collect()
    }

    /// Nodes of which there was no sign for too long, and those that did not answer the last time.
    pub(crate) fn due(&self, now: Duration) -> Vec<Contact> {
        let deepest = self.deepest();
        let due = |index: usize, entry: &Entry| {
            let life = if index + 2 >= deepest { NEAR_LIFE } else { FAR_LIFE };
            // That it asks us may be forged, so it does not put the question off for long.
            let sign = entry.heard.max(entry.asked.min(entry.heard + life));
            entry.failures > 0 || now.saturating_sub(sign) >= life
        };
        let buckets = self.buckets.iter().enumerate();
        buckets
            .flat_map(|(index, bucket)| bucket.entries().iter().filter(move |entry| due(index, entry)))
            .map(|entry| entry.contact)
            .collect()
    }

    /// The first bucket that has room, although it covers a part of the key space that is not empty: from it on we
    /// know everybody.
    fn deepest(&self) -> usize {
        self.buckets.iter().position(|bucket| bucket.entries().len() < K).unwrap_or(self.buckets.len())
    }

    /// A place in each part of the key space that no lookup went through for so long.
    pub(crate) fn places(&mut self, now: Duration, life: Duration, dice: &mut Dice) -> Vec<Target> {
        let (own, deepest) = (self.own, self.deepest());
        let buckets = self.buckets.iter_mut().enumerate().take(deepest + 1);
        buckets
            .filter(|(_, bucket)| now.saturating_sub(bucket.refreshed) >= life)
            .map(|(index, bucket)| {
                bucket.refreshed = now;
                place_in_bucket(own, index, dice)
            })
            .collect()
    }

    /// Notes that a lookup goes through the part of a target.
    pub(crate) fn refresh(&mut self, target: &Target, now: Duration) {
        let shared = usize::try_from(self.own.distance(target).shared_bits()).unwrap_or(0);
        if let Some(bucket) = self.buckets.get_mut(shared) {
            bucket.refreshed = now;
        }
    }

    /// The same nodes around another id.
    pub(crate) fn around(&self, own: NodeId) -> Self {
        let mut table = Self::new(own, self.distinct);
        for entry in self.entries().filter(|entry| entry.failures == 0) {
            table.heard(entry.contact, entry.heard);
        }
        table
    }
}

/// What has one place: an IP in a public network, an address in a private one.
pub(crate) fn key(address: SocketAddr, distinct: bool) -> SocketAddr {
    if distinct { SocketAddr::new(address.ip(), 0) } else { address }
}

/// A random place that shares exactly so many bits with an id.
fn place_in_bucket(own: NodeId, shared: usize, dice: &mut Dice) -> Target {
    let mut bytes: [u8; 20] = dice.bytes();
    let own = own.as_bytes();
    let (whole, bits) = (shared / 8, shared % 8);
    bytes[..whole].copy_from_slice(&own[..whole]);
    let kept = !(0xff_u8 >> bits);
    let flipped = 0x80_u8 >> bits;
    bytes[whole] = (own[whole] & kept) | (!own[whole] & flipped) | (bytes[whole] & !kept & !flipped);
    Target::from_bytes(bytes)
}

/// The nearest so far: groups, each farther than the one before, of which each is sorted.
struct Nearest<'a> {
    target: &'a Target,
    found: Vec<(Distance, Contact)>,
    /// Where the group begins.
    sorted: usize,
    count: usize,
}

impl Nearest<'_> {
    fn next_group(&mut self) {
        self.sorted = self.found.len();
    }

    fn add(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| entry.failures == 0) {
            let distance = entry.contact.id.distance(self.target);
            if self.found.len() == self.count {
                match self.found.last() {
                    Some((farthest, _)) if self.sorted < self.count && distance < *farthest => drop(self.found.pop()),
                    _ => continue,
                }
            }
            let group = &self.found[self.sorted..];
            let at = self.sorted + group.partition_point(|(other, _)| *other < distance);
            self.found.insert(at, (distance, entry.contact));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contact(id: [u8; 20], number: u32) -> Contact {
        Contact { id: NodeId::from_bytes(id), address: SocketAddr::from((number.to_be_bytes(), 6881)) }
    }

    fn table_of(own: [u8; 20], seed: u8, nodes: u32) -> RoutingTable {
        let mut dice = Dice::new([seed; 32]);
        let mut table = RoutingTable::new(NodeId::from_bytes(own), false);
        for number in 1..=nodes {
            let mut id: [u8; 20] = dice.bytes();
            // Some near ones, so that there are deep buckets.
            let shared = dice.below(12);
            id[..shared].copy_from_slice(&own[..shared]);
            table.heard(contact(id, number), Duration::ZERO);
        }
        table
    }

    proptest! {
        #[test]
        fn closest_is_what_sorting_all_would_give(
            own in any::<[u8; 20]>(), seed: u8, target in any::<[u8; 20]>(), shared in 0..=20_usize, count in 1..20_usize,
        ) {
            let table = table_of(own, seed, 300);
            let mut target = target;
            target[..shared].copy_from_slice(&own[..shared]);
            let target = Target::from_bytes(target);
            let mut all: Vec<_> = table.entries().map(|entry| entry.contact).collect();
            all.sort_by_key(|contact| contact.id.distance(&target));
            all.truncate(count);
            prop_assert_eq!(table.closest(&target, count), all);
        }

        #[test]
        fn a_place_is_in_its_bucket(own in any::<[u8; 20]>(), shared in 0..160_usize, seed: u8) {
            let own = NodeId::from_bytes(own);
            let place = place_in_bucket(own, shared, &mut Dice::new([seed; 32]));
            prop_assert_eq!(own.distance(&place).shared_bits() as usize, shared);
        }
    }

    /// A contact in bucket 4 of an id of zeros.
    fn in_bucket(number: u32) -> Contact {
        let mut id = [0; 20];
        id[0] = 0x08;
        id[16..].copy_from_slice(&number.to_be_bytes());
        contact(id, number)
    }

    fn ids(table: &RoutingTable) -> Vec<u32> {
        let mut ids: Vec<_> =
            table.entries().map(|e| u32::from_be_bytes(*e.contact.id.as_bytes().last_chunk().expect("4"))).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_full_bucket_keeps_those_that_answer() {
        let mut table = RoutingTable::new(NodeId::from_bytes([0; 20]), false);
        for number in 1..=10 {
            table.heard(in_bucket(number), Duration::ZERO);
        }
        assert_eq!(ids(&table), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(!table.wants(&in_bucket(11)));
        table.failed(&in_bucket(3));
        assert_eq!(ids(&table), [1, 2, 4, 5, 6, 7, 8, 10], "the latest replacement comes in");
        table.failed(&in_bucket(4));
        table.failed(&in_bucket(5));
        assert_eq!(ids(&table), [1, 2, 5, 6, 7, 8, 9, 10], "without a replacement there is patience");
        assert!(!table.closest(&in_bucket(5).id.as_target(), 8).contains(&in_bucket(5)), "but it is not handed on");
        assert!(table.wants(&in_bucket(11)));
        table.heard(in_bucket(5), Duration::from_secs(1));
        assert!(table.closest(&in_bucket(5).id.as_target(), 8).contains(&in_bucket(5)));
        for _ in 0..3 {
            table.failed(&in_bucket(5));
        }
        assert_eq!(ids(&table), [1, 2, 6, 7, 8, 9, 10]);
        assert_eq!(table.len(), 7);
    }

    #[test]
    fn an_address_has_one_id() {
        let mut table = RoutingTable::new(NodeId::from_bytes([0; 20]), false);
        table.heard(in_bucket(1), Duration::ZERO);
        let other = Contact { address: in_bucket(1).address, ..in_bucket(2) };
        assert!(table.wants(&other) && !table.wants(&in_bucket(1)));
        table.heard(other, Duration::ZERO);
        assert_eq!(ids(&table), [2]);
        // An id that is taken stays with the one who answers.
        table.heard(Contact { address: in_bucket(3).address, ..other }, Duration::ZERO);
        assert_eq!(table.closest(&other.id.as_target(), 8), [other]);
    }

    #[test]
    fn who_waited_under_another_id_waits_no_more() {
        let mut table = RoutingTable::new(NodeId::from_bytes([0; 20]), false);
        for number in 1..=9 {
            table.heard(in_bucket(number), Duration::ZERO);
        }
        // The ninth waits, and then shows another id that has a place in another bucket.
        let mut far = [0; 20];
        far[0] = 0x80;
        let now = Contact { id: NodeId::from_bytes(far), ..in_bucket(9) };
        table.heard(now, Duration::ZERO);
        table.failed(&in_bucket(1));
        let of_ninth: Vec<_> = table.entries().filter(|entry| entry.contact.address == now.address).collect();
        assert_eq!(of_ninth.iter().map(|entry| entry.contact).collect::<Vec<_>>(), [now]);
        assert_eq!(table.len(), table.entries().count());
    }

    #[test]
    fn a_network_has_one_place_in_a_bucket() {
        let mut table = RoutingTable::new(NodeId::from_bytes([0; 20]), true);
        for number in 1..=10 {
            table.heard(in_bucket(number), Duration::ZERO);
        }
        assert_eq!(ids(&table), [1]);
        let mut port = in_bucket(2);
        port.address = SocketAddr::new(in_bucket(1).address.ip(), 7);
        table.heard(port, Duration::ZERO);
        assert_eq!(ids(&table), [1], "another port of the same IP does not push the first out");
        table.heard(in_bucket(0x0100_0000), Duration::ZERO);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn neighbours_are_looked_after_more_often() {
        let table = table_of([0; 20], 1, 2000);
        let all = table.entries().count();
        assert!(table.due(Duration::from_secs(59)).is_empty());
        let near = table.due(Duration::from_mins(1)).len();
        assert!(near > 0 && near < all, "{near} of {all}");
        assert_eq!(table.due(Duration::from_mins(15)).len(), all);
    }
}
