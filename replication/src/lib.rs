//! Peers that keep each other's blocks: what is decided, without a socket, a clock, a disk or dice.
//!
//! Blocks are named by their scores ([`cas::Score`]); peers by their public keys ([`PeerId`]).
//! Which peers hold a block follows from the pool's members alone ([`Placement`]): nothing is written down
//! for each block. docs/protocol.md has what goes over the wire.

mod envelope;
mod peer_id;
mod placement;
mod word;

pub use envelope::{Envelope, MOST_MESSAGE, NotAMessage, Refusal};
pub use peer_id::{NotAPeerId, PeerId};
pub use placement::{Bucket, Placement};
pub use word::{
    Arrived, Bits, MOST_SCORES, Members, PeerStatus, Rumour, Word, members_from_bencode, members_to_bencode,
    proof_from_bencode, proof_to_bencode,
};
