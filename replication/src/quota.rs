//! What a peer may push to us and ask of us.

use std::{collections::HashMap, time::Duration};

use crate::{PeerId, Rate, TokenBucket};

/// What one peer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes stored for it.
    pub stored: u64,
    /// Bytes sent and received.
    pub bytes: Rate,
    /// Requests.
    pub requests: Rate,
    /// Requests under way at a time.
    pub in_flight: u32,
    /// Bytes of requests and answers that are held in memory at a time.
    pub held: u64,
}

/// What peers may have.
#[derive(Clone, Copy, Debug)]
pub struct Allowances {
    /// A member of the pool.
    pub member: Allowance,
    /// Anybody else, in an open pool.
    pub stranger: Allowance,
    /// All strangers together: a stranger can have any number of names. `stored`, `in_flight` and `held` count
    /// too.
    pub strangers: Allowance,
    /// Strangers of whom anything is remembered.
    pub tracked: usize,
}

impl Default for Allowances {
    /// A member has 1 TiB and 64 MiB a second; a stranger stores nothing and has 1 MiB a second, all of them 8 MiB. What
    /// is held for a member is as much as a link may have in flight; for a stranger, a message and its answer.
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        let allowance = |stored, mebibytes: u64, requests, in_flight, held: u64| Allowance {
            stored,
            bytes: rate(mebibytes << 20, mebibytes << 22),
            requests: rate(requests, 4 * requests),
            in_flight,
            held: held << 20,
        };
        Self {
            member: allowance(1 << 40, 64, 1000, 64, 16),
            stranger: allowance(0, 1, 20, 4, 2),
            strangers: allowance(0, 8, 200, 32, 8),
            tracked: 1024,
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// Too many requests under way.
    #[error("{limit} requests are under way already")]
    InFlight {
        /// How many are allowed.
        limit: u32,
    },
    /// Too many bytes of requests and answers under way.
    #[error("{limit} bytes are under way already")]
    Held {
        /// How many are allowed.
        limit: u64,
    },
    /// Too many requests.
    #[error("too many requests")]
    Requests {
        /// When the next one is allowed.
        again: Duration,
    },
    /// Too many bytes.
    #[error("too many bytes")]
    Bytes {
        /// When so many are allowed.
        again: Duration,
    },
    /// No room for what it pushes.
    #[error("{stored} of {limit} bytes are used already")]
    Full {
        /// Bytes stored for it.
        stored: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// As many strangers as are remembered are busy.
    #[error("{limit} strangers are served already")]
    Strangers {
        /// How many are remembered.
        limit: usize,
    },
}

#[derive(Clone, Debug)]
struct Usage {
    allowance: Allowance,
    stored: u64,
    in_flight: u32,
    held: u64,
    bytes: TokenBucket,
    requests: TokenBucket,
    seen: Duration,
}

impl Usage {
    const fn new(allowance: Allowance) -> Self {
        let (bytes, requests) = (TokenBucket::new(allowance.bytes), TokenBucket::new(allowance.requests));
        Self { allowance, stored: 0, in_flight: 0, held: 0, bytes, requests, seen: Duration::ZERO }
    }

    fn check_request(&self, now: Duration) -> Result<(), Exceeded> {
        let limit = self.allowance.in_flight;
        if self.in_flight >= limit {
            return Err(Exceeded::InFlight { limit });
        }
        let again = self.requests.ready_at(1);
        if self.requests.allows(1, now) { Ok(()) } else { Err(Exceeded::Requests { again }) }
    }

    fn check_bytes(&self, bytes: u64, now: Duration) -> Result<(), Exceeded> {
        let again = self.bytes.ready_at(bytes);
        if self.bytes.allows(bytes, now) { Ok(()) } else { Err(Exceeded::Bytes { again }) }
    }

    fn check_room(&self, bytes: u64) -> Result<(), Exceeded> {
        let (stored, limit) = (self.stored, self.allowance.stored);
        if bytes <= limit.saturating_sub(stored) { Ok(()) } else { Err(Exceeded::Full { stored, limit }) }
    }

    fn check_held(&self, bytes: u64) -> Result<(), Exceeded> {
        let limit = self.allowance.held;
        if bytes <= limit.saturating_sub(self.held) { Ok(()) } else { Err(Exceeded::Held { limit }) }
    }

    fn begin(&mut self, now: Duration) {
        self.requests.spend(1, now);
        self.in_flight += 1;
        self.seen = now;
    }
}

/// What peers have had. Constant memory for a peer, and a bounded number of strangers.
#[derive(Debug)]
pub struct Quota {
    allowances: Allowances,
    members: HashMap<PeerId, Usage>,
    strangers: HashMap<PeerId, Usage>,
    /// Of all strangers.
    together: Usage,
}

impl Quota {
    /// Nobody has had anything.
    pub fn new(allowances: Allowances) -> Self {
        let together = Usage::new(allowances.strangers);
        Self { allowances, members: HashMap::new(), strangers: HashMap::new(), together }
    }

    /// A peer is a member of the pool, for whom `stored` bytes are stored.
    pub fn add_member(&mut self, peer: PeerId, stored: u64) {
        let usage = self.members.entry(peer).or_insert_with(|| Usage::new(self.allowances.member));
        usage.stored = stored;
        // Requests that it made as a stranger end as a member's.
        if let Some(stranger) = self.strangers.remove(&peer) {
            (usage.in_flight, usage.held) = (stranger.in_flight, stranger.held);
            self.together.in_flight -= stranger.in_flight;
            self.together.held -= stranger.held;
            self.together.stored -= stranger.stored;
        }
    }

    /// A peer is no longer a member of the pool.
    pub fn remove_member(&mut self, peer: &PeerId) {
        self.members.remove(peer);
    }

    /// Bytes stored for a peer.
    pub fn stored(&self, peer: &PeerId) -> u64 {
        self.members.get(peer).or_else(|| self.strangers.get(peer)).map_or(0, |usage| usage.stored)
    }

    /// A request comes from a peer. If it is taken, [`Quota::end`] must follow.
    pub fn begin(&mut self, peer: PeerId, now: Duration) -> Result<(), Exceeded> {
        if let Some(member) = self.members.get_mut(&peer) {
            member.check_request(now)?;
            member.begin(now);
            return Ok(());
        }
        self.together.check_request(now)?;
        let stranger = self.stranger(peer)?;
        stranger.check_request(now)?;
        stranger.begin(now);
        self.together.begin(now);
        Ok(())
    }

    /// The request is answered.
    pub fn end(&mut self, peer: &PeerId) {
        self.each(peer, |usage| usage.in_flight = usage.in_flight.saturating_sub(1));
    }

    /// So many bytes are about to be sent to a peer, or were received from it. Belongs to a request that was taken.
    pub fn transfer(&mut self, peer: &PeerId, bytes: u64, now: Duration) -> Result<(), Exceeded> {
        self.check(peer, |usage| usage.check_bytes(bytes, now))?;
        self.each(peer, |usage| usage.bytes.spend(bytes, now));
        Ok(())
    }

    /// So many bytes of a request or its answer are about to be held. Belongs to a request that was taken.
    pub fn hold(&mut self, peer: &PeerId, bytes: u64) -> Result<(), Exceeded> {
        self.check(peer, |usage| usage.check_held(bytes))?;
        self.each(peer, |usage| usage.held += bytes);
        Ok(())
    }

    /// So many bytes are no longer held.
    pub fn let_go(&mut self, peer: &PeerId, bytes: u64) {
        self.each(peer, |usage| usage.held = usage.held.saturating_sub(bytes));
    }

    /// So many bytes are to be stored for a peer. Belongs to a request that was taken.
    pub fn store(&mut self, peer: &PeerId, bytes: u64) -> Result<(), Exceeded> {
        self.check(peer, |usage| usage.check_room(bytes))?;
        self.each(peer, |usage| usage.stored += bytes);
        Ok(())
    }

    /// So many bytes are no longer stored for a peer.
    pub fn release(&mut self, peer: &PeerId, bytes: u64) {
        self.each(peer, |usage| usage.stored = usage.stored.saturating_sub(bytes));
    }

    /// Everything that counts what a peer has: a stranger's is also counted with that of all strangers.
    fn each(&mut self, peer: &PeerId, mut act: impl FnMut(&mut Usage)) {
        if let Some(member) = self.members.get_mut(peer) {
            act(member);
        } else if let Some(stranger) = self.strangers.get_mut(peer) {
            act(stranger);
            act(&mut self.together);
        }
    }

    fn check(&self, peer: &PeerId, check: impl Fn(&Usage) -> Result<(), Exceeded>) -> Result<(), Exceeded> {
        if let Some(member) = self.members.get(peer) {
            return check(member);
        }
        self.strangers.get(peer).map_or(Ok(()), &check)?;
        check(&self.together)
    }

    /// A stranger, in the place of the one that was seen longest ago if need be. One with bytes here or a request under
    /// way keeps its place.
    fn stranger(&mut self, peer: PeerId) -> Result<&mut Usage, Exceeded> {
        let limit = self.allowances.tracked;
        if !self.strangers.contains_key(&peer) && self.strangers.len() >= limit {
            let idle = self.strangers.iter().filter(|(_, usage)| usage.in_flight == 0 && usage.stored == 0);
            let oldest = idle.min_by_key(|(peer, usage)| (usage.seen, **peer)).map(|(peer, _)| *peer);
            self.strangers.remove(&oldest.ok_or(Exceeded::Strangers { limit })?);
        }
        Ok(self.strangers.entry(peer).or_insert_with(|| Usage::new(self.allowances.stranger)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    fn small() -> Allowances {
        let rate = |per_second| Rate { per_second, burst: 2 * per_second };
        let allowance = |n: u32| Allowance {
            stored: 100 * u64::from(n),
            bytes: rate(100 * u64::from(n)),
            requests: rate(u64::from(n)),
            in_flight: n,
            held: 100 * u64::from(n),
        };
        Allowances { member: allowance(10), stranger: allowance(2), strangers: allowance(4), tracked: 3 }
    }

    #[test]
    fn a_member_has_more_than_a_stranger() {
        let mut quota = Quota::new(small());
        quota.add_member(peer(1), 950);
        let taken =
            |quota: &mut Quota, number| (0..20).filter(|_| quota.begin(peer(number), Duration::ZERO).is_ok()).count();
        assert_eq!((taken(&mut quota, 1), taken(&mut quota, 2)), (10, 2));
        assert_eq!(quota.begin(peer(1), Duration::ZERO), Err(Exceeded::InFlight { limit: 10 }));
        assert_eq!(quota.store(&peer(1), 51), Err(Exceeded::Full { stored: 950, limit: 1000 }));
        assert_eq!(quota.store(&peer(1), 50), Ok(()));
        quota.release(&peer(1), 200);
        assert_eq!(quota.stored(&peer(1)), 800);
        assert_eq!(quota.transfer(&peer(1), 2000, Duration::ZERO), Ok(()));
        let again = Duration::from_millis(500);
        assert_eq!(quota.transfer(&peer(1), 500, Duration::ZERO), Err(Exceeded::Bytes { again }));
        assert_eq!(quota.transfer(&peer(1), 500, again), Ok(()));
    }

    #[test]
    fn many_names_help_no_stranger() {
        let mut quota = Quota::new(small());
        let taken = |quota: &mut Quota, now| {
            let mut taken = 0;
            for number in 0..1000 {
                if quota.begin(peer(number), now).is_ok() {
                    quota.end(&peer(number));
                    taken += 1;
                }
            }
            taken
        };
        assert_eq!(taken(&mut quota, Duration::ZERO), 8, "the burst of all");
        assert_eq!(taken(&mut quota, Duration::from_secs(1)), 4, "and their rate");
        assert!(quota.strangers.len() <= 3);
    }

    #[test]
    fn busy_strangers_keep_their_places() {
        let mut quota = Quota::new(small());
        for number in 0..3 {
            assert_eq!(quota.begin(peer(number), Duration::ZERO), Ok(()));
        }
        assert_eq!(quota.begin(peer(3), Duration::ZERO), Err(Exceeded::Strangers { limit: 3 }));
        quota.end(&peer(1));
        assert_eq!(quota.begin(peer(3), Duration::ZERO), Ok(()));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut quota = Quota::new(small());
        quota.add_member(peer(1), 0);
        for number in [1, 2, 3, 4] {
            assert_eq!(quota.begin(peer(number), Duration::ZERO), Ok(()));
        }
        assert_eq!(quota.hold(&peer(1), 1000), Ok(()));
        assert_eq!(quota.hold(&peer(1), 1), Err(Exceeded::Held { limit: 1000 }));
        assert_eq!((quota.hold(&peer(2), 200), quota.hold(&peer(3), 200)), (Ok(()), Ok(())));
        assert_eq!(quota.hold(&peer(4), 1), Err(Exceeded::Held { limit: 400 }), "that of all strangers");
        quota.let_go(&peer(2), 150);
        assert_eq!(quota.hold(&peer(4), 150), Ok(()));
        quota.add_member(peer(3), 0);
        assert_eq!(quota.hold(&peer(4), 50), Ok(()), "a member is not among the strangers");
        assert_eq!(quota.hold(&peer(3), 801), Err(Exceeded::Held { limit: 1000 }), "but has what it had");
    }

    proptest! {
        #[test]
        fn nothing_goes_beyond_its_bound(acts in prop::collection::vec((0_u16..8, 0_u8..5, 0_u64..300), 0..300)) {
            let mut quota = Quota::new(small());
            quota.add_member(peer(0), 0);
            let (mut now, mut open) = (Duration::ZERO, HashMap::<u16, u32>::new());
            for (number, act, amount) in acts {
                now += Duration::from_millis(amount);
                let flights = open.entry(number).or_default();
                match act {
                    0 | 1 => *flights += u32::from(quota.begin(peer(number), now).is_ok()),
                    2 if *flights > 0 => { quota.end(&peer(number)); *flights -= 1; }
                    3 if *flights > 0 => { let _refused = quota.store(&peer(number), amount); }
                    4 => quota.release(&peer(number), amount.min(quota.stored(&peer(number)))),
                    _ => {}
                }
                prop_assert!(quota.strangers.len() <= 3);
                let limit = if number == 0 { 1000 } else { 200 };
                prop_assert!(quota.stored(&peer(number)) <= limit);
                let sum: u64 = quota.strangers.values().map(|usage| usage.stored).sum();
                prop_assert!(sum == quota.together.stored && sum <= 400);
                let sum: u32 = quota.strangers.values().map(|usage| usage.in_flight).sum();
                prop_assert_eq!(sum, quota.together.in_flight);
            }
        }
    }
}
