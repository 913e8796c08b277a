//! How likely it is that a file cannot be read: calculated, and tried with peers that fail.

use std::{collections::BTreeSet, fmt::Write as _};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use replication::Bucket;

use crate::{
    library::{self, DATA, Library, PARITY, TUPLE, index, parity_of},
    ranking::Ranking,
};

/// Tuples of three scores in a root, and in another descriptor block (docs/format.md).
const IN_ROOT: u32 = 1364;
const IN_BLOCK: u32 = 1365;

/// Copies of a block that are looked at.
const REPLICAS: [u16; 4] = [1, 2, 3, 4];

/// What a file is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Source blocks.
    pub sources: u32,
    /// Whether each stripe of 16 has 4 parity blocks.
    pub parity: bool,
}

/// How likely it is that a block, and a root, is not there.
#[derive(Clone, Copy, Debug)]
struct Missing {
    block: f64,
    root: f64,
}

impl Shape {
    /// Probability that a file cannot be read when each peer is there with probability `available`, each block is with
    /// `replicas` of them and its root with twice as many, and all blocks are with different peers.
    pub fn unreadable(self, available: f64, replicas: u16) -> f64 {
        let missing = |copies: u16| (1.0 - available).powi(i32::from(copies));
        self.with(Missing { block: missing(replicas), root: missing(2 * replicas) })
    }

    /// The same in a pool of `peers`: blocks share peers, so it is the average over how many of the peers are away,
    /// and given that, a block is missing when all of its holders are among them.
    pub fn unreadable_among(self, peers: u16, available: f64, replicas: u16) -> f64 {
        let mut sum = 0.0;
        for away in 0..=peers {
            let share = binomial(u32::from(peers), u32::from(away), 1.0 - available);
            if share > 1e-18 {
                let all_away = |copies| all_among(copies, away, peers);
                sum += share * self.with(Missing { block: all_away(replicas), root: all_away(2 * replicas) });
            }
        }
        sum
    }

    /// Sums and powers of numbers near 1 are taken as logarithms, or the small differences that matter would be lost.
    fn with(self, missing: Missing) -> f64 {
        let tuple = -(f64::from(u32::try_from(TUPLE).unwrap_or(0)) * (-missing.block).ln_1p()).exp_m1();
        let mut readable = (-missing.root).ln_1p();
        let mut sources = self.sources;
        loop {
            let tuples = sources + self.parity_in_level(sources);
            let last = sources % DATA;
            readable += f64::from(sources / DATA) * (-self.stripe(DATA, tuple)).ln_1p();
            readable += if last > 0 { (-self.stripe(last, tuple)).ln_1p() } else { 0.0 };
            if tuples <= IN_ROOT {
                return -readable.exp_m1();
            }
            sources = tuples.div_ceil(IN_BLOCK);
        }
    }

    fn parity_in_level(self, sources: u32) -> u32 {
        if self.parity { sources / DATA * PARITY + parity_of(sources % DATA) } else { 0 }
    }

    /// Probability that a stripe has fewer whole tuples than data blocks.
    fn stripe(self, data: u32, tuple: f64) -> f64 {
        let parity = if self.parity { parity_of(data) } else { 0 };
        (parity + 1..=data + parity).map(|broken| binomial(data + parity, broken, tuple)).sum()
    }
}

/// Probability of `hits` in `trials`.
fn binomial(trials: u32, hits: u32, probability: f64) -> f64 {
    if probability <= 0.0 || probability >= 1.0 {
        let certain = if probability <= 0.0 { 0 } else { trials };
        return if hits == certain { 1.0 } else { 0.0 };
    }
    let ways: f64 = (0..hits).map(|n| (f64::from(trials - n) / f64::from(hits - n)).ln()).sum();
    (ways + f64::from(hits) * probability.ln() + f64::from(trials - hits) * (-probability).ln_1p()).exp()
}

/// Probability that `copies` different peers are all among the `away` of `peers`.
fn all_among(copies: u16, away: u16, peers: u16) -> f64 {
    let one = |n: u16| f64::from(away.saturating_sub(n)) / f64::from(peers.saturating_sub(n).max(1));
    (0..copies.min(peers)).map(one).product()
}

