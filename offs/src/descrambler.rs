//! From tuples back to source blocks: a state machine over one stripe, without I/O.

use cas::Score;

use crate::{BLOCK, Error, Key, Parameters, Result, Stripe, scrambler::xor};

/// What a [`Descrambler`] needs or has.
#[derive(Debug)]
pub enum Want {
    /// Supply this block with [`Descrambler::supply`] or [`Descrambler::absent`].
    Block(Score),
    /// A missing or damaged block was recomputed; its score proves it. Put it back where it was.
    Healed(Score, Vec<u8>),
    /// The wanted source blocks can be read with [`Descrambler::source`].
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of it was asked for yet.
    Untouched,
    /// All blocks of its tuple are in, and it is deciphered.
    Whole,
    /// A block of its tuple is gone; what is in is the XOR of the others.
    Broken,
    /// It was broken and the others of its stripe gave it back.
    Rebuilt,
}

/// Reads source blocks of one stripe, and rebuilds those whose tuples are incomplete from the others.
pub struct Descrambler {
    parameters: Parameters,
    key: Option<Key>,
    stripe: Stripe,
    /// Tuples of the stripe, end to end.
    tuples: Vec<u8>,
    /// Source blocks, or what is known of them, end to end.
    blocks: Vec<u8>,
    states: Vec<State>,
    /// Sources that are wanted, `from..to`, and whether broken parity is to be mended too.
    wanted: std::ops::Range<usize>,
    mend_parity: bool,
    /// The source being read, and the next block of its tuple.
    reading: Option<(usize, usize)>,
    /// Blocks that are gone: source, place in its tuple, and whether damaged rather than missing.
    gone: Vec<(usize, usize, bool)>,
    healed: Vec<(Score, Vec<u8>)>,
    rebuilt: bool,
}

impl Descrambler {
    /// Reads the data blocks `wanted` of a stripe with these tuples. `buffer` is reused for them.
    pub fn new(
        parameters: Parameters,
        key: Option<Key>,
        stripe: Stripe,
        tuples: Vec<u8>,
        wanted: std::ops::Range<usize>,
        mut buffer: Vec<u8>,
    ) -> Self {
        buffer.resize(stripe.data * BLOCK, 0);
        Self {
            parameters,
            key,
            stripe,
            tuples,
            blocks: buffer,
            states: vec![State::Untouched; stripe.tuples()],
            wanted,
            mend_parity: false,
            reading: None,
            gone: Vec::new(),
            healed: Vec::new(),
            rebuilt: false,
        }
    }

    /// Reads every tuple of the stripe, parity too, and mends what can be mended.
    pub fn mend(parameters: Parameters, key: Option<Key>, stripe: Stripe, tuples: Vec<u8>) -> Self {
        let mut mend = Self::new(parameters, key, stripe, tuples, 0..stripe.tuples(), Vec::new());
        mend.mend_parity = true;
        mend
    }

