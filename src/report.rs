//! From failures to words and exit codes.

use std::{error::Error as _, io, process::ExitCode};

use crate::{failure::Failure, output::plain_lines, progress::say};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const DAMAGE: u8 = 3;
const NOT_FOUND: u8 = 4;

/// Says how a command ended.
pub(crate) fn end(result: &Result<(), Failure>) -> ExitCode {
    ExitCode::from(told(result))
}

/// Says what went wrong, and gives the exit code.
pub(crate) fn told(result: &Result<(), Failure>) -> u8 {
    let Err(failure) = result else { return 0 };
    if !is_closed_pipe(failure) && !matches!(failure, Failure::Said { .. }) {
        tell(failure);
    }
    code(failure)
}

/// A failure and its causes in one line.
pub(crate) fn in_one_line(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Prints a failure, its causes and what to do next.
pub(crate) fn tell(failure: &Failure) {
    // The terminal must not be told what to do by a name inside a URL or a directory.
    say(format_args!("offs: {}", plain_lines(&failure.to_string())));
    let mut cause = failure.source();
    while let Some(error) = cause {
        say(format_args!("  caused by: {}", plain_lines(&error.to_string())));
        cause = error.source();
    }
    if let Some(hint) = hint(failure) {
        say(format_args!("  hint: {hint}"));
    }
}

fn is_closed_pipe(failure: &Failure) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    match failure {
        Failure::Output(error) | Failure::File(offs::Error::Write(error)) => closed(error),
        _ => false,
    }
}

/// The exit code of a failure.
pub(crate) fn code(failure: &Failure) -> u8 {
    match within(failure) {
        Failure::File(error) | Failure::Unanswered { missing: error, .. } => file_code(error),
        Failure::DamageFound | Failure::UrlsLost { .. } | Failure::BucketsLost => DAMAGE,
        Failure::Some { code, .. } | Failure::Said { code } => *code,
        Failure::Url { .. }
        | Failure::Parameters(_)
        | Failure::Usage { .. }
        | Failure::IsLink { .. }
        | Failure::NotAlone { .. }
        | Failure::IsDirectory { .. }
        | Failure::NotDirectory
        | Failure::Item(_)
        | Failure::KeyFile { .. }
        | Failure::NoPort { .. }
        | Failure::BindFamily { .. }
        | Failure::Invitation(_)
        | Failure::Keys(
            gateway::KeysError::Taken { .. } | gateway::KeysError::Name { .. } | gateway::KeysError::Bucket { .. },
        )
        | Failure::NoName => USAGE,
        Failure::NoSuchPath { .. }
        | Failure::NotListed { .. }
        | Failure::NotWhole { .. }
        | Failure::NoItem { .. }
        | Failure::NoPeer { .. }
        | Failure::NoService { .. }
        | Failure::NoBucket { .. }
        | Failure::NothingSaved
        | Failure::Keys(gateway::KeysError::Unknown { .. })
        | Failure::NoPeers { .. } => NOT_FOUND,
        Failure::Pin { source, .. } => code(source),
        Failure::Io { .. }
        | Failure::Keys(_)
        | Failure::Buckets(_)
        | Failure::Certificate { .. }
        | Failure::Output(_)
        | Failure::Config { .. }
        | Failure::NoHome
        | Failure::Exists { .. }
        | Failure::NotEmpty { .. }
        | Failure::Range { .. }
        | Failure::Kind
        | Failure::Changed { .. }
        | Failure::PathTooLong { .. }
        | Failure::NobodyKnown
        | Failure::NeverServed
        | Failure::NobodyAnswered { .. }
        | Failure::NoAnswer { .. }
        | Failure::Refused { .. }
        | Failure::NotStored
        | Failure::Name { .. }
        | Failure::Bind { .. }
        | Failure::DhtInUse { .. }
        | Failure::Socket(_)
        | Failure::Daemon(_)
        | Failure::NoPool
        | Failure::HasPool
        | Failure::OtherPool { .. }
        | Failure::PoolFile { .. }
        | Failure::Membership(_)
        | Failure::NotAdmitted { .. }
        | Failure::Peer { .. }
        | Failure::Copies { .. }
        | Failure::Service { .. }
        | Failure::Worker
        | Failure::NoDaemon
        | Failure::Serving { .. }
        | Failure::NotFoundAt { .. }
        | Failure::Special { .. } => FAILED,
    }
}

fn file_code(error: &offs::Error) -> u8 {
    match error {
        offs::Error::Store(error) => store_code(error),
        offs::Error::NoRoot { .. } => NOT_FOUND,
        offs::Error::Lost { damaged, .. } => {
            if damaged.is_empty() {
                NOT_FOUND
            } else {
                DAMAGE
            }
        }
        offs::Error::Inconsistent { .. } | offs::Error::ContentHash { .. } => DAMAGE,
        offs::Error::Root { .. }
        | offs::Error::Repeats { .. }
        | offs::Error::Length { .. }
        | offs::Error::EntryLength { .. }
        | offs::Error::TooLong
        | offs::Error::Read(_)
        | offs::Error::Write(_)
        | offs::Error::Erasure(_)
        | offs::Error::Directory(_)
        | offs::Error::Reference(_)
        | offs::Error::Kind { .. }
        | offs::Error::Worker => FAILED,
    }
}

