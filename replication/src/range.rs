//! The word `range`: query and reply by which two peers find out what differs. docs/protocol.md has the bytes.

use bendy::encoding::{Encoder, Error as EncodingError, SortedDictEncoder};
use cas::{Algorithm, Score};
use krpc::bencode::{self, Field};

use crate::{Salt, Slice, View, salt::Short, varint};

/// Most slices that a query names.
pub(crate) const MOST_SLICES: usize = 8192;

/// Most short ids in a query.
pub(crate) const MOST_IDS: usize = 26_000;

/// Most fingerprints in a reply.
pub(crate) const MOST_PIECES: usize = 32_000;

/// Most scores in a reply.
pub(crate) const MOST_SCORES: usize = 7800;

/// Longest dictionary of arguments or results, in bytes.
pub const MOST_RANGE: usize = 256 << 10;

/// A query `range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// The asker's view.
    pub view: View,
    /// The salt of this comparison.
    pub salt: Salt,
    /// What is asked.
    pub ask: Ask,
}

/// What a `range` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The fingerprints of all pieces of some slices.
    Compare {
        /// Width of the slices.
        width: u8,
        /// Width of their pieces, which is smaller.
        pieces: u8,
        /// Which slices, ascending.
        slices: Vec<u32>,
        /// The asker's fingerprint of the only slice: if it is the answerer's too, that is the whole answer.
        own: Option<Short>,
    },
    /// The scores in some slices that the asker lacks, and which of the asker's the answerer lacks.
    List {
        /// Width of the slices.
        width: u8,
        /// Which slices, ascending, and how many ids the asker has in each.
        slices: Vec<(u32, u32)>,
        /// The ids of the asker's scores, slice after slice.
        ids: Vec<Short>,
    },
}

/// What is answered to a `range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeReply {
    /// The answerer's view is another: its digest.
    View(View),
    /// Nothing differs.
    Same,
    /// The fingerprints of the pieces, slice after slice.
    Pieces(Vec<Short>),
    /// What differs in slices that were listed.
    Listed {
        /// How many slices, from the first on, were answered. With 0 the first one has too much for a reply: then it is
        /// to be compared piece by piece, and if it is a single leaf, `scores` has what fits.
        slices: u32,
        /// What the asker lacks, ascending by digest, then algorithm.
        scores: Vec<Score>,
        /// A bit for each id in the slices that were answered, the highest of the first byte first: set if the
        /// answerer lacks it. Empty if it lacks none.
        lacks: Vec<u8>,
    },
}

/// The bytes are no `range`, or one that is larger than any that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a query or a reply \"range\"")]
pub struct NotARange;

impl RangeQuery {
    /// The dictionary of arguments.
    pub fn to_bytes(&self) -> Vec<u8> {
        dictionary(|e| match &self.ask {
            Ask::Compare { width, pieces, slices, own } => {
                e.emit_pair(b"c", pieces)?;
                if let Some(own) = own {
                    bytes(e, b"f", own)?;
                }
                bytes(e, b"k", &self.salt.0)?;
                e.emit_pair(b"p", width)?;
                bytes(e, b"r", &pack_slices(slices.iter().map(|index| (*index, None))))?;
                bytes(e, b"v", &self.view)
            }
            Ask::List { width, slices, ids } => {
                bytes(e, b"i", ids.as_flattened())?;
                bytes(e, b"k", &self.salt.0)?;
                e.emit_pair(b"p", width)?;
                bytes(e, b"r", &pack_slices(slices.iter().map(|(index, ids)| (*index, Some(*ids)))))?;
                bytes(e, b"v", &self.view)
            }
        })
    }

    /// Reads a dictionary of arguments. Keys that are not known are passed over.
    pub fn from_bytes(arguments: &[u8]) -> Result<Self, NotARange> {
        let found = Fields::read(arguments)?;
        let read = || {
            let width = u8::try_from(found.of(b"p")?.integer()?).ok()?;
            let ask = match found.of(b"i") {
                Some(ids) => list(width, found.of(b"r")?.bytes()?, ids.bytes()?)?,
                None => compare(width, &found)?,
            };
            Some(Self { view: found.of(b"v")?.fixed()?, salt: Salt(found.of(b"k")?.fixed()?), ask })
        };
        read().ok_or(NotARange)
    }
}

fn compare(width: u8, found: &Fields<'_>) -> Option<Ask> {
    let pieces = u8::try_from(found.of(b"c")?.integer()?).ok().filter(|pieces| *pieces < width)?;
    let mut packed = found.of(b"r")?.bytes()?;
    let mut slices = Vec::new();
    while !packed.is_empty() {
        slices.push(take_slice(&mut packed, width, slices.last().copied())?);
        (slices.len() << width.min(Slice::WIDEST).checked_sub(pieces)? <= MOST_PIECES).then_some(())?;
    }
    let own = match found.of(b"f") {
        Some(own) => Some(own.fixed().filter(|_| slices.len() == 1)?),
        None => None,
    };
    Some(Ask::Compare { width, pieces, slices, own })
}

fn list(width: u8, mut packed: &[u8], ids: &[u8]) -> Option<Ask> {
    let (ids, []) = ids.as_chunks() else { return None };
    let (mut slices, mut count) = (Vec::<(u32, u32)>::new(), 0_usize);
    while !packed.is_empty() {
        let index = take_slice(&mut packed, width, slices.last().map(|(index, _)| *index))?;
        slices.push((index, varint::take(&mut packed)?));
        count += slices.last()?.1 as usize;
        (slices.len() <= MOST_SLICES).then_some(())?;
    }
    (count == ids.len() && count <= MOST_IDS).then(|| Ask::List { width, slices, ids: ids.to_vec() })
}

