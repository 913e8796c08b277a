//! What a node can be asked to do, and what comes of it.

use std::{net::SocketAddr, time::Duration};

use crate::{Contact, ErrorReply, Item, Method, NodeId, Response, ScrapeFilter, Target};

/// Something to do. All but the first begin with a lookup in each family.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Ask one node one thing.
    Ask {
        /// The node.
        to: SocketAddr,
        /// What it is asked.
        method: Method,
    },
    /// Find the nodes nearest to a target.
    FindNode {
        /// The target.
        target: Target,
    },
    /// Find the peers of a swarm.
    GetPeers {
        /// The swarm.
        info_hash: Target,
        /// Whether to ask for filters of its peers too (BEP 33).
        scrape: bool,
    },
    /// Say that we are a peer of a swarm.
    Announce {
        /// The swarm.
        info_hash: Target,
        /// Our port there.
        port: u16,
        /// Whether the port that our packets come from counts, and not `port`.
        implied_port: bool,
        /// Whether we are a seed.
        seed: bool,
    },
    /// Find an item (BEP 44). Of a mutable one the newest is found, which takes all of the nearest nodes.
    Get {
        /// Its target.
        target: Target,
        /// Its salt, which its signature covers; empty for immutable items.
        salt: Vec<u8>,
    },
    /// Give an item to the nodes nearest to its target (BEP 44).
    Put {
        /// The item.
        item: Item,
        /// The sequence number that is to be replaced.
        cas: Option<i64>,
    },
    /// Gather info-hashes around a target (BEP 51).
    Sample {
        /// The target.
        target: Target,
    },
}

/// The number of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(crate) u64);

/// What came of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The nearest nodes that answered, the nearest first, of each family.
    pub nearest: Vec<Contact>,
    /// The answer to [`Task::Ask`].
    pub response: Option<Box<Response>>,
    /// Peers of the swarm.
    pub peers: Vec<SocketAddr>,
    /// Filters of its seeds and of its other peers, united over all answers.
    pub scrape: Option<(ScrapeFilter, ScrapeFilter)>,
    /// The item.
    pub item: Option<Item>,
    /// Info-hashes.
    pub samples: Vec<Target>,
    /// Nodes that took the announcement or the item.
    pub stored: Vec<Contact>,
    /// Nodes that refused, and what they said.
    pub refused: Vec<(SocketAddr, ErrorReply)>,
    /// How many nodes were asked, answered, and did not answer.
    pub asked: u32,
    /// How many answered.
    pub answered: u32,
    /// How many did not.
    pub failed: u32,
    /// Over how many nodes the way to the nearest ones led.
    pub depth: u32,
    /// How long it took.
    pub elapsed: Duration,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A step of a task.
    Step {
        /// The task.
        task: TaskId,
        /// Who was asked.
        to: SocketAddr,
        /// Its id, when it is known.
        id: Option<NodeId>,
        /// What came of it.
        step: Step,
    },
    /// A task is done.
    Done {
        /// The task.
        task: TaskId,
        /// What came of it.
        outcome: Box<Outcome>,
    },
    /// Enough others agree on our address, and our id changed to go with it (BEP 42).
    IdChanged {
        /// The id now.
        id: NodeId,
        /// The address that they see.
        address: std::net::IpAddr,
    },
}

/// What came of one question of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was asked.
    Asked,
    /// It answered.
    Answered {
        /// After how long.
        after: Duration,
        /// How many nodes it named.
        nodes: usize,
        /// How many peers it named.
        peers: usize,
        /// Whether it had an item that is right.
        item: bool,
        /// How many answers led to it.
        depth: u32,
    },
    /// It refused.
    Refused,
    /// It did not answer.
    Failed,
}
