//! One peer of a pool: what it stores, what it has to copy, and how fast its line is.

use std::{collections::BTreeSet, time::Duration};

use cas::MAX_BLOCK;
use replication::{PeerId, RepairQueue, RepairSettings};

use crate::library::Block;

/// 20 Mbit/s up and 100 Mbit/s down: how long a block takes.
const UP: Duration = Duration::from_nanos(MAX_BLOCK as u64 * 400);
const DOWN: Duration = Duration::from_nanos(MAX_BLOCK as u64 * 80);

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) up: bool,
    /// It went for ever, or has not come yet.
    pub(crate) gone: bool,
    /// Which half of a divided network it is in.
    pub(crate) side: usize,
    pub(crate) store: BTreeSet<Block>,
    /// What the files need that were put here.
    pub(crate) pinned: BTreeSet<Block>,
    pub(crate) repairs: RepairQueue,
    /// When its repairs are looked at next.
    pub(crate) wake: Duration,
    sends_from: Duration,
    receives_from: Duration,
}

impl Peer {
    pub(crate) fn new(id: PeerId, side: usize) -> Self {
        Self {
            id,
            up: false,
            gone: true,
            side,
            store: BTreeSet::new(),
            pinned: BTreeSet::new(),
            repairs: RepairQueue::new(RepairSettings::default()),
            wake: Duration::MAX,
            sends_from: Duration::ZERO,
            receives_from: Duration::ZERO,
        }
    }

    /// When a block that is to be sent now has left: one goes after the other.
    pub(crate) fn send(&mut self, now: Duration) -> Duration {
        self.sends_from = self.sends_from.max(now) + UP;
        self.sends_from
    }

    /// When a block that leaves at `sent` is here.
    pub(crate) fn receive(&mut self, sent: Duration) -> Duration {
        self.receives_from = sent.max(self.receives_from + DOWN);
        self.receives_from
    }
}
