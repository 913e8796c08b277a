//! The commands.

mod bucket;
mod dht;
mod gc;
pub(crate) mod get;
mod info;
mod key;
mod ls;
mod peers;
mod pin;
mod pool;
mod put;
mod replicate;
mod serve;
mod stats;
pub(crate) mod status;
mod verify;

use clap::CommandFactory as _;
use offs::OffUrl;

use crate::{
    arguments::{Arguments, Command, Ls, Repair},
    bench,
    control::remote_command,
    entry_url,
    failure::Failure,
    home::{Access, Entered, Home},
    progress::remark,
    saved_buckets,
    url_database::Operation,
};

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Put(put) => match Home::enter(arguments)? {
            Entered::Home(home) => put::run(&home.access()?, put, &mut |url| replicate::after_put(&home, url, put)),
            Entered::Daemon(path, stream) => {
                let access = Access::through(path.clone(), stream)?;
                put::run(&access, put, &mut |url| replicate::after_put_there(&path, url, put))
            }
        },
        Command::Get(get) => {
            // What is wrong with the URL needs no store to be told.
            parse_url(&get.url)?;
            let access = access(arguments)?;
            get::run(&access, get).map_err(|failure| unanswered(&access, failure))
        }
        Command::Ls(Ls { url: Some(url), long, json }) => {
            let url = parse_url(url)?;
            let access = access(arguments)?;
            let form = if *json {
                ls::Form::Json
            } else if *long {
                ls::Form::Long
            } else {
                ls::Form::Paths
            };
            ls::inside(&access, &url, form).map_err(|failure| unanswered(&access, failure))
        }
        Command::Serve(serve) => serve::run(arguments, serve),
        Command::Repair(Repair::Index) => repair_index(arguments),
        Command::Dht(dht) => dht::run(arguments, dht),
        Command::Key(key) => key::run(arguments, key),
        Command::Bench(bench) => bench::run(arguments, bench),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "offs", &mut script);
            std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Failure::Output)
        }
        Command::Man { directory } => clap_mangen::generate_to(Arguments::command(), directory)
            .map_err(|source| Failure::io("write manual pages into", directory, source)),
        command => match Home::enter(arguments)? {
            Entered::Home(home) => at_home(&home, command),
            Entered::Daemon(_, mut stream) => remote_command::run(&mut stream),
        },
    }
}

/// What `put` and `get` work on: the store itself, or the daemon's.
fn access(arguments: &Arguments) -> Result<Access, Failure> {
    match Home::enter(arguments)? {
        Entered::Home(home) => home.access(),
        Entered::Daemon(path, stream) => Access::through(path, stream),
    }
}

/// Runs a command that needs nothing of the user's but its arguments, in the process that owns the home.
pub(crate) fn at_home(home: &Home, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Info(info) => info::run(home, info),
        Command::Ls(ls) => ls::run(home, ls),
        Command::Pin(urls) => pin::run(home, urls, Operation::Pin),
        Command::Unpin(urls) => pin::run(home, urls, Operation::Unpin),
        Command::Verify(verify) => verify::run(home, verify),
        Command::Gc(gc) => gc::run(home, gc),
        Command::Stats(stats) => stats::run(home, stats),
        Command::Status(status) => status::run(home, status),
        Command::Pool(pool) => pool::run(home, pool),
        Command::Peers(peers) => peers::run(home, peers),
        Command::Replicate(replicate) => replicate::run(home, replicate),
        Command::Bucket(bucket) => bucket::run(home, bucket),
        Command::Put(_)
        | Command::Get(_)
        | Command::Serve(_)
        | Command::Repair(_)
        | Command::Dht(_)
        | Command::Key(_)
        | Command::Bench(_)
        | Command::Completions { .. }
        | Command::Man { .. } => Err(Failure::Usage { what: "the daemon does not run this command" }),
    }
}

/// Says who did not answer, when something is missing that they may have.
fn unanswered(access: &Access, failure: Failure) -> Failure {
    match failure {
        Failure::File(missing @ (offs::Error::NoRoot { .. } | offs::Error::Lost { .. })) => {
            let peers = access.store.silent();
            if peers.is_empty() { missing.into() } else { Failure::Unanswered { missing, peers } }
        }
        failure => failure,
    }
}

/// A URL from the command line.
fn parse_url(text: &str) -> Result<OffUrl, Failure> {
    // Or as a browser shows the address of what a gateway serves: that of a directory ends in a slash.
    let served = text.split_once("/off:").filter(|(gateway, _)| {
        let host = gateway.strip_prefix("http://").or_else(|| gateway.strip_prefix("https://"));
        host.is_some_and(|host| !host.contains('/'))
    });
    let url = served.map(|(_, rest)| format!("off:{}", rest.strip_suffix('/').unwrap_or(rest)));
    url.as_deref().unwrap_or(text).parse().map_err(|source| {
        let shown: String = text.chars().take(200).collect();
        Failure::Url { url: if shown.len() < text.len() { format!("{shown}...") } else { shown }, source }
    })
}

/// A URL of something that can be kept by itself: for a path in a directory, the own URL of the file there.
fn parse_alone(home: &Home, text: &str) -> Result<OffUrl, Failure> {
    entry_url::alone(home.store.as_ref(), parse_url(text)?)
}

fn repair_index(arguments: &Arguments) -> Result<(), Failure> {
    let home = Home::rebuild(arguments)?;
    let statistics = home.store.statistics();
    remark(&format!("the index has {} records of {} packs again", statistics.records, statistics.packs));
    if saved_buckets::are_lost(&home.store, &home.url_database())? { Err(Failure::BucketsLost) } else { Ok(()) }
}
