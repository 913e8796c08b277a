//! The words that peers say to each other over a link (docs/link.md).

use bendy::encoding::{Encoder, SortedDictEncoder};
use cas::Score;
use krpc::bencode::{self, Field};

use crate::{Envelope, NotAMessage, PeerId, PoolId, Refusal};

/// Most scores in one message.
pub const MOST_SCORES: usize = 4096;

/// Most peers and addresses that one message tells of.
const MOST_RUMOURS: usize = 256;

/// A question of one peer to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// How are you; and here is how I am. `status`
    Status(Box<PeerStatus>),
    /// Which entries of the pool's log do I lack, who have these heads? `members`
    Members {
        /// Hashes of entries that nothing known follows.
        heads: Vec<[u8; 32]>,
        /// Entries to take.
        entries: Vec<Vec<u8>>,
    },
    /// Let me in: here is an invitation's signature. `join`; answered like `members`
    Join {
        /// Who made the invitation.
        inviter: PeerId,
        /// The invitation's public key.
        key: PeerId,
        /// Its signature (see [`crate::Action::proof`]).
        proof: [u8; 64],
    },
    /// Which of these do you have, on stable storage? `have`
    Have {
        /// The blocks.
        scores: Vec<Score>,
    },
    /// Which of these do you want? `offer`
    Offer {
        /// The blocks.
        scores: Vec<Score>,
    },
    /// What came since? `since`
    Since {
        /// The epoch of the answerer's log that `after` belongs to.
        epoch: u64,
        /// The last arrival that is known.
        after: u64,
        /// Arrivals that are looked through at most.
        limit: u64,
    },
    /// Which blocks have you in my buckets, from this score on? `list`
    List {
        /// The first 16 bits to begin at.
        from: u16,
        /// A bit for each bucket that is asked for, most significant first; empty for all.
        buckets: Vec<u8>,
    },
    /// Compare what we both should hold. `range`, with arguments of its own
    Range(Vec<u8>),
    /// Show that you have a block. `audit`
    Audit {
        /// Which.
        score: Score,
        /// What to key the hash with.
        nonce: [u8; 32],
    },
}

/// What a peer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Proof that it knows the pool ([`PeerStatus::proof`]); zeros when it has none.
    pub pool: [u8; 32],
    /// Its program.
    pub version: String,
    /// The port on which it takes links; 0 for none.
    pub port: u16,
    /// The epoch of its arrival log.
    pub epoch: u64,
    /// The last arrival in it.
    pub last: u64,
    /// Hash over the heads of its membership log.
    pub heads: [u8; 32],
    /// Bytes that it can still take.
    pub free: u64,
    /// Blocks that it has.
    pub blocks: u64,
    /// Where it knows other peers, newest first.
    pub rumours: Vec<Rumour>,
}

/// Where somebody says that a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rumour {
    /// Who.
    pub peer: PeerId,
    /// Where.
    pub address: std::net::SocketAddr,
}

/// Answers to [`Word::Have`] and [`Word::Offer`]: a bit for each score, most significant first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub Vec<bool>);

/// The answer to [`Word::Since`] and [`Word::List`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// The epoch of the log.
    pub epoch: u64,
    /// Where to go on: the last arrival that was looked through, or the bucket after the last.
    pub next: u64,
    /// Whether there is more.
    pub more: bool,
    /// Blocks in buckets that the asker holds.
    pub scores: Vec<Score>,
    /// Which of them are roots.
    pub roots: Vec<bool>,
}

type Written = Result<(), bendy::encoding::Error>;

