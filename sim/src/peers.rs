//! Peers that keep each other's files while some leave, some come and go, and the network falls in two.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};
use replication::{Bucket, Candidate, Liveness, Patience, PeerId, ReadPlan, ReadStep};

use crate::{
    agenda::Agenda,
    course::{Course, Moment},
    library::{Block, File, Library, block, index, score},
    peer::Peer,
    ranking::{Ranking, number, peer_id},
};

/// A pool and what happens to it.
#[derive(Clone, Copy, Debug)]
pub struct Peers {
    /// Peers at the start.
    pub peers: u16,
    /// Files at the start.
    pub files: u32,
    /// Source blocks of a file.
    pub sources: u32,
    /// Peers that hold a block; twice as many hold a root.
    pub replicas: usize,
    /// How long it goes on.
    pub hours: u64,
    /// Which part of the peers leaves for ever, at random moments.
    pub leaving: f64,
    /// Whether as many come as leave.
    pub newcomers: bool,
    /// Which part of the peers comes and goes.
    pub flapping: f64,
    /// For how many hours the network is in two, from a quarter of the time on; 0 for never.
    pub divided: u64,
    /// Files put in an hour.
    pub writes: u64,
    /// Which part of the transfers fails.
    pub failing: f64,
    /// Whether who puts a file keeps all that it needs.
    pub pinned: bool,
    /// What everything follows from.
    pub seed: u64,
}

/// How often peers hear each other, and ask each other for what arrived.
const TICK: Duration = Duration::from_mins(1);

/// How often a peer compares what it holds with the others.
const CHECK: Duration = Duration::from_hours(1);

/// After what time it is known that a transfer failed.
const TIMEOUT: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_hours(1);

/// Reads that are tried in a tick.
const READS: usize = 5;

#[derive(Clone, Copy)]
enum Event {
    Tick,
    Check(u16),
    Wake(u16),
    Landed(Transfer),
    Leave(u16),
    Join(u16),
    Down(u16),
    Up(u16),
    Put,
    Divide,
    Unite,
}

#[derive(Clone, Copy)]
struct Transfer {
    from: u16,
    to: u16,
    block: Block,
    /// Whether the receiver asked for it.
    pulled: bool,
    failed: bool,
}

/// What one half of the network believes; both believe the same while it is whole.
struct Side {
    liveness: Liveness,
    live: Vec<bool>,
    /// The holders of a root in each bucket; the first of them hold the other blocks.
    holders: Vec<Vec<u16>>,
}

struct World {
    plan: Peers,
    now: Duration,
    agenda: Agenda<Event>,
    dice: SmallRng,
    ranking: Ranking,
    library: Library,
    peers: Vec<Peer>,
    /// Who has each block, of those that are not gone.
    copies: Vec<Vec<u16>>,
    sides: [Side; 2],
    divided: bool,
    /// What arrived where since the last tick.
    arrived: Vec<(u16, Block)>,
    /// Peers whose queues changed.
    touched: BTreeSet<u16>,
    lost: BTreeSet<u32>,
    /// When the network was whole again, and the blocks that some holder lacked since.
    united: Option<(Duration, BTreeSet<Block>)>,
    course: Course,
}

impl Peers {
    /// Lets it happen. `progress` is told the time.
    pub fn run(&self, progress: &mut dyn FnMut(Duration)) -> Course {
        let mut world = World::new(*self);
        world.schedule();
        let end = HOUR * u32::try_from(self.hours).unwrap_or(u32::MAX);
        while let Some((at, event)) = world.agenda.pop_until(end) {
            world.now = at;
            world.happen(event);
            world.wake_touched();
            progress(at);
        }
        world.end()
    }

    /// How many peers leave.
    fn leavers(&self) -> u16 {
        let leaving = f64::from(self.peers) * self.leaving;
        (0..self.peers).find(|peer| f64::from(*peer) >= leaving).unwrap_or(self.peers)
    }

    fn ever(&self) -> u16 {
        self.peers + if self.newcomers { self.leavers() } else { 0 }
    }
}

