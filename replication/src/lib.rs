//! Peers that keep each other's blocks: what is decided, without a socket, a clock, a disk or dice.
//!
//! Blocks are named by their scores ([`cas::Score`]); peers by their public keys ([`PeerId`]).
//! Which peers hold a block follows from the pool's members alone ([`Placement`]): nothing is written down
//! for each block. docs/protocol.md has what goes over the wire.

mod peer_id;
mod placement;

pub use peer_id::{NotAPeerId, PeerId};
pub use placement::{Bucket, Placement};