fn dictionary(write: impl FnOnce(&mut SortedDictEncoder<'_>) -> Written) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let written = encoder.emit_dict(|mut dictionary| write(&mut dictionary));
    // Keys are written in their order and nothing is nested deeply, so there is nothing to fail.
    written.and_then(|()| encoder.get_output()).unwrap_or_default()
}

fn bytes(dictionary: &mut SortedDictEncoder<'_>, key: &[u8], value: &[u8]) -> Written {
    dictionary.emit_pair_with(key, |e| e.emit_bytes(value))
}

fn strings(dictionary: &mut SortedDictEncoder<'_>, key: &[u8], values: &[Vec<u8>]) -> Written {
    dictionary.emit_pair_with(key, |e| {
        e.emit_list(|list| values.iter().try_for_each(|value| list.emit_with(|e| e.emit_bytes(value))))
    })
}

/// Scores in their binary form, one after the other.
fn pack(scores: &[Score]) -> Vec<u8> {
    scores.iter().flat_map(|score| score.to_binary()).collect()
}

fn unpack(bytes: &[u8]) -> Option<Vec<Score>> {
    let (packed, rest) = bytes.as_chunks::<{ Score::BINARY }>();
    let fits = rest.is_empty() && packed.len() <= MOST_SCORES;
    fits.then(|| packed.iter().map(|one| Score::from_binary(one).ok()).collect()).flatten()
}

fn pack_bits(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8)
        .map(|eight| eight.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at)))
        .collect()
}

fn unpack_bits(bytes: &[u8], count: usize) -> Option<Vec<bool>> {
    (bytes.len() == count.div_ceil(8)).then(|| (0..count).map(|at| bytes[at / 8] >> (7 - at % 8) & 1 == 1).collect())
}

/// A dictionary's values by their keys.
struct Values<'a>(Vec<(&'a [u8], Field<'a>)>);

impl<'a> Values<'a> {
    fn of(raw: &'a [u8]) -> Option<Self> {
        let mut values = Vec::new();
        bencode::dictionary(raw, &mut |key, field| values.push((key, field))).ok()?;
        Some(Self(values))
    }

    fn get(&self, key: &[u8]) -> Option<Field<'a>> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, field)| *field)
    }

    fn bytes(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.get(key)?.bytes()
    }

    fn fixed<const N: usize>(&self, key: &[u8]) -> Option<[u8; N]> {
        self.get(key)?.fixed()
    }

    /// Numbers of 64 bits go as 8 bytes: bencode's integers would be read as signed by others.
    fn number(&self, key: &[u8]) -> Option<u64> {
        self.fixed(key).map(u64::from_be_bytes)
    }

    fn scores(&self, key: &[u8]) -> Option<Vec<Score>> {
        unpack(self.bytes(key)?)
    }

    fn strings(&self, key: &[u8], most: usize) -> Option<Vec<&'a [u8]>> {
        let Field::List(raw) = self.get(key)? else { return None };
        let mut values = Vec::new();
        let mut sound = true;
        let read = bencode::list(raw, &mut |field| match field.bytes() {
            Some(bytes) if values.len() < most => values.push(bytes),
            _ => sound = false,
        });
        (read.is_ok() && sound).then_some(values)
    }
}

