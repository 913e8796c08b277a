//! Queries: the methods and their arguments.

use bendy::encoding::SingleItemEncoder;

use crate::{
    ErrorCode, Item, MutableItem, NodeId, Target, Value,
    bencode::{self, Field},
    message::bytes,
};

/// A question to a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Who asks.
    pub id: NodeId,
    /// Which families of nodes the answer is to have; `None` for that of the packet (BEP 32).
    pub want: Option<Want>,
    /// What is asked.
    pub method: Method,
    /// Bytes that mean nothing: an address that has not shown that it receives what is sent gets an answer of at most
    /// three times its query.
    pub padding: usize,
}

/// Families of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `n4`.
    pub v4: bool,
    /// `n6`.
    pub v6: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Whether the node is there.
    Ping,
    /// Nodes near a target.
    FindNode {
        /// The target.
        target: Target,
    },
    /// Peers of a swarm, and nodes near it.
    GetPeers {
        /// The swarm.
        info_hash: Target,
        /// Whether filters of its peers are wanted (BEP 33).
        scrape: bool,
        /// Whether seeds are of no use.
        no_seed: bool,
    },
    /// That the sender is a peer of a swarm.
    AnnouncePeer {
        /// The swarm.
        info_hash: Target,
        /// Its port there.
        port: u16,
        /// Whether the packet's own port counts, and not `port`.
        implied_port: bool,
        /// The token that the node gave with `get_peers`.
        token: Vec<u8>,
        /// Whether it is a seed (BEP 33).
        seed: bool,
    },
    /// An item (BEP 44).
    Get {
        /// Its target.
        target: Target,
        /// Do not send the value unless its number is higher.
        sequence: Option<i64>,
    },
    /// That an item be kept (BEP 44). Its signature was not looked at yet.
    Put {
        /// The token that the node gave with `get`.
        token: Vec<u8>,
        /// The item.
        item: Item,
        /// The sequence number that is to be replaced.
        cas: Option<i64>,
    },
    /// Some info-hashes that the node has peers of (BEP 51).
    SampleInfohashes {
        /// Nodes near this are wanted too.
        target: Target,
    },
    /// A method that we do not know. With a target it is answered like `find_node`, as libtorrent does, so that
    /// nodes which know more than we do still find their way.
    Unknown {
        /// Target or info-hash, when it has one.
        target: Option<Target>,
    },
}

impl Method {
    /// The name on the wire; none for one that is not known.
    pub const fn name(&self) -> &'static [u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode { .. } => b"find_node",
            Self::GetPeers { .. } => b"get_peers",
            Self::AnnouncePeer { .. } => b"announce_peer",
            Self::Get { .. } => b"get",
            Self::Put { .. } => b"put",
            Self::SampleInfohashes { .. } => b"sample_infohashes",
            Self::Unknown { .. } => b"",
        }
    }
}

/// The arguments of any method.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are the protocol's flags")]
struct Arguments<'a> {
    id: Option<[u8; 20]>,
    target: Option<[u8; 20]>,
    info_hash: Option<[u8; 20]>,
    want: Option<Want>,
    scrape: bool,
    no_seed: bool,
    seed: bool,
    port: Option<i64>,
    implied_port: bool,
    token: Option<&'a [u8]>,
    sequence: Option<Field<'a>>,
    cas: Option<Field<'a>>,
    key: Option<Field<'a>>,
    salt: Option<Field<'a>>,
    signature: Option<Field<'a>>,
    value: Option<Field<'a>>,
    padding: usize,
}

