//! The log of a closed pool: who invited, joined, left, was expelled.

use std::collections::{HashMap, HashSet};

use crate::{
    Action, Entry, EntryError, EntryId, MAX_PARENTS, PeerId, PeerKey, PoolId, State,
    past::Past,
    state::{Judged, Known},
};

/// Most entries of a log.
pub const MOST_ENTRIES: usize = 4096;

/// Most bytes of a log's entries.
pub const MOST_LOG_BYTES: usize = 1 << 20;

/// The log of a closed pool.
///
/// Entries are accepted after those that they name as parents; whether one is accepted depends on what lies before
/// it and on nothing else, so all who have the same entries have the same [`State`]. docs/membership.md has
/// the rules. Only members can make a log longer. Of the room an eighth is for expulsions alone, so that whoever
/// fills a log can still be expelled; then the pool needs a new one.
#[derive(Clone, Debug)]
pub struct Membership {
    pool: PoolId,
    /// Each after its parents.
    log: Vec<Known>,
    places: HashMap<EntryId, usize>,
    bytes: usize,
}

/// Why an entry is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// It could not be read.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The author did not sign it.
    #[error("the entry's signature is not right")]
    Signature,
    /// It belongs to another pool.
    #[error("the entry belongs to another pool")]
    Pool,
    /// Entries before it are not known here; it may be accepted after them.
    #[error("{} entries before it are not known", missing.len())]
    Parents {
        /// Those that it names.
        missing: Vec<EntryId>,
    },
    /// The author is not a member.
    #[error("{author} is not a member")]
    NotAMember {
        /// Who wrote it.
        author: PeerId,
    },
    /// The author is not an admin, or not longer than the admin to be expelled.
    #[error("{author} has no right to do that")]
    Right {
        /// Who wrote it.
        author: PeerId,
    },
    /// What is done to a peer cannot be: it is a member already, or is none, or is the author.
    #[error("{peer} is not one to whom this can be done")]
    Peer {
        /// The peer.
        peer: PeerId,
    },
    /// The invitation is not one, or its maker was expelled.
    #[error("there is no such invitation")]
    Invitation,
    /// The invitation's time was over.
    #[error("the invitation has expired")]
    Expired,
    /// As many peers as may have joined by the invitation.
    #[error("the invitation is used up")]
    UsedUp,
    /// The proof is not the invitation's signature for this peer.
    #[error("the invitation's signature is not right")]
    Proof,
    /// The peer left or was expelled, and the invitation was not made after that.
    #[error("{peer} was a member before and needs a new invitation")]
    Gone {
        /// Who left or was expelled.
        peer: PeerId,
    },
    /// There is no room.
    #[error("the pool's log is full")]
    Full,
}

/// What an entry's right follows from: [`Known::by`], [`Known::of_admin`] and [`Known::basis`].
type Right = (usize, bool, usize);

impl Membership {
    /// A new pool, whose first admin has the key. The nonce is random.
    pub fn create(key: &PeerKey, name: &str, nonce: [u8; 32], time: u64) -> Result<Self, MembershipError> {
        let action = Action::Create { name: name.to_owned(), nonce };
        Self::open(Entry::sign(key, None, Vec::new(), time, action)?)
    }

    /// The log that begins with an entry. [`Membership::pool`] is to be compared with the pool that is meant.
    pub fn open(first: Entry) -> Result<Self, MembershipError> {
        let id = first.id();
        let pool = PoolId::from_bytes(*id.as_bytes());
        let mut membership = Self { pool, log: Vec::new(), places: HashMap::new(), bytes: 0 };
        if first.pool.is_some() {
            return Err(MembershipError::Pool);
        }
        if !first.is_signed() {
            return Err(MembershipError::Signature);
        }
        membership.push(first, id, Past::default(), (0, true, 0));
        Ok(membership)
    }

    /// The pool.
    pub const fn pool(&self) -> PoolId {
        self.pool
    }

