//! Whether peers have what they claim.

use std::{collections::BTreeMap, time::Duration};

use cas::Score;

use crate::PeerId;

/// Asks a peer to prove that it has a block's bytes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Never used before, so that no answer can be kept instead of the block.
    pub nonce: [u8; 32],
    /// The block.
    pub score: Score,
}

/// The answer to a [`Challenge`]: BLAKE3 of the block's bytes, keyed with the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof([u8; 32]);

impl Proof {
    /// A proof that came over the wire.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it goes over the wire.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Challenge {
    /// The answer of whoever has the block.
    pub fn proof(&self, block: &[u8]) -> Proof {
        Proof(*blake3::keyed_hash(&self.nonce, block).as_bytes())
    }
}

/// Between two audits of a peer that passed the last [`TRUSTED`] of them: two an hour.
const SELDOM: Duration = Duration::from_mins(30);

/// Of a newcomer, or after a failure: twelve an hour.
const OFTEN: Duration = Duration::from_mins(5);

/// Audits in a row after which a peer is trusted.
const TRUSTED: u32 = 16;

/// Which peer is audited when.
#[derive(Clone, Debug, Default)]
pub struct AuditSchedule {
    peers: BTreeMap<PeerId, Audited>,
}

#[derive(Clone, Copy, Debug)]
struct Audited {
    due: Duration,
    /// Audits that it passed since it came or failed.
    passed: u32,
}

impl AuditSchedule {
    /// A newcomer, whose first audit is due soon.
    pub fn add(&mut self, peer: PeerId, now: Duration) {
        self.peers.entry(peer).or_insert(Audited { due: now + OFTEN, passed: 0 });
    }

    /// A peer that is no longer audited.
    pub fn remove(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// When the next audit is due.
    pub fn wakes(&self) -> Option<Duration> {
        self.peers.values().map(|audited| audited.due).min()
    }

    /// The audit that is due now, if one is.
    ///
    /// `claims` gives a block that a peer claims to hold and that is here too, chosen by a random number; `None` when
    /// there is none. Of `random`, 32 bytes become the nonce and 8 choose the block and the time of the next audit,
    /// which is therefore not foreseen.
    pub fn next(
        &mut self,
        now: Duration,
        random: [u8; 40],
        claims: impl FnOnce(&PeerId, u64) -> Option<Score>,
    ) -> Option<(PeerId, Challenge)> {
        let (peer, audited) = self.peers.iter_mut().min_by_key(|(_, audited)| audited.due)?;
        if audited.due > now {
            return None;
        }
        let (nonce, rest) = random.split_first_chunk()?;
        let number = u64::from_be_bytes(*rest.first_chunk()?);
        let interval = if audited.passed < TRUSTED { OFTEN } else { SELDOM };
        // Half to one and a half of it.
        audited.due = now + interval / 2 + interval / 256 * u32::from(rest[7]);
        Some((*peer, Challenge { nonce: *nonce, score: claims(peer, number)? }))
    }

    /// A peer proved to have what it claims.
    pub fn passed(&mut self, peer: &PeerId) {
        if let Some(audited) = self.peers.get_mut(peer) {
            audited.passed = audited.passed.saturating_add(1);
        }
    }

    /// A peer did not; it is a newcomer again.
    pub fn failed(&mut self, peer: &PeerId, now: Duration) {
        if let Some(audited) = self.peers.get_mut(peer) {
            *audited = Audited { due: audited.due.min(now + OFTEN), passed: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use cas::Algorithm;
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn score(number: u64) -> Score {
        Score::of(Algorithm::Sha256, &number.to_be_bytes())
    }

    #[test]
    fn a_proof_needs_nonce_and_block() {
        let challenge = Challenge { nonce: [1; 32], score: score(1) };
        let proof = challenge.proof(b"block");
        assert_eq!(Proof::from_bytes(*proof.as_bytes()), challenge.proof(b"block"));
        assert_ne!(proof, challenge.proof(b"other"));
        assert_ne!(proof, Challenge { nonce: [2; 32], ..challenge }.proof(b"block"));
    }

    /// Audits of one peer in some hours.
    fn audits(schedule: &mut AuditSchedule, from: Duration, hours: u64, answer: bool) -> usize {
        let mut count = 0_usize;
        while let Some(now) = schedule.wakes().filter(|now| *now < from + Duration::from_hours(hours)) {
            let random = std::array::from_fn(|at| u8::try_from((count * 37 + at) % 256).expect("a byte"));
            let (peer, challenge) = schedule.next(now, random, |_, number| Some(score(number))).expect("an audit");
            assert_eq!(challenge.nonce[..], random[..32]);
            if answer {
                schedule.passed(&peer);
            } else {
                schedule.failed(&peer, now);
            }
            count += 1;
        }
        count
    }

    #[test]
    fn newcomers_and_those_who_failed_are_asked_more() {
        let mut schedule = AuditSchedule::default();
        schedule.add(peer(1), Duration::ZERO);
        let hours = Duration::from_hours;
        let first = audits(&mut schedule, Duration::ZERO, 2, true);
        assert!((15..=24).contains(&first), "{first}");
        let later = audits(&mut schedule, hours(2), 10, true);
        assert!((15..=30).contains(&later), "{later}");
        let failing = audits(&mut schedule, hours(12), 10, false);
        assert!((90..=180).contains(&failing), "{failing}");
    }

    proptest! {
        #[test]
        fn everybody_has_a_turn(peers in 1_u8..20, random in any::<[u8; 40]>()) {
            let mut schedule = AuditSchedule::default();
            (0..peers).for_each(|number| schedule.add(peer(number), Duration::ZERO));
            prop_assert!(schedule.next(Duration::ZERO, random, |_, _| None).is_none(), "nothing is due");
            let mut seen: Vec<_> = (0..peers)
                .filter_map(|_| schedule.next(OFTEN, random, |_, number| Some(score(number))))
                .map(|(peer, _)| peer)
                .collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..peers).map(peer).collect::<Vec<_>>());
            prop_assert!(schedule.next(OFTEN, random, |_, _| None).is_none());
        }
    }
}
