//! Machines with addresses, and packets between them.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Duration,
};

use krpc::{Event, Family, Node, NodeId, Poll, Settings, Task, TaskId};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{Adversary, Link, agenda::Agenda};

/// Whoever is at an address.
pub struct Machine {
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    /// When it came.
    pub(crate) born: Duration,
    /// When it went, and its id then.
    pub(crate) gone: Option<(Duration, NodeId)>,
    /// Which part of a divided network it is in.
    pub(crate) part: u8,
    /// Behind a NAT: to whom it sent when. Only they get through to it.
    openings: Option<HashMap<SocketAddr, Duration>>,
    wake: Duration,
}

pub(crate) enum Kind {
    Honest(Box<Node>),
    Hostile(Adversary),
    /// It is no more.
    Gone,
}

/// How long a NAT lets answers through.
const OPENING: Duration = Duration::from_mins(1);

enum What {
    Packet { from: SocketAddr, to: SocketAddr, packet: Vec<u8> },
    Wake(usize),
}

/// A network and its time.
pub struct Network {
    pub(crate) now: Duration,
    pub(crate) link: Link,
    pub(crate) dice: SmallRng,
    pub(crate) machines: Vec<Machine>,
    addresses: HashMap<SocketAddr, usize>,
    agenda: Agenda<What>,
    events: Vec<(usize, Event)>,
    divided: bool,
    /// Packets sent so far.
    pub packets: u64,
    /// Bytes sent so far.
    pub bytes: u64,
}

impl Network {
    /// A network without anybody.
    pub fn new(seed: u64, link: Link) -> Self {
        Self {
            now: Duration::ZERO,
            link,
            dice: SmallRng::seed_from_u64(seed),
            machines: Vec::new(),
            addresses: HashMap::new(),
            agenda: Agenda::new(),
            events: Vec::new(),
            divided: false,
            packets: 0,
            bytes: 0,
        }
    }

    /// The time.
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// Adds a node; returns its number.
    pub fn add_node(&mut self, address: SocketAddr, settings: Settings, saved: Option<&krpc::Saved>) -> usize {
        let mut seed = [0; 32];
        self.dice.fill_bytes(&mut seed);
        let node = Node::new(settings, saved, seed, self.now);
        self.add(address, Kind::Honest(Box::new(node)))
    }

    /// Adds somebody who means ill; returns his number.
    pub fn add_adversary(&mut self, address: SocketAddr, adversary: Adversary) -> usize {
        self.add(address, Kind::Hostile(adversary))
    }

    fn add(&mut self, address: SocketAddr, kind: Kind) -> usize {
        let index = self.machines.len();
        let born = self.now;
        self.machines.push(Machine { address, kind, born, gone: None, part: 0, openings: None, wake: Duration::MAX });
        self.addresses.insert(address, index);
        self.wake_at(index, self.now);
        index
    }

    /// Puts a machine behind a NAT: only answers get through to it.
    pub fn hide(&mut self, index: usize) {
        self.machines[index].openings = Some(HashMap::new());
    }

    /// A machine ends without a word.
    pub fn kill(&mut self, index: usize) {
        self.machines[index].gone = self.id(index).map(|id| (self.now, id));
        self.machines[index].kind = Kind::Gone;
        self.addresses.remove(&self.machines[index].address);
    }

    /// Divides the network: these machines no longer reach the others.
    pub fn divide(&mut self, apart: &BTreeSet<usize>) {
        self.divided = true;
        for index in apart {
            self.machines[*index].part = 1;
        }
    }

    /// Makes it whole again.
    pub fn unite(&mut self) {
        self.divided = false;
        self.machines.iter_mut().for_each(|machine| machine.part = 0);
    }

    /// The node at a number.
    pub fn node(&self, index: usize) -> Option<&Node> {
        if let Kind::Honest(node) = &self.machines[index].kind { Some(node) } else { None }
    }

