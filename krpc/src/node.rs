//! A node: a state machine without a socket, a clock or dice.
//!
//! Packets go in by [`Node::handle`], with the time; [`Node::poll`] says what to send, what happened and when to call
//! again. Time is the time since any fixed moment; it never goes back.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    Body, Contact, Event, Family, Message, MessageError, Method, NodeId, Query, Response, Settings, TaskId, Tokens,
    TransactionId, Want,
    bucket::Entry,
    counters::Counters,
    dice::Dice,
    item_store::ItemStore,
    limiter::Limiter,
    lookup::TRIES,
    maintenance::Maintenance,
    peer_store::PeerStore,
    proof::Proof,
    publisher::Publisher,
    routing_table::RoutingTable,
    run::Run,
    secure_id::{is_bogon, is_secure, secure_id},
    transactions::{Transaction, Transactions},
    votes::Votes,
};

/// A packet to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// Its bytes.
    pub packet: Vec<u8>,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Poll {
    /// Send a packet.
    Transmit(Transmit),
    /// Something happened.
    Event(Event),
    /// Nothing before this time, unless a packet comes.
    Wake(Duration),
}

/// Why a query of ours is out.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// A task's only question.
    Ask(TaskId),
    /// A step of a task's lookup.
    Lookup(TaskId, Family),
    /// A task stores something.
    Store(TaskId),
    /// A node of the table is looked after.
    Check,
    /// Whoever asked us shows that it is there.
    Verify,
    /// A node that was lost may be back.
    Find,
}

/// What a family has.
pub(crate) struct Side {
    pub(crate) table: RoutingTable,
    pub(crate) votes: Votes,
}

/// A node of the DHT.
pub struct Node {
    pub(crate) settings: Settings,
    pub(crate) sides: BTreeMap<Family, Side>,
    pub(crate) dice: Dice,
    pub(crate) tokens: Tokens,
    limiter: Limiter,
    pub(crate) proof: Proof,
    /// Who was asked to show itself lately.
    pub(crate) verified: Proof,
    pub(crate) peers: PeerStore,
    pub(crate) items: ItemStore,
    pub(crate) transactions: Transactions<Purpose>,
    pub(crate) runs: BTreeMap<TaskId, Run>,
    pub(crate) next_task: u64,
    pub(crate) maintenance: Maintenance,
    pub(crate) publisher: Publisher,
    /// When the next query may go to an IP, in a public network.
    paces: HashMap<IpAddr, Duration>,
    /// At how many those that lie behind are dropped.
    crowded: usize,
    delayed: BinaryHeap<Reverse<(Duration, u64)>>,
    waiting: HashMap<u64, Transmit>,
    pub(crate) outbox: VecDeque<Transmit>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) counters: Counters,
}

/// Queries to one IP in a public network: four a second, after a first few. Some nodes ban who sends five.
const PACE: Duration = Duration::from_millis(250);
const PACE_BURST: u32 = 8;

/// Fewer nodes than this are completed by those of the last time.
const FEW: usize = 64;

/// Longest packet that is read, in bytes.
const MOST_PACKET: usize = 4096;

impl Node {
    /// A node with a table that was saved, or none. `seed` must be random and secret: tokens and transaction ids
    /// come from it.
    pub fn new(settings: Settings, saved: Option<&crate::Saved>, seed: [u8; 32], now: Duration) -> Self {
        let mut dice = Dice::new(seed);
        let mut sides = BTreeMap::new();
        for (family, spoken) in [(Family::V4, settings.v4), (Family::V6, settings.v6)] {
            if spoken {
                let fresh = NodeId::from_bytes(dice.bytes());
                let id = saved.and_then(|saved| saved.id(family)).unwrap_or(fresh);
                sides.insert(family, Side { table: RoutingTable::new(id, !settings.private), votes: Votes::default() });
            }
        }
        let maintenance = Maintenance::new(saved.map(|saved| saved.contacts().to_vec()).unwrap_or_default(), now);
        Self {
            sides,
            tokens: Tokens::new(dice.bytes(), now),
            limiter: Limiter::new(dice.bytes()),
            proof: Proof::new(Duration::from_mins(15), now),
            verified: Proof::new(Duration::from_secs(10), now),
            peers: PeerStore::default(),
            items: ItemStore::default(),
            transactions: Transactions::new(),
            runs: BTreeMap::new(),
            next_task: 0,
            maintenance,
            publisher: Publisher::default(),
            paces: HashMap::new(),
            crowded: 64,
            delayed: BinaryHeap::new(),
            waiting: HashMap::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            dice,
            settings,
        }
    }

