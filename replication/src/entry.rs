//! One entry of a pool's log: who did what, signed.

use std::fmt;

use crate::{PeerId, PeerKey, PoolId};

/// Longest entry, in bytes.
pub const MAX_ENTRY: usize = 1024;

/// Most parents of an entry.
pub const MAX_PARENTS: usize = 8;

/// Longest name of a pool, in bytes.
pub const MAX_NAME: usize = 64;

const MAGIC: &[u8; 7] = b"OFFPOOL";
const VERSION: u8 = 1;
const SIGNATURE: usize = 64;

/// What the key of an invitation signs begins with this.
const PROOF: &[u8; 8] = b"OFFJOIN1";

/// Names an entry: BLAKE3-256 of all of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId([u8; 32]);

/// An entry, parsed. Whether it is signed and its author had the right is not known yet.
///
/// Binary form, numbers big-endian: `OFFPOOL`, version 1, kind (1), number of parents (1), pool (32, zeros in
/// `Create`), author (32), time (8), parents (32 each), what the action needs, signature (64) of all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The pool; none in its first entry, whose id is the pool's.
    pub pool: Option<PoolId>,
    /// The latest entries that the author knew: at most [`MAX_PARENTS`], ascending; none in the first entry.
    pub parents: Vec<EntryId>,
    /// Who wrote it.
    pub author: PeerId,
    /// Seconds since 1970 by the author's clock. It proves nothing.
    pub time: u64,
    /// What was done.
    pub action: Action,
    /// The author's, over everything else.
    pub signature: [u8; 64],
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Kind 0, the first entry; its author is the first admin. Nonce (32), length of the name (1), name.
    Create {
        /// For people: 1 to [`MAX_NAME`] bytes, no control characters.
        name: String,
        /// Random; makes the pool's id one that nobody can guess.
        nonce: [u8; 32],
    },
    /// Kind 1. Key (32), uses (2), expires (8), admin (1: 0 or 1).
    Invite {
        /// Public key of the invitation.
        key: PeerId,
        /// How many peers may join by it, at least 1.
        uses: u16,
        /// First second since 1970 at which it is no longer good.
        expires: u64,
        /// Whether it makes admins.
        admin: bool,
    },
    /// Kind 2. Invitation (32), peer (32), proof (64).
    Join {
        /// The entry with the invitation.
        invitation: EntryId,
        /// Who joins: the author, or somebody whom the author admits.
        peer: PeerId,
        /// The invitation's signature: see [`Action::proof`].
        proof: [u8; 64],
    },
    /// Kind 3. The author is no member any more.
    Leave,
    /// Kind 4. Peer (32).
    Expel {
        /// Who is a member no more.
        peer: PeerId,
    },
    /// Kind 5. Peer (32).
    Promote {
        /// The member that becomes an admin.
        peer: PeerId,
    },
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// They do not begin like one.
    #[error("not an entry of a pool's log")]
    Magic,
    /// A newer form.
    #[error("the entry has version {0}, which this program does not know")]
    Version(u8),
    /// Too long, too short, or followed by something.
    #[error("the entry cannot have {0} bytes")]
    Length(usize),
    /// A field has a value that it cannot have.
    #[error("the entry's {0} cannot be right")]
    Field(&'static str),
}

impl EntryId {
    /// The entry with this hash.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryId({self})")
    }
}

impl Action {
    /// The proof that a join needs: `OFFJOIN1`, pool (32) and peer (32), signed by the invitation's key.
    pub fn proof(invitation: &PeerKey, pool: &PoolId, peer: &PeerId) -> [u8; 64] {
        invitation.sign(&Self::proved(pool, peer))
    }

