//! Names of pools, and where their members meet.

use std::fmt;

use krpc::Target;

/// Names a pool: 32 bytes.
///
/// Of a closed pool, the id of its first entry, which nobody can guess; of an open one, derived from its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId([u8; 32]);

impl PoolId {
    /// The pool with this id.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The open pool of a name: BLAKE3's `derive_key` of the name, with a context of its own. It has no log:
    /// everybody who knows the name is a member.
    pub fn open(name: &str) -> Self {
        Self(blake3::derive_key("offs 2026 open pool", name.as_bytes()))
    }

    /// The id's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The info-hash under which members announce themselves on the DHT: the first 20 bytes of BLAKE3's `derive_key`
    /// of the id. Who sees it there learns nothing of the id.
    pub fn rendezvous(&self) -> Target {
        let derived = blake3::derive_key("offs 2026 pool rendezvous", &self.0);
        Target::from_bytes(derived.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolId({self})")
    }
}
