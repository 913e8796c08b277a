//! Who is in which swarm, as announced (BEPs 5, 33 and 51).

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{Distance, Family, NodeId, ScrapeFilter, Target, bucket::same_network, dice::Dice};

/// How long an announcement holds.
pub const PEER_LIFE: Duration = Duration::from_mins(45);

/// Swarms that are kept.
pub const MOST_SWARMS: usize = 4000;

/// Peers of a swarm that are kept.
pub const MOST_PEERS: usize = 500;

/// Peers of a swarm with one IP (IPv6: in one /64) that are kept in a public network: a few users behind one address.
const PEERS_OF_AN_IP: usize = 4;

/// Bounded: of too many swarms the least popular and farthest go, of too many peers the oldest.
#[derive(Default)]
pub(crate) struct PeerStore {
    swarms: HashMap<Target, Vec<Peer>>,
}

#[derive(Clone, Copy)]
struct Peer {
    address: SocketAddr,
    seed: bool,
    announced: Duration,
}

impl Peer {
    fn lives(&self, now: Duration) -> bool {
        now.saturating_sub(self.announced) < PEER_LIFE
    }
}

impl PeerStore {
    /// Number of swarms and of peers.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.swarms.len(), self.swarms.values().map(Vec::len).sum())
    }

    pub(crate) fn swarms(&self) -> usize {
        self.swarms.len()
    }

    /// Notes an announcement. `distinct`: the peers of an IP are few.
    pub(crate) fn add(
        &mut self,
        own: &NodeId,
        swarm: Target,
        address: SocketAddr,
        seed: bool,
        distinct: bool,
        now: Duration,
    ) {
        if !self.swarms.contains_key(&swarm) && self.swarms.len() >= MOST_SWARMS {
            self.drop_some(own, now);
        }
        let peers = self.swarms.entry(swarm).or_default();
        peers.retain(|peer| peer.address != address && peer.lives(now));
        let of_this_ip = |peer: &Peer| is_same_owner(peer.address.ip(), address.ip());
        if distinct && peers.iter().filter(|peer| of_this_ip(peer)).count() >= PEERS_OF_AN_IP {
            // They are in the order of their announcements.
            let oldest = peers.iter().position(of_this_ip).unwrap_or(0);
            peers.remove(oldest);
        }
        if peers.len() >= MOST_PEERS {
            peers.remove(0);
        }
        peers.push(Peer { address, seed, announced: now });
    }

    /// Whether another peer of this swarm, at this IP, would push one out.
    pub(crate) fn is_full(&self, swarm: &Target, ip: IpAddr, now: Duration) -> bool {
        self.swarms.get(swarm).is_some_and(|peers| {
            peers.len() >= MOST_PEERS
                && peers.first().is_some_and(|oldest| oldest.lives(now))
                && !peers.iter().any(|peer| peer.address.ip() == ip)
        })
    }

    /// Peers of a family, at random if there are more than `most`.
    pub(crate) fn peers(
        &self,
        swarm: &Target,
        family: Family,
        no_seed: bool,
        most: usize,
        now: Duration,
        dice: &mut Dice,
    ) -> Vec<SocketAddr> {
        let Some(peers) = self.swarms.get(swarm) else { return Vec::new() };
        let fits = |peer: &&Peer| peer.lives(now) && Family::of(&peer.address) == family && !(no_seed && peer.seed);
        let mut found: Vec<_> = peers.iter().filter(fits).map(|peer| peer.address).collect();
        if found.len() > most {
            for at in 0..most {
                let other = at + dice.below(found.len() - at);
                found.swap(at, other);
            }
            found.truncate(most);
        }
        found
    }

    /// Filters of the seeds and of the other peers of a swarm (BEP 33).
    pub(crate) fn scrape(&self, swarm: &Target, now: Duration) -> Option<(ScrapeFilter, ScrapeFilter)> {
        let peers = self.swarms.get(swarm)?;
        let (mut seeds, mut others) = (ScrapeFilter::new(), ScrapeFilter::new());
        for peer in peers.iter().filter(|peer| peer.lives(now)) {
            let filter = if peer.seed { &mut seeds } else { &mut others };
            let ip: IpAddr = peer.address.ip();
            filter.insert(ip);
        }
        Some((seeds, others))
    }

    /// Some swarms, at random (BEP 51).
    pub(crate) fn sample(&self, most: usize, dice: &mut Dice) -> Vec<Target> {
        let mut all: Vec<_> = self.swarms.keys().copied().collect();
        all.sort_unstable();
        let count = most.min(all.len());
        for at in 0..count {
            let other = at + dice.below(all.len() - at);
            all.swap(at, other);
        }
        all.truncate(count);
        all
    }

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, now: Duration) {
        self.swarms.retain(|_, peers| {
            peers.retain(|peer| peer.lives(now));
            !peers.is_empty()
        });
    }

    /// Drops the swarms with the least worth: each peer is worth as much as a bit of nearness, up to eight. It is a
    /// part of all at once, because looking at all of them takes a while.
    fn drop_some(&mut self, own: &NodeId, now: Duration) {
        let worth = |(swarm, peers): (&Target, &Vec<Peer>)| {
            let near: Distance = own.distance(swarm);
            let alive = peers.iter().filter(|peer| peer.lives(now)).take(8).count();
            (near.shared_bits() + u32::try_from(alive).unwrap_or(8), *swarm)
        };
        let mut all: Vec<_> = self.swarms.iter().map(worth).collect();
        let count = MOST_SWARMS / 64;
        all.select_nth_unstable(count);
        for (_, swarm) in &all[..count] {
            self.swarms.remove(swarm);
        }
    }
}

