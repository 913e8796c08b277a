//! Files with the secret key of mutable items: the 32 bytes of an Ed25519 seed (RFC 8032) in hexadecimal, a line.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// A secret key and where it came from.
pub(crate) struct KeyFile {
    /// The 32 bytes themselves.
    pub(crate) seed: [u8; 32],
    pub(crate) key: krpc::SigningKey,
}

impl KeyFile {
    /// Makes a new key in a file that is not there yet.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let seed: [u8; 32] = rand::random();
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", hex::encode(seed))?;
            file.sync_all()
        };
        match write() {
            Ok(()) => Ok(Self { seed, key: krpc::SigningKey::from_seed(seed) }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::Exists { path: path.to_owned() })
            }
            Err(source) => Err(Failure::io("create", path, source)),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read(path).map_err(|source| Failure::io("read", path, source))?;
        let seed = hex::decode(text.trim_ascii()).ok().and_then(|bytes| bytes.try_into().ok());
        let wrong = || Failure::KeyFile { path: PathBuf::from(path) };
        let seed = seed.ok_or_else(wrong)?;
        Ok(Self { seed, key: krpc::SigningKey::from_seed(seed) })
    }
}