    /// Its id in a family; `None` when it does not speak that.
    pub fn id(&self, family: Family) -> Option<NodeId> {
        self.sides.get(&family).map(|side| side.table.own())
    }

    /// The nodes of its tables, with the time at which each answered last.
    pub fn contacts(&self) -> impl Iterator<Item = (Contact, Duration)> {
        let entries = self.sides.values().flat_map(|side| side.table.entries());
        entries.filter(|entry| entry.failures == 0).map(|entry: &Entry| (entry.contact, entry.heard))
    }

    /// Ids and nodes, to be saved and given to [`Node::new`] the next time. As long as few nodes are known, those of the
    /// last time are among them: a short life without a network must not make the node forget.
    pub fn save(&self) -> crate::Saved {
        let mut contacts: Vec<_> = self.contacts().map(|(contact, _)| contact).collect();
        for contact in self.maintenance.before() {
            if contacts.len() < FEW && !contacts.iter().any(|known| known.address == contact.address) {
                contacts.push(*contact);
            }
        }
        crate::Saved::new(self.id(Family::V4), self.id(Family::V6), contacts)
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let (swarms, peers) = self.peers.len();
        Counters {
            nodes: self.sides.values().map(|side| side.table.len()).sum(),
            swarms,
            peers,
            items: self.items.len(),
            open: self.transactions.len(),
            ..self.counters.clone()
        }
    }

    /// Takes a packet.
    pub fn handle(&mut self, packet: &[u8], from: SocketAddr, now: Duration) {
        self.counters.received += 1;
        let family = Family::of(&from);
        let ip = from.ip();
        let public = !self.settings.private;
        if from.port() == 0 || !self.sides.contains_key(&family) || (public && is_bogon(ip)) {
            self.counters.bogons += 1;
            return;
        }
        // Before anything is read: a flood costs no more than this. What we asked for is not a flood.
        let too_many = public && !self.settings.siblings.contains(&ip) && !self.limiter.allows(ip, now);
        if too_many && !self.transactions.expects(&from) {
            self.counters.limited += 1;
            return;
        }
        if packet.len() > MOST_PACKET {
            self.counters.malformed += 1;
            return;
        }
        match Message::from_bytes(packet) {
            // It was read because it might have been an answer.
            Ok(Message { body: Body::Query(_), .. }) | Err(_) if too_many => self.counters.limited += 1,
            Ok(message) => match message.body {
                Body::Query(query) => {
                    self.answer(&query, message.transaction, message.read_only, packet.len(), from, now);
                }
                Body::Response(response) => {
                    self.response(&message.transaction, *response, message.requester, from, now);
                }
                Body::Error(error) => self.refusal(&message.transaction, error, from, now),
            },
            Err(MessageError::Query { transaction, code, text }) => {
                self.counters.malformed += 1;
                self.refuse(transaction, code, text, packet.len(), from);
            }
            Err(MessageError::NotAMessage) => self.counters.malformed += 1,
        }
    }

    /// What to do next. Call it after each packet and each task, and at the time that it names, until it says
    /// [`Poll::Wake`].
    pub fn poll(&mut self, now: Duration) -> Poll {
        self.tick(now);
        if let Some(transmit) = self.outbox.pop_front() {
            self.counters.sent += 1;
            return Poll::Transmit(transmit);
        }
        if let Some(event) = self.events.pop_front() {
            return Poll::Event(event);
        }
        let next = [
            Some(self.maintenance.wake()),
            self.transactions.deadline(),
            self.publisher.wake(),
            self.delayed.peek().map(|Reverse((at, _))| *at),
        ];
        Poll::Wake(next.into_iter().flatten().min().unwrap_or(now))
    }

