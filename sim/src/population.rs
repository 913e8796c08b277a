//! Many nodes that come and go, and how good their lookups are.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use krpc::{Event, NodeId, Outcome, Settings, Target, Task, TaskId};
use rand::{Rng as _, RngExt as _};

use crate::{Adversary, Link, Malice, Network, network::Kind};

/// A population of a public network.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// How many nodes there are at any time.
    pub nodes: usize,
    /// Which part of them means ill, 0 to 1.
    pub hostile: f64,
    /// Which part of them is replaced in ten minutes.
    pub churn: f64,
    /// What happens to packets.
    pub link: Link,
    /// What everything follows from.
    pub seed: u64,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// How long the population lives before.
    pub warm_up: Duration,
    /// How many lookups are made.
    pub lookups: usize,
    /// How many are started in a second.
    pub rate: f64,
}

/// How good the lookups were.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Lookups that ended.
    pub lookups: usize,
    /// Those that found the nearest eight nodes there are.
    pub right: usize,
    /// Rounds of each, sorted.
    pub rounds: Vec<u32>,
    /// Nodes asked by each, sorted.
    pub asked: Vec<u32>,
    /// How long each took, sorted.
    pub elapsed: Vec<Duration>,
    /// Why each of the others was wrong.
    pub wrong: BTreeMap<&'static str, usize>,
    /// Packets of a node in a second, over the whole run.
    pub packets: f64,
}

/// How long a node must have been there to be counted: before, it may still be on its way to its place.
const SETTLED: Duration = Duration::from_mins(1);

const K: usize = 8;

/// A population under way.
struct World {
    population: Population,
    network: Network,
    /// Numbers of the machines that are there.
    alive: Vec<usize>,
    ports: u16,
    deaths: f64,
}

impl Population {
    /// Lets the population live, and measures its lookups.
    pub fn measure(&self, measure: &Measure, progress: &mut dyn FnMut(Duration, usize)) -> Report {
        let mut world = World {
            population: *self,
            network: Network::new(self.seed, self.link),
            alive: Vec::new(),
            ports: 0,
            deaths: 0.0,
        };
        world.settle(progress);
        let end = world.network.now + measure.warm_up;
        while world.network.now < end {
            world.live(STEP);
            progress(world.network.now, 0);
        }
        world.look(measure, progress)
    }
}

const STEP: Duration = Duration::from_millis(200);

impl World {
    /// Everybody comes, over as long as it takes to double the population every few seconds.
    fn settle(&mut self, progress: &mut dyn FnMut(Duration, usize)) {
        while self.alive.len() < self.population.nodes {
            let more = (self.alive.len() / 20).clamp(1, self.population.nodes - self.alive.len());
            for _ in 0..more {
                self.spawn();
            }
            self.network.run_until(self.network.now + Duration::from_secs(1));
            progress(self.network.now, 0);
        }
    }

    /// A public address that nobody has.
    fn address(&mut self) -> SocketAddr {
        let dice = &mut self.network.dice;
        let ip = [dice.random_range(20..60), dice.random(), dice.random(), dice.random_range(1..255)];
        self.ports = self.ports.checked_add(1).unwrap_or(1);
        SocketAddr::from((ip, self.ports.max(1)))
    }

    fn somebody(&mut self) -> Option<usize> {
        let some = self.network.dice.random_range(0..self.alive.len().max(1));
        self.alive.get(some).copied()
    }

    fn some_addresses(&mut self, count: usize) -> Vec<SocketAddr> {
        let some: Vec<_> = (0..count).filter_map(|_| self.somebody()).collect();
        some.into_iter().map(|index| self.network.address(index)).collect()
    }

    fn spawn(&mut self) {
        let address = self.address();
        let doors = self.some_addresses(3);
        let index = if self.network.dice.random_bool(self.population.hostile) {
            let malices = [Malice::Silence, Malice::WrongIds, Malice::Poison, Malice::Flood];
            let malice = malices[self.network.dice.random_range(0..malices.len())];
            let victims = self.some_addresses(100);
            let seed = self.network.dice.next_u64();
            self.network.add_adversary(address, Adversary::new(malice, address, victims, seed))
        } else {
            let settings = Settings { private: false, bootstrap: doors, ..Settings::private() };
            self.network.add_node(address, settings, None)
        };
        self.alive.push(index);
    }

