//! Messages: queries, responses and errors, in one envelope (BEP 5 and what was added to it).

use std::net::SocketAddr;

use bendy::encoding::{Encoder, SortedDictEncoder};

use crate::{
    Query, Response, TransactionId,
    bencode::{self, Field},
    contact::{parse_address, push_address},
};

/// A message of the DHT.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `t`: of a query its sender's choice, of an answer that of the query.
    pub transaction: TransactionId,
    /// `v`: two letters for the program, two bytes for its version.
    pub version: Option<[u8; 4]>,
    /// `ip`, in answers: the address that the query came from, as its answerer saw it (BEP 42).
    pub requester: Option<SocketAddr>,
    /// `ro`, in queries: the sender answers none (BEP 43).
    pub read_only: bool,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A question.
    Query(Query),
    /// The answer to one.
    Response(Box<Response>),
    /// A refusal.
    Error(ErrorReply),
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// What kind; other nodes may send codes that we do not know.
    pub code: i64,
    /// In words.
    pub text: String,
}

/// The codes of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Any.
    Generic,
    /// The node failed.
    Server,
    /// The message is not right, or its token is not good.
    Protocol,
    /// There is no such method.
    UnknownMethod,
    /// The value of a put is too long (BEP 44).
    ValueTooBig,
    /// The signature of a put is not right.
    Signature,
    /// The salt of a put is too long.
    SaltTooBig,
    /// The item has another sequence number than the put expected.
    CasMismatch,
    /// The put's sequence number is lower than the item's.
    SequenceTooOld,
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn number(self) -> i64 {
        match self {
            Self::Generic => 201,
            Self::Server => 202,
            Self::Protocol => 203,
            Self::UnknownMethod => 204,
            Self::ValueTooBig => 205,
            Self::Signature => 206,
            Self::SaltTooBig => 207,
            Self::CasMismatch => 301,
            Self::SequenceTooOld => 302,
        }
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Nothing can be answered: it is no bencode, has no transaction id, or is no query.
    #[error("not a message")]
    NotAMessage,
    /// A query that can be answered with an error.
    #[error("a query with something wrong: {text}")]
    Query {
        /// Its transaction.
        transaction: TransactionId,
        /// The error's code.
        code: ErrorCode,
        /// The error's text.
        text: &'static str,
    },
}

/// The parts of the envelope.
#[derive(Default)]
struct Envelope<'a> {
    transaction: Option<TransactionId>,
    kind: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    arguments: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
    error: Option<Field<'a>>,
    version: Option<[u8; 4]>,
    requester: Option<SocketAddr>,
    read_only: bool,
}

impl Message {
    /// A message with nothing but what it says.
    pub const fn new(transaction: TransactionId, body: Body) -> Self {
        Self { transaction, version: None, requester: None, read_only: false, body }
    }

