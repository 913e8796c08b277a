//! Peers that keep each other's blocks: what is decided, without a socket, a clock, a disk or dice.
//!
//! Blocks are named by their scores ([`cas::Score`]); peers by their public keys ([`PeerId`]).
//! Which peers hold a block follows from the pool's members alone ([`Placement`]): nothing is written down
//! for each block. Who is a member of a closed pool follows from a log that all members have ([`Membership`]).
//! docs/protocol.md has what goes over the wire.

mod entry;
mod invitation;
mod membership;
#[cfg(test)]
mod membership_tests;
mod past;
mod peer_id;
mod peer_key;
mod placement;
mod pool_id;
mod state;

pub use entry::{Action, Entry, EntryError, EntryId, MAX_ENTRY, MAX_NAME, MAX_PARENTS};
pub use invitation::{Invitation, InvitationError};
pub use membership::{MOST_ENTRIES, MOST_LOG_BYTES, Membership, Refusal};
pub use peer_id::{NotAPeerId, PeerId};
pub use peer_key::PeerKey;
pub use placement::{Bucket, Placement};
pub use pool_id::PoolId;
pub use state::State;
