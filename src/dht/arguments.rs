//! The command line of `offs dht` and `offs key`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use krpc::Target;

#[derive(Debug, Args)]
pub(crate) struct Dht {
    #[command(subcommand)]
    pub(crate) command: DhtCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DhtCommand {
    /// Run a node until it is told to end
    Serve(Serve),
    /// Ask a node whether it is there
    Ping {
        /// HOST:PORT
        node: String,
        #[command(flatten)]
        network: Network,
    },
    /// Find the nodes nearest to a target
    FindNode {
        /// 40 hexadecimal digits
        target: Target,
        /// Ask only this node, HOST:PORT
        #[arg(long, value_name = "NODE")]
        at: Option<String>,
        #[command(flatten)]
        network: Network,
    },
    /// Find the peers of a swarm
    GetPeers {
        /// 40 hexadecimal digits
        info_hash: Target,
        /// Estimate how many peers it has (BEP 33)
        #[arg(long)]
        scrape: bool,
        #[command(flatten)]
        network: Network,
    },
    /// Say that there is a peer of a swarm here
    Announce {
        /// 40 hexadecimal digits
        info_hash: Target,
        /// Its port
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// It is a seed
        #[arg(long)]
        seed: bool,
        #[command(flatten)]
        network: Network,
    },
    /// Get an item (BEP 44) and write its value to standard output
    Get(Get),
    /// Put an item (BEP 44) and print its target
    Put(Put),
    /// Gather info-hashes that nodes near a target have peers of (BEP 51)
    Sample {
        /// 40 hexadecimal digits
        target: Target,
        /// Ask only this node, HOST:PORT
        #[arg(long, value_name = "NODE")]
        at: Option<String>,
        #[command(flatten)]
        network: Network,
    },
    /// Look for a target and show the way
    Lookup {
        /// 40 hexadecimal digits
        target: Target,
        /// Each question and each answer
        #[arg(long)]
        trace: bool,
        #[command(flatten)]
        network: Network,
    },
    /// List the nodes that `dht serve` knew when it last saved them
    Nodes {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Figures of `dht serve`, as of the last minute
    Stats {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run many nodes on loopback, a network to test clients in
    Swarm(Swarm),
    /// Measure how many queries a node of a private network answers
    Load(Load),
}

/// Where a command that asks begins.
#[derive(Debug, Args)]
pub(crate) struct Network {
    /// A node to begin with; else those that `dht serve` knows
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,
    /// Address to ask from [default: any]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<SocketAddr>,
    /// Begin with the well-known nodes of the public network
    #[arg(long)]
    pub(crate) public: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on; one of each family [default: 127.0.0.1:23401, with --public all of them]
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Vec<SocketAddr>,
    /// A node to begin with
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,
    /// Be part of the public network: all addresses, well-known nodes to begin with, samples for who asks
    #[arg(long)]
    pub(crate) public: bool,
    /// An address whose packets are never too many: another node of yours
    #[arg(long, value_name = "IP")]
    pub(crate) sibling: Vec<std::net::IpAddr>,
    /// One JSON object a line: where it listens, and figures at the end
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// 40 hexadecimal digits, of an immutable item
    #[arg(required_unless_present = "key", conflicts_with = "key")]
    pub(crate) target: Option<Target>,
    /// Public key of a mutable item, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = parse_key)]
    pub(crate) key: Option<[u8; 32]>,
    /// Its salt
    #[arg(long, requires = "key")]
    pub(crate) salt: Option<String>,
    /// Write the value as it is bencoded, also if it is a string
    #[arg(long)]
    pub(crate) bencode: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The value, or - for standard input; with its bencoding at most 1,000 bytes
    pub(crate) value: String,
    /// The value is bencoded already, and may be of any type
    #[arg(long)]
    pub(crate) bencode: bool,
    /// File of a key (see `offs key new`): the item is signed and may be changed
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Tells several items of one key apart; at most 64 bytes
    #[arg(long, requires = "key")]
    pub(crate) salt: Option<String>,
    /// Sequence number; else one more than that of the item there
    #[arg(long, requires = "key", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) seq: Option<i64>,
    /// Only in place of the item with this sequence number
    #[arg(long, requires = "key")]
    pub(crate) cas: Option<i64>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Swarm {
    /// How many nodes
    #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) nodes: u16,
    /// IP to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) bind: std::net::IpAddr,
    /// A node to begin with; else the first of the swarm
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,
    /// Port of the first; the others have the following ones. Else any that are free
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// HOST:PORT, of a private network
    pub(crate) node: String,
    /// What it is asked
    #[arg(long, value_enum, default_value = "ping")]
    pub(crate) method: LoadMethod,
    /// Queries that are open at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) window: u16,
    /// How long
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u16,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LoadMethod {
    Ping,
    FindNode,
    GetPeers,
    Get,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key and print its public half
    New {
        /// File of the secret half; it must not be there yet
        file: PathBuf,
    },
    /// Print the public half of a key
    Show {
        /// File of the secret half
        file: PathBuf,
    },
    /// Make an access key for S3 clients, and print both halves
    Create {
        /// What to call it
        name: String,
        /// The only bucket that it is for
        #[arg(long)]
        bucket: Option<String>,
        /// It may read and list
        #[arg(long)]
        read: bool,
        /// It may put and delete; without --read and --write it may do everything
        #[arg(long)]
        write: bool,
        /// Days that it is good for
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..))]
        expires: Option<u32>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the access keys, without their secrets
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Take an access key back
    Revoke {
        /// Its name, or its public half
        name: String,
    },
}

fn parse_key(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("expected 64 hexadecimal digits")
}
