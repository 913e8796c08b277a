//! The command line of `offs serve`, `offs pool`, `offs peers`, `offs replicate` and `offs status`.

use std::net::{SocketAddr, ToSocketAddrs as _};

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command")]
pub(crate) struct Serve {
    /// Address to take links of peers on [default: 0.0.0.0:23403, or what config.toml says]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// HOST:PORT of a peer to look for
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer: Vec<String>,
    /// Address of the door for people: OFF URLs by HTTP, and a page [default: 127.0.0.1:23402, or what config.toml says]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    pub(crate) http: Option<SocketAddr>,
    /// No door for people
    #[arg(long, conflicts_with = "http")]
    pub(crate) no_http: bool,
    /// Let S3 clients in; without an address where config.toml says, or at 127.0.0.1:23404
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, value_parser = parse_address)]
    #[expect(clippy::option_option, reason = "given or not, and with an address or without")]
    pub(crate) s3: Option<Option<SocketAddr>>,
    /// S3 clients speak TLS: with the certificate that the settings name, or with one of its own making
    #[arg(long)]
    pub(crate) s3_tls: bool,
    /// Do not look for peers in the local network
    #[arg(long)]
    pub(crate) no_lan: bool,
    /// Let `offs status --fault SERVICE` make a service panic
    #[arg(long, hide = true)]
    pub(crate) allow_faults: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Make a service panic
    #[arg(long, hide = true, value_name = "SERVICE")]
    pub(crate) fault: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Begin a pool; this peer is its first admin
    Create {
        /// Its name, for people
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// Everybody who knows the name belongs to it; on each peer the same command joins it
        #[arg(long)]
        open: bool,
    },
    /// Print a text with which somebody can join the pool
    Invite {
        /// How many may join with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        uses: u16,
        /// How many days it is good
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// Who joins with it may invite and expel too
        #[arg(long)]
        admin: bool,
        /// IP:PORT where this peer is reached; else the addresses of this machine
        #[arg(long, value_name = "IP:PORT")]
        address: Vec<SocketAddr>,
    },
    /// Join the pool of an invitation
    Join {
        /// What `offs pool invite` printed
        text: String,
        /// IP:PORT of a member, if those in the invitation are not the right ones
        #[arg(long, value_name = "IP:PORT")]
        address: Vec<SocketAddr>,
    },
    /// List who belongs to the pool
    Members {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Expel a member: it loses access at once
    Expel {
        /// Its id, or the beginning of it
        peer: String,
    },
    /// Leave the pool; the blocks that are here stay
    Leave,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArguments {
    #[command(subcommand)]
    pub(crate) command: Option<PeersCommand>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// List the peers
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Look for a peer of the pool at an address, and remember it
    Add {
        /// HOST:PORT
        address: String,
    },
    /// Have nothing to do with a peer
    Ban {
        /// Its id, or the beginning of it
        peer: String,
        /// Have to do with it again
        #[arg(long)]
        lift: bool,
    },
    /// Have peers prove that they have what they should
    Audit {
        /// Only this one
        peer: Option<String>,
        /// How many blocks of each
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        blocks: u16,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Replicate {
    /// The URL; of a directory, the path of a file inside may follow, which then goes by its own URL
    pub(crate) url: String,
    /// To these peers, by id or its beginning
    #[arg(long, value_name = "PEER", conflicts_with = "copies")]
    pub(crate) to: Vec<String>,
    /// To so many peers [default: as many as hold each block]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) copies: Option<u8>,
    /// Only say how many copies there are
    #[arg(long)]
    pub(crate) count: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// An address, which may have a name such as `localhost`, and a port.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<_> = text.to_socket_addrs().map_err(|error| error.to_string())?.collect();
    // Who says localhost is most likely to look for it by the old protocol.
    let v4 = found.iter().find(|address| address.is_ipv4());
    v4.or(found.first()).copied().ok_or_else(|| "it has no address".to_owned())
}