    /// Reads a message. Keys that are not known are passed over.
    ///
    /// # Errors
    /// [`MessageError::Query`] when it is a query that wants an error for an answer, else
    /// [`MessageError::NotAMessage`], which must not be answered at all.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let nothing = |_| MessageError::NotAMessage;
        bencode::bounded(bytes).map_err(nothing)?;
        let mut envelope = Envelope::default();
        bencode::dictionary(bytes, &mut |key, field| envelope.take(key, field)).map_err(nothing)?;
        let transaction = envelope.transaction.ok_or(MessageError::NotAMessage)?;
        let body = match envelope.kind {
            Some(b"q") => Body::Query(envelope.query(transaction)?),
            Some(b"r") => {
                let response = envelope.response.and_then(Response::from_bencode);
                Body::Response(Box::new(response.ok_or(MessageError::NotAMessage)?))
            }
            Some(b"e") => Body::Error(ErrorReply::from_field(envelope.error)),
            _ => return Err(MessageError::NotAMessage),
        };
        Ok(Self {
            transaction,
            version: envelope.version,
            requester: envelope.requester,
            read_only: envelope.read_only,
            body,
        })
    }

    /// The message's bytes, in canonical bencode.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        let written = encoder.emit_dict(|mut envelope| {
            if let Body::Query(query) = &self.body {
                envelope.emit_pair_with(b"a", |e| query.write_arguments(e))?;
            }
            if let Body::Error(error) = &self.body {
                envelope.emit_pair_with(b"e", |e| {
                    e.emit_list(|e| {
                        e.emit_int(error.code)?;
                        e.emit_str(&error.text)
                    })
                })?;
            }
            if let Some(requester) = &self.requester {
                let mut address = Vec::with_capacity(18);
                push_address(&mut address, requester);
                bytes(&mut envelope, b"ip", &address)?;
            }
            if let Body::Query(query) = &self.body {
                bytes(&mut envelope, b"q", query.method.name())?;
            }
            if let Body::Response(response) = &self.body {
                envelope.emit_pair_with(b"r", |e| response.write(e))?;
            }
            if self.read_only {
                envelope.emit_pair(b"ro", 1)?;
            }
            bytes(&mut envelope, b"t", self.transaction.as_bytes())?;
            if let Some(version) = &self.version {
                bytes(&mut envelope, b"v", version)?;
            }
            let kind: &[u8] = match self.body {
                Body::Query(_) => b"q",
                Body::Response(_) => b"r",
                Body::Error(_) => b"e",
            };
            bytes(&mut envelope, b"y", kind)
        });
        // Keys are written in their order and nothing is nested deeply, so there is nothing to fail.
        written.and_then(|()| encoder.get_output()).unwrap_or_default()
    }
}

type Written = Result<(), bendy::encoding::Error>;

pub(crate) fn bytes(dictionary: &mut SortedDictEncoder<'_>, key: &[u8], value: &[u8]) -> Written {
    dictionary.emit_pair_with(key, |e| e.emit_bytes(value))
}

impl<'a> Envelope<'a> {
    fn take(&mut self, key: &'a [u8], field: Field<'a>) {
        match (key, field) {
            (b"t", _) => self.transaction = field.bytes().and_then(TransactionId::from_bytes),
            (b"y", _) => self.kind = field.bytes(),
            (b"q", _) => self.method = field.bytes(),
            (b"a", Field::Dictionary(raw)) => self.arguments = Some(raw),
            (b"r", Field::Dictionary(raw)) => self.response = Some(raw),
            (b"e", _) => self.error = Some(field),
            (b"v", _) => self.version = field.fixed(),
            (b"ip", _) => self.requester = field.bytes().and_then(parse_address),
            (b"ro", _) => self.read_only = field.integer() == Some(1),
            _ => {}
        }
    }

    fn query(&self, transaction: TransactionId) -> Result<Query, MessageError> {
        let refuse = |(code, text)| MessageError::Query { transaction, code, text };
        let wrong = |text| refuse((ErrorCode::Protocol, text));
        let method = self.method.ok_or_else(|| wrong("no method"))?;
        let arguments = self.arguments.ok_or_else(|| wrong("no arguments"))?;
        Query::from_bencode(method, arguments).map_err(refuse)
    }
}

impl ErrorReply {
    /// One of ours.
    pub fn new(code: ErrorCode, text: &str) -> Self {
        Self { code: code.number(), text: text.to_owned() }
    }

