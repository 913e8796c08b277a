//! Attacks on a log, and logs of several authors who mean well and ill, delivered in any order.

use proptest::prelude::*;

use crate::{Action, Entry, EntryId, MAX_PARENTS, Membership, MembershipError, PeerId, PeerKey, PoolId};

const FAR: u64 = u64::MAX;

fn key(number: u8) -> PeerKey {
    PeerKey::from_seed([number; 32])
}

fn id(number: u8) -> PeerId {
    key(number).id()
}

fn pool() -> Membership {
    Membership::create(&key(0), "a pool", [9; 32], 1).expect("a pool")
}

/// Invites by key `by` and gives back the invitation's entry.
fn invite(log: &mut Membership, author: u8, by: u8, uses: u16, admin: bool) -> EntryId {
    let action = Action::Invite { key: id(by), uses, expires: FAR, admin };
    log.write(&key(author), 1, action).expect("invited").id()
}

fn join_action(log: &Membership, invitation: EntryId, by: u8, peer: u8) -> Action {
    Action::Join { invitation, peer: id(peer), proof: Action::proof(&key(by), &log.pool(), &id(peer)) }
}

fn join(log: &mut Membership, invitation: EntryId, by: u8, peer: u8) -> Result<Entry, MembershipError> {
    let action = join_action(log, invitation, by, peer);
    log.write(&key(peer), 1, action)
}

fn admit(log: &mut Membership, author: u8, peer: u8, admin: bool) {
    let invitation = invite(log, author, 100 + peer, 1, admin);
    join(log, invitation, 100 + peer, peer).expect("joined");
}

fn expel(log: &mut Membership, author: u8, peer: u8) -> Result<Entry, MembershipError> {
    log.write(&key(author), 1, Action::Expel { peer: id(peer) })
}

fn give(from: &Membership, to: &mut Membership) {
    for entry in from.missing_at(&to.heads()) {
        to.add(entry.clone()).expect("accepted");
    }
}

/// Both logs get what the other has.
fn merge(one: &mut Membership, other: &mut Membership) {
    give(one, other);
    give(other, one);
    assert_eq!(one.heads(), other.heads());
    assert_eq!(one.state(), other.state());
}

#[test]
fn members_come_and_go() {
    let mut log = pool();
    assert_eq!(log.name(), "a pool");
    admit(&mut log, 0, 1, false);
    admit(&mut log, 1, 2, false);
    admit(&mut log, 0, 3, true);
    assert_eq!(log.state().members().count(), 4);
    assert_eq!(log.state().admins().count(), 2);
    log.write(&key(0), 1, Action::Promote { peer: id(1) }).expect("promoted");
    assert!(log.state().is_admin(&id(1)));
    log.write(&key(2), 1, Action::Leave).expect("left");
    assert!(!log.state().is_member(&id(2)));
    assert_eq!(log.state().expelled().count(), 0);
    admit(&mut log, 1, 2, false);
    assert!(log.state().is_member(&id(2)));
    expel(&mut log, 3, 2).expect("expelled");
    assert_eq!(log.state().expelled().collect::<Vec<_>>(), [&id(2)]);
    admit(&mut log, 0, 2, false);
    assert!(log.state().is_member(&id(2)));
    assert_eq!(log.state().expelled().count(), 0);
    // Who is back has all the rights of a member.
    admit(&mut log, 2, 4, false);
    log.write(&key(0), 1, Action::Promote { peer: id(2) }).expect("promoted");
    expel(&mut log, 2, 4).expect("expelled");
    assert_eq!(log.state().expelled().collect::<Vec<_>>(), [&id(4)]);
}

#[test]
fn a_member_admits_another_and_makes_no_admins() {
    let mut log = pool();
    admit(&mut log, 0, 1, false);
    let invitation = invite(&mut log, 0, 50, 1, false);
    assert_eq!(log.invitation(&id(0), &id(50)), Some(invitation));
    let action = join_action(&log, invitation, 50, 2);
    log.write(&key(1), 1, action).expect("admitted");
    assert!(log.state().is_member(&id(2)));
    // A copy of the invitation is another's.
    let copy = invite(&mut log, 1, 50, 9, false);
    assert_eq!(log.invitation(&id(0), &id(50)), Some(invitation));
    assert_eq!(log.invitation(&id(1), &id(50)), Some(copy));
    let right = MembershipError::Right { author: id(1) };
    let action = Action::Invite { key: id(51), uses: 1, expires: FAR, admin: true };
    assert_eq!(log.write(&key(1), 1, action), Err(right.clone()));
    assert_eq!(log.write(&key(1), 1, Action::Promote { peer: id(2) }), Err(right.clone()));
    assert_eq!(expel(&mut log, 1, 2), Err(right));
}

