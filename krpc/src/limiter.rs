//! How many packets are taken from an address and from its network, decided before a packet is read.

use std::{
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

/// A table of a fixed size: addresses that fall into one slot share its rate, and the key is secret, so that nobody
/// can choose whose slot he fills.
pub(crate) struct Limiter {
    key: [u8; 16],
    /// For each slot the time at which the packets so far would have come at the allowed rate.
    addresses: Vec<Duration>,
    networks: Vec<Duration>,
}

const SLOTS: usize = 8192;

impl Limiter {
    pub(crate) const fn new(key: [u8; 16]) -> Self {
        Self { key, addresses: Vec::new(), networks: Vec::new() }
    }

    /// Whether a packet from this address is taken.
    pub(crate) fn allows(&mut self, address: IpAddr, now: Duration) -> bool {
        if self.addresses.is_empty() {
            self.addresses = vec![Duration::ZERO; SLOTS];
            self.networks = vec![Duration::ZERO; SLOTS];
        }
        let [of_address, of_network] = match address {
            IpAddr::V4(address) => [self.slot(&address.octets()), self.slot(&address.octets()[..3])],
            IpAddr::V6(address) => [self.slot(&address.octets()), self.slot(&address.octets()[..8])],
        };
        // Both count, whatever the other says: a flood from one address is one from its network too.
        let [address, network] = [
            ADDRESS.take(&mut self.addresses[of_address], now),
            NETWORK.take(&mut self.networks[of_network], now),
        ];
        address && network
    }

    fn slot(&self, bytes: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.key);
        hasher.write(bytes);
        // The remainder is below the number of slots.
        usize::try_from(hasher.finish() % 8192).unwrap_or(0)
    }
}

impl Rate {
    /// The generic cell rate algorithm: a packet is taken unless that brings the slot too far ahead of the clock.
    fn take(self, slot: &mut Duration, now: Duration) -> bool {
        let next = (*slot).max(now) + self.interval;
        let allowed = next <= now + self.interval * self.burst;
        if allowed {
            *slot = next;
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