/// Whether two addresses are most likely one owner's: the same IPv4, or the same /64 of IPv6.
fn is_same_owner(one: IpAddr, other: IpAddr) -> bool {
    if one.is_ipv4() { one == other } else { same_network(one, other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swarm(number: u32) -> Target {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Target::from_bytes(bytes)
    }

    fn peer(number: u32) -> SocketAddr {
        SocketAddr::from((number.to_be_bytes(), 1))
    }

    const OWN: NodeId = NodeId::from_bytes([0; 20]);

    fn found(store: &PeerStore, swarm: &Target, most: usize, now: Duration) -> Vec<SocketAddr> {
        let mut found = store.peers(swarm, Family::V4, false, most, now, &mut Dice::new([1; 32]));
        found.sort_unstable();
        found
    }

    #[test]
    fn peers_come_and_go() {
        let mut store = PeerStore::default();
        store.add(&OWN, swarm(1), peer(1), true, false, Duration::ZERO);
        store.add(&OWN, swarm(1), peer(2), false, false, Duration::from_mins(30));
        store.add(&OWN, swarm(1), "[2001::1]:1".parse().expect("an address"), false, false, Duration::from_mins(30));
        assert_eq!(found(&store, &swarm(1), 50, Duration::from_mins(30)), [peer(1), peer(2)]);
        let no_seeds = store.peers(&swarm(1), Family::V4, true, 50, Duration::from_mins(30), &mut Dice::new([1; 32]));
        assert_eq!(no_seeds, [peer(2)]);
        let (seeds, others) = store.scrape(&swarm(1), Duration::from_mins(30)).expect("a swarm");
        assert_eq!((seeds.estimate().round(), others.estimate().round()), (1.0, 2.0));
        assert_eq!(found(&store, &swarm(1), 50, Duration::from_mins(45)), [peer(2)]);
        // Announcing again keeps a peer, once.
        store.add(&OWN, swarm(1), peer(2), false, false, Duration::from_hours(1));
        assert_eq!(found(&store, &swarm(1), 50, Duration::from_mins(100)), [peer(2)]);
        store.expire(Duration::from_mins(105));
        assert_eq!(store.len(), (0, 0));
    }

    #[test]
    fn a_store_is_bounded() {
        let mut store = PeerStore::default();
        for number in 0..600 {
            store.add(&OWN, swarm(7), peer(number), false, false, Duration::ZERO);
        }
        assert_eq!(store.len(), (1, MOST_PEERS));
        let stranger = IpAddr::from([9, 9, 9, 9]);
        assert!(store.is_full(&swarm(7), stranger, Duration::ZERO) && !store.is_full(&swarm(7), stranger, PEER_LIFE));
        assert!(!store.is_full(&swarm(7), peer(599).ip(), Duration::ZERO), "who is in it may stay");
        assert_eq!(found(&store, &swarm(7), 50, Duration::ZERO).len(), 50);
        // All but the first share no bit with us, and have a peer each.
        for number in 0..5000 {
            store.add(&OWN, swarm(0x8000_0000 + number), peer(number), false, false, Duration::ZERO);
        }
        assert!(store.len().0 <= MOST_SWARMS && store.len().0 > MOST_SWARMS * 9 / 10);
        assert!(!found(&store, &swarm(7), 50, Duration::ZERO).is_empty(), "the near and popular one stays");
        assert_eq!(store.sample(20, &mut Dice::new([1; 32])).len(), 20);
    }

    #[test]
    fn an_ip_has_few_places_in_a_public_network() {
        let mut store = PeerStore::default();
        for port in 1..100 {
            store.add(&OWN, swarm(1), SocketAddr::from(([8, 8, 8, 8], port)), false, true, Duration::ZERO);
        }
        assert_eq!(store.len(), (1, PEERS_OF_AN_IP));
    }
}
