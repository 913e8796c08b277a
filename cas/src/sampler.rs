//! Drawing stored blocks at random, without a scan.

use std::collections::VecDeque;

use crate::{
    Algorithm, MAX_BLOCK, PackKind, RECORD_HEADER, Result, Score, TableEntry, pack_store::PackStore,
    permutation::Permutation, place::Place,
};

/// A block that a sampler drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The block.
    pub score: Score,
    /// Where it lay then, so that reading it needs no look-up.
    pub place: Option<Place>,
}

impl Drawn {
    /// A block whose place is not known.
    pub const fn of(score: Score) -> Self {
        Self { score, place: None }
    }
}

/// Draws the scores of stored blocks of [`MAX_BLOCK`] bytes, each at most once.
pub trait Sampler: Send {
    /// The next score, or `None` when all were drawn. The block may have gone meanwhile.
    fn next(&mut self) -> Result<Option<Drawn>>;
}

/// Neighbours in a pack that are drawn together, so that a disk is read in runs of 2 MiB.
const RUN: u64 = 16;

/// Below this many records the runs are single records: the store fits in memory, and mixing is worth more.
const SMALL: u64 = 4096;

/// Of so many runs the one is drawn first of which most is likely to stay.
const CHOICE: usize = 16;

/// After so many runs of which nothing could be drawn, because their blocks are of the other algorithm or gone, the next
/// ones are taken as they come until something is drawn.
const FRUITLESS: u8 = 4;

/// Most runs that are remembered as passed over.
const MOST_PASSED_OVER: usize = 65_536;

/// Draws from packs: a permutation over runs of neighbouring records, of which those come first that are likely to
/// stay: what is drawn becomes needed, and what could be dropped should stay so.
///
/// Its cost does not depend on the size of the store but for one sum over the list of packs at the start.
pub(crate) struct PackSampler<'a> {
    store: &'a PackStore,
    algorithm: Algorithm,
    /// Records of a run.
    length: u64,
    packs: Vec<Pack>,
    /// Number of runs in all of them.
    runs: u64,
    order: Permutation,
    /// Runs since something was drawn last.
    fruitless: u8,
    /// Runs that were passed over. They are chosen among when the order is through, or when they are very many.
    passed_over: VecDeque<u64>,
    drawn: std::vec::IntoIter<TableEntry>,
    pack: u32,
}

struct Pack {
    number: u32,
    records: u64,
    /// Where they end.
    end: u64,
    /// Number of runs in all packs before it.
    before: u64,
}

/// Neighbouring records of a pack.
#[derive(Clone, Copy)]
struct Run {
    /// Which of the sampler's packs.
    at: usize,
    /// The first record.
    from: u64,
    count: u64,
}

impl<'a> PackSampler<'a> {
    pub(crate) fn new(store: &'a PackStore, algorithm: Algorithm, seed: u64) -> Self {
        let catalogue = store.packs_of(PackKind::Blocks);
        let records: u64 = catalogue.iter().map(|(_, info)| u64::from(info.records)).sum();
        let length = if records < SMALL { 1 } else { RUN };
        let mut runs = 0;
        let packs = catalogue
            .into_iter()
            .map(|(number, info)| {
                let records = u64::from(info.records);
                let before = runs;
                runs += records.div_ceil(length);
                Pack { number, records, end: info.end, before }
            })
            .collect();
        Self {
            store,
            algorithm,
            length,
            packs,
            runs,
            order: Permutation::new(runs, seed),
            fruitless: 0,
            passed_over: VecDeque::new(),
            drawn: Vec::new().into_iter(),
            pack: 0,
        }
    }

    /// The next run: of a few the one that has most blocks that are likely to stay.
    fn next_run(&mut self) -> Option<Run> {
        let mut best: Option<(u32, u64, Run)> = None;
        let mut passed_over = Vec::new();
        let choice = if self.fruitless < FRUITLESS { CHOICE } else { 1 };
        self.fruitless = self.fruitless.saturating_add(1);
        for _ in 0..choice {
            let Some(number) = self.next_number() else { break };
            let run = self.run(number);
            let kept = self.kept(&run);
            if best.as_ref().is_some_and(|(most, ..)| *most >= kept) {
                passed_over.push(number);
            } else {
                passed_over.extend(best.replace((kept, number, run)).map(|(_, other, _)| other));
            }
            if u64::from(kept) == run.count {
                break;
            }
        }
        self.passed_over.extend(passed_over);
        best.map(|(.., run)| run)
    }

    fn next_number(&mut self) -> Option<u64> {
        let next = if self.passed_over.len() < MOST_PASSED_OVER { self.order.next() } else { None };
        next.or_else(|| self.passed_over.pop_front())
    }

    fn run(&self, number: u64) -> Run {
        // Nearly all packs have as many runs, so the place is near to where it would be if all had; from there the
        // range that has it is doubled.
        let packs = self.packs.len();
        let guess = usize::try_from(u128::from(number) * packs as u128 / u128::from(self.runs)).unwrap_or(0);
        let is_before = |at: usize| self.packs[at].before <= number;
        let (mut low, mut high, mut step) = (guess, guess + 1, 1);
        while !is_before(low) {
            low = low.saturating_sub(step);
            step *= 2;
        }
        while high < packs && is_before(high) {
            high = (high + step).min(packs);
            step *= 2;
        }
        let at = low + self.packs[low..high].partition_point(|pack| pack.before <= number) - 1;
        let from = (number - self.packs[at].before) * self.length;
        Run { at, from, count: self.length.min(self.packs[at].records - from) }
    }

    /// How many blocks of a run are likely to stay and can be drawn.
    fn kept(&self, run: &Run) -> u32 {
        let pack = &self.packs[run.at];
        // Where they lie is told from the mean size of the pack's records, unless many are short.
        let (header, full) = (RECORD_HEADER as u64, (RECORD_HEADER + MAX_BLOCK) as u64);
        let all = pack.records * full;
        let bytes = pack.end.saturating_sub(header).min(all);
        if bytes + 4 * full < all {
            return 0;
        }
        let offset = |record: u64| header + bytes / pack.records * record;
        let shared = &self.store.shared;
        shared.kept.count_without(&shared.undrawn, pack.number, offset(run.from), offset(run.from + run.count))
    }
}

impl Sampler for PackSampler<'_> {
    fn next(&mut self) -> Result<Option<Drawn>> {
        loop {
            for entry in self.drawn.by_ref() {
                let fits = entry.length as usize == MAX_BLOCK && entry.score.algorithm() == self.algorithm;
                let place = entry.place(self.pack);
                if fits && !self.store.shared.undrawn.contains(&place) {
                    self.store.shared.kept.set(&place);
                    self.fruitless = 0;
                    return Ok(Some(Drawn { score: entry.score, place: Some(place) }));
                }
            }
            let Some(Run { at, from, count }) = self.next_run() else { return Ok(None) };
            self.pack = self.packs[at].number;
            self.drawn = self.store.entries(self.pack, from, count)?.into_iter();
        }
    }
}
