//! Peers that keep each other's blocks: what is decided, without a socket, a clock, a disk or dice.
//!
//! Blocks are named by their scores ([`cas::Score`]); peers by their public keys ([`PeerId`]).
//! Which peers hold a block follows from the pool's members alone ([`Placement`]): nothing is written down
//! for each block. What two peers should both have they compare by fingerprints of ranges: one asks
//! ([`Reconciliation`]), the other [answers](answer). docs/protocol.md has what goes over the wire.

mod answer;
mod holdings;
mod peer_id;
mod placement;
mod range;
mod reconcile;
#[cfg(test)]
mod reconcile_tests;
mod salt;
mod selection;
mod varint;

pub use answer::answer;
pub use holdings::{Holdings, Leaves, ScoreSet};
pub use peer_id::{NotAPeerId, PeerId};
pub use placement::{Bucket, Placement};
pub use range::{Ask, MOST_RANGE, NotARange, RangeQuery, RangeReply};
pub use reconcile::{Found, Reconciliation, ReplyError, Step};
pub use salt::{Salt, Short};
pub use selection::{Selection, Slice, View};
