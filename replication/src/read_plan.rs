//! Whom to ask for one block, in which order, and until when.

use std::time::Duration;

use crate::PeerId;

/// A peer that may have the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub peer: PeerId,
    /// Whether there is a link to it now.
    pub connected: bool,
    /// Whether it should hold the block. Others are asked later: they had blocks of the same file.
    pub holder: bool,
    /// How long it is expected to take: [`crate::Standing::expected`].
    pub usual: Duration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Ask this peer. Then look again at once.
    Ask(PeerId),
    /// Nothing until an answer comes, or until this time.
    Wait(Duration),
    /// Nobody has it in time.
    GiveUp(NotFound),
}

/// A block that nobody gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("not found: {} peers have not got it, {} failed, {} did not answer", absent.len(), failed.len(), silent.len())]
pub struct NotFound {
    /// Those that said that they have not got it.
    pub absent: Vec<PeerId>,
    /// Those that refused, sent wrong bytes or broke off.
    pub failed: Vec<PeerId>,
    /// Those that had not answered when the time was up.
    pub silent: Vec<PeerId>,
}

/// The next peer is asked beside one that takes longer than this, and than twice its usual time.
const PATIENCE: Duration = Duration::from_millis(50);

/// Most peers asked at a time: a block is worth no more bytes for nothing.
const ASKED_AT_ONCE: usize = 3;

/// Reads one block from peers: the fastest holder first, another beside it when that is late, and others of the
/// same file's peers last. Success ends it: it is dropped.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    /// Those to be asked yet, the next one last.
    candidates: Vec<Candidate>,
    asked: Vec<PeerId>,
    /// From when another peer is asked.
    hedge: Duration,
    deadline: Duration,
    outcome: NotFound,
}

impl ReadPlan {
    /// A plan for a block. Candidates come by rank, each once; those that are banned are left out by the caller.
    ///
    /// Connected ones go before the others, holders before the rest, then the fastest, then by rank.
    pub fn new(mut candidates: Vec<Candidate>, now: Duration, deadline: Duration) -> Self {
        candidates.sort_by_key(|candidate| (!candidate.connected, !candidate.holder, candidate.usual));
        candidates.reverse();
        Self { candidates, asked: Vec::new(), hedge: now, deadline, outcome: NotFound::default() }
    }

    /// What to do now.
    pub fn poll(&mut self, now: Duration) -> ReadStep {
        if now >= self.deadline || self.candidates.is_empty() && self.asked.is_empty() {
            self.outcome.silent.append(&mut self.asked);
            return ReadStep::GiveUp(std::mem::take(&mut self.outcome));
        }
        if self.candidates.is_empty() || self.asked.len() >= ASKED_AT_ONCE {
            return ReadStep::Wait(self.deadline);
        }
        if now < self.hedge && !self.asked.is_empty() {
            return ReadStep::Wait(self.hedge.min(self.deadline));
        }
        self.ask(now)
    }

    /// The peer has not got the block.
    pub fn absent(&mut self, peer: &PeerId) {
        if let Some(peer) = self.answered(peer) {
            self.outcome.absent.push(peer);
        }
    }

    /// The peer refused, sent wrong bytes or broke off.
    pub fn failed(&mut self, peer: &PeerId) {
        if let Some(peer) = self.answered(peer) {
            self.outcome.failed.push(peer);
        }
    }

    fn ask(&mut self, now: Duration) -> ReadStep {
        let Some(next) = self.candidates.pop() else { return ReadStep::Wait(self.deadline) };
        self.asked.push(next.peer);
        self.hedge = now + PATIENCE.max(2 * next.usual);
        ReadStep::Ask(next.peer)
    }

    /// Whoever did not give it makes room for the next at once.
    fn answered(&mut self, peer: &PeerId) -> Option<PeerId> {
        let at = self.asked.iter().position(|asked| asked == peer)?;
        self.hedge = Duration::ZERO;
        Some(self.asked.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn holder(number: u8, usual: u64) -> Candidate {
        Candidate { peer: peer(number), connected: true, holder: true, usual: millis(usual) }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const DEADLINE: Duration = millis(5000);

    #[test]
    fn the_fastest_connected_holder_is_first() {
        let others = Candidate { holder: false, ..holder(1, 1) };
        let away = Candidate { connected: false, ..holder(2, 1) };
        let mut plan = ReadPlan::new(vec![others, away, holder(3, 90), holder(4, 10)], Duration::ZERO, DEADLINE);
        for number in [4, 3, 1, 2] {
            assert_eq!(plan.poll(Duration::ZERO), ReadStep::Ask(peer(number)));
            plan.absent(&peer(number));
        }
        let absent = [4, 3, 1, 2].map(peer).to_vec();
        assert_eq!(plan.poll(Duration::ZERO), ReadStep::GiveUp(NotFound { absent, ..NotFound::default() }));
    }

    #[test]
    fn who_is_late_gets_company() {
        let mut plan = ReadPlan::new(vec![holder(1, 10), holder(2, 100), holder(3, 100)], Duration::ZERO, DEADLINE);
        assert_eq!(plan.poll(Duration::ZERO), ReadStep::Ask(peer(1)));
        assert_eq!(plan.poll(Duration::ZERO), ReadStep::Wait(millis(50)));
        assert_eq!(plan.poll(millis(50)), ReadStep::Ask(peer(2)));
        assert_eq!(plan.poll(millis(50)), ReadStep::Wait(millis(250)));
        plan.failed(&peer(1));
        assert_eq!(plan.poll(millis(60)), ReadStep::Ask(peer(3)));
        assert_eq!(plan.poll(millis(60)), ReadStep::Wait(DEADLINE));
        let found = NotFound { absent: vec![], failed: vec![peer(1)], silent: vec![peer(2), peer(3)] };
        assert_eq!(found.to_string(), "not found: 0 peers have not got it, 1 failed, 2 did not answer");
        assert_eq!(plan.poll(DEADLINE), ReadStep::GiveUp(found));
    }

    proptest! {
        #[test]
        fn nobody_is_asked_twice_and_it_ends(
            candidates in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u64..2000), 0..20),
            answers in prop::collection::vec(0_u8..4, 0..200),
        ) {
            let candidates: Vec<_> = (0..).zip(candidates).map(|(number, (connected, holder, usual))| {
                Candidate { peer: peer(number), connected, holder, usual: millis(usual) }
            }).collect();
            let mut plan = ReadPlan::new(candidates.clone(), Duration::ZERO, DEADLINE);
            let (mut now, mut asked, mut answers) = (Duration::ZERO, BTreeSet::new(), answers.into_iter());
            let mut open = Vec::new();
            let lost = loop {
                match plan.poll(now) {
                    ReadStep::Ask(peer) => {
                        prop_assert!(asked.insert(peer));
                        open.push(peer);
                        prop_assert!(open.len() <= ASKED_AT_ONCE);
                    }
                    ReadStep::Wait(until) => {
                        prop_assert!(until > now && until <= DEADLINE);
                        match (answers.next(), open.first().copied()) {
                            (Some(0), Some(peer)) => { plan.absent(&peer); open.remove(0); }
                            (Some(1), Some(peer)) => { plan.failed(&peer); open.remove(0); }
                            _ => now = until,
                        }
                    }
                    ReadStep::GiveUp(lost) => break lost,
                }
            };
            let mut told: Vec<_> = [lost.absent, lost.failed, lost.silent].concat();
            told.sort();
            prop_assert_eq!(told, asked.into_iter().collect::<Vec<_>>());
        }
    }
}
