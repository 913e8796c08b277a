//! Settings: `config.toml` in the home directory.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use offs::Parameters;
use serde::Deserialize;

use crate::{arguments::ParityShape, failure::Failure, size::Size};

/// The settings. What a flag says wins over them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Most bytes that the store may take.
    pub(crate) capacity: Option<Size>,
    /// Bytes of the disk that stay free.
    pub(crate) reserve: Option<Size>,
    /// A pool that is given here instead of with `offs pool`.
    pub(crate) pool: Option<PoolSettings>,
    /// Section `[peers]`.
    #[serde(default)]
    pub(crate) peers: PeerSettings,
    /// Section `[dht]`.
    #[serde(default)]
    pub(crate) dht: DhtSettings,
    /// Section `[http]`.
    #[serde(default)]
    pub(crate) http: HttpSettings,
    /// Section `[s3]`.
    #[serde(default)]
    pub(crate) s3: S3Settings,
    /// What `put` uses when no flag says otherwise.
    #[serde(default)]
    pub(crate) put: PutDefaults,
}

/// Section `[pool]`: everybody who has the same name and secret belongs to it; without a secret, the same name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolSettings {
    pub(crate) name: String,
    pub(crate) secret: Option<String>,
}

/// Section `[peers]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PeerSettings {
    /// Where links are taken.
    pub(crate) listen: SocketAddr,
    /// HOST:PORT of peers.
    pub(crate) known: Vec<String>,
    /// Whether to find peers in the local network.
    pub(crate) lan: bool,
    /// Peers that hold each block.
    pub(crate) replicas: u8,
    /// Seconds that a peer may be silent before its share moves.
    pub(crate) grace: u64,
    /// Bytes a second that repair copies.
    pub(crate) repair_rate: Size,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 23403)),
            known: Vec::new(),
            lan: true,
            replicas: 3,
            grace: 15 * 60,
            repair_rate: Size(64 << 20),
        }
    }
}

/// Section `[dht]`: a node of the DHT, through which members find each other. It runs when it has somewhere to begin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DhtSettings {
    /// Run it although nobody to begin with is known: others begin here.
    pub(crate) on: bool,
    /// Where it listens, by UDP; else where links are taken.
    pub(crate) listen: Option<SocketAddr>,
    /// HOST:PORT of nodes to begin with.
    pub(crate) bootstrap: Vec<String>,
    /// Whether to be a node of the public network.
    pub(crate) public: bool,
}

impl DhtSettings {
    pub(crate) const fn is_on(&self) -> bool {
        self.on || self.public || !self.bootstrap.is_empty()
    }
}

/// Section `[http]`: the door for people.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpSettings {
    /// Whether there is one.
    pub(crate) on: bool,
    /// Where it is; when nothing is said, it may be missing.
    pub(crate) listen: Option<SocketAddr>,
    /// Names that it answers to, besides addresses and `localhost`.
    pub(crate) names: Vec<String>,
    /// Who may store, see the URLs and unpin.
    pub(crate) users: Users,
}

/// Which users of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Users {
    /// Who runs the daemon, and root.
    #[default]
    Owner,
    /// All of them.
    Everybody,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { on: true, listen: None, names: Vec::new(), users: Users::default() }
    }
}

/// Section `[s3]`: the door for S3 clients.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3Settings {
    /// Whether there is one.
    pub(crate) on: bool,
    /// Where it is.
    pub(crate) listen: Option<SocketAddr>,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
    /// PEM files of a certificate and its key; without them TLS has one of its own making.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// Domains below which a bucket's name may stand in front.
    pub(crate) domains: Vec<String>,
}

/// Section `[put]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutDefaults {
    pub(crate) tuple: Option<u8>,
    pub(crate) parity: Option<String>,
    pub(crate) hash: Option<String>,
}

impl PutDefaults {
    /// How files are stored.
    pub(crate) fn parameters(&self, home: &Path) -> Result<Parameters, Failure> {
        let wrong = |what: &str, detail: String| Failure::Config {
            path: home.join("config.toml"),
            detail: format!("put.{what}: {detail}"),
        };
        let mut parameters = Parameters::default();
        if let Some(text) = &self.parity {
            text.parse::<ParityShape>().map_err(|error| wrong("parity", error.to_owned()))?.apply(&mut parameters);
        }
        if let Some(hash) = &self.hash {
            parameters.algorithm =
                hash.parse().map_err(|error: cas::ParseScoreError| wrong("hash", error.to_string()))?;
        }
        if let Some(tuple) = self.tuple {
            parameters.tuple = tuple;
            parameters.check().map_err(|error| wrong("tuple", error.to_string()))?;
        }
        Ok(parameters)
    }
}

impl Config {
    /// Reads the settings; none are as good as empty ones.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(Failure::io("read", path, source)),
        };
        let wrong = |detail: String| Failure::Config { path: path.to_owned(), detail };
        let text = String::from_utf8(text).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))
    }
}
