//! Responses. What is in one depends on the query, and nodes send more and less than they should.

use std::net::SocketAddr;

use bendy::encoding::SingleItemEncoder;

use crate::{
    Contact, Family, Item, MutableItem, NodeId, ScrapeFilter, Target, Value,
    bencode::{self, Field},
    contact::{compact_nodes, parse_address, parse_nodes, push_address},
    item::mutable_target,
    message::bytes,
};

/// Most nodes of a family that are taken from a response.
const MOST_NODES: usize = 32;

/// Most peers that are taken from a response.
const MOST_PEERS: usize = 256;

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Who answers.
    pub id: NodeId,
    /// Nodes of both families near what was asked for. `None` when the answer has no such key.
    pub nodes: Option<Vec<Contact>>,
    /// The same of IPv6.
    pub nodes6: Option<Vec<Contact>>,
    /// Peers of a swarm.
    pub values: Vec<SocketAddr>,
    /// What an announcement or a put needs.
    pub token: Option<Vec<u8>>,
    /// What it says of an item.
    pub item: ItemReply,
    /// Filters of seeds and of peers (BEP 33).
    pub scrape: Option<(ScrapeFilter, ScrapeFilter)>,
    /// Info-hashes (BEP 51).
    pub samples: Option<Samples>,
}

/// The parts of an item in a response. Nothing of it may be believed before [`ItemReply::item`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemReply {
    /// The value; not there when the asker's number is as high.
    pub value: Option<Value>,
    /// The author's key.
    pub key: Option<[u8; 32]>,
    /// The sequence number.
    pub sequence: Option<i64>,
    /// The author's signature.
    pub signature: Option<[u8; 64]>,
}

/// Some of the info-hashes that a node has peers of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Some of them.
    pub info_hashes: Vec<Target>,
    /// How many it has.
    pub number: i64,
    /// In how many seconds others are given out.
    pub interval: i64,
}

impl ItemReply {
    /// What a node says of its item. The salt is never sent back.
    pub fn of(item: &Item) -> Self {
        match item {
            Item::Immutable(value) => Self { value: Some(value.clone()), ..Self::default() },
            Item::Mutable(item) => Self {
                value: Some(item.value.clone()),
                key: Some(item.key),
                sequence: Some(item.sequence),
                signature: Some(item.signature),
            },
        }
    }

    /// The item, if it is the one that was asked for and, when it is mutable, signed.
    pub fn item(&self, target: &Target, salt: &[u8]) -> Option<Item> {
        let value = self.value.clone()?;
        match (self.key, self.sequence, self.signature) {
            (Some(key), Some(sequence), Some(signature)) if mutable_target(&key, salt) == *target => {
                let item = MutableItem { value, key, salt: salt.to_vec(), sequence, signature };
                item.verify().is_ok().then_some(Item::Mutable(item))
            }
            _ => Some(Item::Immutable(value)).filter(|item| item.target() == *target),
        }
    }
}

