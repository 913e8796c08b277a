//! Media types in URLs.

use std::{fmt, str::FromStr};

/// Media type of directory objects.
pub const DIRECTORY: &str = "offsystem/directory";

/// A media type: `type/subtype`, each 1 to 127 letters, digits and `!#$&^_.+-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType(String);

impl ContentType {
    /// What is said of a file when nothing better is known.
    pub fn octet_stream() -> Self {
        Self("application/octet-stream".to_owned())
    }

    /// The type of directory objects.
    pub fn directory() -> Self {
        Self(DIRECTORY.to_owned())
    }

    /// Whether this is the type of directory objects.
    pub fn is_directory(&self) -> bool {
        self.0 == DIRECTORY
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a media type of the form type/subtype")]
pub struct ContentTypeError;

impl FromStr for ContentType {
    type Err = ContentTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_word = |word: &str| {
            (1..=127).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
        };
        let (first, second) = text.split_once('/').ok_or(ContentTypeError)?;
        if is_word(first) && is_word(second) { Ok(Self(text.to_owned())) } else { Err(ContentTypeError) }
    }
}
