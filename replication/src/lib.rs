//! Peers that keep each other's blocks: what is decided, without a socket, a clock, a disk or dice.
//!
//! Blocks are named by their scores ([`cas::Score`]); peers by their public keys ([`PeerId`]).
//! Which peers hold a block follows from the pool's members alone ([`Placement`]): nothing is written down
//! for each block. Who is a member of a closed pool follows from a log that all members have ([`Membership`]).
//! docs/protocol.md has what goes over the wire.
//!
//! Times are [`std::time::Duration`]s since a start that the caller chose, the same one in every call.

mod answer;
mod audit;
mod entry;
mod envelope;
mod holdings;
mod invitation;
mod liveness;
mod membership;
#[cfg(test)]
mod membership_tests;
mod past;
mod peer_id;
mod peer_key;
mod placement;
mod pool_id;
mod quota;
mod range;
mod read_plan;
mod reconcile;
#[cfg(test)]
mod reconcile_tests;
mod repair_queue;
mod salt;
mod selection;
mod standing;
mod state;
mod token_bucket;
mod varint;
mod word;

pub use answer::answer;
pub use audit::{AuditSchedule, Challenge, Proof};
pub use entry::{Action, Entry, EntryError, EntryId, MAX_ENTRY, MAX_NAME, MAX_PARENTS};
pub use envelope::{Envelope, MOST_MESSAGE, NotAMessage, Refusal};
pub use holdings::{Holdings, Leaves, ScoreSet};
pub use invitation::{Invitation, InvitationError};
pub use liveness::{Liveness, Patience};
pub use membership::{MOST_ENTRIES, MOST_LOG_BYTES, Membership, MembershipError};
pub use peer_id::{NotAPeerId, PeerId};
pub use peer_key::PeerKey;
pub use placement::{Bucket, Placement};
pub use pool_id::PoolId;
pub use quota::{Allowance, Allowances, Exceeded, Quota};
pub use range::{Ask, MOST_RANGE, NotARange, RangeQuery, RangeReply};
pub use read_plan::{Candidate, NotFound, ReadPlan, ReadStep};
pub use reconcile::{Found, Reconciliation, ReplyError, Step};
pub use repair_queue::{Change, Job, NotAnEntry, RepairQueue, RepairSettings};
pub use salt::{Salt, Short};
pub use selection::{Selection, Slice, View};
pub use standing::{Deeds, Lie, Reason, Standing};
pub use state::State;
pub use token_bucket::{Rate, TokenBucket};
pub use word::{
    Arrived, Bits, ENTRIES_AT_ONCE, MOST_SCORES, Members, PeerStatus, Rumour, Word, members_from_bencode,
    members_to_bencode, proof_from_bencode, proof_to_bencode,
};