    /// The bytes that a proof signs.
    pub(crate) fn proved(pool: &PoolId, peer: &PeerId) -> Vec<u8> {
        [&PROOF[..], pool.as_bytes(), peer.as_bytes()].concat()
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Create { .. } => 0,
            Self::Invite { .. } => 1,
            Self::Join { .. } => 2,
            Self::Leave => 3,
            Self::Expel { .. } => 4,
            Self::Promote { .. } => 5,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            // A longer name is refused when it is read; its length then does not matter.
            Self::Create { name, nonce } => {
                [&nonce[..], &[u8::try_from(name.len()).unwrap_or(u8::MAX)], name.as_bytes()].concat()
            }
            Self::Invite { key, uses, expires, admin } => {
                [&key.as_bytes()[..], &uses.to_be_bytes(), &expires.to_be_bytes(), &[u8::from(*admin)]].concat()
            }
            Self::Join { invitation, peer, proof } => [&invitation.as_bytes()[..], peer.as_bytes(), proof].concat(),
            Self::Leave => Vec::new(),
            Self::Expel { peer } | Self::Promote { peer } => peer.as_bytes().to_vec(),
        }
    }

    fn take(kind: u8, bytes: &mut Rest<'_>) -> Result<Self, EntryError> {
        Ok(match kind {
            0 => Self::Create { nonce: bytes.take()?, name: bytes.name()? },
            1 => Self::Invite {
                key: bytes.peer()?,
                uses: Some(u16::from_be_bytes(bytes.take()?))
                    .filter(|uses| *uses > 0)
                    .ok_or(EntryError::Field("uses"))?,
                expires: u64::from_be_bytes(bytes.take()?),
                admin: bytes.flag()?,
            },
            2 => Self::Join { invitation: bytes.id()?, peer: bytes.peer()?, proof: bytes.take()? },
            3 => Self::Leave,
            4 => Self::Expel { peer: bytes.peer()? },
            5 => Self::Promote { peer: bytes.peer()? },
            _ => return Err(EntryError::Field("kind")),
        })
    }
}

impl Entry {
    /// An entry that is signed.
    ///
    /// # Errors
    /// [`EntryError`] when it could not be read again: a name that no pool can have, or too many parents.
    pub fn sign(
        key: &PeerKey,
        pool: Option<PoolId>,
        mut parents: Vec<EntryId>,
        time: u64,
        action: Action,
    ) -> Result<Self, EntryError> {
        parents.sort_unstable();
        let mut entry = Self { pool, parents, author: key.id(), time, action, signature: [0; SIGNATURE] };
        entry.signature = key.sign(&entry.signed_bytes());
        Self::from_bytes(&entry.to_bytes())
    }

    /// Reads an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let Some((version, _)) = bytes.strip_prefix(MAGIC).and_then(<[u8]>::split_first) else {
            return Err(EntryError::Magic);
        };
        if *version != VERSION {
            return Err(EntryError::Version(*version));
        }
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::Length(bytes.len()));
        }
        let mut rest = Rest { bytes: &bytes[MAGIC.len() + 1..], whole: bytes.len() };
        let [kind, count] = rest.take()?;
        let pool = Some(rest.take()?).filter(|pool| *pool != [0; 32]).map(PoolId::from_bytes);
        let (author, time) = (rest.peer()?, u64::from_be_bytes(rest.take()?));
        let parents = rest.parents(count)?;
        if (kind == 0) != pool.is_none() || pool.is_none() != parents.is_empty() {
            return Err(EntryError::Field("pool"));
        }
        let action = Action::take(kind, &mut rest)?;
        let signature = rest.take()?;
        if rest.bytes.is_empty() {
            Ok(Self { pool, parents, author, time, action, signature })
        } else {
            Err(EntryError::Length(bytes.len()))
        }
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.signed_bytes()[..], &self.signature].concat()
    }

    /// Its name.
    pub fn id(&self) -> EntryId {
        EntryId(*blake3::hash(&self.to_bytes()).as_bytes())
    }

    /// Whether the author signed it.
    pub fn is_signed(&self) -> bool {
        self.author.verify(&self.signed_bytes(), &self.signature)
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // More parents than fit are refused when the entry is read.
        bytes.extend([VERSION, self.action.kind(), u8::try_from(self.parents.len()).unwrap_or(u8::MAX)]);
        bytes.extend(self.pool.map_or([0; 32], |pool| *pool.as_bytes()));
        bytes.extend(self.author.as_bytes());
        bytes.extend(self.time.to_be_bytes());
        bytes.extend(self.parents.iter().flat_map(|parent| parent.0));
        bytes.extend(self.action.to_bytes());
        bytes
    }
}

