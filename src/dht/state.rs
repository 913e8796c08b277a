//! What `dht serve` leaves in the home directory: its ids and nodes, and where it listens while it runs.

use std::{
    fs::{File, TryLockError},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use krpc::Saved;

use crate::{failure::Failure, output_file, progress::warn};

/// The directory `dht` in the home directory.
pub(crate) struct State {
    directory: PathBuf,
}

impl State {
    pub(crate) fn new(home: &Path) -> Self {
        Self { directory: home.join("dht") }
    }

    fn nodes(&self) -> PathBuf {
        self.directory.join("nodes")
    }

    fn addresses_path(&self) -> PathBuf {
        self.directory.join("addresses")
    }

    /// Makes sure that no other node uses this directory, for as long as the file is open.
    pub(crate) fn lock(&self) -> Result<File, Failure> {
        crate::home::make_private(&self.directory)?;
        let path = self.directory.join("lock");
        let file = File::create(&path).map_err(|source| Failure::io("create", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Failure::DhtInUse { path: self.directory.clone() }),
            Err(TryLockError::Error(source)) => Err(Failure::io("lock", path, source)),
        }
    }

    /// Ids and nodes of the last time; none are as good as an empty table.
    pub(crate) fn read(&self) -> Result<Option<Saved>, Failure> {
        let path = self.nodes();
        match std::fs::read(&path) {
            Ok(bytes) => match Saved::from_bytes(&bytes) {
                Ok(saved) => Ok(Some(saved)),
                // It is only a convenience: the node finds others again.
                Err(error) => {
                    warn(&format!("{} is {error}; it is passed over", path.display()));
                    Ok(None)
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Failure::io("read", path, source)),
        }
    }

    /// Keeps ids and nodes.
    pub(crate) fn write(&self, saved: &Saved) -> Result<(), Failure> {
        self.replace(&self.nodes(), &saved.to_bytes())
    }

    /// What the node had done and had when it was last saved, as JSON.
    pub(crate) fn figures(&self) -> Result<String, Failure> {
        let path = self.directory.join("figures");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::NeverServed),
            Err(source) => Err(Failure::io("read", path, source)),
        }
    }

    pub(crate) fn write_figures(&self, figures: &serde_json::Value) -> Result<(), Failure> {
        self.replace(&self.directory.join("figures"), figures.to_string().as_bytes())
    }

    /// Where a running node is reached from this machine.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let text = std::fs::read_to_string(self.addresses_path()).unwrap_or_default();
        let loopback = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
            _ => address,
        };
        text.lines().filter_map(|line| line.parse().ok()).map(loopback).collect()
    }

    pub(crate) fn write_addresses(&self, addresses: &[SocketAddr]) -> Result<(), Failure> {
        let lines: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        self.replace(&self.addresses_path(), lines.join("\n").as_bytes())
    }

    pub(crate) fn remove_addresses(&self) -> Result<(), Failure> {
        let path = self.addresses_path();
        std::fs::remove_file(&path).map_err(|source| Failure::io("remove", path, source))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        crate::home::make_private(&self.directory)?;
        output_file::replace(path, bytes).map_err(|source| Failure::io("write", path, source))
    }
}
