//! Finding out what differs between two peers, as whoever asks sees it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    iter,
    sync::Arc,
};

use cas::{Fingerprint, Result, Score};

use crate::{
    Ask, Holdings, RangeQuery, RangeReply, Salt, Selection, Slice, View,
    range::{MOST_IDS, MOST_PIECES, MOST_SCORES, MOST_SLICES},
};

/// Most queries of one run; what is left then is for the next one. Enough to list 5 * 10^8 scores.
const MOST_QUERIES: u32 = 1 << 16;

/// Binary logarithm of the number of pieces of which the first reply has the fingerprints.
const FIRST_PIECES: u8 = 6;

/// The same for a slice of which nothing is known but that it is too large to be listed.
const BLIND_PIECES: u8 = 7;

/// The same at most. Beyond it, fingerprints of pieces that do not differ cost more than another round trip.
const MOST_PIECES_OF_ONE: u8 = 10;

/// A slice with at most so many scores is listed.
const FEW: u32 = 32;

/// What a reply told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Scores that the other peer has and we lack.
    pub theirs: Vec<Score>,
    /// Scores that we have and the other peer lacks.
    pub ours: Vec<Score>,
}

/// What comes next in a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Scores that the other peer lacks: it has nothing in their slices. At most 15,600 at a time.
    Lacks(Vec<Score>),
    /// The query to ask.
    Ask(RangeQuery),
}

/// Why a reply is of no use. What was asked is still to be asked: of another peer, or of this one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The peers place blocks differently.
    #[error("the other peer places blocks on other peers")]
    View {
        /// The other's view.
        theirs: View,
    },
    /// Nothing was asked, or something else.
    #[error("the reply is not to the query")]
    Unasked,
    /// It has another number of fingerprints, bits or slices than was asked for.
    #[error("the reply has {found} parts instead of {wanted}")]
    Count {
        /// What would be right, or the most that would.
        wanted: usize,
        /// What is there.
        found: usize,
    },
    /// A score lies outside of what was asked, or they are not in order.
    #[error("the score {score} is not one that was asked for")]
    Score {
        /// The score.
        score: Score,
    },
}

/// One side of a comparison: says what to ask, takes the replies, hands out what differs.
///
/// Slices whose fingerprints differ are divided until they hold few scores; those are listed as short ids. Into how
/// many pieces follows from how many slices of the level before differed. What was found is handed out at once and not
/// kept, so that memory is bounded by the slices still to be asked, at most 2^20.
#[derive(Debug)]
pub struct Reconciliation {
    selection: Arc<Selection>,
    salt: Salt,
    /// To be compared piece by piece: by width, and width of the pieces.
    compare: BTreeMap<(u8, u8), BTreeSet<u32>>,
    /// To be listed, by width.
    list: BTreeMap<u8, BTreeSet<u32>>,
    /// Of these the other peer has nothing.
    lacked: Vec<Slice>,
    asked: Option<Asked>,
    /// Leaves too large for one reply: of these, something may still differ.
    open: Vec<Slice>,
    /// How many slices are listed at once: about as many as the last reply had room for, so that few are read in vain.
    at_once: usize,
    queries: u32,
}

/// What was asked last.
#[derive(Debug)]
enum Asked {
    Compare { width: u8, pieces: u8, slices: Vec<u32> },
    List { width: u8, slices: Vec<(u32, Vec<Score>)>, cut: bool },
}

impl Reconciliation {
    /// Compares all that is selected. The salt is to be drawn anew for each.
    pub fn new(selection: Arc<Selection>, salt: Salt) -> Self {
        let whole = selection.whole();
        Self::resume(selection, salt, whole)
    }

    /// Compares what an earlier comparison of the same view had [left](Self::left).
    pub fn resume(selection: Arc<Selection>, salt: Salt, left: impl IntoIterator<Item = Slice>) -> Self {
        let (compare, list) = (BTreeMap::new(), BTreeMap::new());
        let mut fresh = Self {
            selection,
            salt,
            compare,
            list,
            lacked: Vec::new(),
            asked: None,
            open: Vec::new(),
            at_once: MOST_SLICES,
            queries: 0,
        };
        for slice in left {
            fresh.divide(slice, FIRST_PIECES);
        }
        fresh
    }