fn store_code(error: &cas::Error) -> u8 {
    match error {
        cas::Error::Damaged { .. }
        | cas::Error::Index(cas::IndexError::Damaged { .. } | cas::IndexError::Entry { .. }) => DAMAGE,
        cas::Error::BlockLength { .. }
        | cas::Error::Full { .. }
        | cas::Error::DiskFull { .. }
        | cas::Error::InUse { .. }
        | cas::Error::Io { .. }
        | cas::Error::Index(cas::IndexError::Failed { .. } | cas::IndexError::Full { .. })
        | cas::Error::Broken
        | cas::Error::Reachable(_) => FAILED,
    }
}

/// What a store says of us is what we said ourselves.
fn within(failure: &Failure) -> &Failure {
    match failure {
        Failure::File(offs::Error::Store(cas::Error::Reachable(source))) => {
            source.downcast_ref::<Failure>().unwrap_or(failure)
        }
        other => other,
    }
}

fn hint(failure: &Failure) -> Option<&'static str> {
    match within(failure) {
        Failure::File(offs::Error::Store(error)) => match error {
            cas::Error::Index(cas::IndexError::Full { .. }) => Some("free some room on the disk"),
            cas::Error::Index(cas::IndexError::Failed { .. }) => None,
            cas::Error::Index(_) => Some(
                "run `offs repair index`: it is made again from the packs; buckets that go with it come back by `offs bucket restore`",
            ),
            cas::Error::DiskFull { .. } => Some("free some room on the disk, or unpin something and run `offs gc`"),
            cas::Error::Full { .. } => Some("raise `capacity` in config.toml, or unpin something"),
            cas::Error::InUse { .. } => {
                Some("wait until that process has ended, stop it if it is a daemon, or use another --home")
            }
            cas::Error::Damaged { .. } => Some("run `offs verify --heal`"),
            _ => None,
        },
        Failure::NotDirectory => Some("`offs info` says what it is, `offs get` gets it"),
        Failure::File(offs::Error::Lost { .. }) => {
            Some("nothing here can rebuild it; if you have the file elsewhere, put it again")
        }
        Failure::File(offs::Error::NoRoot { .. }) => Some("the file was never stored here, or its blocks were dropped"),
        Failure::File(offs::Error::Root { .. }) => Some("check that the whole URL was copied"),
        Failure::NotWhole { .. } => Some("`offs get` fetches and rebuilds what can be, then pin it"),
        Failure::NotEmpty { .. } => Some("a directory replaces nothing: say with -o a name that is free"),
        Failure::Url { source: offs::OffUrlError::Reference(_) | offs::OffUrlError::Missing(_), .. } => {
            Some("check that the whole URL was copied")
        }
        Failure::Url { source: offs::OffUrlError::Path, .. } => {
            Some("write a space in a path as %20, and other signs likewise")
        }
        Failure::Unanswered { .. } => Some("try again when they can be reached; `offs status` says who is"),
        Failure::NoPool => Some("make one with `offs pool create NAME`, or join one with `offs pool join TEXT`"),
        Failure::HasPool => Some("leave it first with `offs pool leave`"),
        Failure::OtherPool { .. } => Some("remove [pool] from config.toml, or leave the other with `offs pool leave`"),
        Failure::NotAdmitted { .. } => {
            Some("who is not reached must run, `offs status` there says where; who refuses can invite anew")
        }
        Failure::Copies { .. } => Some("`offs status` says which peers can be reached; the file is safe here"),
        Failure::NoDaemon => Some("start it with `offs serve`"),
        Failure::NobodyKnown => Some("name one with --bootstrap, run `offs dht serve`, or begin with --public"),
        Failure::NobodyAnswered { .. } => Some("check the address, and whether packets get through"),
        Failure::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => Some(
            "something listens there already; say where else: --listen for peers, --http for people, --s3 for S3 clients, --bind of `offs dht`",
        ),
        Failure::Keys(gateway::KeysError::Unknown { .. }) => Some("`offs key list` names them"),
        Failure::DhtInUse { .. } => Some("stop that one, or use another --home"),
        Failure::KeyFile { .. } => Some("make one with `offs key new FILE`"),
        Failure::Exists { .. } | Failure::NoName => Some("say with -o where to write it"),
        Failure::BucketsLost => {
            Some("bring it back with `offs bucket restore`, or go on without with `offs bucket restore --give-up`")
        }
        Failure::UrlsLost { .. } => Some(
            "pin again what you want to keep, bring buckets back with `offs bucket restore URL`, then run `offs gc --accept-lost-urls`",
        ),
        Failure::Pin { .. } => Some("nothing was dropped; heal it with `offs verify --heal`, or unpin it"),
        Failure::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some("free some room on the disk"),
        _ => None,
    }
}