    /// The name that the pool was given, for people.
    pub fn name(&self) -> &str {
        if let Action::Create { name, .. } = &self.log[0].entry.action { name } else { "" }
    }

    /// All entries, each after its parents.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.log.iter().map(|known| &known.entry)
    }

    /// Who belongs to the pool, by all entries that are known. It is computed anew each time.
    pub fn state(&self) -> State {
        Judged::new(&self.log, &Past::all(self.log.len())).state()
    }

    /// The entries that are nobody's parents, ascending.
    pub fn heads(&self) -> Vec<EntryId> {
        let mut heads: Vec<_> = self.places.keys().copied().collect();
        let parents: HashSet<_> = self.entries().flat_map(|entry| &entry.parents).collect();
        heads.retain(|id| !parents.contains(id));
        heads.sort_unstable();
        heads
    }

    /// What somebody lacks who has these heads, each after its parents. Heads that are not known here say nothing.
    pub fn missing_at(&self, heads: &[EntryId]) -> impl Iterator<Item = &Entry> {
        let there = self.past_of(heads.iter().filter_map(|id| self.places.get(id).copied()));
        self.log.iter().enumerate().filter(move |(at, _)| !there.contains(*at)).map(|(_, known)| &known.entry)
    }

    /// The first entry in which `inviter` invites by a key. (Others can copy the key into invitations of theirs.)
    pub fn invitation(&self, inviter: &PeerId, by: &PeerId) -> Option<EntryId> {
        let invites = |entry: &Entry| matches!(&entry.action, Action::Invite { key, .. } if key == by);
        let found = self.log.iter().find(|known| known.entry.author == *inviter && invites(&known.entry));
        found.map(|known| known.id)
    }

    /// Accepts an entry, and says whether it is new.
    pub fn add(&mut self, entry: Entry) -> Result<bool, MembershipError> {
        let id = entry.id();
        if self.places.contains_key(&id) {
            return Ok(false);
        }
        if entry.pool != Some(self.pool) {
            return Err(MembershipError::Pool);
        }
        let missing: Vec<_> = entry.parents.iter().filter(|id| !self.places.contains_key(id)).copied().collect();
        if !missing.is_empty() {
            return Err(MembershipError::Parents { missing });
        }
        self.check_room(&entry)?;
        if !entry.is_signed() {
            return Err(MembershipError::Signature);
        }
        let past = self.past_of(entry.parents.iter().map(|id| self.places[id]));
        let right = self.right(&entry, &past)?;
        self.push(entry, id, past, right);
        Ok(true)
    }

    /// Writes an entry after all that are known, and accepts it.
    pub fn write(&mut self, key: &PeerKey, time: u64, action: Action) -> Result<Entry, MembershipError> {
        let parents = self.parents(&key.id(), &action);
        let entry = Entry::sign(key, Some(self.pool), parents, time, action)?;
        self.add(entry.clone())?;
        Ok(entry)
    }

    /// The heads; when they are too many, first what the entry's right follows from, then as many as there is room.
    fn parents(&self, author: &PeerId, action: &Action) -> Vec<EntryId> {
        let mut parents = self.heads();
        if parents.len() > MAX_PARENTS {
            let judged = Judged::new(&self.log, &Past::all(self.log.len()));
            let needed = match action {
                Action::Join { invitation, .. } => self.places.get(invitation).copied(),
                Action::Expel { peer } | Action::Promote { peer } => judged.standing_of(peer),
                _ => None,
            };
            for at in needed.into_iter().chain(judged.standing_of(author)) {
                parents.retain(|id| *id != self.log[at].id);
                parents.insert(0, self.log[at].id);
            }
            parents.truncate(MAX_PARENTS);
        }
        parents
    }

    fn past_of(&self, parents: impl Iterator<Item = usize>) -> Past {
        let mut past = Past::default();
        parents.for_each(|at| past.include(at, &self.log[at].past));
        past
    }

    fn check_room(&self, entry: &Entry) -> Result<(), MembershipError> {
        // Whoever has filled the rest can still be expelled.
        let eighths = if matches!(entry.action, Action::Expel { .. }) { 8 } else { 7 };
        let bytes = self.bytes + entry.to_bytes().len();
        let fits = self.log.len() < MOST_ENTRIES / 8 * eighths && bytes <= MOST_LOG_BYTES / 8 * eighths;
        if fits { Ok(()) } else { Err(MembershipError::Full) }
    }

    fn push(&mut self, entry: Entry, id: EntryId, past: Past, (by, of_admin, basis): Right) {
        self.bytes += entry.to_bytes().len();
        self.places.insert(id, self.log.len());
        self.log.push(Known { entry, id, past, by, of_admin, basis });
    }

    /// Whether what lies before an entry gives its author the right to it.
    fn right(&self, entry: &Entry, past: &Past) -> Result<Right, MembershipError> {
        let (judged, author) = (Judged::new(&self.log, past), entry.author);
        let at = self.log.len();
        let as_member = || judged.standing_of(&author).ok_or(MembershipError::NotAMember { author });
        let as_admin = || judged.admin_grants_of(&author).first().copied().ok_or(MembershipError::Right { author });
        match &entry.action {
            Action::Create { .. } => Err(MembershipError::Pool),
            Action::Join { .. } => self.right_to_join(entry, &judged, past),
            Action::Leave | Action::Invite { admin: false, .. } => Ok((as_member()?, false, at)),
            Action::Invite { admin: true, .. } => {
                as_member()?;
                Ok((as_admin()?, true, at))
            }
            Action::Promote { peer } => {
                as_member()?;
                let promotable = !judged.grants_of(peer).is_empty() && judged.admin_grants_of(peer).is_empty();
                if promotable { Ok((as_admin()?, true, at)) } else { Err(MembershipError::Peer { peer: *peer }) }
            }
            Action::Expel { peer } => {
                as_member()?;
                Ok((self.right_to_expel(author, *peer, &judged)?, true, at))
            }
        }
    }

    /// The grant of the author that is older than all by which the peer is an admin.
    fn right_to_expel(&self, author: PeerId, peer: PeerId, judged: &Judged<'_>) -> Result<usize, MembershipError> {
        if peer == author || judged.grants_of(&peer).is_empty() {
            return Err(MembershipError::Peer { peer });
        }
        let others = judged.admin_grants_of(&peer);
        let outranks = |at: &usize| others.iter().all(|other| self.log[*other].past.contains(*at));
        judged.admin_grants_of(&author).into_iter().find(outranks).ok_or(MembershipError::Right { author })
    }

    fn right_to_join(&self, entry: &Entry, judged: &Judged<'_>, past: &Past) -> Result<Right, MembershipError> {
        let Action::Join { invitation, peer, proof } = &entry.action else { return Err(MembershipError::Invitation) };
        let place =
            self.places.get(invitation).copied().filter(|at| past.contains(*at)).ok_or(MembershipError::Invitation)?;
        let Action::Invite { key, expires, admin, .. } = &self.log[place].entry.action else {
            return Err(MembershipError::Invitation);
        };
        let held = if *admin { judged.admin_grants_of(peer) } else { judged.grants_of(peer) };
        if entry.author != *peer && judged.grants_of(&entry.author).is_empty() {
            Err(MembershipError::NotAMember { author: entry.author })
        } else if !judged.is_open(place, self.log.len()) {
            Err(MembershipError::Invitation)
        } else if !key.verify(&Action::proved(&self.pool, peer), proof) {
            Err(MembershipError::Proof)
        } else if entry.time >= *expires {
            Err(MembershipError::Expired)
        } else if !held.is_empty() {
            Err(MembershipError::Peer { peer: *peer })
        } else if !judged.is_after_ends(peer, place) {
            Err(MembershipError::Gone { peer: *peer })
        } else if !judged.has_room(place, peer) {
            Err(MembershipError::UsedUp)
        } else {
            Ok((self.log[place].by, *admin, place))
        }
    }
}