    /// The slices in which something may still differ.
    pub fn left(&self) -> Vec<Slice> {
        let slices = |width: u8, indexes: &BTreeSet<u32>| {
            indexes.iter().map(move |index| Slice { width, index: *index }).collect::<Vec<_>>()
        };
        let mut left = [&self.open[..], &self.lacked].concat();
        left.extend(self.compare.iter().flat_map(|((width, _), indexes)| slices(*width, indexes)));
        left.extend(self.list.iter().flat_map(|(width, indexes)| slices(*width, indexes)));
        match &self.asked {
            Some(Asked::Compare { width, slices, .. }) => {
                left.extend(slices.iter().map(|index| Slice { width: *width, index: *index }));
            }
            Some(Asked::List { width, slices, .. }) => {
                left.extend(slices.iter().map(|(index, _)| Slice { width: *width, index: *index }));
            }
            None => {}
        }
        left
    }

    /// What comes next; none at the end. A query that got no reply is asked again.
    pub fn next_step(&mut self, holdings: &dyn Holdings) -> Result<Option<Step>> {
        let mut scores = Vec::new();
        while scores.len() < MOST_SCORES
            && let Some(slice) = self.lacked.pop()
        {
            scores.extend(self.selection.scores(holdings, slice, MOST_SCORES)?.0);
        }
        if !scores.is_empty() {
            return Ok(Some(Step::Lacks(scores)));
        }
        Ok(self.next_query(holdings)?.map(Step::Ask))
    }

    fn next_query(&mut self, holdings: &dyn Holdings) -> Result<Option<RangeQuery>> {
        self.ask_again();
        if self.queries == MOST_QUERIES {
            return Ok(None);
        }
        self.queries += 1;
        let ask = if let Some(mut group) = self.compare.last_entry() {
            let (width, pieces) = *group.key();
            let slices = take_first(group.get_mut(), MOST_SLICES.min(MOST_PIECES >> (width - pieces)));
            if group.get().is_empty() {
                group.remove();
            }
            self.compare(width, pieces, slices, holdings)?
        } else if let Some(mut group) = self.list.last_entry() {
            let width = *group.key();
            let slices = take_first(group.get_mut(), self.at_once);
            if group.get().is_empty() {
                group.remove();
            }
            self.list(width, slices, holdings)?
        } else {
            return Ok(None);
        };
        Ok(Some(RangeQuery { view: self.selection.view(), salt: self.salt, ask }))
    }

    fn compare(&mut self, width: u8, pieces: u8, slices: Vec<u32>, holdings: &dyn Holdings) -> Result<Ask> {
        let whole = Slice { width, index: 0 };
        let own = if self.selection.whole() == Some(whole) {
            let own = self.selection.fingerprints(holdings, &[whole])?;
            own.first().map(|own| self.salt.fingerprint(own))
        } else {
            None
        };
        self.asked = Some(Asked::Compare { width, pieces, slices: slices.clone() });
        Ok(Ask::Compare { width, pieces, slices, own })
    }

