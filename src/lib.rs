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
mod dht;
mod failure;
mod home;
mod interrupt;
mod output;
mod output_file;
mod peers;
mod pins;
mod progress;
mod report;
mod restore;
mod size;
mod tree;
mod url_database;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;

/// Runs the program with the process's arguments and says how it ended.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let level = match arguments.verbose {
        0 => tracing::Level::ERROR,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // Else a standard error that is full or closed ends the program.
        .log_internal_errors(false)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    report::end(command::run(&arguments))
}