impl World {
    fn new(plan: Peers) -> Self {
        let ever = plan.ever();
        let ranking = Ranking::new(ever);
        let live: Vec<_> = (0..ever).map(|peer| peer < plan.peers).collect();
        let holders: Vec<_> = Bucket::all().map(|bucket| ranking.holders(bucket, 2 * plan.replicas, &live)).collect();
        let side =
            || Side { liveness: Liveness::new(Patience::default()), live: live.clone(), holders: holders.clone() };
        let mut world = Self {
            sides: [side(), side()],
            plan,
            now: Duration::ZERO,
            agenda: Agenda::new(),
            dice: SmallRng::seed_from_u64(plan.seed),
            ranking,
            library: Library::new(),
            peers: (0..ever).map(|peer| Peer::new(peer_id(peer), usize::from(peer % 2))).collect(),
            copies: Vec::new(),
            divided: false,
            arrived: Vec::new(),
            touched: BTreeSet::new(),
            lost: BTreeSet::new(),
            united: None,
            course: Course::default(),
        };
        (0..plan.peers).for_each(|peer| world.join(peer));
        world.furnish();
        world
    }

    /// The files of the start are where they belong.
    fn furnish(&mut self) {
        for _ in 0..self.plan.files {
            let writer = self.dice.random_range(0..self.plan.peers);
            for block in self.put(writer) {
                for holder in self.holders(0, block).to_vec() {
                    self.store(holder, block);
                }
            }
        }
        self.arrived.clear();
    }

    fn schedule(&mut self) {
        let plan = self.plan;
        self.agenda.push(TICK, Event::Tick);
        let mut order: Vec<_> = (0..plan.peers).collect();
        order.shuffle(&mut self.dice);
        for (which, peer) in order.iter().enumerate() {
            if which < usize::from(plan.leavers()) {
                self.at_random(Event::Leave(*peer));
            } else if f64::from(*peer) < f64::from(plan.peers) * plan.flapping {
                let first = self.time_below(2 * HOUR);
                self.agenda.push(first, Event::Down(*peer));
            }
        }
        (plan.peers..plan.ever()).for_each(|peer| self.at_random(Event::Join(peer)));
        (0..plan.writes * plan.hours).for_each(|_| self.at_random(Event::Put));
        if plan.divided > 0 {
            let start = Duration::from_hours(plan.hours) / 4;
            self.agenda.push(start, Event::Divide);
            self.agenda.push(start + Duration::from_hours(plan.divided), Event::Unite);
        }
    }

    fn at_random(&mut self, event: Event) {
        let at = self.time_below(Duration::from_hours(self.plan.hours));
        self.agenda.push(at, event);
    }

