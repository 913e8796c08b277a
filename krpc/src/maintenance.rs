//! Knowing the network: joining it, looking after the nodes of the table, forgetting what is old.

use std::{collections::VecDeque, time::Duration};

use crate::{Contact, Family, Method, Node, Target, Task, TaskId, node::Purpose, routing_table::K, run::Owner};

/// When what is due.
pub(crate) struct Maintenance {
    /// Nodes of the last time, and those of them that were not asked yet.
    before: Vec<Contact>,
    saved: VecDeque<Contact>,
    /// Nodes to be looked after.
    checks: VecDeque<Contact>,
    /// Nodes that did not answer any more. When the network was divided, they are the way to the other part.
    lost: VecDeque<Contact>,
    /// Places to look for, so that each part of the key space is known.
    places: VecDeque<Target>,
    running: Vec<TaskId>,
    next: Duration,
    /// When to look for ourselves, and how long to wait after that.
    join: Duration,
    join_wait: Duration,
    survey: Duration,
    cleaning: Duration,
    settled: Duration,
    /// Whether the parts of the key space were looked through since the last joining.
    spread: bool,
}

const SECOND: Duration = Duration::from_secs(1);

/// How often we look for ourselves once we know the network: whoever came near meanwhile is found.
const JOIN_INTERVAL: Duration = Duration::from_mins(5);

/// How often the table is gone over.
const SURVEY_INTERVAL: Duration = Duration::from_secs(10);

/// How long a part of the key space may go without a lookup.
const PLACE_LIFE: Duration = Duration::from_mins(15);

/// Nodes that are kept in mind after they were lost; one is asked each time the table is gone over.
const MOST_LOST: usize = 32;

/// Nodes that are asked at once, five times a second.
const CHECKS_AT_ONCE: usize = 4;

/// Lookups of its own that a node has at once.
const LOOKUPS_AT_ONCE: usize = 3;

impl Maintenance {
    pub(crate) fn new(saved: Vec<Contact>, now: Duration) -> Self {
        Self {
            saved: saved.iter().copied().collect(),
            before: saved,
            checks: VecDeque::new(),
            lost: VecDeque::new(),
            places: VecDeque::new(),
            running: Vec::new(),
            next: now,
            join: now,
            join_wait: SECOND,
            survey: now + SURVEY_INTERVAL,
            cleaning: now + Duration::from_mins(1),
            settled: now + Duration::from_secs(15),
            spread: false,
        }
    }

    pub(crate) const fn wake(&self) -> Duration {
        self.next
    }

    /// Nodes of the last time that may help a lookup.
    pub(crate) fn saved(&self, family: Family) -> Vec<Contact> {
        let of_family = |contact: &&Contact| Family::of(&contact.address) == family;
        self.saved.iter().filter(of_family).copied().collect()
    }

    /// When the node has had time to find its place.
    pub(crate) const fn settled(&self) -> Duration {
        self.settled
    }

    /// Nodes of the last time, whether they still answer or not.
    pub(crate) fn before(&self) -> &[Contact] {
        &self.before
    }

    pub(crate) fn ended(&mut self, task: TaskId) {
        self.running.retain(|running| *running != task);
    }

    /// Notes a node that did not answer any more.
    pub(crate) fn lose(&mut self, contact: Contact) {
        if self.lost.len() == MOST_LOST {
            // Not the oldest: after a division the first to be lost are as good as the last.
            self.lost.swap_remove_back(self.lost.len() / 2);
        }
        self.lost.push_back(contact);
    }

    /// Somebody is back, and with him perhaps others: we soon look for ourselves.
    pub(crate) fn found(&mut self, contact: &Contact, now: Duration) {
        self.lost.retain(|lost| lost != contact);
        self.join = self.join.min(now + Duration::from_secs(10));
    }

    /// Joins anew: our place is another.
    pub(crate) fn start_again(&mut self) {
        (self.join, self.join_wait, self.spread) = (self.next, SECOND, false);
    }
}

