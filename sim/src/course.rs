//! What became of a pool.

use std::{fmt, time::Duration};

/// A pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Duration,
    /// Peers that are up.
    pub up: usize,
    /// Files that can never be read again: of a stripe fewer tuples are whole than it has data, or the root is gone.
    pub lost: usize,
    /// Files that cannot be read now, in the worse half when the network is divided.
    pub unreadable: usize,
    /// Copies of the block with the fewest, on peers that are not gone for ever.
    pub fewest: usize,
    /// Blocks with fewer such copies than they should have.
    pub short: usize,
    /// Blocks that wait to be copied, at all peers.
    pub queued: usize,
}

/// What became of a pool, and what that cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Every ten minutes.
    pub moments: Vec<Moment>,
    /// Blocks at the end, and those of which no copy is left.
    pub blocks: usize,
    /// Blocks of which no copy is left.
    pub blocks_lost: usize,
    /// Copies that went with the peers that left.
    pub copies_lost: u64,
    /// Copies that were pulled, and those that were pushed by who put a file.
    pub pulled: u64,
    /// Copies pushed by who put a file.
    pub pushed: u64,
    /// Copies that came twice.
    pub twice: u64,
    /// Transfers that failed.
    pub failed: u64,
    /// Most blocks in the queue of one peer.
    pub longest_queue: usize,
    /// How long after the halves found each other all holders had all that was there then.
    pub converged: Option<Duration>,
    /// Reads tried, and how long each took that found its block, sorted.
    pub reads: u64,
    /// How long each read took that found its block, sorted.
    pub found: Vec<Duration>,
    /// Requests for all reads.
    pub asked: u64,
}

impl Course {
    /// Most files lost at any moment.
    pub fn lost(&self) -> usize {
        self.moments.iter().map(|moment| moment.lost).max().unwrap_or(0)
    }

    /// Fewest copies of any block at any moment.
    pub fn fewest(&self) -> usize {
        self.moments.iter().map(|moment| moment.fewest).min().unwrap_or(0)
    }

    /// Most files that could not be read at a moment.
    pub fn unreadable(&self) -> usize {
        self.moments.iter().map(|moment| moment.unreadable).max().unwrap_or(0)
    }
}

impl fmt::Display for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| hour | up | lost | unreadable | fewest copies | short blocks | queued |")?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for moment in self.moments.iter().filter(|moment| moment.at.as_secs().is_multiple_of(7200)) {
            let Moment { at, up, lost, unreadable, fewest, short, queued } = moment;
            let hour = at.as_secs() / 3600;
            writeln!(f, "| {hour} | {up} | {lost} | {unreadable} | {fewest} | {short} | {queued} |")?;
        }
        let (lost, unreadable, fewest) = (self.lost(), self.unreadable(), self.fewest());
        writeln!(f, "at any moment: {lost} files lost, {unreadable} unreadable, {fewest} copies of a block")?;
        writeln!(f, "blocks {}, lost {}, copies lost {}", self.blocks, self.blocks_lost, self.copies_lost)?;
        writeln!(f, "copies pulled {}, pushed {}, in vain {}", self.pulled, self.pushed, self.twice)?;
        writeln!(f, "transfers that failed {}, longest queue {}", self.failed, self.longest_queue)?;
        let at = |percent| self.found.get(self.found.len() * percent / 100).copied().unwrap_or_default();
        write!(f, "reads {}, found {} in {:?} (99 %: {:?}), ", self.reads, self.found.len(), at(50), at(99))?;
        writeln!(f, "{} requests", self.asked)?;
        self.converged.map_or(Ok(()), |time| writeln!(f, "converged {} s after the division", time.as_secs()))
    }
}
