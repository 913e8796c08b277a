//! What a set of entries says of a pool: who is a member, who is an admin, who is expelled.
//!
//! docs/membership.md, section 3, has the rules. The same set gives the same state in whatever order it came.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{Action, Entry, EntryId, PeerId, past::Past};

/// An entry that was accepted, and what follows from what lies before it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) entry: Entry,
    pub(crate) id: EntryId,
    /// All entries before it.
    pub(crate) past: Past,
    /// The grant by which its author, or the one who made its invitation, had the right to it.
    pub(crate) by: usize,
    /// Whether an admin's right was needed.
    pub(crate) of_admin: bool,
    /// The invitation of a join, else the entry itself.
    pub(crate) basis: usize,
}

/// Who belongs to a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    members: BTreeMap<PeerId, bool>,
    expelled: BTreeSet<PeerId>,
}

/// A set of entries, judged. Entries are named by their places in the log.
pub(crate) struct Judged<'a> {
    log: &'a [Known],
    valid: Vec<bool>,
    grants: HashMap<PeerId, Vec<usize>>,
    leaves: HashMap<PeerId, Vec<usize>>,
    expulsions: HashMap<PeerId, Vec<usize>>,
    /// For each invitation the peers that joined by it, and the least id of an entry of theirs.
    users: HashMap<usize, BTreeMap<PeerId, EntryId>>,
    /// For each invitation by which too many joined, the greatest of those ids that counts.
    last_uses: HashMap<usize, EntryId>,
}

impl State {
    /// All members, ascending.
    pub fn members(&self) -> impl Iterator<Item = &PeerId> {
        self.members.keys()
    }

    /// The members that are admins, ascending.
    pub fn admins(&self) -> impl Iterator<Item = &PeerId> {
        self.members.iter().filter(|(_, admin)| **admin).map(|(peer, _)| peer)
    }

    /// Those that were expelled and are no members again, ascending.
    pub fn expelled(&self) -> impl Iterator<Item = &PeerId> {
        self.expelled.iter()
    }

    /// Whether a peer is a member.
    pub fn is_member(&self, peer: &PeerId) -> bool {
        self.members.contains_key(peer)
    }

    /// Whether a peer is a member and an admin.
    pub fn is_admin(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|admin| *admin)
    }
}

impl<'a> Judged<'a> {
    /// Judges the entries of `set`, which has all that lie before any of them.
    pub(crate) fn new(log: &'a [Known], set: &Past) -> Self {
        let mut judged = Self {
            log,
            valid: vec![false; log.len()],
            grants: HashMap::new(),
            leaves: HashMap::new(),
            expulsions: HashMap::new(),
            users: HashMap::new(),
            last_uses: HashMap::new(),
        };
        let mut order: Vec<usize> = (0..log.len()).filter(|at| set.contains(*at)).collect();
        for at in &order {
            judged.note(*at);
        }
        judged.last_uses =
            judged.users.iter().filter_map(|(at, users)| Some((*at, judged.last_use(*at, users)?))).collect();
        // What an admin did depends on grants and expulsions by older grants only, and the rest on all of that.
        order.sort_by_key(|at| if log[*at].of_admin { (false, log[*at].by, *at) } else { (true, *at, *at) });
        for at in order {
            judged.valid[at] = judged.is_valid(at);
        }
        judged
    }

    fn note(&mut self, at: usize) {
        let known = &self.log[at];
        let (kind, peer) = match &known.entry.action {
            Action::Create { .. } => (&mut self.grants, known.entry.author),
            Action::Join { peer, .. } => {
                let least = self.users.entry(known.basis).or_default().entry(*peer).or_insert(known.id);
                *least = known.id.min(*least);
                (&mut self.grants, *peer)
            }
            Action::Promote { peer } => (&mut self.grants, *peer),
            Action::Leave => (&mut self.leaves, known.entry.author),
            Action::Expel { peer } => (&mut self.expulsions, *peer),
            Action::Invite { .. } => return,
        };
        kind.entry(peer).or_default().push(at);
    }

    fn is_valid(&self, at: usize) -> bool {
        let known = &self.log[at];
        match &known.entry.action {
            Action::Create { .. } | Action::Leave => true,
            Action::Join { peer, .. } => {
                let admits = known.entry.author != *peer;
                self.is_open(known.basis, at)
                    && self.has_use(known.basis, peer)
                    && !(admits && self.is_undone(&known.entry.author, known, at, at))
            }
            _ => self.valid[known.by] && !self.is_undone(&known.entry.author, known, at, at),
        }
    }

