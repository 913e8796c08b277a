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

    pub(crate) fn has(&self, address: &SocketAddr, now: Duration) -> bool {
        let age = now.saturating_sub(self.turned);
        (age < 2 * self.life && self.young.contains(address)) || (age < self.life && self.old.contains(address))
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
        let has = |proof: &Proof, number, minutes| proof.has(&address(number), Duration::from_mins(minutes));
        proof.add(address(1), Duration::ZERO);
        assert!(has(&proof, 1, 0) && !has(&proof, 2, 0));
        assert!(has(&proof, 1, 29) && !has(&proof, 1, 30), "also when nobody else comes");
        proof.add(address(2), Duration::from_mins(16));
        assert!(has(&proof, 1, 16) && has(&proof, 2, 45) && !has(&proof, 1, 31));
        proof.add(address(3), Duration::from_mins(32));
        assert!(!has(&proof, 1, 32) && has(&proof, 2, 32));
        proof.add(address(4), Duration::from_hours(5));
        assert!(!has(&proof, 3, 300) && has(&proof, 4, 300));
        for number in 0..=u16::MAX {
            proof.add(address(number), Duration::from_hours(5));
        }
        assert!(proof.young.len() + proof.old.len() <= 2 * Proof::MOST);
    }
}