    fn tick(&mut self, now: Duration) {
        while let Some(Reverse((at, number))) = self.delayed.peek().copied() {
            if at > now {
                break;
            }
            self.delayed.pop();
            self.outbox.extend(self.waiting.remove(&number));
        }
        while let Some((number, transaction)) = self.transactions.overdue(now) {
            self.overdue(number, transaction, now);
        }
        self.maintain(now);
        self.publish_next(now);
    }

    /// Sends a query of ours.
    pub(crate) fn ask(&mut self, to: SocketAddr, id: Option<NodeId>, method: Method, purpose: Purpose, now: Duration) {
        let Some(side) = self.sides.get(&Family::of(&to)) else { return };
        let both = self.sides.len() > 1;
        let want = (both && !matches!(method, Method::Ping | Method::AnnouncePeer { .. } | Method::Put { .. }))
            .then_some(Want { v4: true, v6: true });
        // Whom we ask may not know yet that we are where we say, and answers with three bytes for one.
        let padding = match method {
            Method::FindNode { .. } | Method::Unknown { .. } if both => 150,
            Method::FindNode { .. } | Method::Unknown { .. } => 24,
            Method::GetPeers { .. } | Method::SampleInfohashes { .. } => 270,
            Method::Get { .. } => 400,
            Method::Ping | Method::AnnouncePeer { .. } | Method::Put { .. } => 0,
        };
        let query = Query { id: side.table.own(), want, method, padding };
        let number = self.transactions.free_number(&mut self.dice);
        let message = Message {
            transaction: TransactionId::ours(number),
            version: self.settings.version,
            requester: None,
            read_only: self.settings.read_only,
            body: Body::Query(query),
        };
        let transaction = Transaction { to, id, purpose, packet: message.to_bytes(), sent: now, tries: 0 };
        self.send_again(number, transaction, now);
    }

    /// Sends a query, for the first time or again, at the pace that its address bears.
    pub(crate) fn send_again(&mut self, number: u32, mut transaction: Transaction<Purpose>, now: Duration) {
        transaction.tries += 1;
        transaction.sent = self.pace(transaction.to.ip(), now);
        let transmit = Transmit { to: transaction.to, packet: transaction.packet.clone() };
        if transaction.sent > now {
            let key = self.counters.queries;
            self.delayed.push(Reverse((transaction.sent, key)));
            self.waiting.insert(key, transmit);
        } else {
            self.outbox.push_back(transmit);
        }
        self.counters.queries += 1;
        self.transactions.open(number, transaction);
    }

    fn pace(&mut self, ip: IpAddr, now: Duration) -> Duration {
        if self.settings.private || self.settings.siblings.contains(&ip) {
            return now;
        }
        if self.paces.len() >= self.crowded {
            self.paces.retain(|_, next| *next > now);
            self.crowded = 64.max(2 * self.paces.len());
        }
        let next = self.paces.entry(ip).or_default();
        *next = (*next).max(now) + PACE;
        now.max(next.saturating_sub(PACE * PACE_BURST))
    }

    /// Whether queries to an IP wait already: more of them would only pile up.
    pub(crate) fn is_behind(&self, ip: &IpAddr, now: Duration) -> bool {
        self.paces.get(ip).is_some_and(|next| *next > now + PACE * PACE_BURST)
    }

    /// Notes that a node is there and answers for its id.
    pub(crate) fn heard(&mut self, contact: Contact, now: Duration) {
        self.proof.add(contact.address, now);
        if let Some(side) = self.sides.get_mut(&Family::of(&contact.address)) {
            side.table.heard(contact, now);
        }
    }

    /// Takes somebody's word for our address, and another id when enough say the same.
    fn vote(&mut self, from: SocketAddr, seen: SocketAddr) {
        let family = Family::of(&from);
        if self.settings.private || Family::of(&seen) != family || is_bogon(seen.ip()) {
            return;
        }
        let Some(side) = self.sides.get_mut(&family) else { return };
        if let Some(address) = side.votes.vote(from.ip(), seen.ip())
            && !is_secure(&side.table.own(), address)
        {
            let id = secure_id(address, self.dice.bytes());
            side.table = side.table.around(id);
            self.events.push_back(Event::IdChanged { id, address });
            self.maintenance.start_again();
        }
    }

