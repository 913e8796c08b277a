//! Which members count as live.

use std::{collections::BTreeMap, time::Duration};

use crate::PeerId;

/// How patient one is with members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a member may be silent before its share moves to others: moving data costs more than waiting.
    pub grace: Duration,
    /// How long a member that comes back from longer must be heard before it counts again. It doubles with each
    /// return, up to [`Patience::most`]; one return is forgotten for each day since.
    pub settling: Duration,
    /// The longest settling.
    pub most: Duration,
}

impl Default for Patience {
    /// 15 minutes; 1 minute, up to 4 hours.
    fn default() -> Self {
        Self { grace: Duration::from_mins(15), settling: Duration::from_mins(1), most: Duration::from_hours(4) }
    }
}

/// One return is forgotten after this time.
const FORGOTTEN: Duration = Duration::from_hours(24);

#[derive(Clone, Copy, Debug)]
struct Member {
    heard: Duration,
    reachable: bool,
    /// From when it counts.
    counts: Duration,
    returns: u32,
    /// When it came back last.
    returned: Duration,
}

/// When members were heard, and who of them counts as live. Two peers that hear the same agree on it.
///
/// Whether a member is *reachable* changes at once and says whom to ask; whether it is *live* says where blocks belong.
#[derive(Clone, Debug)]
pub struct Liveness {
    patience: Patience,
    members: BTreeMap<PeerId, Member>,
}

impl Liveness {
    /// A pool without members.
    pub const fn new(patience: Patience) -> Self {
        Self { patience, members: BTreeMap::new() }
    }

    /// A member that counts from now on: it is given the benefit of the doubt for the grace time.
    pub fn add(&mut self, peer: PeerId, now: Duration) {
        let member = Member { heard: now, reachable: false, counts: now, returns: 0, returned: now };
        self.members.entry(peer).or_insert(member);
    }

    /// It is no longer a member.
    pub fn remove(&mut self, peer: &PeerId) {
        self.members.remove(peer);
    }

    /// Something came from a member.
    pub fn heard(&mut self, peer: &PeerId, now: Duration) {
        let patience = self.patience;
        let Some(member) = self.members.get_mut(peer) else { return };
        if now >= member.heard + patience.grace {
            member.come_back(&patience, now);
        }
        member.heard = now;
        member.reachable = true;
    }

    /// The link to a member is gone, and it could not be made anew.
    pub fn lost(&mut self, peer: &PeerId) {
        if let Some(member) = self.members.get_mut(peer) {
            member.reachable = false;
        }
    }

    /// Whether a member can be asked.
    pub fn is_reachable(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| member.reachable)
    }

    /// The members that blocks are placed on, ascending.
    pub fn live(&self, now: Duration) -> Vec<PeerId> {
        let live = |member: &Member| member.counts <= now && now < member.heard + self.patience.grace;
        self.members.iter().filter(|(_, member)| live(member)).map(|(peer, _)| *peer).collect()
    }

    /// When [`Liveness::live`] changes next if nobody is heard; `None` when it does not.
    pub fn changes_at(&self, now: Duration) -> Option<Duration> {
        let ends = |member: &Member| member.heard + self.patience.grace;
        let change = |member: &Member| if now < member.counts { member.counts } else { ends(member) };
        // Who does not count before its time is up never does.
        let to_come = |member: &&Member| now < ends(member) && member.counts < ends(member);
        self.members.values().filter(to_come).map(change).min()
    }
}

impl Member {
    fn come_back(&mut self, patience: &Patience, now: Duration) {
        let days = now.saturating_sub(self.returned).as_secs() / FORGOTTEN.as_secs();
        self.returns = self.returns.saturating_sub(u32::try_from(days).unwrap_or(u32::MAX));
        self.counts = now + (patience.settling * (1 << self.returns.min(16))).min(patience.most);
        self.returns += 1;
        self.returned = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_mins(minutes)
    }

    fn pool(members: u8) -> Liveness {
        let mut liveness = Liveness::new(Patience::default());
        (0..members).for_each(|number| liveness.add(peer(number), Duration::ZERO));
        liveness
    }

    #[test]
    fn a_silent_member_counts_for_the_grace_time() {
        let mut liveness = pool(2);
        liveness.heard(&peer(1), minutes(10));
        liveness.lost(&peer(1));
        assert!(!liveness.is_reachable(&peer(1)));
        assert_eq!(liveness.live(minutes(14)), [peer(0), peer(1)]);
        assert_eq!(liveness.changes_at(minutes(14)), Some(minutes(15)));
        assert_eq!(liveness.live(minutes(15)), [peer(1)]);
        assert_eq!(liveness.changes_at(minutes(15)), Some(minutes(25)));
        assert_eq!((liveness.live(minutes(25)), liveness.changes_at(minutes(25))), (vec![], None));
    }

    #[test]
    fn who_comes_and_goes_waits_longer_each_time() {
        let mut liveness = pool(1);
        let mut now = Duration::ZERO;
        for wait in [1, 2, 4, 8] {
            now += minutes(20);
            liveness.heard(&peer(0), now);
            assert_eq!(liveness.live((now + minutes(wait)).saturating_sub(Duration::from_secs(1))), []);
            assert_eq!(liveness.changes_at(now), Some(now + minutes(wait)));
            assert_eq!(liveness.live(now + minutes(wait)), [peer(0)]);
        }
        now += Duration::from_hours(96);
        liveness.heard(&peer(0), now);
        assert_eq!(liveness.live(now + minutes(1)), [peer(0)], "all is forgotten after four days");
    }

    #[test]
    fn only_members_count() {
        let mut liveness = pool(2);
        liveness.heard(&peer(9), minutes(1));
        liveness.remove(&peer(1));
        assert_eq!(liveness.live(minutes(1)), [peer(0)]);
        assert!(!liveness.is_reachable(&peer(9)));
    }

    proptest! {
        #[test]
        fn it_changes_when_it_says(heard in prop::collection::vec((0_u8..5, 0_u64..40), 0..60)) {
            let mut liveness = pool(5);
            let mut now = Duration::ZERO;
            for (number, pause) in heard {
                now += minutes(pause);
                liveness.heard(&peer(number), now);
                let live = liveness.live(now);
                let change = liveness.changes_at(now);
                let before = change.map_or(now + minutes(10_000), |change| change.saturating_sub(Duration::from_millis(1)));
                prop_assert_eq!(&liveness.live(before), &live);
                if let Some(change) = change {
                    prop_assert!(change > now);
                    prop_assert_ne!(&liveness.live(change), &live);
                }
            }
        }
    }
}
