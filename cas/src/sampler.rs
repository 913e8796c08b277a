//! Drawing stored blocks at random, without a scan.

use crate::{
    Algorithm, MAX_BLOCK, PackKind, Result, Score, TableEntry, pack_store::PackStore, permutation::Permutation,
    place::Place,
};

/// A block that a sampler drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The block.
    pub score: Score,
    /// Where it lay then, so that reading it needs no look-up.
    pub(crate) place: Option<Place>,
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

/// Draws from packs: a permutation over runs of neighbouring records.
///
/// Its cost does not depend on the size of the store but for one sum over the list of packs at the start.
pub(crate) struct PackSampler<'a> {
    store: &'a PackStore,
    algorithm: Algorithm,
    run: u64,
    /// Pack, its number of records, and the number of runs in it and all packs before it.
    packs: Vec<(u32, u32, u64)>,
    order: Permutation,
    drawn: std::vec::IntoIter<TableEntry>,
    pack: u32,
}

impl<'a> PackSampler<'a> {
    pub(crate) fn new(store: &'a PackStore, algorithm: Algorithm, seed: u64) -> Self {
        let catalogue = store.packs_of(PackKind::Blocks);
        let records: u64 = catalogue.iter().map(|(_, records)| u64::from(*records)).sum();
        let run = if records < SMALL { 1 } else { RUN };
        let mut runs = 0;
        let packs = catalogue
            .into_iter()
            .map(|(pack, records)| {
                runs += u64::from(records).div_ceil(run);
                (pack, records, runs)
            })
            .collect();
        let order = Permutation::new(runs, seed);
        Self { store, algorithm, run, packs, order, drawn: Vec::new().into_iter(), pack: 0 }
    }

    fn draw_run(&mut self, number: u64) -> Result<()> {
        let at = self.packs.partition_point(|(_, _, runs)| *runs <= number);
        let before = at.checked_sub(1).map_or(0, |before| self.packs[before].2);
        let Some(&(pack, records, _)) = self.packs.get(at) else { return Ok(()) };
        let from = (number - before) * self.run;
        let count = self.run.min(u64::from(records) - from);
        self.pack = pack;
        self.drawn = self.store.entries(pack, from, count)?.into_iter();
        Ok(())
    }
}

impl Sampler for PackSampler<'_> {
    fn next(&mut self) -> Result<Option<Drawn>> {
        loop {
            for entry in self.drawn.by_ref() {
                let fits = entry.length as usize == MAX_BLOCK && entry.score.algorithm() == self.algorithm;
                let place = entry.place(self.pack);
                if fits && !self.store.shared.undrawn.contains(&place) {
                    return Ok(Some(Drawn { score: entry.score, place: Some(place) }));
                }
            }
            let Some(number) = self.order.next() else { return Ok(None) };
            self.draw_run(number)?;
        }
    }
}
