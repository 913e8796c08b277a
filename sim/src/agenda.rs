//! What happens when.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

/// What is to come, by time; of things at one moment the one that was put down first.
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<Scheduled<T>>>,
    next: u64,
}

struct Scheduled<T> {
    at: Duration,
    number: u64,
    what: T,
}

impl<T> Agenda<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    pub(crate) fn push(&mut self, at: Duration, what: T) {
        self.heap.push(Reverse(Scheduled { at, number: self.next, what }));
        self.next += 1;
    }

    /// The next thing and its time, unless that is after `end`.
    pub(crate) fn pop_until(&mut self, end: Duration) -> Option<(Duration, T)> {
        if self.heap.peek()?.0.at > end {
            return None;
        }
        self.heap.pop().map(|Reverse(scheduled)| (scheduled.at, scheduled.what))
    }
}

impl<T> Ord for Scheduled<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> PartialOrd for Scheduled<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Scheduled<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Scheduled<T> {}
