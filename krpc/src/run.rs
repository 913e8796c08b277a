//! A task under way: its lookups, then what it stores.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::{
    Contact, ErrorReply, Event, Family, Item, Method, Node, Outcome, Response, Step, Target, Task, TaskId,
    lookup::{Lookup, Question},
    node::Purpose,
    routing_table::K,
};

/// Who wanted a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever uses the node; events tell him.
    User,
    /// The node, to know its network.
    Maintenance,
    /// The node, to keep what it publishes alive.
    Publisher(Target),
}

/// A task under way.
pub(crate) struct Run {
    task: Task,
    owner: Owner,
    lookups: BTreeMap<Family, Lookup>,
    /// Store queries that are open; `None` before the lookups are done.
    storing: Option<usize>,
    /// Nodes that have a version of the item that is put.
    have: Vec<SocketAddr>,
    outcome: Outcome,
    started: Duration,
}

/// How long a lookup may take. It ends then with what it has.
const LONGEST: Duration = Duration::from_mins(2);

/// Peers and info-hashes that are gathered.
const MOST_FOUND: usize = 10_000;

impl Task {
    /// What the task looks for.
    pub fn target(&self) -> Option<Target> {
        match self {
            Self::Ask { .. } => None,
            Self::FindNode { target } | Self::Get { target, .. } | Self::Sample { target } => Some(*target),
            Self::GetPeers { info_hash, .. } | Self::Announce { info_hash, .. } => Some(*info_hash),
            Self::Put { item, .. } => Some(item.target()),
        }
    }

    /// What each node of the lookup is asked.
    fn question(&self, target: Target) -> Method {
        match self {
            Self::Ask { method, .. } => method.clone(),
            Self::FindNode { .. } => Method::FindNode { target },
            Self::GetPeers { scrape, .. } => Method::GetPeers { info_hash: target, scrape: *scrape, no_seed: false },
            Self::Announce { .. } => Method::GetPeers { info_hash: target, scrape: false, no_seed: false },
            // Values as new as ours need not be sent.
            Self::Put { item: Item::Mutable(item), .. } => Method::Get { target, sequence: Some(item.sequence) },
            Self::Get { .. } | Self::Put { .. } => Method::Get { target, sequence: None },
            Self::Sample { .. } => Method::SampleInfohashes { target },
        }
    }

    /// What is stored when the lookup is done.
    fn storing(&self, token: &[u8], has_item: bool) -> Option<Method> {
        let token = token.to_vec();
        match self {
            Self::Announce { info_hash, port, implied_port, seed } => Some(Method::AnnouncePeer {
                info_hash: *info_hash,
                port: *port,
                implied_port: *implied_port,
                token,
                seed: *seed,
            }),
            // A node that has nothing has nothing to compare.
            Self::Put { item, cas } => Some(Method::Put { token, item: item.clone(), cas: cas.filter(|_| has_item) }),
            _ => None,
        }
    }
}

impl Node {
    /// Starts a task. [`Event`]s tell its steps and its end.
    pub fn start(&mut self, task: Task, now: Duration) -> TaskId {
        self.run(task, Owner::User, now)
    }

    /// Gives a task up. There will be no more events of it.
    pub fn cancel(&mut self, task: TaskId) {
        self.runs.remove(&task);
    }

    pub(crate) fn run(&mut self, task: Task, owner: Owner, now: Duration) -> TaskId {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        let mut lookups = BTreeMap::new();
        if let Some(target) = task.target() {
            for (family, side) in &mut self.sides {
                let mut lookup = Lookup::new(target, side.table.own(), !self.settings.private);
                let known = side.table.closest(&target, 2 * K);
                lookup.add(&known, 0);
                if known.len() < K {
                    let of_family = |address: &&SocketAddr| Family::of(address) == *family;
                    self.settings.bootstrap.iter().filter(of_family).for_each(|address| lookup.add_door(*address));
                    lookup.add(&self.maintenance.saved(*family), 0);
                }
                side.table.refresh(&target, now);
                lookups.insert(*family, lookup);
            }
        }
        let ask = if let Task::Ask { to, method } = &task { Some((*to, method.clone())) } else { None };
        let run =
            Run { task, owner, lookups, storing: None, have: Vec::new(), outcome: Outcome::default(), started: now };
        self.runs.insert(id, run);
        match ask {
            Some((to, method)) if self.sides.contains_key(&Family::of(&to)) => {
                self.ask(to, None, method, Purpose::Ask(id), now);
            }
            Some(_) => self.finish(id, now),
            None => self.advance(id, now),
        }
        id
    }