/// Indexes as differences: the first as it is, of each other how many lie between it and the one before.
fn pack_slices(slices: impl Iterator<Item = (u32, Option<u32>)>) -> Vec<u8> {
    let (mut packed, mut next) = (Vec::new(), 0);
    for (index, ids) in slices {
        varint::push(&mut packed, index - next);
        if let Some(ids) = ids {
            varint::push(&mut packed, ids);
        }
        next = index + 1;
    }
    packed
}

fn take_slice(packed: &mut &[u8], width: u8, before: Option<u32>) -> Option<u32> {
    let index = varint::take(packed)? + before.map_or(0, |before| before + 1);
    Slice { width, index }.is_possible().then_some(index)
}

impl RangeReply {
    /// The dictionary of results.
    pub fn to_bytes(&self) -> Vec<u8> {
        dictionary(|e| match self {
            Self::View(view) => bytes(e, b"v", view),
            Self::Same => Ok(()),
            Self::Pieces(pieces) => bytes(e, b"f", pieces.as_flattened()),
            Self::Listed { slices, scores, lacks } => {
                let algorithm = one_algorithm(scores);
                if let Some(algorithm) = algorithm {
                    e.emit_pair(b"a", algorithm.code())?;
                }
                if !lacks.is_empty() {
                    bytes(e, b"m", lacks)?;
                }
                e.emit_pair(b"n", slices)?;
                if scores.is_empty() { Ok(()) } else { bytes(e, b"s", &pack_scores(scores, algorithm.is_some())) }
            }
        })
    }

    /// Reads a dictionary of results. Keys that are not known are passed over.
    pub fn from_bytes(results: &[u8]) -> Result<Self, NotARange> {
        let found = Fields::read(results)?;
        let read = || {
            if let Some(view) = found.of(b"v") {
                return Some(Self::View(view.fixed()?));
            }
            if let Some(pieces) = found.of(b"f") {
                let (pieces, []) = pieces.bytes()?.as_chunks() else { return None };
                return Some(Self::Pieces(pieces.to_vec()));
            }
            let Some(slices) = found.of(b"n") else { return Some(Self::Same) };
            let scores = match (found.of(b"s"), found.of(b"a")) {
                (None, _) => Vec::new(),
                (Some(scores), None) => take_scores(scores.bytes()?)?,
                (Some(digests), Some(code)) => take_digests(digests.bytes()?, code.integer()?)?,
            };
            let lacks = found.of(b"m").map_or(Some(&[][..]), Field::bytes)?.to_vec();
            Some(Self::Listed { slices: u32::try_from(slices.integer()?).ok()?, scores, lacks })
        };
        read().ok_or(NotARange)
    }
}

fn one_algorithm(scores: &[Score]) -> Option<Algorithm> {
    let first = scores.first()?.algorithm();
    scores.iter().all(|score| score.algorithm() == first).then_some(first)
}

fn pack_scores(scores: &[Score], digests_only: bool) -> Vec<u8> {
    let skip = usize::from(digests_only);
    scores.iter().flat_map(|score| score.to_binary().into_iter().skip(skip)).collect()
}

fn take_digests(packed: &[u8], code: i64) -> Option<Vec<Score>> {
    let algorithm = Algorithm::from_code(u8::try_from(code).ok()?)?;
    let (digests, []) = packed.as_chunks() else { return None };
    Some(digests.iter().map(|digest| Score::from_digest(algorithm, *digest)).collect())
}

fn take_scores(packed: &[u8]) -> Option<Vec<Score>> {
    let (scores, []) = packed.as_chunks() else { return None };
    scores.iter().map(|score| Score::from_binary(score).ok()).collect()
}

/// The fields of a dictionary whose key has one letter.
struct Fields<'a>(Vec<(u8, Field<'a>)>);

impl<'a> Fields<'a> {
    fn read(dictionary: &'a [u8]) -> Result<Self, NotARange> {
        if dictionary.len() > MOST_RANGE {
            return Err(NotARange);
        }
        bencode::bounded(dictionary).map_err(|_| NotARange)?;
        let mut fields = Vec::new();
        let mut take =
            |key: &[u8], field| fields.extend(if let [letter] = key { Some((*letter, field)) } else { None });
        bencode::dictionary(dictionary, &mut take).map_err(|_| NotARange)?;
        Ok(Self(fields))
    }

    fn of(&self, key: &[u8; 1]) -> Option<Field<'a>> {
        self.0.iter().find(|(letter, _)| letter == &key[0]).map(|(_, field)| *field)
    }
}

fn dictionary(write: impl FnOnce(&mut SortedDictEncoder<'_>) -> Result<(), EncodingError>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let written = encoder.emit_dict(|mut e| write(&mut e));
    // Keys are written in their order, so there is nothing that bendy could refuse.
    written.and_then(|()| encoder.get_output()).unwrap_or_default()
}

fn bytes(e: &mut SortedDictEncoder<'_>, key: &[u8], value: &[u8]) -> Result<(), EncodingError> {
    e.emit_pair_with(key, |e| e.emit_bytes(value))
}