impl Response {
    /// An answer that says only who answers.
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            nodes: None,
            nodes6: None,
            values: Vec::new(),
            token: None,
            item: ItemReply::default(),
            scrape: None,
            samples: None,
        }
    }

    /// Reads `r`. `None` when there is no id of 20 bytes; other parts that are not right are passed over.
    pub(crate) fn from_bencode(raw: &[u8]) -> Option<Self> {
        let mut id = None;
        let mut response = Self::new(NodeId::from_bytes([0; 20]));
        let (mut seeds, mut peers) = (None, None);
        let (mut number, mut interval, mut samples) = (0, 0, None);
        let nodes = |field: Field<'_>, family| {
            field.bytes().map(|bytes| parse_nodes(bytes, family).take(MOST_NODES).collect::<Vec<_>>())
        };
        let filter = |field: Field<'_>| field.bytes().and_then(ScrapeFilter::from_bytes);
        let read = bencode::dictionary(raw, &mut |key, field| match key {
            b"id" => id = field.fixed(),
            b"nodes" => response.nodes = nodes(field, Family::V4),
            b"nodes6" => response.nodes6 = nodes(field, Family::V6),
            b"values" => response.values = peers_of(field),
            b"token" => response.token = field.bytes().map(<[u8]>::to_vec),
            b"v" => response.item.value = Value::from_bencode(&field.to_bencode()).ok(),
            b"k" => response.item.key = field.fixed(),
            b"seq" => response.item.sequence = field.integer(),
            b"sig" => response.item.signature = field.fixed(),
            b"BFsd" => seeds = filter(field),
            b"BFpe" => peers = filter(field),
            b"samples" => samples = field.bytes(),
            b"num" => number = field.integer().unwrap_or(0),
            b"interval" => interval = field.integer().unwrap_or(0),
            _ => {}
        });
        read.ok()?;
        response.id = NodeId::from_bytes(id?);
        response.scrape = seeds.zip(peers);
        response.samples = samples.map(|samples| Samples {
            info_hashes: samples.as_chunks().0.iter().map(|hash| Target::from_bytes(*hash)).collect(),
            number,
            interval: interval.clamp(0, 21_600),
        });
        Some(response)
    }

    pub(crate) fn write(&self, encoder: SingleItemEncoder<'_>) -> Result<(), bendy::encoding::Error> {
        encoder.emit_dict(|mut r| {
            if let Some((seeds, peers)) = &self.scrape {
                bytes(&mut r, b"BFpe", peers.as_bytes())?;
                bytes(&mut r, b"BFsd", seeds.as_bytes())?;
            }
            bytes(&mut r, b"id", self.id.as_bytes())?;
            if let Some(samples) = &self.samples {
                r.emit_pair(b"interval", samples.interval)?;
            }
            if let Some(key) = &self.item.key {
                bytes(&mut r, b"k", key)?;
            }
            if let Some(nodes) = &self.nodes {
                bytes(&mut r, b"nodes", &compact_nodes(nodes, Family::V4))?;
            }
            if let Some(nodes) = &self.nodes6 {
                bytes(&mut r, b"nodes6", &compact_nodes(nodes, Family::V6))?;
            }
            if let Some(samples) = &self.samples {
                r.emit_pair(b"num", samples.number)?;
                let hashes: Vec<_> = samples.info_hashes.iter().map(|hash| *hash.as_bytes()).collect();
                bytes(&mut r, b"samples", hashes.as_flattened())?;
            }
            if let Some(sequence) = self.item.sequence {
                r.emit_pair(b"seq", sequence)?;
            }
            if let Some(signature) = &self.item.signature {
                bytes(&mut r, b"sig", signature)?;
            }
            if let Some(token) = &self.token {
                bytes(&mut r, b"token", token)?;
            }
            if let Some(value) = &self.item.value {
                r.emit_pair_with(b"v", |e| bencode::emit(e, value.as_bencode()))?;
            }
            if !self.values.is_empty() {
                r.emit_pair_with(b"values", |e| {
                    e.emit_list(|e| {
                        self.values.iter().try_for_each(|peer| {
                            let mut address = Vec::with_capacity(18);
                            push_address(&mut address, peer);
                            e.emit_bytes(&address)
                        })
                    })
                })?;
            }
            Ok(())
        })
    }
}

/// A list of compact addresses of both families.
fn peers_of(field: Field<'_>) -> Vec<SocketAddr> {
    let mut peers = Vec::new();
    if let Field::List(raw) = field {
        let read = bencode::list(raw, &mut |field| {
            if let Some(peer) = field.bytes().and_then(parse_address)
                && peers.len() < MOST_PEERS
            {
                peers.push(peer);
            }
        });
        // The whole message was read before, so its parts can be.
        debug_assert!(read.is_ok());
    }
    peers
}
