//! Standard output: results only.

use std::io::{self, Write as _};

use crate::failure::Failure;

/// Prints one line of a result.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(Failure::Output)
}

/// Prints one JSON value as a line.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(value)
}