type Refusal = (ErrorCode, &'static str);

const fn wrong(text: &'static str) -> Refusal {
    (ErrorCode::Protocol, text)
}

/// An optional integer. One that is something else, or does not fit, is not passed over: the asker means something.
fn integer(field: Option<Field<'_>>, otherwise: &'static str) -> Result<Option<i64>, Refusal> {
    field.map(|field| field.integer().ok_or(wrong(otherwise))).transpose()
}

impl Query {
    pub(crate) fn from_bencode(method: &[u8], arguments: &[u8]) -> Result<Self, Refusal> {
        let mut found = Arguments::default();
        bencode::dictionary(arguments, &mut |key, field| found.take(key, field))
            .map_err(|_| wrong("the arguments are not a dictionary"))?;
        let id = NodeId::from_bytes(found.id.ok_or(wrong("no id of 20 bytes"))?);
        Ok(Self { id, want: found.want, method: found.method(method)?, padding: found.padding })
    }

    pub(crate) fn write_arguments(&self, encoder: SingleItemEncoder<'_>) -> Result<(), bendy::encoding::Error> {
        let method = &self.method;
        encoder.emit_dict(|mut a| {
            if let Method::Put { cas: Some(cas), .. } = method {
                a.emit_pair(b"cas", cas)?;
            }
            bytes(&mut a, b"id", self.id.as_bytes())?;
            if let Method::AnnouncePeer { implied_port, .. } = method {
                // Always, also when it is 0: some nodes do not read an announcement without it.
                a.emit_pair(b"implied_port", i32::from(*implied_port))?;
            }
            if let Method::GetPeers { info_hash, .. } | Method::AnnouncePeer { info_hash, .. } = method {
                bytes(&mut a, b"info_hash", info_hash.as_bytes())?;
            }
            let signed = if let Method::Put { item: Item::Mutable(item), .. } = method { Some(item) } else { None };
            if let Some(item) = signed {
                bytes(&mut a, b"k", &item.key)?;
            }
            if let Method::GetPeers { no_seed: true, .. } = method {
                a.emit_pair(b"noseed", 1)?;
            }
            if self.padding > 0 {
                bytes(&mut a, b"pad", &vec![0; self.padding])?;
            }
            if let Method::AnnouncePeer { port, .. } = method {
                a.emit_pair(b"port", port)?;
            }
            if let Some(item) = signed.filter(|item| !item.salt.is_empty()) {
                bytes(&mut a, b"salt", &item.salt)?;
            }
            match method {
                Method::GetPeers { scrape: true, .. } => a.emit_pair(b"scrape", 1)?,
                Method::AnnouncePeer { seed: true, .. } => a.emit_pair(b"seed", 1)?,
                Method::Get { sequence: Some(sequence), .. } => a.emit_pair(b"seq", sequence)?,
                _ => {}
            }
            if let Some(item) = signed {
                a.emit_pair(b"seq", item.sequence)?;
                bytes(&mut a, b"sig", &item.signature)?;
            }
            match method {
                Method::FindNode { target }
                | Method::Get { target, .. }
                | Method::SampleInfohashes { target }
                | Method::Unknown { target: Some(target) } => bytes(&mut a, b"target", target.as_bytes())?,
                // Not in the BEP, but a node of the crate `mainline` passes over a put without it.
                Method::Put { item, .. } => bytes(&mut a, b"target", item.target().as_bytes())?,
                _ => {}
            }
            if let Method::AnnouncePeer { token, .. } | Method::Put { token, .. } = method {
                bytes(&mut a, b"token", token)?;
            }
            if let Method::Put { item, .. } = method {
                let value = item.value();
                a.emit_pair_with(b"v", |e| bencode::emit(e, value.as_bencode()))?;
            }
            if let Some(want) = self.want {
                a.emit_pair_with(b"want", |e| {
                    e.emit_list(|e| {
                        if want.v4 {
                            e.emit_str("n4")?;
                        }
                        if want.v6 {
                            e.emit_str("n6")?;
                        }
                        Ok(())
                    })
                })?;
            }
            Ok(())
        })
    }
}

impl<'a> Arguments<'a> {
    fn take(&mut self, key: &'a [u8], field: Field<'a>) {
        let is_one = || field.integer() == Some(1);
        match key {
            b"id" => self.id = field.fixed(),
            b"target" => self.target = field.fixed(),
            b"info_hash" => self.info_hash = field.fixed(),
            b"want" => self.want = Want::of(field),
            b"scrape" => self.scrape = is_one(),
            b"noseed" => self.no_seed = is_one(),
            b"seed" => self.seed = is_one(),
            b"port" => self.port = field.integer(),
            b"implied_port" => self.implied_port = matches!(field, Field::Integer(number) if number != "0"),
            b"token" => self.token = field.bytes(),
            b"seq" => self.sequence = Some(field),
            b"cas" => self.cas = Some(field),
            b"k" => self.key = Some(field),
            b"salt" => self.salt = Some(field),
            b"sig" => self.signature = Some(field),
            b"v" => self.value = Some(field),
            b"pad" => self.padding = field.bytes().map_or(0, <[u8]>::len),
            _ => {}
        }
    }

    fn target(&self) -> Result<Target, Refusal> {
        self.target.map(Target::from_bytes).ok_or(wrong("no target of 20 bytes"))
    }

    fn info_hash(&self) -> Result<Target, Refusal> {
        self.info_hash.map(Target::from_bytes).ok_or(wrong("no info_hash of 20 bytes"))
    }

    fn token(&self) -> Result<Vec<u8>, Refusal> {
        self.token.map(<[u8]>::to_vec).ok_or(wrong("no token"))
    }

    fn method(&self, name: &[u8]) -> Result<Method, Refusal> {
        Ok(match name {
            b"ping" => Method::Ping,
            b"find_node" => Method::FindNode { target: self.target()? },
            b"get_peers" => {
                Method::GetPeers { info_hash: self.info_hash()?, scrape: self.scrape, no_seed: self.no_seed }
            }
            b"announce_peer" => Method::AnnouncePeer {
                info_hash: self.info_hash()?,
                port: self.port()?,
                implied_port: self.implied_port,
                token: self.token()?,
                seed: self.seed,
            },
            b"get" => {
                Method::Get { target: self.target()?, sequence: integer(self.sequence, "seq is not an integer")? }
            }
            b"put" => Method::Put {
                token: self.token()?,
                item: self.item()?,
                cas: integer(self.cas, "cas is not an integer")?,
            },
            b"sample_infohashes" => Method::SampleInfohashes { target: self.target()? },
            _ => Method::Unknown { target: self.target.or(self.info_hash).map(Target::from_bytes) },
        })
    }

    /// The port of an announcement. With `implied_port` it need not be there.
    fn port(&self) -> Result<u16, Refusal> {
        let port = self.port.and_then(|port| u16::try_from(port).ok());
        match port {
            Some(port) if port > 0 || self.implied_port => Ok(port),
            _ if self.implied_port => Ok(0),
            _ => Err(wrong("no port from 1 to 65535")),
        }
    }

    /// The item of a put. Key, sequence number and signature come together or not at all: a node that took a part of
    /// them filed unsigned values under signed targets.
    fn item(&self) -> Result<Item, Refusal> {
        let refused = |error: crate::ItemError| (error.code(), "the item is not right");
        let value = self.value.ok_or(wrong("no value"))?;
        let value = Value::from_bencode(&value.to_bencode()).map_err(refused)?;
        match (self.key, self.sequence, self.signature) {
            (None, None, None) if self.salt.is_none() => Ok(Item::Immutable(value)),
            (Some(key), Some(sequence), Some(signature)) => {
                let salt = self.salt.map_or(Some(&[][..]), Field::bytes).ok_or(wrong("salt is not a string"))?;
                if salt.len() > crate::MAX_SALT {
                    return Err(refused(crate::ItemError::SaltLength { length: salt.len() }));
                }
                Ok(Item::Mutable(MutableItem {
                    value,
                    key: key.fixed().ok_or(wrong("k has not 32 bytes"))?,
                    salt: salt.to_vec(),
                    sequence: sequence
                        .integer()
                        .filter(|seq| *seq >= 0)
                        .ok_or(wrong("seq is not from 0 to 2^63 - 1"))?,
                    signature: signature.fixed().ok_or(wrong("sig has not 64 bytes"))?,
                }))
            }
            _ => Err(wrong("k, seq and sig come together or not at all")),
        }
    }
}

impl Want {
    /// Strings that are not known are passed over; a list of nothing else is as good as none.
    fn of(field: Field<'_>) -> Option<Self> {
        let Field::List(raw) = field else { return None };
        let mut want = Self::default();
        let read = bencode::list(raw, &mut |field| match field.bytes() {
            Some(b"n4") => want.v4 = true,
            Some(b"n6") => want.v6 = true,
            _ => {}
        });
        (read.is_ok() && (want.v4 || want.v6)).then_some(want)
    }
}
