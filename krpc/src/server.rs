//! Answering queries.
//!
//! Until an address has shown that it receives what is sent to it, it gets at most three times the bytes that came from
//! it: forging somebody's address is not worth it then. It shows that by answering a query of ours or by sending
//! back a token.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Body, Contact, ErrorCode, ErrorReply, Family, Item, ItemReply, Message, Method, Node, Query, Response, Samples,
    Target, TransactionId, Want,
    item_store::PutError,
    node::{Purpose, Transmit},
    routing_table::K,
};

/// Longest answer, in bytes (BEP 32), but for one that a value makes longer.
pub const MOST_ANSWER: usize = 1024;

/// Longest answer with a long value: it fits into one packet of Ethernet.
const MOST_WITH_VALUE: usize = 1400;

/// How many times as long as a query an answer may be to an address that has shown nothing.
const AMPLIFICATION: usize = 3;

/// Length of a ping of ours, at most.
const PING: usize = "d1:ad2:id20:e1:q4:ping1:t4:12341:v4:12341:y1:qe".len() + 20;

/// Peers in an answer.
const PEERS_V4: usize = 50;
const PEERS_V6: usize = 20;

/// Info-hashes in an answer, and how long they stay the same (BEP 51).
const SAMPLES: usize = 20;
const SAMPLE_INTERVAL: i64 = 21_600;

/// An answer on its way: what must be in it, and what may be if there is room.
struct Answer {
    response: Response,
    /// Nodes near this.
    near: Option<Target>,
    peers: Vec<SocketAddr>,
    item: Option<ItemReply>,
}

impl Node {
    pub(crate) fn answer(
        &mut self,
        query: &Query,
        transaction: TransactionId,
        read_only: bool,
        length: usize,
        from: SocketAddr,
        now: Duration,
    ) {
        if self.settings.read_only {
            return;
        }
        let family = Family::of(&from);
        let Some(side) = self.sides.get_mut(&family) else { return };
        let own = side.table.own();
        side.table.asked(&Contact { id: query.id, address: from }, now);
        let mut answer = Answer { response: Response::new(own), near: None, peers: Vec::new(), item: None };
        let kind = match &query.method {
            Method::Ping => 0,
            Method::FindNode { target } => {
                answer.near = Some(*target);
                1
            }
            Method::GetPeers { info_hash, scrape, no_seed } => {
                answer.near = Some(*info_hash);
                // Who has no room gives no token, so that announcements go to the next nodes.
                if !self.peers.is_full(info_hash, from.ip(), now) {
                    answer.response.token = Some(self.tokens.token(from.ip(), info_hash).to_vec());
                }
                let most = if family == Family::V4 { PEERS_V4 } else { PEERS_V6 };
                answer.peers = self.peers.peers(info_hash, family, *no_seed, most, now, &mut self.dice);
                if *scrape {
                    answer.response.scrape = self.peers.scrape(info_hash, now);
                }
                2
            }
            Method::AnnouncePeer { info_hash, port, implied_port, token, seed } => {
                if !self.tokens.is_good(token, from.ip(), info_hash) {
                    return self.refuse(transaction, ErrorCode::Protocol, "the token is not good", length, from);
                }
                self.proof.add(from, now);
                let port = if *implied_port { from.port() } else { *port };
                let peer = SocketAddr::new(from.ip(), port);
                self.peers.add(&own, *info_hash, peer, *seed, !self.settings.private, now);
                3
            }
            Method::Get { target, sequence } => {
                answer.near = Some(*target);
                answer.response.token = Some(self.tokens.token(from.ip(), target).to_vec());
                answer.item = self.items.get(target, now).map(|item| match item {
                    // It has what we have, or newer.
                    Item::Mutable(item) if sequence.is_some_and(|sequence| sequence >= item.sequence) => {
                        ItemReply { sequence: Some(item.sequence), ..ItemReply::default() }
                    }
                    item => ItemReply::of(item),
                });
                4
            }
            Method::Put { token, item, cas } => {
                if let Err((code, text)) = self.put(token, item, *cas, from, now) {
                    return self.refuse(transaction, code, text, length, from);
                }
                5
            }
            Method::SampleInfohashes { target } => {
                answer.near = Some(*target);
                answer.response.samples = Some(self.samples());
                6
            }
            Method::Unknown { target: Some(target) } => {
                answer.near = Some(*target);
                7
            }
            Method::Unknown { target: None } => {
                return self.refuse(transaction, ErrorCode::UnknownMethod, "no such method", length, from);
            }
        };
        self.counters.answered[kind] += 1;
        let valuable = answer.item.is_some() || !answer.peers.is_empty();
        let ping = !read_only && self.would_verify(query, valuable, from, now);
        let limit = if self.proof.has(&from, now) {
            MOST_WITH_VALUE
        } else {
            (AMPLIFICATION * length).saturating_sub(if ping { PING } else { 0 }).min(MOST_WITH_VALUE)
        };
        self.reply(answer, query.want, transaction, limit, from);
        if ping {
            self.verified.add(from, now);
            let id = query.id;
            self.ask(from, Some(id), Method::Ping, Purpose::Verify, now);
        }
    }