    /// Time goes on, and some are replaced.
    fn live(&mut self, step: Duration) {
        let nodes = f64::from(u32::try_from(self.population.nodes).unwrap_or(u32::MAX));
        self.deaths += self.population.churn * nodes * step.as_secs_f64() / 600.0;
        while self.deaths >= 1.0 {
            self.deaths -= 1.0;
            let some = self.network.dice.random_range(0..self.alive.len());
            let index = self.alive.swap_remove(some);
            self.network.kill(index);
            self.spawn();
        }
        self.network.run_until(self.network.now + step);
    }

    fn look(&mut self, measure: &Measure, progress: &mut dyn FnMut(Duration, usize)) -> Report {
        let mut report = Report::default();
        let mut open: HashMap<(usize, TaskId), (Target, Duration)> = HashMap::new();
        let (mut started, mut due) = (0, 0.0);
        self.network.events();
        while started < measure.lookups || !open.is_empty() {
            due += measure.rate * STEP.as_secs_f64();
            while due >= 1.0 && started < measure.lookups {
                due -= 1.0;
                let Some(index) = self.somebody().filter(|index| self.is_settled(*index)) else { continue };
                let mut target = [0; 20];
                self.network.dice.fill_bytes(&mut target);
                let target = Target::from_bytes(target);
                if let Some(task) = self.network.start(index, Task::FindNode { target }) {
                    open.insert((index, task), (target, self.network.now));
                    started += 1;
                }
            }
            self.live(STEP);
            for (index, event) in self.network.events() {
                if let Event::Done { task, outcome } = event
                    && let Some((target, start)) = open.remove(&(index, task))
                {
                    self.judge(index, &target, start, &outcome, &mut report);
                }
            }
            open.retain(|(index, _), _| !matches!(self.network.machines[*index].kind, Kind::Gone));
            progress(self.network.now, report.lookups);
        }
        report.rounds.sort_unstable();
        report.asked.sort_unstable();
        report.elapsed.sort_unstable();
        let node_seconds =
            self.network.now.as_secs_f64() * f64::from(u32::try_from(self.alive.len()).unwrap_or(u32::MAX));
        report.packets =
            f64::from(u32::try_from(self.network.packets / 1000).unwrap_or(u32::MAX)) * 1000.0 / node_seconds;
        report
    }

    fn is_settled(&self, index: usize) -> bool {
        let machine = &self.network.machines[index];
        matches!(machine.kind, Kind::Honest(_)) && machine.born + SETTLED <= self.network.now
    }

    /// Compares what a lookup found with who is there.
    fn judge(&self, asker: usize, target: &Target, start: Duration, outcome: &Outcome, report: &mut Report) {
        report.lookups += 1;
        report.rounds.push(outcome.depth);
        report.asked.push(outcome.asked);
        report.elapsed.push(outcome.elapsed);
        let why = self.flaw(asker, target, start, outcome);
        match why {
            None => report.right += 1,
            Some(why) => *report.wrong.entry(why).or_default() += 1,
        }
    }

    fn flaw(&self, asker: usize, target: &Target, start: Duration, outcome: &Outcome) -> Option<&'static str> {
        if outcome.nearest.len() < K {
            return Some("fewer than eight");
        }
        let was_there = |id: NodeId, address: SocketAddr| {
            self.network.machines.iter().enumerate().any(|(index, machine)| {
                machine.address == address
                    && (self.network.id(index) == Some(id)
                        || machine.gone.is_some_and(|(when, gone)| gone == id && when >= start))
            })
        };
        let farthest = outcome.nearest.last()?.id.distance(target);
        for index in self.alive.iter().copied().filter(|index| *index != asker) {
            let machine = &self.network.machines[index];
            if machine.born + SETTLED > start {
                continue;
            }
            // Who means ill need not be found.
            let Some(id) = self.network.id(index).filter(|_| matches!(machine.kind, Kind::Honest(_))) else { continue };
            if id.distance(target) < farthest && !outcome.nearest.iter().any(|found| found.id == id) {
                return Some(if machine.born + 5 * SETTLED > start { "one missing, new" } else { "one missing, old" });
            }
        }
        let false_one = outcome.nearest.iter().any(|found| !was_there(found.id, found.address));
        false_one.then_some("one that is not there")
    }
}
