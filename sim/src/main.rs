//! Runs a population and prints how good its lookups were.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::{
    io::IsTerminal as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use sim::{Link, Measure, Population};

/// Thousands of nodes of the DHT in one process: how good are their lookups?
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
    /// End with an error if fewer lookups than this part are right
    #[arg(long)]
    at_least: Option<f64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let link = Link { least: Duration::from_millis(10), most: Duration::from_millis(150), loss: arguments.loss };
    let population =
        Population { nodes: arguments.nodes, hostile: arguments.hostile, churn: arguments.churn, link, seed };
    let measure =
        Measure { warm_up: Duration::from_mins(arguments.warm_up), lookups: arguments.lookups, rate: arguments.rate };
    let started = Instant::now();
    let mut told = started;
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
    println!("took {:.0} s, {} MiB", started.elapsed().as_secs_f64(), resident_mebibytes());
    if arguments.at_least.is_some_and(|least| share < least) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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