impl Word {
    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Members { .. } => "members",
            Self::Join { .. } => "join",
            Self::Have { .. } => "have",
            Self::Offer { .. } => "offer",
            Self::Since { .. } => "since",
            Self::List { .. } => "list",
            Self::Range(_) => "range",
            Self::Audit { .. } => "audit",
        }
    }

    /// The whole message.
    pub fn to_bytes(&self) -> Vec<u8> {
        Envelope::Query { word: self.name().to_owned(), arguments: self.arguments() }.to_bytes()
    }

    fn arguments(&self) -> Vec<u8> {
        match self {
            Self::Status(status) => status.to_bencode(),
            Self::Members { heads, entries } => dictionary(|d| {
                strings(d, b"entries", entries)?;
                bytes(d, b"heads", heads.as_flattened())
            }),
            Self::Join { inviter, key, proof } => dictionary(|d| {
                bytes(d, b"inviter", inviter.as_bytes())?;
                bytes(d, b"key", key.as_bytes())?;
                bytes(d, b"proof", proof)
            }),
            Self::Have { scores } | Self::Offer { scores } => dictionary(|d| bytes(d, b"scores", &pack(scores))),
            Self::Since { epoch, after, limit } => dictionary(|d| {
                bytes(d, b"after", &after.to_be_bytes())?;
                bytes(d, b"epoch", &epoch.to_be_bytes())?;
                bytes(d, b"limit", &limit.to_be_bytes())
            }),
            Self::List { from, buckets } => dictionary(|d| {
                bytes(d, b"buckets", buckets)?;
                bytes(d, b"from", &from.to_be_bytes())
            }),
            Self::Range(raw) => raw.clone(),
            Self::Audit { score, nonce } => dictionary(|d| {
                bytes(d, b"nonce", nonce)?;
                bytes(d, b"score", &score.to_binary())
            }),
        }
    }

    /// Reads a message that must be a question.
    ///
    /// # Errors
    /// The refusal that it is answered with.
    pub fn from_bytes(message: &[u8]) -> Result<Self, Refusal> {
        let Ok(Envelope::Query { word, arguments }) = Envelope::from_bytes(message) else {
            return Err(Refusal::new(Refusal::PROTOCOL, NotAMessage.to_string()));
        };
        let known =
            ["status", "members", "join", "have", "offer", "since", "list", "range", "audit"].contains(&word.as_str());
        if !known {
            return Err(Refusal::new(Refusal::UNKNOWN, "there is no such word"));
        }
        let read = Values::of(&arguments).and_then(|values| Self::read(&word, &values, &arguments));
        read.ok_or_else(|| Refusal::new(Refusal::PROTOCOL, format!("{word} has wrong arguments")))
    }

    fn read(word: &str, values: &Values<'_>, raw: &[u8]) -> Option<Self> {
        Some(match word {
            "status" => Self::Status(Box::new(PeerStatus::read(values)?)),
            "members" => Self::Members { heads: heads(values)?, entries: entries(values)? },
            "join" => {
                let peer = |key: &[u8]| values.fixed(key).map(PeerId::from_bytes);
                Self::Join { inviter: peer(b"inviter")?, key: peer(b"key")?, proof: values.fixed(b"proof")? }
            }
            "have" => Self::Have { scores: values.scores(b"scores")? },
            "offer" => Self::Offer { scores: values.scores(b"scores")? },
            "since" => Self::Since {
                epoch: values.number(b"epoch")?,
                after: values.number(b"after")?,
                limit: values.number(b"limit")?,
            },
            "list" => {
                let buckets = values.bytes(b"buckets").filter(|bits| [0, 8192].contains(&bits.len()))?;
                Self::List { from: u16::from_be_bytes(values.fixed(b"from")?), buckets: buckets.to_vec() }
            }
            "range" => Self::Range(raw.to_vec()),
            "audit" => Self::Audit {
                score: Score::from_binary(&values.fixed(b"score")?).ok()?,
                nonce: values.fixed(b"nonce")?,
            },
            _ => return None,
        })
    }
}

/// Most entries of a membership log in one message.
pub const ENTRIES_AT_ONCE: usize = 500;

fn heads(values: &Values<'_>) -> Option<Vec<[u8; 32]>> {
    let (heads, rest) = values.bytes(b"heads")?.as_chunks::<32>();
    (rest.is_empty() && heads.len() <= MOST_RUMOURS).then(|| heads.to_vec())
}

fn entries(values: &Values<'_>) -> Option<Vec<Vec<u8>>> {
    Some(values.strings(b"entries", ENTRIES_AT_ONCE)?.into_iter().map(<[u8]>::to_vec).collect())
}

impl PeerStatus {
    /// What shows one peer that another one knows the id of their pool, and tells nobody else anything: BLAKE3, keyed with
    /// the id, of both peer ids. The link proves who they are, so it is of no use to anybody else.
    pub fn proof(pool: &PoolId, from: &PeerId, to: &PeerId) -> [u8; 32] {
        let both = [from.as_bytes().as_slice(), to.as_bytes()].concat();
        *blake3::keyed_hash(pool.as_bytes(), &both).as_bytes()
    }

