//! Peers that keep each other's blocks: what is decided, without a socket, a clock, a disk or dice.
//!
//! Blocks are named by their scores ([`cas::Score`]); peers by their public keys ([`PeerId`]).
//! Which peers hold a block follows from the pool's members alone ([`Placement`]): nothing is written down
//! for each block. docs/protocol.md has what goes over the wire.
//!
//! Times are [`std::time::Duration`]s since a start that the caller chose, the same one in every call.

mod audit;
mod envelope;
mod liveness;
mod peer_id;
mod placement;
mod quota;
mod read_plan;
mod repair_queue;
mod standing;
mod token_bucket;
mod word;

pub use audit::{AuditSchedule, Challenge, Proof};
pub use envelope::{Envelope, MOST_MESSAGE, NotAMessage, Refusal};
pub use liveness::{Liveness, Patience};
pub use peer_id::{NotAPeerId, PeerId};
pub use placement::{Bucket, Placement};
pub use quota::{Allowance, Allowances, Quota, Refusal as QuotaRefusal};
pub use read_plan::{Candidate, NotFound, ReadPlan, ReadStep};
pub use repair_queue::{Change, Job, NotAnEntry, RepairQueue, RepairSettings};
pub use standing::{Deeds, Lie, Reason, Standing};
pub use token_bucket::{Rate, TokenBucket};
pub use word::{
    Arrived, Bits, MOST_SCORES, Members, PeerStatus, Rumour, Word, members_from_bencode, members_to_bencode,
    proof_from_bencode, proof_to_bencode,
};