    /// Whether an invitation is valid, and was still when the entry at `until` used it.
    pub(crate) fn is_open(&self, invitation: usize, until: usize) -> bool {
        let known = &self.log[invitation];
        self.valid[invitation] && !self.is_undone(&known.entry.author, known, invitation, until)
    }

    fn last_use(&self, invitation: usize, users: &BTreeMap<PeerId, EntryId>) -> Option<EntryId> {
        let uses = self.uses(invitation);
        if users.len() <= uses {
            return None;
        }
        let mut ids: Vec<_> = users.values().copied().collect();
        ids.sort_unstable();
        ids.get(uses.checked_sub(1)?).copied()
    }

    /// Whether a peer is among the first that joined by an invitation, by the least ids of their entries.
    fn has_use(&self, invitation: usize, peer: &PeerId) -> bool {
        self.last_uses.get(&invitation).is_none_or(|last| self.users[&invitation][peer] <= *last)
    }

    /// Whether one more peer may join by an invitation.
    pub(crate) fn has_room(&self, invitation: usize, peer: &PeerId) -> bool {
        self.users.get(&invitation).is_none_or(|users| users.contains_key(peer) || users.len() < self.uses(invitation))
    }

    fn uses(&self, invitation: usize) -> usize {
        if let Action::Invite { uses, .. } = self.log[invitation].entry.action { uses.into() } else { 0 }
    }

    /// Whether `author` was expelled by somebody who knew nothing of the entry at `until`, and of whose expulsion the
    /// entry at `since` knew nothing. What an admin did falls only to a grant older than his own.
    fn is_undone(&self, author: &PeerId, act: &Known, since: usize, until: usize) -> bool {
        self.expulsions_of(author).any(|at| {
            let expulsion = &self.log[at];
            let outranks = !act.of_admin || self.log[act.by].past.contains(expulsion.by);
            outranks && !self.log[since].past.contains(at) && !expulsion.past.contains(until)
        })
    }

    fn expulsions_of(&self, peer: &PeerId) -> impl Iterator<Item = usize> {
        self.expulsions.get(peer).into_iter().flatten().copied().filter(|at| self.valid[*at])
    }

    /// Whether the entry at `basis` knew of all expulsions of a peer, and each time that it left.
    pub(crate) fn is_after_ends(&self, peer: &PeerId, basis: usize) -> bool {
        let leaves = self.leaves.get(peer).into_iter().flatten().copied();
        self.expulsions_of(peer).chain(leaves).all(|at| self.log[basis].past.contains(at))
    }

    /// The grants by which a peer is a member, least id first.
    pub(crate) fn grants_of(&self, peer: &PeerId) -> Vec<usize> {
        let lives = |at: &usize| self.valid[*at] && self.is_after_ends(peer, self.log[*at].basis);
        let mut grants: Vec<_> = self.grants.get(peer).into_iter().flatten().copied().filter(lives).collect();
        grants.sort_unstable_by_key(|at| self.log[*at].id);
        grants
    }

    /// Those of [`Judged::grants_of`] that make an admin.
    pub(crate) fn admin_grants_of(&self, peer: &PeerId) -> Vec<usize> {
        let mut grants = self.grants_of(peer);
        grants.retain(|at| self.log[*at].of_admin);
        grants
    }

    /// The grant that a peer acts by: one that makes an admin, if it has any.
    pub(crate) fn standing_of(&self, peer: &PeerId) -> Option<usize> {
        self.admin_grants_of(peer).into_iter().chain(self.grants_of(peer)).next()
    }

    pub(crate) fn state(&self) -> State {
        let mut state = State::default();
        for peer in self.grants.keys() {
            let grants = self.grants_of(peer);
            if !grants.is_empty() {
                state.members.insert(*peer, grants.iter().any(|at| self.log[*at].of_admin));
            }
        }
        let expelled = self.expulsions.keys().filter(|peer| self.expulsions_of(peer).next().is_some());
        state.expelled = expelled.filter(|peer| !state.members.contains_key(peer)).copied().collect();
        state
    }
}
