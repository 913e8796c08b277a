//! Which blocks are XORed into a source block.

use std::collections::VecDeque;

use cas::{BlockStore, Drawn, Sampler, Score};

use crate::{Dice, Key, Parameters, Result};

/// A randomizer that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draw {
    /// A block of the store.
    Stored(Drawn),
    /// A new random block.
    Fresh,
}

/// Chooses the randomizers of one file, none of them twice.
///
/// From the store first, in the order of its sampler. When that runs dry, each tuple gets one fresh block,
/// and for the rest blocks that this file stored in earlier stripes: so the first file in an empty store
/// costs two bytes a byte and not three, and no block is in two tuples of one stripe.
pub struct Randomizers<'a> {
    sampler: Option<Box<dyn Sampler + 'a>>,
    own: VecDeque<Score>,
    /// Stripes for which were drawn and that offered nothing yet.
    in_work: usize,
    dice: Box<dyn Dice>,
}

/// Most stripes in work when the store has nothing to draw: more would only mean more fresh blocks, because the
/// stripes that are finished could not keep up.
const IN_WORK_WHEN_DRY: usize = 4;

impl<'a> Randomizers<'a> {
    /// Randomizers for one file.
    pub fn new(store: &'a dyn BlockStore, parameters: &Parameters, mut dice: Box<dyn Dice>) -> Self {
        let order = dice.order(parameters.algorithm);
        let sampler = order.map(|seed| store.sampler(parameters.algorithm, seed));
        Self { sampler, own: VecDeque::new(), in_work: 0, dice }
    }

    /// Whether the next stripe had better wait until another has offered its blocks.
    pub(crate) fn must_wait(&self) -> bool {
        self.sampler.is_none() && self.dice.reuse() && self.in_work >= IN_WORK_WHEN_DRY
    }

    /// Chooses for `tuples` tuples of one stripe. [`Randomizers::offer`] must follow, whatever becomes of it.
    pub(crate) fn draw(&mut self, tuples: usize, parameters: &Parameters) -> Result<Vec<Draw>> {
        self.in_work += 1;
        let mut draws = Vec::with_capacity(tuples * usize::from(parameters.tuple - 1));
        for _ in 0..tuples {
            for place in 1..parameters.tuple {
                draws.push(self.draw_one(place == 1)?);
            }
        }
        Ok(draws)
    }

    fn draw_one(&mut self, first: bool) -> Result<Draw> {
        if let Some(sampler) = &mut self.sampler {
            if let Some(drawn) = sampler.next()? {
                return Ok(Draw::Stored(drawn));
            }
            self.sampler = None;
        }
        let own = if first { None } else { self.own.pop_front() };
        Ok(own.map_or(Draw::Fresh, |score| Draw::Stored(Drawn::of(score))))
    }

    /// Offers the blocks of a finished stripe as randomizers of later ones. Files from repeating dice use
    /// fresh blocks only.
    pub(crate) fn offer(&mut self, stored: impl IntoIterator<Item = Score>) {
        /// Enough for the stripes in flight; more would only be memory.
        const MOST: usize = 65_536;
        self.in_work -= 1;
        if self.dice.reuse() {
            let room = MOST.saturating_sub(self.own.len());
            self.own.extend(stored.into_iter().take(room));
        }
    }

    pub(crate) fn fresh(&mut self, block: &mut [u8]) {
        self.dice.randomizer(block);
    }

    pub(crate) fn padding(&mut self, bytes: &mut [u8]) {
        self.dice.padding(bytes);
    }

    pub(crate) fn key(&mut self) -> Key {
        self.dice.key()
    }
}