impl Node {
    pub(crate) fn maintain(&mut self, now: Duration) {
        if now < self.maintenance.next {
            return;
        }
        if self.tokens.is_stale(now) {
            self.tokens.rotate(self.dice.bytes(), now);
        }
        if now >= self.maintenance.cleaning {
            self.maintenance.cleaning = now + Duration::from_mins(1);
            self.peers.expire(now);
            self.items.expire(now);
        }
        // Who only asks does not live long, and nobody relies on it.
        if !self.settings.read_only {
            self.join(now);
            self.survey(now);
            self.look_through(now);
            self.check_some(now);
        }
        let busy = !self.maintenance.checks.is_empty() || !self.maintenance.saved.is_empty();
        self.maintenance.next = now + if busy { SECOND / 5 } else { SECOND };
    }

    /// Asks one of those who were lost.
    fn look_for_lost(&mut self, now: Duration) {
        if let Some(contact) = self.maintenance.lost.pop_front() {
            self.ask(contact.address, Some(contact.id), Method::Ping, Purpose::Find, now);
            self.maintenance.lost.push_back(contact);
        }
    }

    /// Looks for ourselves: at birth with growing patience until somebody is known, later to meet who is new here.
    fn join(&mut self, now: Duration) {
        if now < self.maintenance.join || self.maintenance.running.len() >= LOOKUPS_AT_ONCE {
            return;
        }
        if self.maintenance.saved.is_empty() && self.sides.values().all(|side| side.table.len() == 0) {
            // There was no network perhaps.
            self.maintenance.saved = self.maintenance.before.iter().copied().collect();
        }
        let own: Vec<_> = self.sides.values().map(|side| side.table.own().as_target()).collect();
        for target in own {
            self.look_for(target, now);
        }
        let maintenance = &mut self.maintenance;
        maintenance.join_wait = if self.sides.values().any(|side| side.table.len() == 0) {
            (2 * maintenance.join_wait).min(JOIN_INTERVAL)
        } else {
            // Soon again at first: not everybody who should know us has heard of us yet.
            (4 * maintenance.join_wait).clamp(Duration::from_secs(10), JOIN_INTERVAL)
        };
        maintenance.join = now + maintenance.join_wait * 3 / 4 + self.dice.time_below(maintenance.join_wait / 2);
    }

    /// Goes over the table for nodes of which there was no sign for too long, and for parts that nobody looked at.
    fn survey(&mut self, now: Duration) {
        if now < self.maintenance.survey {
            return;
        }
        self.look_for_lost(now);
        let maintenance = &mut self.maintenance;
        maintenance.survey = now + SURVEY_INTERVAL;
        maintenance.checks = self.sides.values().flat_map(|side| side.table.due(now)).collect();
        let knows_some = self.sides.values().all(|side| side.table.len() >= K);
        for side in self.sides.values_mut() {
            if knows_some && !maintenance.spread {
                maintenance.places.extend(side.table.places(now, Duration::ZERO, &mut self.dice));
            } else if maintenance.places.is_empty() {
                maintenance.places.extend(side.table.places(now, PLACE_LIFE, &mut self.dice));
            }
        }
        maintenance.spread |= knows_some;
    }

    fn look_through(&mut self, now: Duration) {
        if self.maintenance.running.len() >= LOOKUPS_AT_ONCE {
            return;
        }
        if let Some(target) = self.maintenance.places.pop_front() {
            self.look_for(target, now);
        }
    }

    fn look_for(&mut self, target: Target, now: Duration) {
        let task = self.run(Task::FindNode { target }, Owner::Maintenance, now);
        // With nobody to ask it has ended already.
        self.maintenance.running.extend(self.runs.contains_key(&task).then_some(task));
    }

    fn check_some(&mut self, now: Duration) {
        for _ in 0..CHECKS_AT_ONCE {
            let maintenance = &mut self.maintenance;
            let Some(contact) = maintenance.checks.pop_front().or_else(|| maintenance.saved.pop_front()) else {
                return;
            };
            if !self.transactions.expects(&contact.address) {
                self.ask(contact.address, Some(contact.id), Method::Ping, Purpose::Check, now);
            }
        }
    }
}
