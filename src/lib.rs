//! The program: command line, configuration, URL database, files of the user.
//!
//! Only this crate speaks: the libraries return errors with fields, and `report` chooses the words, the
//! hint and the exit code.

mod arguments;
mod bench;
mod command;
mod config;
mod control;
mod daemon;
mod date;
mod dht;
mod entry_url;
mod failure;
mod home;
mod interfaces;
mod interrupt;
mod output;
mod output_file;
mod peers;
mod pins;
mod progress;
mod report;
mod restore;
mod saved_buckets;
mod size;
mod source_file;
mod tree;
mod url_database;

use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::arguments::Arguments;

/// Runs the program with the process's arguments and says how it ended.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let level = match arguments.verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    // Ours only: what HTTP/2 and TLS have to say about each frame helps nobody.
    let ours = ["offsystem", "cas", "gateway", "krpc", "offs", "replication"].map(|crate_name| (crate_name, level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // Else a standard error that is full or closed ends the program.
        .log_internal_errors(false)
        .with_ansi(false)
        .without_time()
        .with_target(false);
    tracing_subscriber::registry().with(lines.with_filter(Targets::new().with_targets(ours))).init();
    allow_open_files();
    report::end(&command::run(&arguments))
}

/// Files that this process may open, when the system lets it choose: packs and connections are files.
const OPEN_FILES: u64 = 65_536;

/// Takes what the hard limit allows: the soft one is often 1024, for programs that call `select`.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