    /// Whether an asker is to be asked back: to get a place in the table, or because there is more for it than an
    /// address may have that has shown nothing.
    fn would_verify(&self, query: &Query, valuable: bool, from: SocketAddr, now: Duration) -> bool {
        let asker = Contact { id: query.id, address: from };
        if self.transactions.expects(&from) || self.verified.has(&from, now) || self.is_behind(&from.ip(), now) {
            return false;
        }
        (valuable && !self.proof.has(&from, now))
            || self.sides.get(&Family::of(&from)).is_some_and(|side| side.table.wants(&asker))
    }

    fn put(
        &mut self,
        token: &[u8],
        item: &Item,
        cas: Option<i64>,
        from: SocketAddr,
        now: Duration,
    ) -> Result<(), (ErrorCode, &'static str)> {
        if !self.tokens.is_good(token, from.ip(), &item.target()) {
            return Err((ErrorCode::Protocol, "the token is not good"));
        }
        self.proof.add(from, now);
        if let Item::Mutable(item) = item {
            item.verify().map_err(|error| (error.code(), "the signature is not right"))?;
        }
        let Some(side) = self.sides.get(&Family::of(&from)) else { return Ok(()) };
        let bounded = !self.settings.private && !self.settings.siblings.contains(&from.ip());
        self.items.put(&side.table.own(), item.clone(), cas, from.ip(), bounded, now).map_err(|error| match error {
            PutError::Cas => (ErrorCode::CasMismatch, "the item has another seq than cas says"),
            PutError::Sequence => (ErrorCode::SequenceTooOld, "the item here is newer, or another of this seq"),
            PutError::Quota => (ErrorCode::Server, "too much from this address"),
        })
    }

    fn samples(&mut self) -> Samples {
        // What we keep tells what our owner is interested in, so it is not told unless he wants to.
        let some = self.settings.samples && !self.settings.private;
        let number = if some { i64::try_from(self.peers.swarms()).unwrap_or(i64::MAX) } else { 0 };
        let info_hashes = if some { self.peers.sample(SAMPLES, &mut self.dice) } else { Vec::new() };
        Samples { info_hashes, number, interval: SAMPLE_INTERVAL }
    }

