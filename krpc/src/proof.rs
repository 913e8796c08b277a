//! Which addresses have shown that they receive what is sent to them.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

/// Addresses that answered a query of ours or sent back a token: their source is not forged.
///
/// It forgets: what is proved counts for one to two lives, and at most twice [`Proof::MOST`] are known.
pub(crate) struct Proof {
    young: HashSet<SocketAddr>,
    old: HashSet<SocketAddr>,
    turned: Duration,
    life: Duration,
}

impl Proof {
    const MOST: usize = 8192;

    pub(crate) fn new(life: Duration, now: Duration) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), turned: now, life }
    }

    pub(crate) fn add(&mut self, address: SocketAddr, now: Duration) {
        if self.young.len() >= Self::MOST || now.saturating_sub(self.turned) >= self.life {
            let long_ago = now.saturating_sub(self.turned) >= 2 * self.life;
            self.old = std::mem::take(&mut self.young);
            if long_ago {
                self.old.clear();
            }
            self.turned = now;
        }
        self.young.insert(address);
    }

    pub(crate) fn has(&self, address: &SocketAddr) -> bool {
        self.young.contains(address) || self.old.contains(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([1, 2, 3, 4], number))
    }

    #[test]
    fn proofs_are_forgotten_and_few() {
        let mut proof = Proof::new(Duration::from_mins(15), Duration::ZERO);
        proof.add(address(1), Duration::ZERO);
        assert!(proof.has(&address(1)) && !proof.has(&address(2)));
        proof.add(address(2), Duration::from_mins(16));
        assert!(proof.has(&address(1)));
        proof.add(address(3), Duration::from_mins(32));
        assert!(!proof.has(&address(1)) && proof.has(&address(2)));
        proof.add(address(4), Duration::from_hours(5));
        assert!(!proof.has(&address(3)) && proof.has(&address(4)));
        for number in 0..=u16::MAX {
            proof.add(address(number), Duration::from_hours(5));
        }
        assert!(proof.young.len() + proof.old.len() <= 2 * Proof::MOST);
    }
}
