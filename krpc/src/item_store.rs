//! Items that others gave us to keep (BEP 44).

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::{Item, NodeId, Target};

/// How long an item is kept after it was put last.
pub const ITEM_LIFE: Duration = Duration::from_hours(2);

/// Items that are kept.
pub const MOST_ITEMS: usize = 16_384;

/// Bytes that are kept for one address (IPv6: one /64) in a public network. Each item counts with its value and
/// [`ITEM_COST`].
pub const MOST_BYTES_OF_AN_IP: usize = 256 * 1024;

/// Bytes that an item counts for besides its value.
pub const ITEM_COST: usize = 512;

/// Bounded: of too many items those go that fewest put and that are farthest.
#[derive(Default)]
pub(crate) struct ItemStore {
    items: HashMap<Target, Kept>,
    /// Bytes by the address that put them last.
    bytes: HashMap<IpAddr, usize>,
}

struct Kept {
    item: Item,
    /// Who put it last, and pays for it.
    last: IpAddr,
    /// Who put it before; a few are enough to see that it is popular.
    others: Vec<IpAddr>,
    put: Duration,
}

/// Why an item is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutError {
    /// The item here has another number than the put expects.
    Cas,
    /// The item here has a higher number, or this number with another value.
    Sequence,
    /// This address has put too much.
    Quota,
}

impl ItemStore {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn get(&self, target: &Target, now: Duration) -> Option<&Item> {
        self.items.get(target).filter(|kept| now.saturating_sub(kept.put) < ITEM_LIFE).map(|kept| &kept.item)
    }

    /// Keeps an item whose signature was checked. `distinct`: what an address may put is bounded.
    pub(crate) fn put(
        &mut self,
        own: &NodeId,
        item: Item,
        cas: Option<i64>,
        from: IpAddr,
        distinct: bool,
        now: Duration,
    ) -> Result<(), PutError> {
        let target = item.target();
        if let (Item::Mutable(new), Some(Item::Mutable(old))) = (&item, self.get(&target, now)) {
            if cas.is_some_and(|cas| cas != old.sequence) {
                return Err(PutError::Cas);
            }
            if new.sequence < old.sequence || (new.sequence == old.sequence && new.value != old.value) {
                return Err(PutError::Sequence);
            }
        }
        let from = owner(from);
        let cost = cost(&item);
        let own_old = self.items.get(&target).filter(|old| old.last == from).map_or(0, |old| self::cost(&old.item));
        let used = self.bytes.get(&from).copied().unwrap_or(0);
        if distinct && used - own_old + cost > MOST_BYTES_OF_AN_IP {
            return Err(PutError::Quota);
        }
        let mut others = Vec::new();
        if let Some(old) = self.remove(&target) {
            others = old.others;
            if old.last != from && !others.contains(&old.last) && others.len() < 8 {
                others.push(old.last);
            }
        }
        if self.items.len() >= MOST_ITEMS {
            self.drop_some(own, now);
        }
        *self.bytes.entry(from).or_default() += cost;
        self.items.insert(target, Kept { item, last: from, others, put: now });
        Ok(())
    }

    fn remove(&mut self, target: &Target) -> Option<Kept> {
        let kept = self.items.remove(target)?;
        if let Some(used) = self.bytes.get_mut(&kept.last) {
            *used = used.saturating_sub(cost(&kept.item));
            if *used == 0 {
                self.bytes.remove(&kept.last);
            }
        }
        Some(kept)
    }

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, now: Duration) {
        let old = |kept: &Kept| now.saturating_sub(kept.put) >= ITEM_LIFE;
        let old: Vec<_> = self.items.iter().filter(|(_, kept)| old(kept)).map(|(target, _)| *target).collect();
        for target in old {
            self.remove(&target);
        }
    }

    /// Drops the items with the least worth: each address that put one is worth as much as a bit of nearness. It is
    /// a part of all at once, because looking at all of them takes a while.
    fn drop_some(&mut self, own: &NodeId, now: Duration) {
        let worth = |(target, kept): (&Target, &Kept)| {
            let near = own.distance(target).shared_bits() + u32::try_from(kept.others.len()).unwrap_or(8);
            (now.saturating_sub(kept.put) < ITEM_LIFE, near, *target)
        };
        let mut all: Vec<_> = self.items.iter().map(worth).collect();
        let count = MOST_ITEMS / 64;
        all.select_nth_unstable(count);
        for (_, _, target) in &all[..count] {
            self.remove(target);
        }
    }
}

fn cost(item: &Item) -> usize {
    item.value().as_bencode().len() + ITEM_COST
}

/// Who is behind an address: with IPv6 a whole /64 is.
fn owner(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MutableItem, Value};

    const OWN: NodeId = NodeId::from_bytes([0; 20]);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(1, 2, 3, 4));

    fn mutable(sequence: i64, value: &[u8]) -> Item {
        let value = Value::from_bytes(value).expect("a value");
        Item::Mutable(MutableItem { value, key: [1; 32], salt: b"salt".to_vec(), sequence, signature: [2; 64] })
    }

    fn immutable(number: u32) -> Item {
        let mut value = [7; 900];
        value[..4].copy_from_slice(&number.to_be_bytes());
        Item::Immutable(Value::from_bytes(&value).expect("a value"))
    }

    fn put(store: &mut ItemStore, item: Item, cas: Option<i64>, minutes: u64) -> Result<(), PutError> {
        store.put(&OWN, item, cas, HERE, true, Duration::from_mins(minutes))
    }

    #[test]
    fn a_mutable_item_only_goes_forward() {
        let mut store = ItemStore::default();
        assert_eq!(put(&mut store, mutable(5, b"five"), Some(3), 0), Ok(()), "without an item cas does not count");
        assert_eq!(put(&mut store, mutable(4, b"four"), None, 0), Err(PutError::Sequence));
        assert_eq!(put(&mut store, mutable(5, b"other"), None, 0), Err(PutError::Sequence));
        assert_eq!(put(&mut store, mutable(5, b"five"), None, 60), Ok(()), "the same again refreshes it");
        assert_eq!(put(&mut store, mutable(6, b"six"), Some(4), 60), Err(PutError::Cas));
        assert_eq!(put(&mut store, mutable(6, b"six"), Some(5), 60), Ok(()));
        let target = mutable(0, b"").target();
        assert_eq!(store.get(&target, Duration::from_mins(179)), Some(&mutable(6, b"six")));
        assert_eq!(store.get(&target, Duration::from_hours(3)), None);
        assert_eq!(put(&mut store, mutable(1, b"one"), None, 180), Ok(()), "what is too old is not there");
    }

    #[test]
    fn a_store_is_bounded_and_so_is_an_address() {
        let mut store = ItemStore::default();
        let results: Vec<_> = (0..1000).map(|number| put(&mut store, immutable(number), None, 0)).collect();
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), MOST_BYTES_OF_AN_IP / (904 + ITEM_COST));
        assert_eq!(results.last(), Some(&Err(PutError::Quota)));
        assert_eq!(put(&mut store, immutable(0), None, 1), Ok(()), "what is there may be put again");
        store.expire(Duration::from_hours(3));
        assert_eq!((store.len(), store.bytes.len()), (0, 0));
        for number in 0..20_000_u32 {
            let from = IpAddr::from(number.to_be_bytes());
            store.put(&OWN, immutable(number), None, from, true, Duration::ZERO).expect("room");
        }
        assert!(store.len() <= MOST_ITEMS && store.len() > MOST_ITEMS * 9 / 10);
        assert_eq!(store.bytes.values().sum::<usize>(), store.len() * (904 + ITEM_COST));
    }
}