    /// `[code, text]`; some send only a text, or nothing of use.
    fn from_field(field: Option<Field<'_>>) -> Self {
        let mut reply = Self { code: ErrorCode::Generic.number(), text: String::new() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(200).collect();
        match field {
            Some(Field::Bytes(bytes)) => reply.text = text(bytes),
            Some(Field::List(raw)) => {
                let read = bencode::list(raw, &mut |field| match field {
                    Field::Integer(_) => reply.code = field.integer().unwrap_or(reply.code),
                    Field::Bytes(bytes) => reply.text = text(bytes),
                    Field::List(_) | Field::Dictionary(_) => {}
                });
                // The whole message was read before, so its parts can be.
                debug_assert!(read.is_ok());
            }
            _ => {}
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Contact, Family, Item, ItemReply, Method, MutableItem, NodeId, Samples, ScrapeFilter, Target, Value, Want,
    };

    const A: &[u8; 20] = b"abcdefghij0123456789";
    const M: &[u8; 20] = b"mnopqrstuvwxyz123456";

    fn aa() -> TransactionId {
        TransactionId::from_bytes(b"aa").expect("an id")
    }

    fn query(method: Method) -> Message {
        Message::new(aa(), Body::Query(Query { id: NodeId::from_bytes(*A), want: None, method, padding: 0 }))
    }

    fn response(fill: impl FnOnce(&mut Response)) -> Message {
        let mut response = Response::new(NodeId::from_bytes(*A));
        fill(&mut response);
        Message::new(aa(), Body::Response(Box::new(response)))
    }

    /// The examples of BEP 5, but for the `nodes` of nine bytes, which are none.
    #[test]
    fn agrees_with_the_bep() {
        let target = Target::from_bytes(*M);
        let announce = Method::AnnouncePeer {
            info_hash: target,
            port: 6881,
            implied_port: true,
            token: b"aoeusnth".to_vec(),
            seed: false,
        };
        let get_peers = Method::GetPeers { info_hash: target, scrape: false, no_seed: false };
        let peers = response(|r| {
            r.token = Some(b"aoeusnth".to_vec());
            r.values = vec![parse_address(b"axje.u").expect("a peer"), parse_address(b"idhtnm").expect("a peer")];
        });
        let error = ErrorReply::new(ErrorCode::Generic, "A Generic Error Ocurred");
        for (message, bytes) in [
            (query(Method::Ping), "d1:ad2:id20:Ae1:q4:ping1:t2:aa1:y1:qe"),
            (response(|r| r.id = NodeId::from_bytes(*M)), "d1:rd2:id20:Me1:t2:aa1:y1:re"),
            (query(Method::FindNode { target }), "d1:ad2:id20:A6:target20:Me1:q9:find_node1:t2:aa1:y1:qe"),
            (query(get_peers), "d1:ad2:id20:A9:info_hash20:Me1:q9:get_peers1:t2:aa1:y1:qe"),
            (peers, "d1:rd2:id20:A5:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re"),
            (
                query(announce),
                "d1:ad2:id20:A12:implied_porti1e9:info_hash20:M4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
            ),
            (Message::new(aa(), Body::Error(error)), "d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee"),
        ] {
            let bytes = bytes.replace('A', "abcdefghij0123456789").replace('M', "mnopqrstuvwxyz123456");
            // The one text in which those letters stand for themselves.
            let bytes = bytes.replace("23:abcdefghij0123456789 Generic", "23:A Generic");
            assert_eq!(String::from_utf8_lossy(&message.to_bytes()), bytes);
            assert_eq!(Message::from_bytes(bytes.as_bytes()), Ok(message));
        }
        let nodes = b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re";
        let Body::Response(read) = Message::from_bytes(nodes).expect("a message").body else { panic!("a response") };
        assert_eq!(read.nodes, Some(Vec::new()));
    }

    #[test]
    fn read_only_and_unknown_queries_are_read() {
        let mut message = query(Method::Ping);
        message.read_only = true;
        assert!(message.to_bytes().windows(6).any(|bytes| bytes == b"2:roi1"));
        assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
        let vote = b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q4:vote1:t2:aa1:y1:qe";
        let method = Method::Unknown { target: Some(Target::from_bytes(*M)) };
        assert_eq!(Message::from_bytes(vote), Ok(query(method)));
    }

    #[test]
    fn errors_are_read_in_every_form() {
        for (form, code, text) in [("5:wrong", 201, "wrong"), ("li203ee", 203, ""), ("le", 201, ""), ("de", 201, "")] {
            let message = Message::from_bytes(format!("d1:e{form}1:t2:aa1:y1:ee").as_bytes()).expect("a message");
            assert_eq!(message.body, Body::Error(ErrorReply { code, text: text.to_owned() }), "{form}");
        }
    }

    /// What is no query with a transaction is not answered at all, whatever is wrong with it.
    #[test]
    fn what_cannot_be_answered_is_told_from_what_can() {
        let id = "2:id20:abcdefghij0123456789";
        let nothing = [
            String::new(),
            "d".to_owned(),
            "de".to_owned(),
            format!("d1:ad{id}e1:q4:ping1:t2:aae"),
            format!("d1:ad{id}e1:q4:ping1:y1:qe"),
            format!("d1:ad{id}e1:q4:ping1:t0:1:y1:qe"),
            format!("d1:ad{id}e1:q4:ping1:t33:{}1:y1:qe", "x".repeat(33)),
            format!("d1:ad{id}e1:q4:ping1:t2:aa1:y1:qeX"),
            format!("d1:y1:q1:t2:aa1:q4:ping1:ad{id}ee"),
            format!("d1:ad{id}e1:q4:ping1:q4:ping1:t2:aa1:y1:qe"),
            "d1:rd2:id3:abce1:t2:aa1:y1:re".to_owned(),
            "d1:r2:id1:t2:aa1:y1:re".to_owned(),
            format!("d1:a{}{}e1:t2:aa1:y1:qe", "l".repeat(5000), "e".repeat(5000)),
            format!("d1:al{}e1:t2:aa1:y1:qe", "0:".repeat(1300)),
            "d1:a99999999999999999999:xe".to_owned(),
        ];
        for bytes in nothing {
            let read = Message::from_bytes(bytes.as_bytes());
            assert_eq!(read, Err(MessageError::NotAMessage), "{bytes}");
        }
        let put = |extra: &str| format!("d1:ad{id}{extra}e1:q3:put1:t2:aa1:y1:qe");
        let (k, sig) = (format!("1:k32:{}", "k".repeat(32)), format!("3:sig64:{}", "s".repeat(64)));
        let cases = [
            (format!("d1:ad{id}e1:t2:aa1:y1:qe"), ErrorCode::Protocol),
            ("d1:q4:ping1:t2:aa1:y1:qe".to_owned(), ErrorCode::Protocol),
            ("d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe".to_owned(), ErrorCode::Protocol),
            (format!("d1:ad{id}e1:q9:find_node1:t2:aa1:y1:qe"), ErrorCode::Protocol),
            (format!("d1:ad{id}6:target19:abcdefghij012345678e1:q9:find_node1:t2:aa1:y1:qe"), ErrorCode::Protocol),
            (format!("d1:ad{id}e1:q9:get_peers1:t2:aa1:y1:qe"), ErrorCode::Protocol),
            (put("1:v1:x"), ErrorCode::Protocol),
            (put("5:token1:t"), ErrorCode::Protocol),
            (put(&format!("{k}5:token1:t1:v1:x")), ErrorCode::Protocol),
            (put(&format!("{k}3:seqi1e5:token1:t1:v1:x")), ErrorCode::Protocol),
            (put(&format!("{k}3:seqi-1e{sig}5:token1:t1:v1:x")), ErrorCode::Protocol),
            (put(&format!("{k}3:seqi9223372036854775808e{sig}5:token1:t1:v1:x")), ErrorCode::Protocol),
            (put("4:salt1:x5:token1:t1:v1:x"), ErrorCode::Protocol),
            (put(&format!("{k}4:salt65:{}3:seqi1e{sig}5:token1:t1:v1:x", "x".repeat(65))), ErrorCode::SaltTooBig),
            (put(&format!("5:token1:t1:v997:{}", "x".repeat(997))), ErrorCode::ValueTooBig),
        ];
        for (bytes, wanted) in cases {
            match Message::from_bytes(bytes.as_bytes()) {
                Err(MessageError::Query { transaction, code, .. }) => {
                    assert_eq!((transaction, code), (aa(), wanted), "{bytes}");
                }
                read => panic!("{bytes}: {read:?}"),
            }
        }
    }

    #[test]
    fn a_reply_is_believed_only_if_it_is_what_was_asked_for() {
        let value = Value::from_bencode(b"12:Hello World!").expect("a value");
        let item = Item::Immutable(value.clone());
        let reply = ItemReply::of(&item);
        assert_eq!(reply.item(&item.target(), b""), Some(item.clone()));
        assert_eq!(reply.item(&Target::from_bytes(*M), b""), None);
        // The value under the target of a key, without a signature or with a wrong one.
        let mutable = crate::mutable_target(&[1; 32], b"");
        assert_eq!(reply.item(&mutable, b""), None);
        let forged = ItemReply { value: Some(value), key: Some([1; 32]), sequence: Some(1), signature: Some([0; 64]) };
        assert_eq!(forged.item(&mutable, b""), None);
        // An immutable item with more than it needs is still that item.
        assert_eq!(forged.item(&item.target(), b""), Some(item));
    }

    /// What other programs really send.
    #[test]
    fn packets_of_others_are_read() {
        let packets = include_str!("../../fixtures/dht/captured.txt");
        let mut kinds = std::collections::BTreeMap::new();
        for line in packets.lines().filter(|line| !line.starts_with('#')) {
            let (sender, bytes) = line.split_once(' ').expect("sender and bytes");
            let bytes = hex::decode(bytes).expect("hex");
            let message = Message::from_bytes(&bytes).unwrap_or_else(|error| panic!("{sender}: {error}"));
            let kind = match &message.body {
                Body::Query(query) => {
                    assert_ne!(query.method.name(), b"", "{sender}: a method that we do not know");
                    if let Method::Put { item: Item::Mutable(item), .. } = &query.method {
                        assert_eq!(item.verify(), Ok(()), "{sender}");
                    }
                    String::from_utf8_lossy(query.method.name()).into_owned()
                }
                Body::Response(response) => {
                    let of_itself = Item::Immutable(response.item.value.clone().unwrap_or_else(no_value)).target();
                    let has_value = response.item.value.is_some();
                    // The salt of the signed ones is not in an answer, so of those only the parts are looked at.
                    assert!(!has_value || response.item.item(&of_itself, b"").is_some(), "{sender}");
                    "response".to_owned()
                }
                Body::Error(_) => "error".to_owned(),
            };
            *kinds.entry((sender.to_owned(), kind)).or_insert(0) += 1;
            // Nothing that we know is lost on the way.
            assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message), "{sender}");
        }
        for (sender, kind) in [
            ("libtorrent-2.1.1", "put"),
            ("bittorrent-dht-11.0.12", "announce_peer"),
            ("mainline-8.0.1", "get"),
            ("aria2-1.36.0", "response"),
        ] {
            assert!(kinds.contains_key(&(sender.to_owned(), kind.to_owned())), "{sender} {kind}: {kinds:?}");
        }
    }

