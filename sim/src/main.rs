//! Runs a population of nodes and prints how good its lookups were, or a pool of peers and prints what became of it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use sim::{Link, Measure, Peers, Population, Trial};

/// Thousands of nodes of the DHT in one process: how good are their lookups? Or, with `--peers`, a pool: what does it
/// lose?
#[derive(Debug, Parser)]
struct Arguments {
    /// Nodes at any time
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Part of the packets that is lost
    #[arg(long, default_value_t = 0.1)]
    loss: f64,
    /// Part of the nodes that is replaced in ten minutes
    #[arg(long, default_value_t = 0.2)]
    churn: f64,
    /// Part of the nodes that means ill
    #[arg(long, default_value_t = 0.0)]
    hostile: f64,
    /// Minutes before lookups are measured
    #[arg(long, default_value_t = 20)]
    warm_up: u64,
    /// Lookups that are measured
    #[arg(long, default_value_t = 1000)]
    lookups: usize,
    /// Lookups a second
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// What everything follows from; else random
    #[arg(long, env = "OFFS_SEED")]
    seed: Option<u64>,
    /// End with an error if fewer lookups than this part are right, or fewer files are kept
    #[arg(long)]
    at_least: Option<f64>,
    /// Print the tables of docs/durability.md instead
    #[arg(long)]
    durability: bool,
    #[command(flatten)]
    pool: Pool,
}

/// A pool of peers.
#[derive(Debug, clap::Args)]
struct Pool {
    /// Peers of a pool that keeps files, instead of nodes of the DHT
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=30_000))]
    peers: Option<u16>,
    /// Only draw which peers are there, each with this probability, and count the files that cannot be read
    #[arg(long = "static", value_name = "P", requires = "peers")]
    available: Option<f64>,
    /// How often that is drawn
    #[arg(long, default_value_t = 100)]
    draws: u32,
    /// Files at the start
    #[arg(long, default_value_t = 2000)]
    files: u32,
    /// Source blocks of a file
    #[arg(long, default_value_t = 112)]
    blocks: u32,
    /// Peers that hold a block
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Hours that the pool goes on
    #[arg(long, default_value_t = 24)]
    hours: u64,
    /// Part of the peers that leaves for ever in that time
    #[arg(long, default_value_t = 0.3)]
    leaving: f64,
    /// As many come as leave
    #[arg(long)]
    newcomers: bool,
    /// Part of the peers that comes and goes
    #[arg(long, default_value_t = 0.1)]
    flapping: f64,
    /// Hours for which the network is in two
    #[arg(long, default_value_t = 0)]
    divided: u64,
    /// Files put in an hour
    #[arg(long, default_value_t = 4)]
    writes: u64,
    /// Part of the transfers that fails
    #[arg(long, default_value_t = 0.02)]
    failing: f64,
    /// Who puts a file does not keep it
    #[arg(long)]
    unpinned: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.durability {
        println!("{}", sim::tables());
        return ExitCode::SUCCESS;
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let started = Instant::now();
    let share = match (arguments.pool.peers, arguments.pool.available) {
        (None, _) => look_up(&arguments, seed),
        (Some(peers), None) => keep_files(&arguments.pool, peers, seed),
        (Some(peers), Some(available)) => draw_peers(&arguments.pool, peers, available, seed),
    };
    println!("took {:.0} s, {} MiB", started.elapsed().as_secs_f64(), resident_mebibytes());
    if arguments.at_least.is_some_and(|least| share < least) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Lets a pool live; returns the part of the files that is not lost.
fn keep_files(pool: &Pool, peers: u16, seed: u64) -> f64 {
    let plan = Peers {
        peers,
        files: pool.files,
        sources: pool.blocks,
        replicas: pool.replicas,
        hours: pool.hours,
        leaving: pool.leaving,
        newcomers: pool.newcomers,
        flapping: pool.flapping,
        divided: pool.divided,
        writes: pool.writes,
        failing: pool.failing,
        pinned: !pool.unpinned,
        seed,
    };
    let mut told = Instant::now();
    let course = plan.run(&mut |now| {
        if std::io::stderr().is_terminal() && told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            eprint!("\r{:6} s of the pool's time", now.as_secs());
        }
    });
    print!("{course}");
    1.0 - ratio(course.lost(), usize::try_from(pool.files).unwrap_or(usize::MAX))
}

/// Draws which peers are there; returns the part of the files that can be read at the default of copies and parity.
fn draw_peers(pool: &Pool, peers: u16, available: f64, seed: u64) -> f64 {
    let trial = Trial { peers, files: pool.files, sources: pool.blocks, available, draws: pool.draws, seed };
    println!("| parity | R | measured | standard error | calculated | deviation | if independent |");
    println!("|---|---|---|---|---|---|---|");
    let outcomes = trial.run();
    for one in &outcomes {
        let parity = if one.parity { "16+4" } else { "none" };
        let (measured, error, expected) = (one.measured, one.error, one.expected);
        let (deviation, independent) = (measured - expected, one.independent);
        println!(
            "| {parity} | {} | {measured:.5} | {error:.5} | {expected:.5} | {deviation:+.5} | {independent:.5} |",
            one.replicas
        );
    }
    1.0 - outcomes.iter().find(|one| one.parity && one.replicas == 3).map_or(1.0, |one| one.measured)
}

/// Lets nodes look up; returns the part of the lookups that is right.
fn look_up(arguments: &Arguments, seed: u64) -> f64 {
    let link = Link { least: Duration::from_millis(10), most: Duration::from_millis(150), loss: arguments.loss };
    let population =
        Population { nodes: arguments.nodes, hostile: arguments.hostile, churn: arguments.churn, link, seed };
    let measure =
        Measure { warm_up: Duration::from_mins(arguments.warm_up), lookups: arguments.lookups, rate: arguments.rate };
    let mut told = Instant::now();
    let report = population.measure(&measure, &mut |now, lookups| {
        if std::io::stderr().is_terminal() && told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            eprint!("\r{:6} s of the network's time, {lookups} lookups", now.as_secs());
        }
    });
    let share = ratio(report.right, report.lookups);
    println!("lookups {}, right {} ({:.3} %)", report.lookups, report.right, 100.0 * share);
    for (why, count) in &report.wrong {
        println!("  wrong: {why}: {count}");
    }
    let most = f64::from(u32::try_from(arguments.nodes).unwrap_or(u32::MAX)).log2() / 2.0;
    println!(
        "rounds: median {}, 99 % {} (half of log2 n is {most:.1})",
        at(&report.rounds, 50),
        at(&report.rounds, 99)
    );
    println!("nodes asked: median {}, 99 % {}", at(&report.asked, 50), at(&report.asked, 99));
    println!("time of a lookup: median {:?}, 99 % {:?}", at(&report.elapsed, 50), at(&report.elapsed, 99));
    println!("packets of a node in a second: {:.2}", report.packets);
    share
}

fn ratio(part: usize, whole: usize) -> f64 {
    let number = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    number(part) / number(whole.max(1))
}

/// A percentile of what is sorted.
fn at<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Peak of the memory that the process had.
fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kibibytes.unwrap_or(0) / 1024
}
