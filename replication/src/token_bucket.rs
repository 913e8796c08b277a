//! How much of something may be used in a second.

use std::time::Duration;

/// So much in a second, and so much at once after a pause. What is counted is up to the user: bytes, requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second.
    pub per_second: u64,
    /// At once. What is larger is never allowed.
    pub burst: u64,
}

impl Rate {
    /// The time that `amount` takes at this rate.
    fn time(&self, amount: u64) -> Duration {
        Duration::from_nanos(amount.saturating_mul(1_000_000_000) / self.per_second.max(1))
    }
}

/// Keeps to a [`Rate`]: the generic cell rate algorithm (ITU-T I.371), so one number is all that it remembers.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    /// When all that was used so far would have been used at the rate.
    ahead: Duration,
}

impl TokenBucket {
    /// A full bucket.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, ahead: Duration::ZERO }
    }

    /// Since when, or from when, `amount` may be used.
    pub fn ready_at(&self, amount: u64) -> Duration {
        (self.ahead + self.rate.time(amount)).saturating_sub(self.rate.time(self.rate.burst))
    }

    /// Whether `amount` may be used now, whoever asks.
    pub fn allows(&self, amount: u64, now: Duration) -> bool {
        amount <= self.rate.burst && self.ready_at(amount) <= now
    }

    /// Uses `amount`, allowed or not: what was not delays what comes after.
    pub fn spend(&mut self, amount: u64, now: Duration) {
        self.ahead = self.ahead.max(now) + self.rate.time(amount);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_burst_comes_back_with_time() {
        let mut bucket = TokenBucket::new(Rate { per_second: 10, burst: 20 });
        let now = Duration::from_secs(100);
        bucket.spend(20, now);
        assert!(!bucket.allows(1, now));
        assert_eq!(bucket.ready_at(10), now + Duration::from_secs(1));
        assert!(bucket.allows(10, now + Duration::from_secs(1)));
        assert!(!bucket.allows(21, now + Duration::from_hours(1)), "more than the burst is never allowed");
    }

    proptest! {
        #[test]
        fn no_more_than_rate_and_burst(asks in prop::collection::vec((0_u64..50, 0_u64..500), 1..200)) {
            let mut bucket = TokenBucket::new(Rate { per_second: 10, burst: 40 });
            let (mut now, mut used) = (Duration::ZERO, 0);
            for (amount, pause) in asks {
                now += Duration::from_millis(pause);
                if bucket.allows(amount, now) {
                    bucket.spend(amount, now);
                    used += amount;
                }
            }
            prop_assert!(u128::from(used) <= 40 + now.as_millis() / 100 + 1);
        }
    }
}