#[test]
fn strangers_do_nothing() {
    let mut log = pool();
    let stranger = MembershipError::NotAMember { author: id(5) };
    let invite = Action::Invite { key: id(50), uses: 1, expires: FAR, admin: false };
    for action in [invite, Action::Leave, Action::Expel { peer: id(0) }, Action::Promote { peer: id(5) }] {
        assert_eq!(log.write(&key(5), 1, action), Err(stranger.clone()));
    }
    let invitation = self::invite(&mut log, 0, 50, 1, false);
    let action = join_action(&log, invitation, 50, 6);
    assert_eq!(log.write(&key(5), 1, action), Err(stranger));
}

#[test]
fn invitations_are_not_stretched() {
    let mut log = pool();
    let action = Action::Invite { key: id(50), uses: 2, expires: 10, admin: false };
    let invitation = log.write(&key(0), 1, action).expect("invited").id();
    let action = join_action(&log, invitation, 50, 1);
    assert_eq!(log.write(&key(1), 10, action.clone()), Err(MembershipError::Expired));
    log.write(&key(1), 9, action.clone()).expect("joined");
    assert_eq!(log.write(&key(1), 9, action), Err(MembershipError::Peer { peer: id(1) }));
    join(&mut log, invitation, 50, 2).expect("joined");
    assert_eq!(join(&mut log, invitation, 50, 3), Err(MembershipError::UsedUp));
    // Another key's proof, another peer's proof, and no invitation at all.
    let invitation = invite(&mut log, 0, 51, 9, false);
    assert_eq!(join(&mut log, invitation, 52, 3), Err(MembershipError::Proof));
    let Action::Join { proof, .. } = join_action(&log, invitation, 51, 3) else { panic!("a join") };
    let stolen = Action::Join { invitation, peer: id(4), proof };
    assert_eq!(log.write(&key(4), 1, stolen), Err(MembershipError::Proof));
    let none = log.heads()[0];
    log.write(&key(1), 1, Action::Leave).expect("left");
    assert_eq!(join(&mut log, EntryId::from_bytes([1; 32]), 51, 3), Err(MembershipError::Invitation));
    let create = EntryId::from_bytes(*log.pool().as_bytes());
    assert_ne!(create, none);
    assert_eq!(join(&mut log, create, 51, 3), Err(MembershipError::Invitation));
    // Who left is not brought back by its old proof, which all have.
    let old = log.invitation(&id(0), &id(51)).expect("there");
    join(&mut log, old, 51, 3).expect("joined");
    let gone = log.write(&key(3), 1, Action::Leave).map(|_| join_action(&log, old, 51, 3)).expect("left");
    assert_eq!(log.write(&key(0), 1, gone), Err(MembershipError::Gone { peer: id(3) }));
}

#[test]
fn an_invitation_used_twice_at_once_lets_in_as_many_as_it_says() {
    let mut log = pool();
    let invitation = invite(&mut log, 0, 50, 2, true);
    let mut merged = log.clone();
    for peer in 1..6 {
        let mut alone = log.clone();
        join(&mut alone, invitation, 50, peer).expect("joined");
        merge(&mut merged, &mut alone);
    }
    assert_eq!(merged.state().members().count(), 3);
    assert_eq!(merged.state().admins().count(), 3);
}

#[test]
fn the_expelled_do_nothing_and_come_back_by_new_invitations_only() {
    let mut log = pool();
    let old = invite(&mut log, 0, 50, 9, false);
    join(&mut log, old, 50, 1).expect("joined");
    let theirs = invite(&mut log, 1, 51, 9, false);
    let before = log.clone();
    expel(&mut log, 0, 1).expect("expelled");
    assert_eq!(log.write(&key(1), 1, Action::Leave), Err(MembershipError::NotAMember { author: id(1) }));
    let action = Action::Invite { key: id(52), uses: 1, expires: FAR, admin: false };
    assert_eq!(log.write(&key(1), 1, action), Err(MembershipError::NotAMember { author: id(1) }));
    assert_eq!(join(&mut log, old, 50, 1), Err(MembershipError::Gone { peer: id(1) }));
    assert_eq!(join(&mut log, theirs, 51, 2), Err(MembershipError::Invitation), "its maker was expelled");
    // The old log again, and what the expelled and its guests write as if they knew nothing.
    for entry in before.entries() {
        assert_eq!(log.add(entry.clone()), Ok(false));
    }
    let mut fork = before;
    join(&mut fork, theirs, 51, 2).expect("there it is good");
    admit(&mut fork, 1, 3, false);
    let fresh = invite(&mut fork, 0, 53, 2, false);
    let action = join_action(&fork, fresh, 53, 4);
    fork.write(&key(1), 1, action).expect("admitted by the expelled");
    join(&mut fork, fresh, 53, 5).expect("joined by itself");
    merge(&mut log, &mut fork);
    assert_eq!(log.state().members().collect::<Vec<_>>(), sorted(&[0, 5]).iter().collect::<Vec<_>>());
    assert_eq!(log.state().expelled().collect::<Vec<_>>(), [&id(1)]);
}