    /// Fills an answer up to its limit and sends it.
    fn reply(
        &mut self,
        answer: Answer,
        want: Option<Want>,
        transaction: TransactionId,
        limit: usize,
        from: SocketAddr,
    ) {
        let family = Family::of(&from);
        let Answer { mut response, near, peers, item } = answer;
        let want = want.unwrap_or(Want { v4: family == Family::V4, v6: family == Family::V6 });
        let extra = limit.saturating_sub(MOST_ANSWER);
        let mut room = Room { left: (limit - extra).saturating_sub(self.bare_length(&transaction)) };
        if response.token.is_some() {
            room.takes(TOKEN);
        }
        if response.scrape.is_some() && !room.takes(SCRAPE) {
            response.scrape = None;
        }
        if let Some(samples) = &mut response.samples {
            let rest = room.left.saturating_sub(SAMPLES_KEYS);
            samples.info_hashes.truncate(rest / 20);
            room.takes(SAMPLES_KEYS + 20 * samples.info_hashes.len());
        }
        let mut both = true;
        if let Some(item) = item {
            let length = item_length(&item);
            if room.left < length + nodes_length(K, family) {
                room.left += extra;
                both = false;
            }
            if room.takes(length) {
                response.item = item;
            }
        }
        // Peers first, but there is room for nodes, in a short answer half of it.
        let peer = 2 + 1 + family.address_length() + usize::from(family == Family::V6);
        let for_nodes = near.map_or(0, |_| nodes_length(K, family)).min(room.left / 2);
        let for_peers = room.left - for_nodes;
        let count = (for_peers.saturating_sub(PEERS_KEY) / peer).min(peers.len());
        if count > 0 && room.takes(PEERS_KEY + count * peer) {
            response.values = peers;
            response.values.truncate(count);
        }
        if let Some(near) = near {
            let mut families = [(Family::V4, want.v4), (Family::V6, want.v6)];
            if family == Family::V6 {
                families.reverse();
            }
            for (other, wanted) in families {
                if !wanted || (other != family && !both && want.v4 && want.v6) {
                    continue;
                }
                let Some(side) = self.sides.get(&other) else { continue };
                let each = 20 + other.address_length();
                let count = (room.left.saturating_sub(nodes_length(0, other)) / each).min(K);
                let nodes = side.table.closest(&near, count);
                room.takes(nodes_length(nodes.len(), other));
                match other {
                    Family::V4 => response.nodes = Some(nodes),
                    Family::V6 => response.nodes6 = Some(nodes),
                }
            }
        }
        let seen = room.takes(5 + 2 + family.address_length()).then_some(from);
        let message = Message {
            transaction,
            version: self.settings.version,
            requester: seen,
            read_only: false,
            body: Body::Response(Box::new(response)),
        };
        self.outbox.push_back(Transmit { to: from, packet: message.to_bytes() });
    }

    /// Length of an answer with nothing in it.
    fn bare_length(&self, transaction: &TransactionId) -> usize {
        let version = if self.settings.version.is_some() { "1:v4:1234".len() } else { 0 };
        "d1:rd2:id20:e1:t32:1:y1:re".len() + 20 + transaction.as_bytes().len() + version
    }

    /// Refuses a query.
    pub(crate) fn refuse(
        &mut self,
        transaction: TransactionId,
        code: ErrorCode,
        text: &str,
        length: usize,
        from: SocketAddr,
    ) {
        self.counters.refused += 1;
        if self.settings.read_only {
            return;
        }
        let message = |text| Message::new(transaction, Body::Error(ErrorReply::new(code, text))).to_bytes();
        let mut packet = message(text);
        if packet.len() > AMPLIFICATION * length {
            packet = message("");
        }
        self.outbox.push_back(Transmit { to: from, packet });
    }
}

/// Bytes that are left in an answer.
struct Room {
    left: usize,
}

impl Room {
    /// Whether so much fits; then it is taken.
    fn takes(&mut self, length: usize) -> bool {
        let fits = length <= self.left;
        if fits {
            self.left -= length;
        }
        fits
    }
}

const TOKEN: usize = "5:token8:12345678".len();
const SCRAPE: usize = 2 * ("4:BFpe256:".len() + 256);
const PEERS_KEY: usize = "6:valuesle".len();
const SAMPLES_KEYS: usize = "8:intervali21600e3:numi9223372036854775807e7:samples400:".len();

fn nodes_length(count: usize, family: Family) -> usize {
    "6:nodes6304:".len() + count * (20 + family.address_length())
}

fn item_length(item: &ItemReply) -> usize {
    item.value.as_ref().map_or(0, |value| "1:v".len() + value.as_bencode().len())
        + item.key.map_or(0, |_| "1:k32:".len() + 32)
        + item.sequence.map_or(0, |_| "3:seqi9223372036854775807e".len())
        + item.signature.map_or(0, |_| "3:sig64:".len() + 64)
}
