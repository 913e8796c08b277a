//! Everything that can make a command fail.

use std::{
    io,
    path::{Path, PathBuf},
};

use offs::{OffUrlError, ParametersError};

/// A failure of a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The store or a file in it.
    #[error(transparent)]
    File(#[from] offs::Error),
    /// A file of the user's.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The access keys of S3 clients.
    #[error(transparent)]
    Keys(#[from] gateway::KeysError),
    /// The buckets of S3 clients.
    #[error("the buckets cannot be used")]
    Buckets(#[from] gateway::BucketsError),
    /// The buckets are gone with the index, but were saved.
    #[error("the index of the buckets was lost; a list of them was saved, but is not brought back")]
    BucketsLost,
    /// No list of buckets was saved.
    #[error("no list of buckets was saved here")]
    NothingSaved,
    /// A bucket that is not there.
    #[error("there is no bucket {bucket}")]
    NoBucket { bucket: String },
    /// A certificate for TLS.
    #[error("the certificate {} cannot be used: {detail}", path.display())]
    Certificate { path: PathBuf, detail: String },
    /// Standard output.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// An argument that is not a URL.
    #[error("{url} cannot be opened")]
    Url { url: String, source: OffUrlError },
    /// The settings.
    #[error("{} is not valid: {detail}", path.display())]
    Config { path: PathBuf, detail: String },
    /// Parameters of a put.
    #[error("the parameters do not go together")]
    Parameters(#[from] ParametersError),
    /// There is no home directory to be found.
    #[error("there is no home directory")]
    NoHome,
    /// The output is there already and its name was not the user's choice.
    #[error("{} exists already", path.display())]
    Exists { path: PathBuf },
    /// A directory is to be written where something is.
    #[error("{} exists already, and is no empty directory", path.display())]
    NotEmpty { path: PathBuf },
    /// No name to write to.
    #[error("the URL has no name")]
    NoName,
    /// A path inside a directory that is not there.
    #[error("there is no {path} in this directory")]
    NoSuchPath { path: String },
    /// A path inside a directory that is a link.
    #[error("{path} is a link to {target}; links are restored with their directory, not followed")]
    IsLink { path: String, target: String },
    /// An argument of `put` that does not go with the others.
    #[error("{what}")]
    Usage { what: &'static str },
    /// A range of or a stream for something that has none.
    #[error("{what} is a directory")]
    IsDirectory { what: String },
    /// What is in a file was asked for.
    #[error("the URL names a file and not a directory")]
    NotDirectory,
    /// The range starts after the end.
    #[error("the range starts at {first}, but the file has {length} bytes")]
    Range { first: u64, length: u64 },
    /// The type in the URL is not what the root says.
    #[error("the URL's media type and the file's kind do not agree")]
    Kind,
    /// A file changed while it was being stored.
    #[error("{} changed while it was being read", path.display())]
    Changed { path: PathBuf },
    /// A name that cannot be kept.
    #[error("{} has a path that is too long to be stored", path.display())]
    PathTooLong { path: PathBuf },
    /// Neither a file, nor a directory, nor a link.
    #[error("{} is neither a file nor a directory", path.display())]
    Special { path: PathBuf },
    /// The URL database lost records.
    #[error("the URL database {} has lost records", path.display())]
    UrlsLost { path: PathBuf },
    /// A pinned URL cannot be followed.
    #[error("cannot tell what {url} needs")]
    Pin { url: String, source: Box<Failure> },
    /// Only the directory that something is in can be kept, and not it alone.
    #[error("{path} is {what} and has no URL of its own; it is kept with the directory that was stored: {directory}")]
    NotAlone { path: String, what: &'static str, directory: String },
    /// Not all blocks that a URL needs are here.
    #[error("{missing} of {blocks} blocks are not here, or are damaged: {url}")]
    NotWhole { url: String, missing: u64, blocks: u64 },
    /// A URL is not in the database.
    #[error("{url} is not in the URL database")]
    NotListed { url: String },
    /// No node to begin with.
    #[error("no node of the DHT is known")]
    NobodyKnown,
    /// Nobody that was asked answered.
    #[error("none of {asked} nodes answered")]
    NobodyAnswered { asked: u32 },
    /// An address to ask from that no node can be reached from.
    #[error("no node can be asked from {address}")]
    BindFamily { address: std::net::SocketAddr },
    /// A node did not answer.
    #[error("{node} does not answer")]
    NoAnswer { node: String },
    /// A node refused.
    #[error("{node} refuses: {text} (code {code})")]
    Refused { node: String, code: i64, text: String },
    /// Nobody took what was to be stored.
    #[error("no node took it")]
    NotStored,
    /// There is no such item.
    #[error("no node has an item under {target}")]
    NoItem { target: krpc::Target },
    /// There are no peers.
    #[error("no node knows a peer of {info_hash}")]
    NoPeers { info_hash: krpc::Target },
    /// Something is wrong with an item.
    #[error("that is no item")]
    Item(#[source] krpc::ItemError),
    /// A file is no key.
    #[error("{} is not a key", path.display())]
    KeyFile { path: PathBuf },
    /// Text that is not `HOST:PORT`.
    #[error("{name} is not HOST:PORT")]
    NoPort { name: String },
    /// A name has no address.
    #[error("{name} has no address")]
    Name { name: String, source: io::Error },
    /// Something is missing, and peers that may have it did not answer.
    #[error("{missing}; it may be at peers that did not answer: {}", peers.join(", "))]
    Unanswered { missing: offs::Error, peers: Vec<String> },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind { address: std::net::SocketAddr, source: io::Error },
    /// There are no figures of a node.
    #[error("no node ever ran in this home")]
    NeverServed,
    /// Another node runs in this home.
    #[error("another node uses {}", path.display())]
    DhtInUse { path: PathBuf },
    /// A socket failed.
    #[error("the network failed")]
    Socket(#[source] io::Error),
    /// There is no pool.
    #[error("this home belongs to no pool")]
    NoPool,
    /// The home has a pool already.
    #[error("this home belongs to a pool already")]
    HasPool,
    /// The settings name another pool than the home's.
    #[error("config.toml names another pool than the one that {} belongs to", path.display())]
    OtherPool { path: PathBuf },
    /// What is kept of a pool cannot be read.
    #[error("{} cannot be read", path.display())]
    PoolFile { path: PathBuf },
    /// The pool's log does not allow it.
    #[error("the pool's log does not allow that")]
    Membership(#[from] replication::MembershipError),
    /// An invitation that is none.
    #[error("that is no invitation")]
    Invitation(#[from] replication::InvitationError),
    /// Nobody let us in.
    #[error("nobody of the pool let us in: {why}")]
    NotAdmitted { why: String },
    /// No peer, or several, have a name that begins so.
    #[error("no peer, or more than one, has a name that begins with {name}")]
    NoPeer { name: String },
    /// A peer did not do what it was asked to.
    #[error("peer {peer} {why}")]
    Peer { peer: replication::PeerId, why: String },
    /// Fewer copies than were asked for.
    #[error("{short} of {blocks} blocks have fewer than {wanted} copies at other peers; the least has {copies}")]
    Copies { short: usize, blocks: usize, wanted: usize, copies: usize },
    /// A service of the daemon fails again and again.
    #[error("service {name} {reason}, again and again")]
    Service { name: &'static str, reason: String },
    /// A task of ours panicked.
    #[error("a task of the program failed")]
    Worker,
    /// A daemon runs already.
    #[error("a daemon of {} runs already", path.display())]
    Serving { path: PathBuf },
    /// No peer of the pool is there.
    #[error("no peer of the pool is at {address}: {why}")]
    NotFoundAt { address: String, why: String },
    /// There is no daemon.
    #[error("no daemon runs in this home")]
    NoDaemon,
    /// There is no such service.
    #[error("there is no service {name}")]
    NoService { name: String },
    /// The daemon cannot be reached, or went away.
    #[error("the daemon of this home does not answer")]
    Daemon(#[source] io::Error),
    /// The daemon failed and said why.
    #[error("failed")]
    Said { code: u8 },
    /// Damage was found and told about.
    #[error("damage was found")]
    DamageFound,
    /// Some of several things failed and were told about.
    #[error("{failed} of {of} failed")]
    Some { failed: usize, of: usize, code: u8 },
}

impl Failure {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_owned(), source }
    }
}

impl From<cas::Error> for Failure {
    fn from(error: cas::Error) -> Self {
        Self::File(error.into())
    }
}
