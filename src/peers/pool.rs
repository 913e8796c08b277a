//! The pool that this home belongs to: `pool.json` in the home.

use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use replication::{Action, Entry, EntryId, Membership, MembershipError, PeerId, PeerKey, PoolId};
use serde_json::{Value, json};

use crate::{failure::Failure, output_file};

/// A pool.
pub(crate) enum Pool {
    /// Everybody who knows the name belongs to it.
    Open { name: String },
    /// Who belongs to it is in a log.
    Closed {
        log: Box<Membership>,
        /// The key that the settings' secret stands for. It founded the pool and is no peer.
        founder: Option<PeerId>,
    },
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn derived(context: &str, name: &str, secret: &str) -> [u8; 32] {
    blake3::derive_key(context, &[name.as_bytes(), &[0], secret.as_bytes()].concat())
}

fn path(home: &Path) -> PathBuf {
    home.join("pool.json")
}

impl Pool {
    /// The pool of a home, if it has one.
    pub(crate) fn read(home: &Path) -> Result<Option<Self>, Failure> {
        let path = path(home);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Failure::io("read", path, source)),
        };
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        Self::from_json(&value).map(Some).ok_or(Failure::PoolFile { path })
    }

    fn from_json(value: &Value) -> Option<Self> {
        if let Some(name) = value["open"].as_str() {
            return Some(Self::Open { name: name.to_owned() });
        }
        let founder = value["founder"].as_str().and_then(|founder| founder.parse().ok());
        let entries = value["entries"].as_array()?.iter().map(|entry| hex::decode(entry.as_str()?).ok());
        let log = Self::log_of(&entries.collect::<Option<Vec<_>>>()?)?;
        Some(Self::Closed { log: Box::new(log), founder })
    }

    /// The log with these entries, each after its parents.
    fn log_of(entries: &[Vec<u8>]) -> Option<Membership> {
        let (first, rest) = entries.split_first()?;
        let mut log = Membership::open(Entry::from_bytes(first).ok()?).ok()?;
        for entry in rest {
            log.add(Entry::from_bytes(entry).ok()?).ok()?;
        }
        Some(log)
    }

    pub(crate) fn write(&self, home: &Path) -> Result<(), Failure> {
        let value = match self {
            Self::Open { name } => json!({ "open": name }),
            Self::Closed { log, founder } => {
                let entries: Vec<_> = log.entries().map(|entry| hex::encode(entry.to_bytes())).collect();
                json!({ "founder": founder.map(|founder| founder.to_string()), "entries": entries })
            }
        };
        let path = path(home);
        output_file::replace(&path, value.to_string().as_bytes()).map_err(|source| Failure::io("write", &path, source))
    }

    pub(crate) fn remove(home: &Path) -> Result<(), Failure> {
        let path = path(home);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::io("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// A new closed pool.
    pub(crate) fn create(key: &PeerKey, name: &str) -> Result<Self, Failure> {
        let log = Membership::create(key, name, rand::random(), now())?;
        Ok(Self::Closed { log: Box::new(log), founder: None })
    }

    /// The pool of a name and a secret, as several homes have them in their settings: each of them begins the same
    /// log, with a key that the secret stands for, and joins by the invitation in it.
    pub(crate) fn of_secret(key: &PeerKey, name: &str, secret: &str) -> Result<Self, Failure> {
        let derive = |context: &str| derived(context, name, secret);
        let founder = Self::founder(name, secret);
        let invitation = PeerKey::from_seed(derive("offs 2026 invitation of a pool with a secret"));
        let mut log = Membership::create(&founder, name, derive("offs 2026 nonce of a pool with a secret"), 0)?;
        let invite = Action::Invite { key: invitation.id(), uses: u16::MAX, expires: u64::MAX, admin: true };
        let invite = log.write(&founder, 0, invite)?.id();
        let proof = Action::proof(&invitation, &log.pool(), &key.id());
        log.write(key, now(), Action::Join { invitation: invite, peer: key.id(), proof })?;
        Ok(Self::Closed { log: Box::new(log), founder: Some(founder.id()) })
    }

    /// The key that founded the pool of a name and a secret. Who has the secret may do what a founder may.
    pub(crate) fn founder(name: &str, secret: &str) -> PeerKey {
        PeerKey::from_seed(derived("offs 2026 founder of a pool with a secret", name, secret))
    }

    /// The pool whose log came from a member; it must be the one that was meant.
    pub(crate) fn joined(pool: PoolId, entries: &[Vec<u8>]) -> Option<Self> {
        let log = Self::log_of(entries).filter(|log| log.pool() == pool)?;
        Some(Self::Closed { log: Box::new(log), founder: None })
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Open { name } => name,
            Self::Closed { log, .. } => log.name(),
        }
    }

    pub(crate) fn pool_id(&self) -> PoolId {
        match self {
            Self::Open { name } => PoolId::open(name),
            Self::Closed { log, .. } => log.pool(),
        }
    }

    pub(crate) fn id(&self) -> [u8; 32] {
        *self.pool_id().as_bytes()
    }

    /// Where members meet, in hexadecimal.
    pub(crate) fn rendezvous(&self) -> String {
        hex::encode(self.pool_id().rendezvous().as_bytes())
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The members that a log names; an open pool has none.
    pub(crate) fn members(&self) -> Vec<PeerId> {
        match self {
            Self::Open { .. } => Vec::new(),
            Self::Closed { log, founder } => {
                log.state().members().copied().filter(|peer| Some(*peer) != *founder).collect()
            }
        }
    }

    pub(crate) fn is_expelled(&self, peer: &PeerId) -> bool {
        match self {
            Self::Open { .. } => false,
            Self::Closed { log, .. } => log.state().expelled().any(|expelled| expelled == peer),
        }
    }

    pub(crate) fn admins(&self) -> Vec<PeerId> {
        match self {
            Self::Open { .. } => Vec::new(),
            Self::Closed { log, .. } => log.state().admins().copied().collect(),
        }
    }

    pub(crate) fn log(&mut self) -> Option<&mut Membership> {
        match self {
            Self::Open { .. } => None,
            Self::Closed { log, .. } => Some(log),
        }
    }

    /// Takes entries; how many were new. What is refused is passed over: it may follow something that comes later.
    pub(crate) fn add(&mut self, entries: &[Vec<u8>]) -> usize {
        let Some(log) = self.log() else { return 0 };
        let mut added = 0;
        for bytes in entries {
            match Entry::from_bytes(bytes).map_err(MembershipError::from).and_then(|entry| log.add(entry)) {
                Ok(new) => added += usize::from(new),
                Err(error) => tracing::debug!(%error, "an entry of the pool's log is refused"),
            }
        }
        added
    }

    /// Lets in who brings an invitation.
    pub(crate) fn admit(
        &mut self,
        key: &PeerKey,
        (inviter, invitation): (&PeerId, &PeerId),
        peer: PeerId,
        proof: [u8; 64],
    ) -> Result<(), MembershipError> {
        let Some(log) = self.log() else { return Ok(()) };
        if log.state().is_member(&peer) {
            return Ok(());
        }
        let invitation = log.invitation(inviter, invitation).ok_or(MembershipError::Invitation)?;
        log.write(key, now(), Action::Join { invitation, peer, proof }).map(drop)
    }

    pub(crate) fn heads(&self) -> Vec<[u8; 32]> {
        match self {
            Self::Open { .. } => Vec::new(),
            Self::Closed { log, .. } => log.heads().iter().map(|head| *head.as_bytes()).collect(),
        }
    }

    pub(crate) fn heads_hash(&self) -> [u8; 32] {
        *blake3::hash(self.heads().as_flattened()).as_bytes()
    }

    /// Entries that somebody lacks who has these heads.
    pub(crate) fn missing(&self, heads: &[[u8; 32]]) -> Vec<Vec<u8>> {
        let Self::Closed { log, .. } = self else { return Vec::new() };
        let heads: Vec<_> = heads.iter().map(|head| EntryId::from_bytes(*head)).collect();
        // What does not fit into one message comes with the next.
        log.missing_at(&heads).take(replication::ENTRIES_AT_ONCE).map(Entry::to_bytes).collect()
    }
}