    /// The id under which a machine answers; `None` when it does not.
    pub(crate) fn id(&self, index: usize) -> Option<NodeId> {
        let machine = &self.machines[index];
        match &machine.kind {
            Kind::Honest(node) => node.id(Family::of(&machine.address)),
            Kind::Hostile(adversary) => adversary.answers().then(|| adversary.id()),
            Kind::Gone => None,
        }
    }

    /// A machine's address.
    pub fn address(&self, index: usize) -> SocketAddr {
        self.machines[index].address
    }

    /// Lets something be done with a node.
    pub fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Node, Duration) -> T) -> Option<T> {
        let now = self.now;
        let Kind::Honest(node) = &mut self.machines[index].kind else { return None };
        let done = act(node, now);
        self.drain(index);
        Some(done)
    }

    /// Starts a task on a node.
    pub fn start(&mut self, index: usize, task: Task) -> Option<TaskId> {
        self.with(index, |node, now| node.start(task, now))
    }

    /// What happened on nodes since the last call.
    pub fn events(&mut self) -> Vec<(usize, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Does a task and waits for its end, at most an hour.
    pub fn complete(&mut self, index: usize, task: Task) -> Option<krpc::Outcome> {
        let id = self.start(index, task)?;
        let end = self.now + Duration::from_hours(1);
        while self.now < end {
            for (of, event) in self.events() {
                if let Event::Done { task, outcome } = event
                    && of == index
                    && task == id
                {
                    return Some(*outcome);
                }
            }
            self.run_until(self.now + Duration::from_millis(100));
        }
        None
    }

    /// Lets time go on.
    pub fn run_until(&mut self, end: Duration) {
        while let Some((at, what)) = self.agenda.pop_until(end) {
            self.now = at;
            match what {
                What::Packet { from, to, packet } => self.deliver(from, to, &packet),
                What::Wake(index) if self.machines[index].wake == at => {
                    self.machines[index].wake = Duration::MAX;
                    self.drain(index);
                }
                // It was put off, or something came before it.
                What::Wake(_) => {}
            }
        }
        self.now = end;
    }

    fn wake_at(&mut self, index: usize, at: Duration) {
        if at < self.machines[index].wake {
            self.machines[index].wake = at;
            self.agenda.push(at, What::Wake(index));
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        let Some(index) = self.addresses.get(&to).copied() else { return };
        let now = self.now;
        let machine = &mut self.machines[index];
        if let Some(openings) = &machine.openings
            && openings.get(&from).is_none_or(|opened| now.saturating_sub(*opened) > OPENING)
        {
            return;
        }
        match &mut machine.kind {
            Kind::Honest(node) => node.handle(packet, from, now),
            Kind::Hostile(adversary) => adversary.handle(packet, from, now),
            Kind::Gone => return,
        }
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        loop {
            let now = self.now;
            let next = match &mut self.machines[index].kind {
                Kind::Honest(node) => node.poll(now),
                Kind::Hostile(adversary) => adversary.poll(now),
                Kind::Gone => return,
            };
            match next {
                Poll::Transmit(transmit) => self.send(index, transmit.to, transmit.packet),
                Poll::Event(event) => self.events.push((index, event)),
                // Never at this very moment again: that would be an endless loop, and a mistake.
                Poll::Wake(at) => return self.wake_at(index, at.max(now + Duration::from_nanos(1))),
            }
        }
    }

    fn send(&mut self, index: usize, to: SocketAddr, packet: Vec<u8>) {
        self.packets += 1;
        self.bytes += u64::try_from(packet.len()).unwrap_or(0);
        let now = self.now;
        let machine = &mut self.machines[index];
        if let Some(openings) = &mut machine.openings {
            openings.insert(to, now);
        }
        let (from, part) = (machine.address, machine.part);
        let cut = self.divided && self.addresses.get(&to).is_some_and(|other| self.machines[*other].part != part);
        if let Some(delay) = self.link.next(&mut self.dice).filter(|_| !cut) {
            self.agenda.push(now + delay, What::Packet { from, to, packet });
        }
    }
}