    /// The dictionary, as arguments and as results: both sides say the same.
    pub fn to_bencode(&self) -> Vec<u8> {
        let rumours: Vec<Vec<u8>> = self.rumours.iter().map(|rumour| rumour.to_bytes()).collect();
        dictionary(|d| {
            bytes(d, b"blocks", &self.blocks.to_be_bytes())?;
            bytes(d, b"epoch", &self.epoch.to_be_bytes())?;
            bytes(d, b"free", &self.free.to_be_bytes())?;
            bytes(d, b"heads", &self.heads)?;
            bytes(d, b"last", &self.last.to_be_bytes())?;
            bytes(d, b"pool", &self.pool)?;
            bytes(d, b"port", &self.port.to_be_bytes())?;
            strings(d, b"rumours", &rumours)?;
            bytes(d, b"version", self.version.as_bytes())
        })
    }

    /// Reads the results of a `status`.
    pub fn from_bencode(raw: &[u8]) -> Option<Self> {
        Self::read(&Values::of(raw)?)
    }

    fn read(values: &Values<'_>) -> Option<Self> {
        let version = String::from_utf8_lossy(values.bytes(b"version")?);
        let rumours = values.strings(b"rumours", MOST_RUMOURS)?;
        Some(Self {
            pool: values.fixed(b"pool")?,
            version: version.chars().filter(|sign| !sign.is_control()).take(40).collect(),
            port: u16::from_be_bytes(values.fixed(b"port")?),
            epoch: values.number(b"epoch")?,
            last: values.number(b"last")?,
            heads: values.fixed(b"heads")?,
            free: values.number(b"free")?,
            blocks: values.number(b"blocks")?,
            rumours: rumours.into_iter().map(Rumour::from_bytes).collect::<Option<_>>()?,
        })
    }
}

impl Rumour {
    /// 32 bytes of the peer id, then the address in compact form, of 6 or 18 bytes.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.peer.as_bytes().to_vec();
        krpc::push_address(&mut bytes, &self.address);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (peer, address) = bytes.split_first_chunk()?;
        Some(Self { peer: PeerId::from_bytes(*peer), address: krpc::parse_address(address)? })
    }
}

impl Bits {
    /// The results.
    pub fn to_bencode(&self) -> Vec<u8> {
        dictionary(|d| bytes(d, b"bits", &pack_bits(&self.0)))
    }

    /// Reads the results of a question with so many scores.
    pub fn from_bencode(raw: &[u8], count: usize) -> Option<Self> {
        unpack_bits(Values::of(raw)?.bytes(b"bits")?, count).map(Self)
    }
}

impl Arrived {
    /// The results.
    pub fn to_bencode(&self) -> Vec<u8> {
        dictionary(|d| {
            bytes(d, b"epoch", &self.epoch.to_be_bytes())?;
            d.emit_pair(b"more", u8::from(self.more))?;
            bytes(d, b"next", &self.next.to_be_bytes())?;
            bytes(d, b"roots", &pack_bits(&self.roots))?;
            bytes(d, b"scores", &pack(&self.scores))
        })
    }

    /// Reads the results.
    pub fn from_bencode(raw: &[u8]) -> Option<Self> {
        let values = Values::of(raw)?;
        let scores = values.scores(b"scores")?;
        Some(Self {
            epoch: values.number(b"epoch")?,
            next: values.number(b"next")?,
            more: values.get(b"more")?.integer()? == 1,
            roots: unpack_bits(values.bytes(b"roots")?, scores.len())?,
            scores,
        })
    }
}

/// The results of `members`: entries that the asker lacks, and the heads of who answers.
pub fn members_to_bencode(members: &[Vec<u8>], own_heads: &[[u8; 32]]) -> Vec<u8> {
    dictionary(|d| {
        strings(d, b"entries", members)?;
        bytes(d, b"heads", own_heads.as_flattened())
    })
}

