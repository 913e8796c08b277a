//! The reply to a `range`. Whoever answers keeps nothing of it.

use std::collections::HashSet;

use cas::{Result, Score};

use crate::{Ask, Holdings, RangeQuery, RangeReply, Salt, Selection, Slice, range::MOST_SCORES, salt::Short};

/// Most scores that are read for a reply.
const MOST_READ: usize = 131_072;

/// Answers a query from what is held and selected.
///
/// The work is bounded: slices are disjoint, so a comparison reads each leaf at most once, and a list ends after
/// 131,072 scores.
pub fn answer(query: &RangeQuery, selection: &Selection, holdings: &dyn Holdings) -> Result<RangeReply> {
    if query.view != selection.view() {
        return Ok(RangeReply::View(selection.view()));
    }
    match &query.ask {
        Ask::Compare { width, pieces, slices, own } => {
            let slices: Vec<_> = slices.iter().map(|index| Slice { width: *width, index: *index }).collect();
            if let Some(own) = own {
                let whole = selection.fingerprints(holdings, &slices)?;
                if whole.iter().all(|whole| query.salt.fingerprint(whole) == *own) {
                    return Ok(RangeReply::Same);
                }
            }
            let pieces: Vec<_> = slices.iter().flat_map(|slice| selection.pieces(*slice, *pieces)).collect();
            let fingerprints = selection.fingerprints(holdings, &pieces)?;
            Ok(RangeReply::Pieces(fingerprints.iter().map(|one| query.salt.fingerprint(one)).collect()))
        }
        Ask::List { width, slices, ids } => {
            let mut listing = Listing::new(query.salt);
            let mut ids = &ids[..];
            for (index, count) in slices {
                let (theirs, rest) = ids.split_at_checked(*count as usize).unwrap_or((ids, &[]));
                ids = rest;
                if !listing.add(selection, holdings, Slice { width: *width, index: *index }, theirs)? {
                    break;
                }
            }
            Ok(listing.finish())
        }
    }
}

struct Listing {
    salt: Salt,
    slices: u32,
    read: usize,
    scores: Vec<Score>,
    lacks: Vec<bool>,
}

impl Listing {
    const fn new(salt: Salt) -> Self {
        Self { salt, slices: 0, read: 0, scores: Vec::new(), lacks: Vec::new() }
    }

    /// Adds what differs in a slice; false when there is no room for it.
    fn add(&mut self, selection: &Selection, holdings: &dyn Holdings, slice: Slice, theirs: &[Short]) -> Result<bool> {
        let (ours, whole) = selection.scores(holdings, slice, MOST_READ - self.read)?;
        self.read += ours.len();
        let known: HashSet<_> = theirs.iter().collect();
        let (mut ids, mut missing) = (HashSet::with_capacity(ours.len()), Vec::new());
        for score in ours {
            let id = self.salt.id(&score);
            if !known.contains(&id) {
                missing.push(score);
            }
            ids.insert(id);
        }
        let fits = whole && self.scores.len() + missing.len() <= MOST_SCORES;
        if fits {
            self.slices += 1;
            self.scores.append(&mut missing);
            self.lacks.extend(theirs.iter().map(|id| !ids.contains(id)));
        } else if self.slices == 0 && slice.width == 0 {
            // A leaf cannot be divided: the asker gets what fits now, and the rest when it has that.
            missing.truncate(MOST_SCORES);
            self.scores = missing;
        }
        Ok(fits)
    }

    fn finish(self) -> RangeReply {
        let mut lacks = Vec::new();
        if self.lacks.contains(&true) {
            let byte =
                |bits: &[bool]| bits.iter().zip(0..).fold(0, |byte, (bit, at)| byte | u8::from(*bit) << (7 - at));
            lacks = self.lacks.chunks(8).map(byte).collect();
        }
        RangeReply::Listed { slices: self.slices, scores: self.scores, lacks }
    }
}