/// What is left to be read of an entry.
struct Rest<'a> {
    bytes: &'a [u8],
    whole: usize,
}

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(EntryError::Length(self.whole))?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn peer(&mut self) -> Result<PeerId, EntryError> {
        self.take().map(PeerId::from_bytes)
    }

    fn id(&mut self) -> Result<EntryId, EntryError> {
        self.take().map(EntryId)
    }

    fn flag(&mut self) -> Result<bool, EntryError> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(EntryError::Field("flag")),
        }
    }

    fn parents(&mut self, count: u8) -> Result<Vec<EntryId>, EntryError> {
        let parents = (0..count).map(|_| self.id()).collect::<Result<Vec<_>, _>>()?;
        let ascending = parents.is_sorted_by(|a, b| a < b);
        if ascending && parents.len() <= MAX_PARENTS { Ok(parents) } else { Err(EntryError::Field("parents")) }
    }

    fn name(&mut self) -> Result<String, EntryError> {
        let [length] = self.take()?;
        let (name, rest) = self.bytes.split_at_checked(length.into()).ok_or(EntryError::Length(self.whole))?;
        self.bytes = rest;
        let name = str::from_utf8(name).ok().filter(|name| is_name(name));
        name.map(str::to_owned).ok_or(EntryError::Field("name"))
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> PeerKey {
        PeerKey::from_seed([1; 32])
    }

    fn all() -> Vec<Entry> {
        let peer = PeerKey::from_seed([2; 32]).id();
        let nonce = [3; 32];
        let create = Action::Create { name: "a pool".to_owned(), nonce };
        let create = Entry::sign(&key(), None, Vec::new(), 0, create).expect("an entry");
        let pool = Some(PoolId::from_bytes(*create.id().as_bytes()));
        let rest = [
            Action::Invite { key: peer, uses: 1, expires: u64::MAX, admin: true },
            Action::Join { invitation: EntryId([4; 32]), peer, proof: [5; 64] },
            Action::Leave,
            Action::Expel { peer },
            Action::Promote { peer },
        ];
        let parents = vec![EntryId([9; 32]), create.id()];
        let rest = rest.map(|action| Entry::sign(&key(), pool, parents.clone(), 7, action).expect("an entry"));
        [create].into_iter().chain(rest).collect()
    }

    #[test]
    fn entries_are_read_as_written_and_not_otherwise() {
        for entry in all() {
            let bytes = entry.to_bytes();
            assert_eq!(Entry::from_bytes(&bytes), Ok(entry.clone()));
            assert!(entry.is_signed());
            for end in 0..bytes.len() {
                assert!(Entry::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
            }
            assert!(Entry::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert!(!Entry::from_bytes(&changed).is_ok_and(|entry| entry.is_signed()), "changed at {at}");
            }
        }
    }

    #[test]
    fn bad_fields_are_named() {
        let create = |name: &str| {
            let action = Action::Create { name: name.to_owned(), nonce: [0; 32] };
            Entry::sign(&key(), None, Vec::new(), 0, action)
        };
        assert!(create(&"a".repeat(64)).is_ok());
        for name in ["", "a\nb", &"a".repeat(65), &"a".repeat(300)] {
            assert!(create(name).is_err(), "{name:?}");
        }
        let leave = |parents| Entry::sign(&key(), Some(PoolId::from_bytes([1; 32])), parents, 0, Action::Leave);
        let parents = |count: u8| (0..count).map(|n| EntryId([n; 32])).collect::<Vec<_>>();
        assert!(leave(parents(8)).is_ok());
        assert_eq!(leave(parents(9)), Err(EntryError::Field("parents")));
        assert_eq!(leave(vec![EntryId([1; 32]); 2]), Err(EntryError::Field("parents")));
        assert_eq!(leave(parents(0)), Err(EntryError::Field("pool")));
        let mut bytes = leave(parents(1)).expect("an entry").to_bytes();
        bytes[7] = 2;
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Version(2)));
        bytes[0] = b'o';
        assert_eq!(Entry::from_bytes(&bytes), Err(EntryError::Magic));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(start in 0..6_usize, tail in prop::collection::vec(any::<u8>(), 0..1100)) {
            let bytes = [&MAGIC[..], &[VERSION, u8::try_from(start).unwrap_or(0)], &tail].concat();
            if let Ok(entry) = Entry::from_bytes(&bytes) {
                prop_assert_eq!(entry.to_bytes(), bytes);
            }
            prop_assert!(Entry::from_bytes(&tail).is_err());
        }
    }
}