/// The tables of docs/durability.md, as Markdown.
pub fn tables() -> String {
    let mut text = String::new();
    for (sources, size) in [(16, "2 MiB"), (800, "100 MiB"), (8192, "1 GiB"), (81_920, "10 GiB")] {
        let _never_fails = write!(text, "### A file of {sources} source blocks ({size})\n\n{HEAD}");
        for available in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999] {
            let _never_fails = write!(text, "| {available} |");
            for parity in [false, true] {
                for replicas in REPLICAS {
                    let probability = Shape { sources, parity }.unreadable(available, replicas);
                    let _never_fails = write!(text, " {} |", shown(probability));
                }
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

const HEAD: &str = "\
| p | none, R = 1 | R = 2 | R = 3 | R = 4 | 16+4, R = 1 | R = 2 | R = 3 | R = 4 |
|---|---|---|---|---|---|---|---|---|
";

/// A probability as people read it.
fn shown(probability: f64) -> String {
    match probability {
        p if p >= 0.9995 => "1".to_owned(),
        p if p >= 0.001 => format!("{p:.3}"),
        p => format!("{p:.1e}"),
    }
}

/// Peers that fail without repair.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// Peers of the pool.
    pub peers: u16,
    /// Files that were put.
    pub files: u32,
    /// Source blocks of each.
    pub sources: u32,
    /// Probability that a peer is there.
    pub available: f64,
    /// How often peers are drawn.
    pub draws: u32,
    /// What everything follows from.
    pub seed: u64,
}

/// What came out for one number of copies, with or without parity.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Copies of a block.
    pub replicas: u16,
    /// Whether stripes have parity.
    pub parity: bool,
    /// The part of the files that could not be read.
    pub measured: f64,
    /// Standard error of that: files of one draw are not independent, draws are.
    pub error: f64,
    /// The part that was expected in a pool of so many peers.
    pub expected: f64,
    /// The part that was expected if no two blocks shared a peer.
    pub independent: f64,
}

impl Trial {
    /// Draws which peers are there, and counts the files that cannot be read.
    pub fn run(&self) -> Vec<Outcome> {
        let mut dice = SmallRng::seed_from_u64(self.seed);
        let (ranking, library) = (Ranking::new(self.peers), self.library(&mut dice));
        let everybody = vec![true; usize::from(self.peers)];
        let holders = |bucket| ranking.holders(bucket, 2 * REPLICAS.len(), &everybody);
        let holders: Vec<_> = Bucket::all().map(holders).collect();
        let mut counts = vec![Vec::new(); 2 * REPLICAS.len()];
        for _ in 0..self.draws {
            let up: Vec<_> = (0..self.peers).map(|_| dice.random_bool(self.available)).collect();
            let first_up = |ranked: &Vec<u16>| ranked.iter().position(|peer| up[usize::from(*peer)]);
            let first_up: Vec<_> = holders.iter().map(|ranked| first_up(ranked).unwrap_or(usize::MAX)).collect();
            for (count, (replicas, parity)) in counts.iter_mut().zip(kinds()) {
                let copies = |root| usize::from(replicas) * if root { 2 } else { 1 };
                let rank = |block| first_up[usize::from(library.buckets[index(block)].number())];
                let has = |block| rank(block) < copies(library.roots[index(block)]);
                let readable = |file: &&library::File| {
                    if parity { file.is_readable(has) } else { file.is_readable_without_parity(has) }
                };
                let lost = library.files.len() - library.files.iter().filter(readable).count();
                count.push(f64::from(u32::try_from(lost).unwrap_or(u32::MAX)) / f64::from(self.files));
            }
        }
        counts.iter().zip(kinds()).map(|(parts, (replicas, parity))| self.outcome(parts, replicas, parity)).collect()
    }

    /// The store in which the files are put is that of one who has everything.
    fn library(&self, dice: &mut SmallRng) -> Library {
        let (mut library, mut stored) = (Library::new(), BTreeSet::new());
        for _ in 0..self.files {
            stored.extend(library.put(self.sources, &stored, dice));
        }
        library
    }

    fn outcome(&self, parts: &[f64], replicas: u16, parity: bool) -> Outcome {
        let draws = f64::from(self.draws);
        let measured = parts.iter().sum::<f64>() / draws;
        let variance = parts.iter().map(|part| (part - measured).powi(2)).sum::<f64>() / (draws - 1.0).max(1.0);
        let shape = Shape { sources: self.sources, parity };
        Outcome {
            replicas,
            parity,
            measured,
            error: (variance / draws).sqrt(),
            expected: shape.unreadable_among(self.peers, self.available, replicas),
            independent: shape.unreadable(self.available, replicas),
        }
    }
}

fn kinds() -> impl Iterator<Item = (u16, bool)> {
    [false, true].into_iter().flat_map(|parity| REPLICAS.map(|replicas| (replicas, parity)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_can_be_calculated_by_hand() {
        let near = |one: f64, other: f64| assert!((one / other - 1.0).abs() < 1e-9, "{one} {other}");
        // The design's figure: 2400 blocks at p = 0.999, and the root twice.
        near(Shape { sources: 800, parity: false }.unreadable(0.999, 1), 1.0 - 0.999_f64.powi(2400) * (1.0 - 1e-6));
        near(Shape { sources: 1, parity: false }.unreadable(0.9, 2), 1.0 - 0.99_f64.powi(3) * 0.9999);
        // One data block and one parity block: both tuples must break.
        let tuple = 1.0 - 0.9_f64.powi(3);
        near(Shape { sources: 1, parity: true }.unreadable(0.9, 1), 1.0 - (1.0 - tuple * tuple) * 0.99);
        near(binomial(20, 3, 0.25), 1140.0 * 0.25_f64.powi(3) * 0.75_f64.powi(17));
        near(all_among(2, 3, 10), 3.0 * 2.0 / (10.0 * 9.0));
    }

    #[test]
    fn a_large_pool_is_like_independent_blocks() {
        let shape = Shape { sources: 100, parity: false };
        let (pool, alone) = (shape.unreadable_among(30_000, 0.99, 3), shape.unreadable(0.99, 3));
        assert!((pool / alone - 1.0).abs() < 0.02, "{pool} {alone}");
    }

    #[test]
    fn peers_that_fail_confirm_it() {
        for (peers, available) in [(100, 0.9), (300, 0.95)] {
            let trial = Trial { peers, files: 60, sources: 40, available, draws: 150, seed: 7 };
            for outcome in trial.run() {
                let off = (outcome.measured - outcome.expected).abs();
                assert!(off < 4.0 * outcome.error + 0.004, "{outcome:?}");
            }
        }
    }
}