    fn time_below(&mut self, end: Duration) -> Duration {
        end.mul_f64(self.dice.random())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Check(peer) => self.check(peer),
            Event::Wake(peer) => self.pull(peer),
            Event::Landed(transfer) => self.land(transfer),
            Event::Leave(peer) => self.leave(peer),
            Event::Join(peer) => self.join(peer),
            Event::Down(peer) => self.down(peer),
            Event::Up(peer) => self.up(peer),
            Event::Put => self.write(),
            Event::Divide => self.divide(),
            Event::Unite => self.unite(),
        }
    }

    fn peer(&self, number: u16) -> &Peer {
        &self.peers[usize::from(number)]
    }

    fn peer_mut(&mut self, number: u16) -> &mut Peer {
        &mut self.peers[usize::from(number)]
    }

    fn reaches(&self, one: u16, other: u16) -> bool {
        let (one, other) = (self.peer(one), self.peer(other));
        one.up && other.up && (!self.divided || one.side == other.side)
    }

    /// Who should hold a block, as a side believes.
    fn holders(&self, side: usize, block: Block) -> &[u16] {
        let all = &self.sides[side].holders[usize::from(self.library.buckets[index(block)].number())];
        if self.library.roots[index(block)] { all } else { &all[..self.plan.replicas.min(all.len())] }
    }

    // What peers do.

    fn tick(&mut self) {
        self.hear();
        (0..2).for_each(|side| self.look(side));
        self.ask_for_arrivals();
        self.settle();
        (0..READS).for_each(|_| self.read());
        if self.now.as_secs().is_multiple_of(600) {
            self.measure();
        }
        self.agenda.push(self.now + TICK, Event::Tick);
    }

    fn hear(&mut self) {
        for peer in self.peers.iter().filter(|peer| peer.up) {
            for (number, side) in self.sides.iter_mut().enumerate() {
                if !self.divided || number == peer.side {
                    side.liveness.heard(&peer.id, self.now);
                }
            }
        }
    }

    /// Looks who is live; new holders ask for what they should have.
    fn look(&mut self, side: usize) {
        let mut live = vec![false; self.peers.len()];
        for peer in self.sides[side].liveness.live(self.now) {
            live[usize::from(number(&peer))] = true;
        }
        let before = std::mem::replace(&mut self.sides[side].live, live);
        let changed = (0..self.plan.ever()).filter(|peer| {
            let peer = usize::from(*peer);
            before[peer] != self.sides[side].live[peer]
        });
        let buckets: BTreeSet<Bucket> = changed.flat_map(|peer| self.ranking.buckets(peer)).copied().collect();
        for bucket in buckets {
            self.place(side, bucket);
        }
    }

    fn place(&mut self, side: usize, bucket: Bucket) {
        let count = 2 * self.plan.replicas;
        let new = self.ranking.holders(bucket, count, &self.sides[side].live);
        let old = std::mem::replace(&mut self.sides[side].holders[usize::from(bucket.number())], new.clone());
        if old == new {
            return;
        }
        for block in self.library.in_bucket(bucket).to_vec() {
            for holder in self.holders(side, block).to_vec() {
                if self.peer(holder).side == side {
                    self.want(holder, block);
                }
            }
        }
    }

    /// A peer wants a block that others have.
    fn want(&mut self, peer: u16, block: Block) {
        if !self.peer(peer).up || self.peer(peer).store.contains(&block) {
            return;
        }
        let copies = self.copies[index(block)].iter().filter(|other| self.reaches(**other, peer));
        let sources: Vec<PeerId> = copies.map(|other| self.peer(*other).id).collect();
        if let Some(copies) = u8::try_from(sources.len()).ok().filter(|copies| *copies > 0) {
            let now = self.now;
            self.peer_mut(peer).repairs.add(score(block), copies, &sources, now);
            self.touched.insert(peer);
        }
    }

    fn ask_for_arrivals(&mut self) {
        for (at, block) in std::mem::take(&mut self.arrived) {
            for side in 0..2 {
                for holder in self.holders(side, block).to_vec() {
                    if self.peer(holder).side == side && self.reaches(at, holder) {
                        self.want(holder, block);
                    }
                }
            }
        }
    }

    fn wake_touched(&mut self) {
        for number in std::mem::take(&mut self.touched) {
            let now = self.now;
            let peer = self.peer_mut(number);
            let length = peer.repairs.len();
            // Who is away looks at its queue when it is back.
            let wakes = peer.repairs.wakes().filter(|_| peer.up);
            let at = wakes.map(|at| at.max(now + Duration::from_nanos(1)));
            if let Some(at) = at.filter(|at| *at < peer.wake) {
                peer.wake = at;
                self.agenda.push(at, Event::Wake(number));
            }
            self.course.longest_queue = self.course.longest_queue.max(length);
        }
    }

    fn pull(&mut self, puller: u16) {
        let now = self.now;
        // It was put off, or something came before it.
        if self.peer(puller).wake != now {
            return;
        }
        self.peer_mut(puller).wake = Duration::MAX;
        self.touched.insert(puller);
        while self.peer(puller).up
            && let Some(job) = self.peer_mut(puller).repairs.next(now)
        {
            let from = number(&job.source);
            self.transfer(Transfer { from, to: puller, block: block(&job.score), pulled: true, failed: false });
        }
    }

    fn transfer(&mut self, transfer: Transfer) {
        let failed = !self.reaches(transfer.from, transfer.to) || self.dice.random_bool(self.plan.failing);
        let at = if failed {
            self.now + TIMEOUT
        } else {
            let now = self.now;
            let sent = self.peer_mut(transfer.from).send(now);
            let received = self.peer_mut(transfer.to).receive(sent);
            received + self.delay()
        };
        self.agenda.push(at, Event::Landed(Transfer { failed, ..transfer }));
    }

    /// Of a packet, one way.
    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.dice.random_range(10..150))
    }

    fn land(&mut self, Transfer { from, to, block, pulled, failed }: Transfer) {
        let now = self.now;
        self.touched.insert(to);
        if failed || !self.reaches(from, to) || !self.peer(from).store.contains(&block) {
            self.course.failed += 1;
            if pulled {
                self.peer_mut(to).repairs.failed(&score(block), now);
            }
            return;
        }
        *if pulled { &mut self.course.pulled } else { &mut self.course.pushed } += 1;
        self.course.twice += u64::from(self.peer(to).store.contains(&block));
        self.peer_mut(to).repairs.done(&score(block));
        self.store(to, block);
    }

    fn store(&mut self, peer: u16, block: Block) {
        if self.peer_mut(peer).store.insert(block) {
            self.copies[index(block)].push(peer);
            self.arrived.push((peer, block));
        }
    }

    fn remove(&mut self, peer: u16, block: Block) {
        self.peer_mut(peer).store.remove(&block);
        self.copies[index(block)].retain(|other| *other != peer);
    }

    /// A peer asks for what it should have, and drops what it need not have when all that should have it do.
    fn check(&mut self, number: u16) {
        if self.peer(number).gone {
            return;
        }
        self.agenda.push(self.now + CHECK, Event::Check(number));
        if self.peer(number).up {
            self.compare(number);
            self.drop_surplus(number);
        }
    }

    fn compare(&mut self, number: u16) {
        let side = self.peer(number).side;
        let may_hold = |bucket: &&Bucket| self.sides[side].holders[usize::from(bucket.number())].contains(&number);
        let buckets: Vec<_> = self.ranking.buckets(number).iter().filter(may_hold).copied().collect();
        for bucket in buckets {
            for block in self.library.in_bucket(bucket).to_vec() {
                if self.holders(side, block).contains(&number) {
                    self.want(number, block);
                }
            }
        }
    }

    fn drop_surplus(&mut self, number: u16) {
        let peer = self.peer(number);
        let surplus = |block: &&Block| {
            let holders = self.holders(peer.side, **block);
            let has = |holder: &u16| self.reaches(*holder, number) && self.peer(*holder).store.contains(*block);
            !holders.contains(&number) && holders.iter().all(has)
        };
        for block in peer.store.difference(&peer.pinned).filter(surplus).copied().collect::<Vec<_>>() {
            self.remove(number, block);
        }
    }

    /// Puts a file at a peer; returns the new blocks, which that has.
    fn put(&mut self, writer: u16) -> Vec<Block> {
        let stored = &self.peers[usize::from(writer)].store;
        let new = self.library.put(self.plan.sources, stored, &mut self.dice);
        self.copies.resize(self.library.roots.len(), Vec::new());
        if self.plan.pinned {
            let needed: Vec<_> = self.library.files.last().into_iter().flat_map(File::blocks).collect();
            for block in needed {
                self.store(writer, block);
                self.peer_mut(writer).pinned.insert(block);
            }
        }
        new
    }

    /// Somebody puts a file and pushes its blocks to their holders.
    fn write(&mut self) {
        let up: Vec<_> = (0..self.plan.ever()).filter(|peer| self.peer(*peer).up).collect();
        let Some(writer) = up.get(self.dice.random_range(0..up.len().max(1))).copied() else { return };
        let side = self.peer(writer).side;
        for block in self.put(writer) {
            self.store(writer, block);
            for to in self.holders(side, block).to_vec() {
                if to != writer {
                    self.transfer(Transfer { from: writer, to, block, pulled: false, failed: false });
                }
            }
        }
    }

    /// Somebody reads a block.
    fn read(&mut self) {
        let reader = self.dice.random_range(0..self.plan.ever());
        let Some(block) = self.library.any_block(&mut self.dice).filter(|_| self.peer(reader).up) else { return };
        if self.peer(reader).store.contains(&block) || self.copies[index(block)].is_empty() {
            return;
        }
        let mut plan = ReadPlan::new(self.candidates(reader, block), Duration::ZERO, Duration::from_secs(10));
        let (mut time, mut answers) = (Duration::ZERO, BTreeMap::new());
        self.course.reads += 1;
        loop {
            match plan.poll(time) {
                ReadStep::Ask(peer) => {
                    self.course.asked += 1;
                    let number = number(&peer);
                    let trip = self.delay() + self.delay();
                    if self.reaches(reader, number) {
                        answers.insert((time + trip, peer), self.peer(number).store.contains(&block));
                    }
                }
                ReadStep::Wait(until) => match answers.first_entry().filter(|answer| answer.key().0 <= until) {
                    Some(answer) if *answer.get() => return self.course.found.push(answer.key().0),
                    Some(answer) => {
                        let ((at, peer), _) = answer.remove_entry();
                        time = at;
                        plan.absent(&peer);
                    }
                    None => time = until,
                },
                ReadStep::GiveUp(_) => return,
            }
        }
    }

    /// Holders, then those that would be the next.
    fn candidates(&self, reader: u16, block: Block) -> Vec<Candidate> {
        let side = &self.sides[self.peer(reader).side];
        let ranked = &side.holders[usize::from(self.library.buckets[index(block)].number())];
        let candidate = |(rank, number): (usize, &u16)| {
            let peer = self.peer(*number).id;
            let connected = side.liveness.is_reachable(&peer);
            Candidate { peer, connected, holder: rank < self.plan.replicas, usual: Duration::from_millis(160) }
        };
        ranked.iter().enumerate().map(candidate).collect()
    }

    // What happens to them.

    fn join(&mut self, number: u16) {
        let (id, now) = (self.peer(number).id, self.now);
        self.peer_mut(number).gone = false;
        self.peer_mut(number).up = true;
        for side in &mut self.sides {
            side.liveness.add(id, now);
            side.liveness.heard(&id, now);
        }
        let first = now + self.time_below(CHECK);
        self.agenda.push(first, Event::Check(number));
    }

    fn leave(&mut self, number: u16) {
        self.cut(number);
        self.peer_mut(number).gone = true;
        let store = std::mem::take(&mut self.peer_mut(number).store);
        self.course.copies_lost += store.len() as u64;
        for block in store {
            self.copies[index(block)].retain(|other| *other != number);
            if self.copies[index(block)].is_empty() {
                self.lose(block);
            }
        }
        // Nobody pulls for it any more.
        self.peer_mut(number).repairs = Peer::new(peer_id(number), 0).repairs;
    }

    fn lose(&mut self, block: Block) {
        self.course.blocks_lost += 1;
        for file in &self.library.needed_by[index(block)] {
            let readable = self.library.files[index(*file)].is_readable(|block| !self.copies[index(block)].is_empty());
            if !readable {
                self.lost.insert(*file);
            }
        }
    }

    fn cut(&mut self, number: u16) {
        self.peer_mut(number).up = false;
        let id = self.peer(number).id;
        self.sides.iter_mut().for_each(|side| side.liveness.lost(&id));
    }

    /// For up to an hour.
    fn down(&mut self, number: u16) {
        self.cut(number);
        let back = self.now + self.time_below(HOUR);
        self.agenda.push(back, Event::Up(number));
    }

    /// For up to four hours. It asks for what arrived meanwhile.
    fn up(&mut self, number: u16) {
        self.peer_mut(number).up = true;
        self.compare(number);
        self.touched.insert(number);
        let next = self.now + self.time_below(4 * HOUR);
        self.agenda.push(next, Event::Down(number));
    }

    fn divide(&mut self) {
        self.divided = true;
        for peer in &self.peers {
            self.sides[1 - peer.side].liveness.lost(&peer.id);
        }
    }

    /// All ask for what arrived in the other half.
    fn unite(&mut self) {
        self.divided = false;
        self.united = Some((self.now, (0..self.library.blocks()).collect()));
        self.hear();
        (0..2).for_each(|side| self.look(side));
        for number in 0..self.plan.ever() {
            if self.peer(number).up {
                self.compare(number);
            }
        }
    }

    // What is counted.

    /// Looks whether all holders have what they should, once both halves agree who is live.
    fn settle(&mut self) {
        if self.sides[0].live != self.sides[1].live || self.course.converged.is_some() {
            return;
        }
        let Some((since, mut open)) = self.united.take() else { return };
        open.retain(|block| {
            let lacks = |holder: &u16| self.peer(*holder).up && !self.peer(*holder).store.contains(block);
            !self.copies[index(*block)].is_empty() && self.holders(0, *block).iter().any(lacks)
        });
        if open.is_empty() {
            self.course.converged = Some(self.now.saturating_sub(since));
        }
        self.united = Some((since, open));
    }

    fn measure(&mut self) {
        let kept = |block: &Block| !self.copies[index(*block)].is_empty();
        let copies = |block: Block| self.copies[index(block)].len();
        let should = |block: Block| self.plan.replicas * if self.library.roots[index(block)] { 2 } else { 1 };
        let blocks = || (0..self.library.blocks()).filter(kept);
        let moment = Moment {
            at: self.now,
            up: self.peers.iter().filter(|peer| peer.up).count(),
            lost: self.lost.len(),
            unreadable: (0..2).map(|side| self.unreadable(side)).max().unwrap_or(0),
            fewest: (0..self.library.blocks()).map(copies).min().unwrap_or(0),
            short: blocks().filter(|block| copies(*block) < should(*block)).count(),
            queued: self.peers.iter().map(|peer| peer.repairs.len()).sum(),
        };
        self.course.moments.push(moment);
    }

    fn unreadable(&self, side: usize) -> usize {
        let there = |peer: &u16| self.peer(*peer).up && (!self.divided || self.peer(*peer).side == side);
        let has: Vec<_> = self.copies.iter().map(|copies| copies.iter().any(there)).collect();
        self.library.files.iter().filter(|file| !file.is_readable(|block| has[index(block)])).count()
    }

    fn end(mut self) -> Course {
        self.course.blocks = self.library.roots.len();
        self.course.found.sort_unstable();
        self.course
    }
}