/// Entries of a membership log, and heads.
pub type Members = (Vec<Vec<u8>>, Vec<[u8; 32]>);

/// Reads the results of `members`.
pub fn members_from_bencode(raw: &[u8]) -> Option<Members> {
    let values = Values::of(raw)?;
    Some((entries(&values)?, heads(&values)?))
}

/// The results of `audit`.
pub fn proof_to_bencode(proof: &[u8; 32]) -> Vec<u8> {
    dictionary(|d| bytes(d, b"proof", proof))
}

/// Reads the results of `audit`.
pub fn proof_from_bencode(raw: &[u8]) -> Option<[u8; 32]> {
    Values::of(raw)?.fixed(b"proof")
}

#[cfg(test)]
mod tests {
    use cas::Algorithm;
    use proptest::prelude::*;

    use super::*;

    fn scores(count: u8) -> Vec<Score> {
        (0..count).map(|n| Score::of(if n % 2 == 0 { Algorithm::Sha256 } else { Algorithm::Blake3 }, &[n])).collect()
    }

    #[test]
    fn words_are_read_as_they_were_said() {
        let rumour = |text: &str| Rumour { peer: PeerId::from_bytes([3; 32]), address: text.parse().expect("address") };
        let status = PeerStatus {
            pool: [1; 32],
            version: "offs 1".into(),
            port: 23403,
            epoch: u64::MAX,
            last: 7,
            heads: [2; 32],
            free: 1 << 40,
            blocks: 9,
            rumours: vec![rumour("10.0.0.1:5"), rumour("[2001:db8::1]:6")],
        };
        assert_eq!(PeerStatus::from_bencode(&status.to_bencode()), Some(status.clone()));
        for word in [
            Word::Status(Box::new(status)),
            Word::Members { heads: vec![[1; 32], [2; 32]], entries: vec![b"entry".to_vec()] },
            Word::Join { inviter: PeerId::from_bytes([7; 32]), key: PeerId::from_bytes([8; 32]), proof: [9; 64] },
            Word::Have { scores: scores(9) },
            Word::Offer { scores: Vec::new() },
            Word::Since { epoch: 1, after: 2, limit: 3 },
            Word::List { from: 65535, buckets: vec![9; 8192] },
            Word::Audit { score: scores(1)[0], nonce: [4; 32] },
        ] {
            assert_eq!(Word::from_bytes(&word.to_bytes()), Ok(word));
        }
    }

    #[test]
    fn answers_are_read_as_they_were_given() {
        for count in [0, 1, 8, 9] {
            let bits = Bits((0..count).map(|n| n % 3 == 0).collect());
            assert_eq!(Bits::from_bencode(&bits.to_bencode(), count), Some(bits.clone()));
            assert_eq!(Bits::from_bencode(&bits.to_bencode(), count + 8), None, "a bit for each score");
        }
        let arrived = Arrived { epoch: 1, next: 2, more: true, scores: scores(3), roots: vec![true, false, true] };
        assert_eq!(Arrived::from_bencode(&arrived.to_bencode()), Some(arrived));
        let members = (vec![b"one".to_vec()], vec![[5; 32]]);
        assert_eq!(members_from_bencode(&members_to_bencode(&members.0, &members.1)), Some(members));
        assert_eq!(proof_from_bencode(&proof_to_bencode(&[6; 32])), Some([6; 32]));
    }

    #[test]
    fn too_much_is_refused() {
        let many = vec![scores(1)[0]; MOST_SCORES + 1];
        assert!(Word::from_bytes(&Word::Have { scores: many }.to_bytes()).is_err());
        let unknown = Envelope::Query { word: "dance".into(), arguments: b"de".to_vec() };
        assert_eq!(Word::from_bytes(&unknown.to_bytes()).map_err(|refusal| refusal.code), Err(Refusal::UNKNOWN));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _word = Word::from_bytes(&bytes);
            let _answers = (Arrived::from_bencode(&bytes), PeerStatus::from_bencode(&bytes));
        }
    }
}
