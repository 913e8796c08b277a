//! Which source block is where: levels, stripes, positions. Pure arithmetic over length and parameters.

use crate::{BLOCK, Parameters};

/// One level of a file: the content (level 0), or the tuples of the level below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Number of source blocks.
    pub sources: u64,
    /// Number of tuples: one for each source block and each parity source block.
    pub tuples: u64,
}

/// One stripe of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// Its level.
    pub level: u8,
    /// Its number in the level.
    pub number: u64,
    /// Index of its first source block in the level.
    pub first_source: u64,
    /// Position of its first tuple in the level.
    pub first_position: u64,
    /// Number of data blocks.
    pub data: usize,
    /// Number of parity blocks.
    pub parity: usize,
}

impl Stripe {
    /// Number of tuples.
    pub const fn tuples(&self) -> usize {
        self.data + self.parity
    }
}

/// The levels of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    parameters: Parameters,
    levels: Vec<Level>,
}

impl Layout {
    /// The layout of a file of `length` bytes that is not inline.
    pub fn new(parameters: Parameters, length: u64) -> Self {
        let mut levels = vec![level(&parameters, length.div_ceil(BLOCK as u64))];
        while let Some(last) = levels.last()
            && last.tuples > parameters.tuples_in_root()
        {
            levels.push(level(&parameters, last.tuples.div_ceil(parameters.tuples_per_block())));
        }
        Self { parameters, levels }
    }

    /// The levels, content first; the tuples of the last stand in the root.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The file's parameters.
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Number of stripes in a level.
    pub fn stripes(&self, level: u8) -> u64 {
        self.levels[usize::from(level)].sources.div_ceil(u64::from(self.parameters.data))
    }

    /// The stripe with a number.
    pub fn stripe(&self, level: u8, number: u64) -> Stripe {
        stripe(&self.parameters, level, number, self.levels[usize::from(level)].sources)
    }

    /// The stripe that a source block is in.
    pub fn stripe_of(&self, level: u8, source: u64) -> Stripe {
        self.stripe(level, source / u64::from(self.parameters.data))
    }
}

/// Stripe `number` of a level with (so far) `sources` source blocks.
pub(crate) fn stripe(parameters: &Parameters, level: u8, number: u64, sources: u64) -> Stripe {
    let data = u64::from(parameters.data);
    let first_source = number * data;
    let here = data.min(sources - first_source);
    Stripe {
        level,
        number,
        first_source,
        first_position: number * (data + u64::from(parameters.parity)),
        data: usize::try_from(here).unwrap_or(usize::MAX),
        parity: usize::try_from(parameters.parity_of(here)).unwrap_or(usize::MAX),
    }
}

fn level(parameters: &Parameters, sources: u64) -> Level {
    let data = u64::from(parameters.data);
    let parity = sources / data * u64::from(parameters.parity) + parameters.parity_of(sources % data);
    Level { sources, tuples: sources + parity }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Code;

    #[test]
    fn depth_is_what_the_format_promises() {
        let none = Parameters::default().without_parity();
        let depth = |length: u64| Layout::new(none, length).levels().len();
        assert_eq!(depth(0), 1);
        assert_eq!(depth(1364 * 131_072), 1, "about 170 MiB");
        assert_eq!(depth(1364 * 131_072 + 1), 2);
        assert_eq!(depth(1364 * 1365 * 131_072), 2, "about 230 GiB");
        assert_eq!(depth(1364 * 1365 * 131_072 + 1), 3);
        assert_eq!(depth(1 << 60), 5, "and an absurd length costs nothing to lay out");
    }

    proptest! {
        #[test]
        fn stripes_tile_their_level(length in 0_u64..1 << 40, data in 1_u8..=128, parity in 0_u8..=128, tuple in 2_u8..=8) {
            let code = if parity == 0 { Code::None } else { Code::Leopard };
            let layout = Layout::new(Parameters { tuple, code, data, parity, ..Parameters::default() }, length);
            for (at, level) in (0..).zip(layout.levels()) {
                let stripes = layout.stripes(at);
                if let Some(last) = stripes.checked_sub(1) {
                    let last = layout.stripe(at, last);
                    prop_assert_eq!(last.first_source + last.data as u64, level.sources);
                    prop_assert_eq!(last.first_position + last.tuples() as u64, level.tuples);
                    prop_assert!(parity == 0 || last.parity >= 1);
                    prop_assert_eq!(layout.stripe_of(at, level.sources - 1), last);
                }
            }
        }
    }
}