    fn score(&self, source: usize, place: usize) -> Score {
        let at = source * self.parameters.tuple_bytes() + 32 * place;
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.tuples[at..at + 32]);
        Score::from_digest(self.parameters.algorithm, digest)
    }

    /// What to do next.
    ///
    /// # Errors
    /// [`Error::Lost`] when too much is gone, [`Error::Inconsistent`] when the parts do not fit together.
    pub fn want(&mut self) -> Result<Want> {
        loop {
            if let Some((source, place)) = self.reading {
                return Ok(Want::Block(self.score(source, place)));
            }
            if let Some(source) = self.next_source() {
                self.start(source);
            } else if self.is_broken() && !self.rebuilt {
                self.rebuild()?;
            } else if let Some((score, block)) = self.healed.pop() {
                return Ok(Want::Healed(score, block));
            } else {
                return Ok(Want::Done);
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.states[self.wanted.clone()].contains(&State::Broken)
    }

    /// The next source block to read: what is wanted, and when some of it is broken, as many others as a
    /// rebuild needs.
    fn next_source(&self) -> Option<usize> {
        let untouched = |source: &usize| self.states[*source] == State::Untouched;
        if let Some(source) = self.wanted.clone().find(untouched) {
            return Some(source);
        }
        let whole = self.states.iter().filter(|state| **state == State::Whole).count();
        (self.is_broken() && !self.rebuilt && whole < self.stripe.data)
            .then(|| (0..self.stripe.tuples()).find(untouched))?
    }

    fn start(&mut self, source: usize) {
        let end = (source + 1) * BLOCK;
        if self.blocks.len() < end {
            self.blocks.resize(end, 0);
        }
        self.reading = Some((source, 0));
    }

    fn block_mut(&mut self, source: usize) -> &mut [u8] {
        &mut self.blocks[source * BLOCK..(source + 1) * BLOCK]
    }

    /// Supplies the block that was wanted. A block of another length counts as damaged.
    pub fn supply(&mut self, block: &[u8]) {
        let Some((source, place)) = self.reading else { return };
        if block.len() != BLOCK {
            return self.absent(true);
        }
        let first = !(0..place).any(|before| !self.gone.iter().any(|(s, p, _)| (*s, *p) == (source, before)));
        let into = self.block_mut(source);
        if first {
            into.copy_from_slice(block);
        } else {
            xor(into, block);
        }
        self.advance(source, place);
    }

    /// Says that the block that was wanted is not to be had: missing or damaged.
    pub fn absent(&mut self, damaged: bool) {
        let Some((source, place)) = self.reading else { return };
        self.gone.push((source, place, damaged));
        self.states[source] = State::Broken;
        self.advance(source, place);
    }

    fn advance(&mut self, source: usize, place: usize) {
        if place + 1 < usize::from(self.parameters.tuple) {
            self.reading = Some((source, place + 1));
            return;
        }
        self.reading = None;
        if self.states[source] == State::Untouched {
            self.states[source] = State::Whole;
            self.apply_key(source);
        }
    }

    fn apply_key(&mut self, source: usize) {
        if let Some(key) = self.key.clone() {
            let position = self.stripe.first_position + source as u64;
            key.apply_to_source(self.stripe.level, position, self.block_mut(source));
        }
    }

    fn lost(&self) -> Error {
        let scores = |damaged: bool| {
            let here = self.gone.iter().filter(|(.., is)| *is == damaged);
            here.map(|(source, place, _)| self.score(*source, *place)).collect()
        };
        Error::Lost { missing: scores(false), damaged: scores(true) }
    }

    /// Makes the broken source blocks from the whole ones, and from each of them the one block of its tuple
    /// that is gone.
    fn rebuild(&mut self) -> Result<()> {
        let (data, parity) = (self.stripe.data, self.stripe.parity);
        let Some(mut coder) = self.parameters.code.coder() else { return Err(self.lost()) };
        let have: Vec<_> = (0..self.stripe.tuples())
            .filter(|source| self.states[*source] == State::Whole)
            .map(|source| (source, &self.blocks[source * BLOCK..(source + 1) * BLOCK]))
            .collect();
        if have.len() < data {
            return Err(self.lost());
        }
        let rebuilt = coder.rebuild(data, parity, &have)?;
        self.rebuilt = true;
        for (source, block) in rebuilt {
            self.restore(source, block)?;
        }
        let broken = |state: &State| *state == State::Broken;
        if self.mend_parity && self.states[data..].iter().any(broken) {
            let mut made = vec![0; parity * BLOCK];
            coder.encode(&self.blocks[..data * BLOCK], &mut made)?;
            for (source, block) in (data..).zip(made.chunks_exact(BLOCK)) {
                if self.states[source] == State::Broken {
                    self.restore(source, block.to_vec())?;
                }
            }
        }
        Ok(())
    }

    fn restore(&mut self, source: usize, block: Vec<u8>) -> Result<()> {
        let mut gone = self.gone.iter().filter(|(s, ..)| *s == source).map(|(_, place, _)| *place);
        let (first, second) = (gone.next(), gone.next());
        drop(gone);
        let was = self.states[source];
        self.states[source] = State::Rebuilt;
        if was == State::Untouched || second.is_some() {
            let end = (source + 1) * BLOCK;
            if self.blocks.len() < end {
                self.blocks.resize(end, 0);
            }
            self.block_mut(source).copy_from_slice(&block);
            return Ok(());
        }
        // What was gathered is the XOR of the blocks that are here; with the source it gives the one that is not.
        let rest = self.block_mut(source).to_vec();
        self.block_mut(source).copy_from_slice(&block);
        let mut healed = block;
        if let Some(key) = &self.key {
            key.apply_to_source(self.stripe.level, self.stripe.first_position + source as u64, &mut healed);
        }
        xor(&mut healed, &rest);
        if let Some(place) = first {
            let score = self.score(source, place);
            if !score.matches(&healed) {
                return Err(Error::Inconsistent { level: self.stripe.level, stripe: self.stripe.number });
            }
            self.healed.push((score, healed));
        }
        Ok(())
    }

    /// Blocks that were asked for and are gone, and not recomputed: the tuple lost more than one.
    pub fn unhealed(&self) -> Vec<Score> {
        let alone = |source: usize| self.gone.iter().filter(|(s, ..)| *s == source).count() == 1;
        let still = self.gone.iter().filter(|(source, ..)| self.states[*source] == State::Broken || !alone(*source));
        still.map(|(source, place, _)| self.score(*source, *place)).collect()
    }

    /// A source block that was wanted, once [`Want::Done`] was returned.
    pub fn source(&self, number: usize) -> &[u8] {
        &self.blocks[number * BLOCK..(number + 1) * BLOCK]
    }

    /// The buffer with the stripe's data blocks; those that were not wanted are rubbish.
    pub fn into_blocks(self) -> Vec<u8> {
        self.blocks
    }
}