fn sorted(numbers: &[u8]) -> Vec<PeerId> {
    let mut peers: Vec<_> = numbers.iter().map(|number| id(*number)).collect();
    peers.sort_unstable();
    peers
}

#[test]
fn what_the_expelled_did_before_stands() {
    let mut log = pool();
    admit(&mut log, 0, 1, true);
    admit(&mut log, 1, 2, false);
    admit(&mut log, 1, 3, true);
    admit(&mut log, 0, 4, false);
    admit(&mut log, 0, 5, false);
    log.write(&key(1), 1, Action::Promote { peer: id(4) }).expect("promoted");
    expel(&mut log, 1, 5).expect("expelled");
    expel(&mut log, 0, 1).expect("expelled");
    assert_eq!(log.state().members().copied().collect::<Vec<_>>(), sorted(&[0, 2, 3, 4]));
    assert_eq!(log.state().admins().copied().collect::<Vec<_>>(), sorted(&[0, 3, 4]));
}

#[test]
fn an_admin_expels_only_admins_that_came_later() {
    let mut log = pool();
    admit(&mut log, 0, 1, true);
    admit(&mut log, 0, 2, true);
    assert_eq!(expel(&mut log, 1, 0), Err(MembershipError::Right { author: id(1) }));
    assert_eq!(expel(&mut log, 2, 1), Err(MembershipError::Right { author: id(2) }));
    assert_eq!(expel(&mut log, 1, 1), Err(MembershipError::Peer { peer: id(1) }));
    // The later one strikes back as if it had not heard of it, at a member and by a guest that it makes an admin.
    let mut fork = log.clone();
    expel(&mut log, 1, 2).expect("expelled");
    admit(&mut fork, 0, 3, false);
    expel(&mut fork, 2, 3).expect("expelled");
    admit(&mut fork, 2, 4, true);
    admit(&mut fork, 4, 5, true);
    merge(&mut log, &mut fork);
    assert_eq!(log.state().members().copied().collect::<Vec<_>>(), sorted(&[0, 1, 3]));
}

#[test]
fn admins_made_and_expelled_without_knowing_of_each_other_are_both_out() {
    let mut log = pool();
    admit(&mut log, 0, 1, false);
    admit(&mut log, 0, 2, false);
    let mut fork = log.clone();
    for (log, admin, other) in [(&mut log, 1, 2), (&mut fork, 2, 1)] {
        log.write(&key(0), 1, Action::Promote { peer: id(admin) }).expect("promoted");
        expel(log, admin, other).expect("expelled");
    }
    merge(&mut log, &mut fork);
    assert_eq!(log.state().members().copied().collect::<Vec<_>>(), sorted(&[0]));
}

#[test]
fn foreign_and_forged_entries_are_refused() {
    let mut log = pool();
    let mut other = Membership::create(&key(0), "a pool", [8; 32], 1).expect("a pool");
    assert_ne!(log.pool(), other.pool());
    invite(&mut other, 0, 50, 1, false);
    for entry in other.entries() {
        assert_eq!(log.add(entry.clone()), Err(MembershipError::Pool));
    }
    invite(&mut log, 0, 50, 1, false);
    let parent = vec![EntryId::from_bytes([7; 32])];
    let lost = Entry::sign(&key(0), Some(log.pool()), parent.clone(), 1, Action::Leave).expect("an entry");
    assert_eq!(log.add(lost), Err(MembershipError::Parents { missing: parent }));
    let good = Entry::sign(&key(0), Some(log.pool()), log.heads(), 1, Action::Leave).expect("an entry");
    let forged = Entry { author: id(1), ..good.clone() };
    assert_eq!(log.add(forged), Err(MembershipError::Signature));
    assert_eq!(log.add(Entry { time: 2, ..good.clone() }), Err(MembershipError::Signature));
    assert_eq!(log.add(good.clone()), Ok(true));
    assert_eq!(Membership::open(good).err(), Some(MembershipError::Pool));
    let first = pool().entries().next().cloned().expect("the first");
    assert_eq!(Membership::open(Entry { time: 2, ..first }).err(), Some(MembershipError::Signature));
}

