//! The commands.

mod dht;
mod gc;
mod get;
mod info;
mod key;
mod ls;
mod pin;
mod put;
mod stats;
mod verify;

use clap::CommandFactory as _;
use offs::OffUrl;

use crate::{
    arguments::{Arguments, Command, Repair},
    bench,
    failure::Failure,
    home::Home,
    progress::remark,
    url_database::Operation,
};

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Put(put) => put::run(&Home::open(arguments)?, put),
        Command::Get(get) => get::run(arguments, get),
        Command::Info(info) => info::run(arguments, info),
        Command::Ls(ls) => ls::run(&Home::open(arguments)?, ls),
        Command::Pin(urls) => pin::run(&Home::open(arguments)?, urls, Operation::Pin),
        Command::Unpin(urls) => pin::run(&Home::open(arguments)?, urls, Operation::Unpin),
        Command::Verify(verify) => verify::run(arguments, verify),
        Command::Gc(gc) => gc::run(&Home::open(arguments)?, gc),
        Command::Stats(stats) => stats::run(&Home::open(arguments)?, stats),
        Command::Repair(Repair::Index) => repair_index(arguments),
        Command::Dht(dht) => dht::run(arguments, dht),
        Command::Key(key) => key::run(key),
        Command::Bench(bench) => bench::run(arguments, bench),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "offs", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::Output)
        }
        Command::Man { directory } => clap_mangen::generate_to(Arguments::command(), directory)
            .map_err(|source| Failure::io("write manual pages into", directory, source)),
    }
}

/// A URL from the command line.
fn parse_url(text: &str) -> Result<OffUrl, Failure> {
    text.parse().map_err(|source| {
        let shown: String = text.chars().take(200).collect();
        Failure::Url { url: if shown.len() < text.len() { format!("{shown}...") } else { shown }, source }
    })
}

fn repair_index(arguments: &Arguments) -> Result<(), Failure> {
    let home = Home::rebuild(arguments)?;
    let statistics = home.store.statistics();
    remark(&format!("the index has {} records of {} packs again", statistics.records, statistics.packs));
    Ok(())
}
