//! Settings: `config.toml` in the home directory.

use std::{io, path::Path};

use serde::Deserialize;

use crate::{failure::Failure, size::Size};

/// The settings. What a flag says wins over them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Most bytes that the store may take.
    pub(crate) capacity: Option<Size>,
    /// Bytes of the disk that stay free.
    pub(crate) reserve: Option<Size>,
    /// What `put` uses when no flag says otherwise.
    #[serde(default)]
    pub(crate) put: PutDefaults,
}

/// Section `[put]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutDefaults {
    pub(crate) tuple: Option<u8>,
    pub(crate) parity: Option<String>,
    pub(crate) hash: Option<String>,
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
