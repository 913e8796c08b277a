//! The command line.

use std::path::PathBuf;

use cas::Algorithm;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use offs::{ContentType, Parameters};

use crate::{
    dht::arguments::{Dht, Key},
    peers::arguments::{PeersArguments, PoolCommand, Replicate, Serve, Status},
    size::Size,
};

/// Owner-free, content-addressed storage.
///
/// Every stored block looks random, belongs to many files at once and to nobody; a URL opens a file.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found, 4 not found.
#[derive(Debug, Parser)]
#[command(name = "offs", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Directory of the store, the URL database and the settings
    ///
    /// Else the XDG data directory, usually ~/.local/share/offs. It is made at first use.
    #[arg(long, global = true, env = "OFFS_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Say more on standard error; twice for even more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store files and directories and print a URL for each
    Put(Put),
    /// Get a file or directory by its URL
    Get(Get),
    /// Say what a URL is, how it is stored and how much of it is here
    Info(Info),
    /// List the URLs that were stored or pinned here, or what is in a directory
    Ls(Ls),
    /// Keep everything that URLs need
    Pin(Urls),
    /// No longer keep what URLs need
    Unpin(Urls),
    /// Read and hash everything, name what is damaged, and heal it
    Verify(Verify),
    /// Drop what no pin needs and give the room back
    Gc(Gc),
    /// Figures of the store
    Stats(Stats),
    /// Mend the store's own files
    #[command(subcommand)]
    Repair(Repair),
    /// Run the daemon: keep in touch with the pool and hold blocks for it
    Serve(Serve),
    /// How the daemon, its services and its peers are
    Status(Status),
    /// Make, join and look after a pool of peers
    #[command(subcommand)]
    Pool(PoolCommand),
    /// List, add, ban and audit peers
    Peers(PeersArguments),
    /// Give what a URL needs to peers, or count its copies
    Replicate(Replicate),
    /// Run a node of the BitTorrent DHT, or ask others
    Dht(Dht),
    /// Keys that sign items in the DHT, and access keys for S3 clients
    #[command(subcommand)]
    Key(Key),
    /// List, limit and give out the buckets of S3 clients
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// Measure this machine: put, get, hashes, XOR, against the disk's and the hash's own limit
    Bench(Bench),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write manual pages into a directory
    Man {
        /// Where to
        directory: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BucketCommand {
    /// List the buckets, with their objects and bytes
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Limit what a bucket may hold, old versions included; without options, say what its limits are
    Quota {
        /// The bucket
        bucket: String,
        /// At most so many bytes
        #[arg(long, value_name = "SIZE")]
        bytes: Option<Size>,
        /// At most so many objects
        #[arg(long, value_name = "N")]
        objects: Option<u64>,
        /// No limits
        #[arg(long, conflicts_with_all = ["bytes", "objects"])]
        none: bool,
    },
    /// Save the list of buckets and objects as a file, as a daemon does by itself, and print its URL
    Save,
    /// Bring saved buckets back, when the index was lost and there are none; not while a daemon serves S3
    Restore {
        /// The URL that was saved; else the last one
        url: Option<String>,
        /// Go on without them: what they held may be dropped
        #[arg(long, conflicts_with = "url")]
        give_up: bool,
    },
    /// Give a bucket out as it is now: a directory with its objects as files, and its URL
    Snapshot {
        /// The bucket
        bucket: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// Files and directories, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Store without a key: anybody who has the blocks can find out what they are
    #[arg(long)]
    pub(crate) bare: bool,
    /// Blocks in a tuple, 2 to 8 [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=8))]
    pub(crate) tuple: Option<u8>,
    /// Parity blocks M for every K data blocks, or none [default: 16+4]
    #[arg(long, value_name = "K+M|none")]
    pub(crate) parity: Option<ParityShape>,
    /// Hash that names the blocks, sha256 or blake3 [default: sha256]
    #[arg(long, value_name = "HASH")]
    pub(crate) hash: Option<Algorithm>,
    /// Erasure code, leopard or novelpoly
    #[arg(long, value_name = "CODE", default_value = "leopard", value_parser = ["leopard", "novelpoly"], hide = true)]
    pub(crate) code: String,
    /// Name in the URL; else the file's own
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Media type in the URL; else by the name's ending
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) content_type: Option<ContentType>,
    /// Do not keep it: its blocks may go when room is needed
    #[arg(long)]
    pub(crate) no_pin: bool,
    /// Wait until so many peers have it on disk, and fail if they do not
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) replicas: Option<u8>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `--parity` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParityShape {
    None,
    Shape { data: u8, parity: u8 },
}

impl ParityShape {
    /// Makes parameters have this parity.
    pub(crate) fn apply(self, parameters: &mut Parameters) {
        match self {
            Self::None => *parameters = parameters.without_parity(),
            Self::Shape { data, parity } => {
                (parameters.code, parameters.data, parameters.parity) = (Parameters::default().code, data, parity);
            }
        }
    }
}

impl std::str::FromStr for ParityShape {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected K+M with K and M from 1 to 128, such as 16+4, or none";
        if text == "none" {
            return Ok(Self::None);
        }
        let (data, parity) = text.split_once('+').ok_or(WRONG)?;
        let number = |text: &str| text.parse().ok().filter(|n| (1..=128).contains(n)).ok_or(WRONG);
        Ok(Self::Shape { data: number(data)?, parity: number(parity)? })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The URL; of a directory, a path inside may follow
    pub(crate) url: String,
    /// Where to write it, or - for standard output; else its own name in this directory
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Only the bytes A to B, counted from 0, both included; A- to the end
    #[arg(long, value_name = "A-B")]
    pub(crate) range: Option<ByteRange>,
}

/// What `--range` says: the first byte, and the last if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) first: u64,
    pub(crate) last: Option<u64>,
}

impl std::str::FromStr for ByteRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected A-B with A not above B, or A-";
        let (first, last) = text.split_once('-').ok_or(WRONG)?;
        let first = first.parse().map_err(|_| WRONG)?;
        let last = if last.is_empty() { None } else { Some(last.parse().map_err(|_| WRONG)?) };
        if last.is_some_and(|last| last < first) { Err(WRONG) } else { Ok(Self { first, last }) }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// The URL; of a directory, the path of a file inside may follow, whose own URL is said then
    pub(crate) url: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// All that is in this directory, or below a path in it; else the URLs that were stored or pinned here
    pub(crate) url: Option<String>,
    /// With length, time and whether it is pinned; of what is in a directory with mode, length and time
    #[arg(long, short)]
    pub(crate) long: bool,
    /// One JSON object a line; with the URL of each entry, which has its name as URLs have it, and if it is a file that
    /// is stored on its own, with the URL that opens it alone
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Urls {
    /// The URLs; of a directory, the path of a file inside may follow, which then goes by its own URL
    #[arg(required = true, value_name = "URL")]
    pub(crate) urls: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Only what this URL needs, or what a path in a directory leads to; else the whole store
    pub(crate) url: Option<String>,
    /// Recompute what is missing or damaged from tuples and parity
    #[arg(long)]
    pub(crate) heal: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only until the store takes at most this much, the least used first
    #[arg(long, value_name = "SIZE")]
    pub(crate) to: Option<Size>,
    /// Go on although the URL database has lost records, and with them pins
    #[arg(long)]
    pub(crate) accept_lost_urls: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repair {
    /// Throw the index away and make it again from the packs
    Index,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// How much data to measure with
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) size: Size,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
