//! How many packets are taken from an address and from its network, decided before a packet is read.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher as _},
    net::IpAddr,
    time::Duration,
};

/// A rate: one packet each `interval`, and `burst` of them at once.
#[derive(Clone, Copy)]
struct Rate {
    interval: Duration,
    burst: u32,
}

/// 25 packets a second and 250 at once from an address.
const ADDRESS: Rate = Rate { interval: Duration::from_millis(40), burst: 250 };

/// 100 a second and 1,000 at once from a network: a /24, or a /64 of IPv6.
const NETWORK: Rate = Rate { interval: Duration::from_millis(10), burst: 1000 };

/// Counts packets by address and by network.
///
/// There is a fixed number of counters: addresses that fall into one share its rate, and the key is secret, so that
/// nobody can choose whose counter he fills.
pub(crate) struct Limiter {
    key: [u8; 16],
    addresses: Counts,
    networks: Counts,
}

/// For each counter the time at which the packets so far would have come at the allowed rate, if that is to come.
struct Counts {
    rate: Rate,
    ahead: HashMap<u64, Duration>,
    /// At how many the counters that lie behind are dropped.
    crowded: usize,
}

const COUNTERS: u64 = 8192;

impl Limiter {
    pub(crate) fn new(key: [u8; 16]) -> Self {
        Self { key, addresses: Counts::new(ADDRESS), networks: Counts::new(NETWORK) }
    }

    /// Whether a packet from this address is taken.
    pub(crate) fn allows(&mut self, address: IpAddr, now: Duration) -> bool {
        let [of_address, of_network] = match address {
            IpAddr::V4(address) => [self.counter(&address.octets()), self.counter(&address.octets()[..3])],
            IpAddr::V6(address) => [self.counter(&address.octets()), self.counter(&address.octets()[..8])],
        };
        // Both count, whatever the other says: a flood from one address is one from its network too.
        let [address, network] = [self.addresses.take(of_address, now), self.networks.take(of_network, now)];
        address && network
    }

    fn counter(&self, bytes: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        hasher.write(bytes);
        hasher.finish() % COUNTERS
    }
}

impl Counts {
    fn new(rate: Rate) -> Self {
        Self { rate, ahead: HashMap::new(), crowded: 64 }
    }

    /// The generic cell rate algorithm: a packet is taken unless that brings its counter too far ahead of the clock.
    fn take(&mut self, counter: u64, now: Duration) -> bool {
        let Rate { interval, burst } = self.rate;
        if self.ahead.len() >= self.crowded {
            self.ahead.retain(|_, ahead| *ahead > now);
            self.crowded = 64.max(2 * self.ahead.len());
        }
        let ahead = self.ahead.entry(counter).or_default();
        let next = (*ahead).max(now) + interval;
        let allowed = next <= now + interval * burst;
        if allowed {
            *ahead = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limiter: &mut Limiter, address: IpAddr, times: u32, now: Duration) -> u32 {
        (0..times).map(|_| u32::from(limiter.allows(address, now))).sum()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let mut limiter = Limiter::new([1; 16]);
        let [flooder, other] = ["8.8.8.8", "8.8.9.8"].map(|address| address.parse().expect("an address"));
        assert_eq!(taken(&mut limiter, flooder, 1000, Duration::ZERO), 250);
        assert_eq!(taken(&mut limiter, other, 100, Duration::ZERO), 100, "another address is not touched");
        assert_eq!(taken(&mut limiter, flooder, 1000, Duration::from_secs(2)), 50);
        assert_eq!(taken(&mut limiter, flooder, 1000, Duration::from_hours(1)), 250);
    }

    #[test]
    fn a_network_has_a_rate_of_its_own() {
        let mut limiter = Limiter::new([2; 16]);
        let from_network: u32 =
            (0..=255).map(|last| taken(&mut limiter, IpAddr::from([8, 8, 8, last]), 10, Duration::ZERO)).sum();
        assert_eq!(from_network, 1000);
        let of_a_prefix: u32 = (0..2000_u16)
            .map(|last| {
                let address = IpAddr::from([0x2001, 1, 2, 3, 0, 0, 0, last]);
                taken(&mut limiter, address, 1, Duration::ZERO)
            })
            .sum();
        assert_eq!(of_a_prefix, 1000);
    }
}