    fn no_value() -> Value {
        Value::from_bytes(b"").expect("a value")
    }

    fn target() -> impl Strategy<Value = Target> {
        any::<[u8; 20]>().prop_map(Target::from_bytes)
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<std::net::IpAddr>(), 1_u16..).prop_map(SocketAddr::from)
    }

    fn contact(family: Family) -> impl Strategy<Value = Contact> {
        let of = move |address: &SocketAddr| Family::of(address) == family;
        (any::<[u8; 20]>(), address().prop_filter("the family", of))
            .prop_map(|(id, address)| Contact { id: NodeId::from_bytes(id), address })
    }

    fn item() -> impl Strategy<Value = Item> {
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| Value::from_bytes(&bytes)),
            Just(Value::from_bencode(b"d1:ali1e0:e1:bi-7ee")),
            Just(Value::from_bencode(b"i123456789012345678901234567890e")),
        ];
        let value = value.prop_map(|value| value.expect("a value"));
        let signed =
            (any::<[u8; 32]>(), proptest::collection::vec(any::<u8>(), 0..=64), 0..i64::MAX, any::<[u8; 64]>());
        (value, proptest::option::of(signed)).prop_map(|(value, signed)| match signed {
            None => Item::Immutable(value),
            Some((key, salt, sequence, signature)) => {
                Item::Mutable(MutableItem { value, key, salt, sequence, signature })
            }
        })
    }

    fn method() -> impl Strategy<Value = Method> {
        let token = || proptest::collection::vec(any::<u8>(), 0..20);
        prop_oneof![
            Just(Method::Ping),
            target().prop_map(|target| Method::FindNode { target }),
            (target(), any::<bool>(), any::<bool>()).prop_map(|(info_hash, scrape, no_seed)| Method::GetPeers {
                info_hash,
                scrape,
                no_seed
            }),
            (target(), 1_u16.., any::<bool>(), token(), any::<bool>()).prop_map(
                |(info_hash, port, implied_port, token, seed)| Method::AnnouncePeer {
                    info_hash,
                    port,
                    implied_port,
                    token,
                    seed
                }
            ),
            (target(), proptest::option::of(any::<i64>()))
                .prop_map(|(target, sequence)| Method::Get { target, sequence }),
            (token(), item(), proptest::option::of(any::<i64>())).prop_map(|(token, item, cas)| Method::Put {
                token,
                item,
                cas
            }),
            target().prop_map(|target| Method::SampleInfohashes { target }),
        ]
    }

    fn want() -> impl Strategy<Value = Option<Want>> {
        proptest::option::of(prop_oneof![
            Just(Want { v4: true, v6: false }),
            Just(Want { v4: false, v6: true }),
            Just(Want { v4: true, v6: true })
        ])
    }

    fn any_response() -> impl Strategy<Value = Response> {
        let nodes = |family| proptest::option::of(proptest::collection::vec(contact(family), 0..9));
        let filter = || any::<[u8; 32]>().prop_map(|bytes| ScrapeFilter::from_bytes(&bytes.repeat(8)).expect("256"));
        let samples = (proptest::collection::vec(target(), 0..9), any::<i64>(), 0..21_600_i64)
            .prop_map(|(info_hashes, number, interval)| Samples { info_hashes, number, interval });
        (
            any::<[u8; 20]>(),
            nodes(Family::V4),
            nodes(Family::V6),
            proptest::collection::vec(address(), 0..20),
            proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
            proptest::option::of(item()),
            proptest::option::of((filter(), filter())),
            proptest::option::of(samples),
        )
            .prop_map(|(id, nodes, nodes6, values, token, item, scrape, samples)| Response {
                id: NodeId::from_bytes(id),
                nodes,
                nodes6,
                values,
                token,
                item: item.as_ref().map(ItemReply::of).unwrap_or_default(),
                scrape,
                samples,
            })
    }

    proptest! {
        #[test]
        fn every_message_is_read_back(
            transaction in proptest::collection::vec(any::<u8>(), 1..=32),
            version in any::<Option<[u8; 4]>>(),
            requester in proptest::option::of(address()),
            read_only in any::<bool>(),
            body in prop_oneof![
                (any::<[u8; 20]>(), want(), method(), 0..500_usize)
                    .prop_map(|(id, want, method, padding)| Body::Query(Query { id: NodeId::from_bytes(id), want, method, padding })),
                any_response().prop_map(|response| Body::Response(Box::new(response))),
                (any::<i64>(), "[a-z ]{0,30}").prop_map(|(code, text)| Body::Error(ErrorReply { code, text })),
            ],
        ) {
            let transaction = TransactionId::from_bytes(&transaction).expect("an id");
            let message = Message { transaction, version, requester, read_only, body };
            let bytes = message.to_bytes();
            prop_assert!(!bytes.is_empty());
            prop_assert_eq!(Message::from_bytes(&bytes), Ok(message));
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::from_bytes(&bytes);
        }

        #[test]
        fn no_change_of_a_message_causes_a_panic(
            body in (any::<[u8; 20]>(), want(), method(), 0..500_usize)
                .prop_map(|(id, want, method, padding)| Body::Query(Query { id: NodeId::from_bytes(id), want, method, padding })),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = Message::new(TransactionId::ours(1), body).to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(message) = Message::from_bytes(&bytes) {
                prop_assert_eq!(Message::from_bytes(&message.to_bytes()), Ok(message));
            }
        }
    }
}
