//! What a node has done and has.

/// Figures since the node's birth, and of what it has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came.
    pub received: u64,
    /// Packets that went.
    pub sent: u64,
    /// Packets from addresses that cannot be.
    pub bogons: u64,
    /// Packets that were too many of one address or network.
    pub limited: u64,
    /// Packets that were no message, or queries with something wrong.
    pub malformed: u64,
    /// Answers that nobody asked for.
    pub unexpected: u64,
    /// Answers with another id than the node had.
    pub changed_ids: u64,
    /// Queries that were answered, by method: ping, `find_node`, `get_peers`, `announce_peer`, get, put,
    /// `sample_infohashes`, others.
    pub answered: [u64; 8],
    /// Queries that were refused.
    pub refused: u64,
    /// Queries of ours.
    pub queries: u64,
    /// Queries of ours that were sent again.
    pub repeated: u64,
    /// Answers to them.
    pub responses: u64,
    /// Refusals of them.
    pub refusals: u64,
    /// Queries that nobody answered.
    pub timeouts: u64,
    /// Nodes in the tables.
    pub nodes: usize,
    /// Swarms in the store.
    pub swarms: usize,
    /// Peers in the store.
    pub peers: usize,
    /// Items in the store.
    pub items: usize,
    /// Queries of ours that wait for an answer.
    pub open: usize,
}