    /// Lists as many of these slices as fit into a query, and the first one in any case.
    fn list(&mut self, width: u8, indexes: Vec<u32>, holdings: &dyn Holdings) -> Result<Ask> {
        let (mut slices, mut ids, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let mut cut = false;
        for index in indexes {
            let (scores, whole) = self.selection.scores(holdings, Slice { width, index }, MOST_IDS - ids.len())?;
            if !whole && !slices.is_empty() || cut {
                self.list.entry(width).or_default().insert(index);
                continue;
            }
            cut = !whole;
            ids.extend(scores.iter().map(|score| self.salt.id(score)));
            counts.push((index, u32::try_from(scores.len()).unwrap_or(u32::MAX)));
            slices.push((index, scores));
        }
        self.asked = Some(Asked::List { width, slices, cut });
        Ok(Ask::List { width, slices: counts, ids })
    }

    fn ask_again(&mut self) {
        match self.asked.take() {
            Some(Asked::Compare { width, pieces, slices }) => {
                self.compare.entry((width, pieces)).or_default().extend(slices);
            }
            Some(Asked::List { width, slices, .. }) => {
                self.list.entry(width).or_default().extend(slices.iter().map(|(index, _)| *index));
            }
            None => {}
        }
    }

    /// Takes the reply to the last query and hands out what it told. After an error that query is still to be asked.
    pub fn take(&mut self, reply: RangeReply, holdings: &dyn Holdings) -> Result<Result<Found, ReplyError>> {
        if let RangeReply::View(theirs) = reply {
            return Ok(Err(ReplyError::View { theirs }));
        }
        match (self.asked.take(), reply) {
            (Some(Asked::Compare { width, .. }), RangeReply::Same) if self.is_whole(width) => Ok(Ok(Found::default())),
            (Some(asked @ Asked::Compare { .. }), RangeReply::Pieces(theirs)) => {
                self.asked = Some(asked);
                self.take_pieces(&theirs, holdings)
            }
            (Some(Asked::List { width, slices, cut }), RangeReply::Listed { slices: done, scores, lacks }) => {
                let found = self.take_listed(width, &slices, cut, (done as usize, &scores, &lacks));
                if found.is_err() {
                    self.asked = Some(Asked::List { width, slices, cut });
                }
                Ok(found)
            }
            (asked, _) => {
                self.asked = asked;
                Ok(Err(ReplyError::Unasked))
            }
        }
    }

    fn is_whole(&self, width: u8) -> bool {
        self.selection.whole().is_some_and(|whole| whole.width == width)
    }

    fn take_pieces(&mut self, theirs: &[[u8; 8]], holdings: &dyn Holdings) -> Result<Result<Found, ReplyError>> {
        let Some(Asked::Compare { width, pieces, slices }) = &self.asked else { return Ok(Err(ReplyError::Unasked)) };
        let slices = slices.iter().map(|index| Slice { width: *width, index: *index });
        let pieces: Vec<_> = slices.flat_map(|slice| self.selection.pieces(slice, *pieces)).collect();
        if pieces.len() != theirs.len() {
            return Ok(Err(ReplyError::Count { wanted: pieces.len(), found: theirs.len() }));
        }
        let own = self.selection.fingerprints(holdings, &pieces)?;
        let differ: Vec<_> = pieces
            .iter()
            .zip(own)
            .zip(theirs)
            .filter(|((_, own), theirs)| self.salt.fingerprint(own) != **theirs)
            .collect();
        let expected = expected(differ.len(), pieces.len());
        self.asked = None;
        for ((slice, own), theirs) in differ {
            let few = own.count() as usize <= MOST_SCORES;
            if *theirs == Salt::EMPTY && few {
                self.lacked.push(*slice);
            } else if let Some(pieces) = pieces_of(*slice, &own, expected) {
                self.divide(*slice, pieces);
            } else {
                self.list.entry(slice.width).or_default().insert(slice.index);
            }
        }
        Ok(Ok(Found::default()))
    }

    /// To be compared in 2^`pieces` pieces, or listed if it is a leaf.
    fn divide(&mut self, slice: Slice, pieces: u8) {
        if slice.width == 0 {
            self.list.entry(0).or_default().insert(slice.index);
        } else {
            let pieces = slice.width.saturating_sub(pieces);
            self.compare.entry((slice.width, pieces)).or_default().insert(slice.index);
        }
    }

    fn take_listed(
        &mut self,
        width: u8,
        slices: &[(u32, Vec<Score>)],
        cut: bool,
        (done, scores, lacks): (usize, &[Score], &[u8]),
    ) -> Result<Found, ReplyError> {
        let (answered, rest) =
            slices.split_at_checked(done).ok_or(ReplyError::Count { wanted: slices.len(), found: done })?;
        let ids = answered.iter().map(|(_, own)| own.len()).sum::<usize>().div_ceil(8);
        if !lacks.is_empty() && lacks.len() != ids {
            return Err(ReplyError::Count { wanted: ids, found: lacks.len() });
        }
        // Of a leaf that is too large come as many scores as fit.
        let sent = if done == 0 && width == 0 { &slices[..1.min(slices.len())] } else { answered };
        self.check(width, sent, scores)?;
        let own: HashSet<_> = sent.iter().flat_map(|(_, own)| own).collect();
        let theirs = scores.iter().filter(|score| !own.contains(score)).copied().collect();
        let bit = |at: usize| lacks.get(at / 8).is_some_and(|byte| byte << (at % 8) & 0x80 != 0);
        let ours = answered.iter().flat_map(|(_, own)| own).enumerate().filter(|(at, _)| bit(*at));
        let ours = ours.map(|(_, score)| *score).collect();
        self.at_once = if done == slices.len() { MOST_SLICES } else { (2 * done).clamp(1, MOST_SLICES) };
        let mut rest = rest.iter().map(|(index, _)| Slice { width, index: *index });
        if done == 0 && width > 0 {
            // The others are as wide, so they are too large as well.
            rest.by_ref().for_each(|slice| self.divide(slice, BLIND_PIECES));
        } else if done == 0 {
            self.open.extend(rest.next());
        } else if cut {
            self.open.extend(slices.last().map(|(index, _)| Slice { width, index: *index }));
        }
        self.list.entry(width).or_default().extend(rest.map(|slice| slice.index));
        self.list.retain(|_, indexes| !indexes.is_empty());
        Ok(Found { theirs, ours })
    }

    /// Scores have to be in order, without repetition, and in the slices that were asked for.
    fn check(&self, width: u8, slices: &[(u32, Vec<Score>)], scores: &[Score]) -> Result<(), ReplyError> {
        let mut last = None;
        for score in scores {
            let slice = self.selection.slice_of(score, width);
            let asked = slice.is_some_and(|s| slices.binary_search_by_key(&s.index, |(index, _)| *index).is_ok());
            let key = Some((*score.digest(), score.algorithm().code()));
            if !asked || key <= last {
                return Err(ReplyError::Score { score: *score });
            }
            last = key;
        }
        Ok(())
    }
}

fn take_first(indexes: &mut BTreeSet<u32>, most: usize) -> Vec<u32> {
    iter::from_fn(|| indexes.pop_first()).take(most).collect()
}

/// How many scores differ in a slice that differs, if `differ` of `all` slices do.
///
/// Differences fall into slices like raindrops (a Poisson distribution), so of the mean m a share of e^-m gets none.
fn expected(differ: usize, all: usize) -> f64 {
    let float = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    // If all differ, the mean is at least what leaves half a slice.
    let dry = (float(all - differ)).max(0.5) / float(all.max(1));
    let mean = -dry.ln();
    if mean < 1e-9 { 1.0 } else { mean / (1.0 - (-mean).exp()) }
}

/// Binary logarithm of the number of pieces in which a slice with so many differences costs the fewest bytes; `None`
/// when it is cheaper to list it.
///
/// n scores in c pieces, e of which differ, cost 8 c bytes of fingerprints and 8 n e / c of ids: least at c^2 = n e.
fn pieces_of(slice: Slice, own: &Fingerprint, expected: f64) -> Option<u8> {
    let count = own.count();
    if slice.width == 0 || count <= FEW {
        return None;
    }
    let most = slice.width.min(MOST_PIECES_OF_ONE);
    let pays = |pieces: &u8| f64::from(1_u32 << (2 * pieces)) <= 2.0 * f64::from(count) * expected;
    // Where more than a piece in two would differ, fingerprints only come on top.
    (1..=most).take_while(pays).last().filter(|pieces| 2_u32 << pieces <= count)
}
