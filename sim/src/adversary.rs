//! Nodes that mean ill.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use krpc::{Body, Contact, Message, Method, NodeId, Poll, Query, Response, Target, TransactionId, Transmit, secure_id};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::SmallRng};

/// What an adversary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malice {
    /// It answers pings, so that it is in the tables, and nothing else.
    Silence,
    /// It answers under another id each time, near what is looked for.
    WrongIds,
    /// It names nodes that are not there, as near to the target as their addresses allow.
    Poison,
    /// It asks without end.
    Flood,
}

/// An adversary.
pub struct Adversary {
    malice: Malice,
    id: NodeId,
    /// Whom it asks, so that it is known.
    victims: Vec<SocketAddr>,
    dice: SmallRng,
    outbox: VecDeque<Transmit>,
    next: Duration,
}

impl Adversary {
    /// An adversary with an id that goes with its address.
    pub fn new(malice: Malice, address: SocketAddr, victims: Vec<SocketAddr>, seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut random = [0; 20];
        dice.fill_bytes(&mut random);
        let id = secure_id(address.ip(), random);
        Self { malice, id, victims, dice, outbox: VecDeque::new(), next: Duration::ZERO }
    }

    pub(crate) const fn id(&self) -> NodeId {
        self.id
    }

    /// Whether it answers under its own id.
    pub(crate) fn answers(&self) -> bool {
        matches!(self.malice, Malice::Poison | Malice::Flood)
    }

    pub(crate) fn handle(&mut self, packet: &[u8], from: SocketAddr, _now: Duration) {
        let Ok(Message { transaction, body: Body::Query(query), .. }) = Message::from_bytes(packet) else { return };
        let target = match query.method {
            Method::Ping => return self.reply(transaction, Response::new(self.id), from),
            Method::FindNode { target } | Method::Get { target, .. } => target,
            Method::GetPeers { info_hash, .. } => info_hash,
            _ => return,
        };
        let mut response = Response::new(self.id);
        response.token = Some(vec![1; 8]);
        match self.malice {
            Malice::Silence => return,
            Malice::WrongIds => {
                let mut id = *target.as_bytes();
                self.dice.fill_bytes(&mut id[8..]);
                response.id = NodeId::from_bytes(id);
            }
            Malice::Poison => response.nodes = Some(self.fakes(&target)),
            Malice::Flood => response.nodes = Some(Vec::new()),
        }
        self.reply(transaction, response, from);
    }

    /// Addresses where nobody is, whose ids go with them and are near the target.
    fn fakes(&mut self, target: &Target) -> Vec<Contact> {
        let mut all: Vec<_> = (0..300)
            .map(|_| {
                let ip = [self.dice.random_range(60..90), self.dice.random(), self.dice.random(), self.dice.random()];
                let mut random = [0; 20];
                self.dice.fill_bytes(&mut random);
                Contact { id: secure_id(ip.into(), random), address: SocketAddr::from((ip, 6881)) }
            })
            .collect();
        all.sort_by_key(|contact| contact.id.distance(target));
        all.truncate(16);
        all
    }

    fn reply(&mut self, transaction: TransactionId, response: Response, to: SocketAddr) {
        let message = Message::new(transaction, Body::Response(Box::new(response)));
        self.outbox.push_back(Transmit { to, packet: message.to_bytes() });
    }

    pub(crate) fn poll(&mut self, now: Duration) -> Poll {
        if now >= self.next {
            let (count, interval) = match self.malice {
                Malice::Flood => (20, Duration::from_millis(200)),
                _ => (1, Duration::from_secs(5)),
            };
            self.next = now + interval;
            let one = self.dice.random_range(0..self.victims.len().max(1));
            for _ in 0..count {
                self.query(one);
            }
        }
        match self.outbox.pop_front() {
            Some(transmit) => Poll::Transmit(transmit),
            None => Poll::Wake(self.next),
        }
    }

    fn query(&mut self, victim: usize) {
        let Some(to) = self.victims.get(victim).copied() else { return };
        let mut target = [0; 20];
        self.dice.fill_bytes(&mut target);
        let method = Method::FindNode { target: Target::from_bytes(target) };
        let query = Query { id: self.id, want: None, method, padding: 0 };
        let message = Message::new(TransactionId::ours(self.dice.random()), Body::Query(query));
        self.outbox.push_back(Transmit { to, packet: message.to_bytes() });
    }
}