    /// Asks whom the lookups name, and goes on to the next part when they are done.
    fn advance(&mut self, id: TaskId, now: Duration) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.storing.is_some() {
            return;
        }
        let mut next = Vec::new();
        for (family, lookup) in &mut run.lookups {
            if now.saturating_sub(run.started) > LONGEST {
                lookup.give_up();
            }
            let question = run.task.question(*lookup.target());
            while let Some(Question { to, id, detour }) = lookup.next() {
                run.outcome.asked += 1;
                let question = detour.map_or_else(|| question.clone(), |target| Method::FindNode { target });
                next.push((*family, to, id, question));
            }
        }
        let done = run.lookups.values().all(Lookup::is_done);
        let user = run.owner == Owner::User;
        for (family, to, node, question) in next {
            if user {
                self.events.push_back(Event::Step { task: id, to, id: node, step: Step::Asked });
            }
            self.ask(to, node, question, Purpose::Lookup(id, family), now);
        }
        if done {
            self.store(id, now);
        }
    }

    fn store(&mut self, id: TaskId, now: Duration) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let mut queries = Vec::new();
        for lookup in run.lookups.values() {
            for (contact, token, depth) in lookup.nearest() {
                run.outcome.nearest.push(contact);
                run.outcome.depth = run.outcome.depth.max(depth + 1);
                let has_item = run.have.contains(&contact.address);
                queries.extend(token.and_then(|token| Some((contact, run.task.storing(token, has_item)?))));
            }
        }
        run.storing = Some(queries.len());
        if queries.is_empty() {
            return self.finish(id, now);
        }
        for (contact, method) in queries {
            self.ask(contact.address, Some(contact.id), method, Purpose::Store(id), now);
        }
    }

    fn finish(&mut self, id: TaskId, now: Duration) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        run.outcome.elapsed = now.saturating_sub(run.started);
        match run.owner {
            Owner::User => self.events.push_back(Event::Done { task: id, outcome: Box::new(run.outcome) }),
            Owner::Maintenance => self.maintenance.ended(id),
            Owner::Publisher(target) => self.published(target, run.outcome.stored.len(), now),
        }
    }

    fn step(&mut self, task: TaskId, contact: (SocketAddr, Option<crate::NodeId>), step: Step) {
        if self.runs.get(&task).is_some_and(|run| run.owner == Owner::User) {
            self.events.push_back(Event::Step { task, to: contact.0, id: contact.1, step });
        }
    }

    pub(crate) fn lookup_answered(
        &mut self,
        id: TaskId,
        family: Family,
        contact: Contact,
        response: Response,
        after: Duration,
        now: Duration,
    ) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(lookup) = run.lookups.get_mut(&family) else { return };
        run.outcome.answered += 1;
        let target = *lookup.target();
        let depth = lookup.answered(contact, response.token);
        let mut nodes = 0;
        for (family, contacts) in [(Family::V4, response.nodes), (Family::V6, response.nodes6)] {
            let contacts = contacts.unwrap_or_default();
            nodes += contacts.len();
            if let Some(lookup) = run.lookups.get_mut(&family) {
                lookup.add(&contacts, depth + 1);
            }
        }
        let peers = response.values.len();
        let outcome = &mut run.outcome;
        for peer in response.values {
            if outcome.peers.len() < MOST_FOUND && !outcome.peers.contains(&peer) {
                outcome.peers.push(peer);
            }
        }
        if let Some((seeds, others)) = response.scrape {
            let (all_seeds, all_others) = outcome.scrape.get_or_insert_with(Default::default);
            all_seeds.unite(&seeds);
            all_others.unite(&others);
        }
        for sample in response.samples.map(|samples| samples.info_hashes).unwrap_or_default() {
            if outcome.samples.len() < MOST_FOUND && !outcome.samples.contains(&sample) {
                outcome.samples.push(sample);
            }
        }
        if response.item.sequence.is_some() || response.item.value.is_some() {
            run.have.push(contact.address);
        }
        let item = if let Task::Get { salt, .. } = &run.task { response.item.item(&target, salt) } else { None };
        let found = item.is_some();
        let sequence = |item: &Item| if let Item::Mutable(item) = item { Some(item.sequence) } else { None };
        if let Some(item) = item
            && run.outcome.item.as_ref().is_none_or(|old| sequence(old) < sequence(&item))
        {
            run.outcome.item = Some(item);
        }
        // An immutable item is the only one of its target; of a mutable one another node may have a newer.
        let immutable = matches!(run.outcome.item, Some(Item::Immutable(_)));
        let step = Step::Answered { after, nodes, peers, item: found, depth };
        self.step(id, (contact.address, Some(contact.id)), step);
        if immutable { self.store(id, now) } else { self.advance(id, now) }
    }

    /// Somebody answered under another id than he was named with.
    pub(crate) fn lookup_renamed(&mut self, id: TaskId, family: Family, contact: Contact) {
        if let Some(lookup) = self.runs.get_mut(&id).and_then(|run| run.lookups.get_mut(&family)) {
            lookup.renamed(contact);
        }
    }

    pub(crate) fn lookup_failed(
        &mut self,
        id: TaskId,
        family: Family,
        from: SocketAddr,
        error: Option<ErrorReply>,
        now: Duration,
    ) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(lookup) = run.lookups.get_mut(&family) {
            lookup.failed(&from);
        }
        run.outcome.failed += 1;
        let step = if error.is_some() { Step::Refused } else { Step::Failed };
        run.outcome.refused.extend(error.map(|error| (from, error)));
        self.step(id, (from, None), step);
        self.advance(id, now);
    }

    /// Lets others be asked meanwhile. Returns how often in all the late one is asked, if its answer still matters.
    pub(crate) fn lookup_late(&mut self, id: TaskId, family: Family, from: &SocketAddr, now: Duration) -> Option<u32> {
        self.runs.get_mut(&id)?.lookups.get_mut(&family)?.late(from);
        self.advance(id, now);
        let lookup = self.runs.get_mut(&id)?.lookups.get_mut(&family)?;
        if lookup.needs(from) {
            return Some(lookup.patience(from));
        }
        lookup.put_back(from);
        // It may have been the last thing that was waited for.
        self.advance(id, now);
        None
    }

    pub(crate) fn stored(&mut self, id: TaskId, contact: Contact, now: Duration) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.outcome.stored.push(contact);
        }
        self.one_less_to_store(id, now);
    }

    pub(crate) fn store_failed(&mut self, id: TaskId, from: SocketAddr, error: Option<ErrorReply>, now: Duration) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.outcome.failed += u32::from(error.is_none());
            run.outcome.refused.extend(error.map(|error| (from, error)));
        }
        self.one_less_to_store(id, now);
    }

    fn one_less_to_store(&mut self, id: TaskId, now: Duration) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.storing = run.storing.map(|open| open.saturating_sub(1));
        if run.storing == Some(0) {
            self.finish(id, now);
        }
    }

    pub(crate) fn ask_answered(&mut self, id: TaskId, response: Response, now: Duration) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.outcome.answered += 1;
            run.outcome.response = Some(Box::new(response));
        }
        self.finish(id, now);
    }

    pub(crate) fn ask_refused(&mut self, id: TaskId, from: SocketAddr, error: ErrorReply, now: Duration) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.outcome.refused.push((from, error));
        }
        self.finish(id, now);
    }

    pub(crate) fn ask_failed(&mut self, id: TaskId, now: Duration) {
        if let Some(run) = self.runs.get_mut(&id) {
            run.outcome.failed += 1;
        }
        self.finish(id, now);
    }
}
