//! What the node keeps alive in the network: items and announcements, given out again before others forget them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{Item, Node, Target, Task, routing_table::K, run::Owner};

/// Something to be kept alive.
#[derive(Clone, Debug, PartialEq)]
pub enum Publication {
    /// An item.
    Item(Item),
    /// That we are a peer of a swarm.
    Peer {
        /// The swarm.
        info_hash: Target,
        /// Our port there.
        port: u16,
        /// Whether the port that our packets come from counts instead.
        implied_port: bool,
        /// Whether we are a seed.
        seed: bool,
    },
}

impl Publication {
    /// Where it is kept.
    pub fn target(&self) -> Target {
        match self {
            Self::Item(item) => item.target(),
            Self::Peer { info_hash, .. } => *info_hash,
        }
    }

    /// How often it is given out: others keep items for two hours, peers for 30 minutes or more.
    const fn interval(&self) -> Duration {
        match self {
            Self::Item(_) => Duration::from_hours(1),
            Self::Peer { .. } => Duration::from_mins(25),
        }
    }

    fn task(&self) -> Task {
        match self.clone() {
            Self::Item(item) => Task::Put { item, cas: None },
            Self::Peer { info_hash, port, implied_port, seed } => {
                Task::Announce { info_hash, port, implied_port, seed }
            }
        }
    }
}

/// All publications and when each is due.
#[derive(Default)]
pub(crate) struct Publisher {
    publications: BTreeMap<Target, Published>,
    due: BTreeSet<(Duration, Target)>,
    running: usize,
    /// When the next may start.
    next: Duration,
}

struct Published {
    publication: Publication,
    /// When it is given out again; not while that is under way.
    due: Option<Duration>,
    /// Nodes that took it the last time.
    copies: usize,
    failures: u32,
}

/// Publications under way at once, and the time between two: a full budget is some hundred packets a second.
const AT_ONCE: usize = 8;
const INTERVAL: Duration = Duration::from_millis(250);

impl Publisher {
    pub(crate) fn wake(&self) -> Option<Duration> {
        let (due, _) = self.due.first().filter(|_| self.running < AT_ONCE)?;
        Some((*due).max(self.next))
    }
}

impl Node {
    /// Keeps something alive from now on. What is `new` is given out at once; what was published before the node was
    /// started again, at some time within its interval: many nodes that start together must not all shout.
    pub fn publish(&mut self, publication: Publication, new: bool, now: Duration) {
        let target = publication.target();
        let wait = if new { Duration::ZERO } else { self.dice.time_below(publication.interval()) };
        self.unpublish(&target);
        self.publisher.due.insert((now + wait, target));
        let published = Published { publication, due: Some(now + wait), copies: 0, failures: 0 };
        self.publisher.publications.insert(target, published);
    }

    /// No longer keeps something alive; others forget it in time.
    pub fn unpublish(&mut self, target: &Target) {
        if let Some(due) = self.publisher.publications.remove(target).and_then(|published| published.due) {
            self.publisher.due.remove(&(due, *target));
        }
    }

    /// On how many nodes each publication is, as far as is known.
    pub fn publications(&self) -> impl Iterator<Item = (Target, usize)> + '_ {
        self.publisher.publications.iter().map(|(target, published)| (*target, published.copies))
    }

    /// Starts what is due, once there is a network to give it to.
    pub(crate) fn publish_next(&mut self, now: Duration) {
        if self.publisher.wake().is_none_or(|wake| wake > now) {
            return;
        }
        self.publisher.next = now + INTERVAL;
        let known: usize = self.sides.values().map(|side| side.table.len()).sum();
        // A cold table would lead to nodes that are not the nearest. In a network of a few nodes it never warms up.
        if known == 0 || (known < K && now < self.maintenance.settled()) {
            return;
        }
        let Some((_, target)) = self.publisher.due.pop_first() else { return };
        let Some(published) = self.publisher.publications.get_mut(&target) else { return };
        published.due = None;
        let task = published.publication.task();
        self.publisher.running += 1;
        self.run(task, Owner::Publisher(target), now);
    }

    /// Notes on how many nodes something is now, and when it is due again: sooner if it is on none.
    pub(crate) fn published(&mut self, target: Target, copies: usize, now: Duration) {
        let publisher = &mut self.publisher;
        publisher.running = publisher.running.saturating_sub(1);
        let Some(published) = publisher.publications.get_mut(&target) else { return };
        published.copies = copies;
        published.failures = if copies == 0 { published.failures + 1 } else { 0 };
        let interval = published.publication.interval();
        let wait = if copies == 0 {
            interval.min(Duration::from_secs(30) * 2_u32.saturating_pow(published.failures))
        } else {
            interval * 9 / 10 + self.dice.time_below(interval / 10)
        };
        // It may have been published anew meanwhile.
        if published.due.is_none() {
            published.due = Some(now + wait);
            publisher.due.insert((now + wait, target));
        }
    }
}