    fn response(
        &mut self,
        transaction: &TransactionId,
        response: Response,
        requester: Option<SocketAddr>,
        from: SocketAddr,
        now: Duration,
    ) {
        let Some(transaction) = self.transactions.close(transaction, &from) else {
            self.counters.unexpected += 1;
            return;
        };
        self.counters.responses += 1;
        let contact = Contact { id: response.id, address: from };
        if let Some(id) = transaction.id
            && id != response.id
        {
            // Whoever is there now, it is not whom we know.
            self.counters.changed_ids += 1;
            if let Some(side) = self.sides.get_mut(&Family::of(&from)) {
                side.table.forget(&Contact { id, address: from });
            }
            let Purpose::Lookup(task, family) = transaction.purpose else {
                self.proof.add(from, now);
                return self.unanswered(&transaction, now);
            };
            self.lookup_renamed(task, family, contact);
        }
        self.heard(contact, now);
        if let Some(seen) = requester {
            self.vote(from, seen);
        }
        match transaction.purpose {
            Purpose::Ask(task) => self.ask_answered(task, response, now),
            Purpose::Lookup(task, family) => {
                self.lookup_answered(task, family, contact, response, now.saturating_sub(transaction.sent), now);
            }
            Purpose::Store(task) => self.stored(task, contact, now),
            Purpose::Find => self.maintenance.found(&contact, now),
            Purpose::Check | Purpose::Verify => {}
        }
    }

    fn refusal(&mut self, transaction: &TransactionId, error: crate::ErrorReply, from: SocketAddr, now: Duration) {
        let Some(transaction) = self.transactions.close(transaction, &from) else {
            self.counters.unexpected += 1;
            return;
        };
        self.counters.refusals += 1;
        self.proof.add(from, now);
        match transaction.purpose {
            Purpose::Ask(task) => self.ask_refused(task, from, error, now),
            Purpose::Lookup(task, family) => self.lookup_failed(task, family, from, Some(error), now),
            Purpose::Store(task) => self.store_failed(task, from, Some(error), now),
            // A node that refuses a ping is of no use.
            Purpose::Check => {
                if let (Some(side), Some(id)) = (self.sides.get_mut(&Family::of(&from)), transaction.id) {
                    side.table.failed(&Contact { id, address: from });
                }
            }
            Purpose::Verify | Purpose::Find => {}
        }
    }

    /// Decides what to do about a query whose answer is late.
    fn overdue(&mut self, number: u32, transaction: Transaction<Purpose>, now: Duration) {
        let tries = match &transaction.purpose {
            Purpose::Ask(_) => 4,
            Purpose::Store(_) => TRIES,
            Purpose::Check => 3,
            // It may be an address that never asked us.
            Purpose::Verify | Purpose::Find => 1,
            Purpose::Lookup(task, family) => {
                let Some(patience) = self.lookup_late(*task, *family, &transaction.to, now) else {
                    self.counters.timeouts += 1;
                    return;
                };
                patience
            }
        };
        if transaction.tries < tries {
            self.counters.repeated += 1;
            return self.send_again(number, transaction, now);
        }
        self.counters.timeouts += 1;
        if let Some(id) = transaction.id
            && transaction.tries > 1
            && let Some(side) = self.sides.get_mut(&Family::of(&transaction.to))
        {
            let contact = Contact { id, address: transaction.to };
            if side.table.failed(&contact) {
                self.maintenance.lose(contact);
            }
        }
        self.unanswered(&transaction, now);
    }

    fn unanswered(&mut self, transaction: &Transaction<Purpose>, now: Duration) {
        match transaction.purpose {
            Purpose::Ask(task) => self.ask_failed(task, now),
            Purpose::Lookup(task, family) => self.lookup_failed(task, family, transaction.to, None, now),
            Purpose::Store(task) => self.store_failed(task, transaction.to, None, now),
            Purpose::Check | Purpose::Verify | Purpose::Find => {}
        }
    }
}