/// A member forks as often as it likes; the admin still writes, and the log's end is left for expulsions.
#[test]
fn a_full_log_still_expels() {
    let mut log = pool();
    admit(&mut log, 0, 1, false);
    let parents = log.heads();
    let flood = |time| {
        let action = Action::Invite { key: id(50), uses: 1, expires: FAR, admin: false };
        Entry::sign(&key(1), Some(log.pool()), parents.clone(), time, action).expect("an entry")
    };
    let flood: Vec<_> = (0..4000).map(flood).collect();
    let refused =
        flood.into_iter().map(|entry| log.add(entry)).filter(|added| *added == Err(MembershipError::Full)).count();
    assert!((400..1000).contains(&refused), "{refused}");
    let action = Action::Invite { key: id(51), uses: 1, expires: FAR, admin: false };
    assert_eq!(log.write(&key(0), 1, action), Err(MembershipError::Full));
    let expulsion = expel(&mut log, 0, 1).expect("expelled");
    assert_eq!(expulsion.parents.len(), MAX_PARENTS);
    assert_eq!(log.state().members().collect::<Vec<_>>(), [&id(0)]);
}

/// One step of a history: who, on which of three copies of the log, does what to whom.
type Step = (u8, u8, u8, u8);

fn step(logs: &mut [Membership; 3], (author, place, what, peer): Step) {
    let log = &mut logs[usize::from(place)];
    let by = 50 + author;
    let action = match what {
        0 | 1 => Action::Invite { key: id(by), uses: 1 + u16::from(peer), expires: FAR, admin: what == 1 },
        // Joins by whatever invitation the peer of that number has made.
        2..=4 => match log.invitation(&id(peer), &id(50 + peer)) {
            Some(invitation) => join_action(log, invitation, 50 + peer, author),
            None => return,
        },
        5 | 6 => Action::Expel { peer: id(peer) },
        7 => Action::Promote { peer: id(peer) },
        8 => Action::Leave,
        _ => {
            let from = logs[usize::from(peer) % 3].clone();
            give(&from, &mut logs[usize::from(place)]);
            return;
        }
    };
    // Most are refused; what is refused changes nothing.
    let before = log.heads();
    if log.write(&key(author), 1, action).is_err() {
        assert_eq!(log.heads(), before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_entries_give_the_same_state(
        steps in prop::collection::vec((0..5_u8, 0..3_u8, 0..11_u8, 0..5_u8), 1..60),
        order in prop::collection::vec(any::<prop::sample::Index>(), 200),
    ) {
        let mut whole = pool();
        admit(&mut whole, 0, 1, true);
        admit(&mut whole, 0, 2, false);
        let mut logs = [whole.clone(), whole.clone(), whole.clone()];
        for one in steps {
            step(&mut logs, one);
        }
        for log in &mut logs {
            merge(&mut whole, log);
        }
        // Whatever order, with repetitions, and what lacks parents again later.
        let entries: Vec<_> = whole.entries().cloned().collect();
        let mut other = Membership::open(entries[0].clone()).expect("a log");
        let mut waiting: Vec<_> = order.iter().map(|at| at.get(&entries).clone()).collect();
        waiting.extend(entries.iter().rev().cloned());
        while !waiting.is_empty() {
            let before = other.entries().count();
            waiting.retain(|entry| entry.pool.is_some() && match other.add(entry.clone()) {
                Err(MembershipError::Parents { .. }) => true,
                added => { added.expect("accepted"); false }
            });
            prop_assert!(waiting.is_empty() || other.entries().count() > before);
        }
        prop_assert_eq!(other.state(), whole.state());
        prop_assert_eq!(other.heads(), whole.heads());
        prop_assert_eq!(other.missing_at(&whole.heads()).count(), 0);
        // Nobody expels the founder, and nobody is both member and expelled.
        let state = whole.state();
        let left = entries.iter().any(|entry| entry.author == id(0) && entry.action == Action::Leave);
        prop_assert!(left || state.is_admin(&id(0)));
        prop_assert!(state.expelled().all(|peer| !state.is_member(peer)));
    }
}

#[test]
fn pools_meet_where_they_say() {
    let open = PoolId::open("name");
    assert_ne!(open, PoolId::open("Name"));
    assert_ne!(open.rendezvous(), PoolId::open("Name").rendezvous());
    assert_ne!(&open.rendezvous().as_bytes()[..], &open.as_bytes()[..20]);
}
