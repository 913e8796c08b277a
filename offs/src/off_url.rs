//! OFF URLs, version 4 (docs/format.md, section 6).

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::{ContentType, Reference, ReferenceError, root::MAX_LENGTH};

/// Everything that a name or path is written with as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const MAX_URL: usize = 16_384;
const MAX_NAME: usize = 1024;

/// A file's address: what it is, how long, and its reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffUrl {
    /// Media type.
    pub content_type: ContentType,
    /// Length in bytes.
    pub length: u64,
    /// Root and key.
    pub reference: Reference,
    /// Name to save it under.
    pub name: Option<String>,
    /// Path inside a directory; empty for the directory itself or a file.
    pub path: Vec<Vec<u8>>,
}

impl OffUrl {
    /// The form with a host, for browsers and for programs that know OFF URLs of older versions.
    pub fn to_http(&self, host: &str) -> String {
        format!("http://{host}/offsystem/{}", self.tail())
    }

    /// Whether a name can stand in a URL: 1 to 1,024 bytes, no slash, no zero byte, neither `.` nor `..`.
    pub fn check_name(name: &str) -> Result<(), OffUrlError> {
        let fits = (1..=MAX_NAME).contains(&name.len()) && !name.contains(['/', '\0']) && name != "." && name != "..";
        if fits { Ok(()) } else { Err(OffUrlError::Name) }
    }

    /// Without the path inside the directory.
    #[must_use]
    pub fn without_path(&self) -> Self {
        Self { path: Vec::new(), ..self.clone() }
    }

    fn tail(&self) -> String {
        let content_type = self.content_type.as_str().replace('#', "%23");
        let mut tail = format!("v4/{content_type}/{}/{}", self.length, self.reference);
        if self.name.is_some() || !self.path.is_empty() {
            let name = self.name.as_deref().unwrap_or_default();
            tail.push('/');
            tail.extend(percent_encode(name.as_bytes(), PLAIN));
        }
        for component in &self.path {
            tail.push('/');
            tail.extend(percent_encode(component, PLAIN));
        }
        tail
    }
}

impl fmt::Display for OffUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "off:{}", self.tail())
    }
}

/// Why something is not an OFF URL that we can open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffUrlError {
    /// Neither `off:...` nor `http://.../offsystem/...`.
    #[error("not an OFF URL: it starts neither with off: nor with http://HOST/offsystem/")]
    Scheme,
    /// Of the first OFF systems.
    #[error("a version 2 OFF URL, of the original OFFSystem and BlocksNet, whose blocks this program cannot read")]
    Version2,
    /// Of js-offs or liboffs.
    #[error("a version 3 OFF URL, of js-offs or liboffs, whose blocks this program cannot read yet")]
    Version3,
    /// Of a version that does not exist, or not yet.
    #[error("OFF URL of unknown version; this program reads version 4")]
    Version,
    /// A part is missing.
    #[error("the URL is incomplete: it has no {0}")]
    Missing(&'static str),
    /// The media type is not one.
    #[error("the URL's media type is not valid")]
    ContentType,
    /// The length is not a number, or too large.
    #[error("the URL's length is not valid")]
    Length,
    /// The reference is not one.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The name is too long, is not UTF-8, or cannot be a file name.
    #[error("the URL's name cannot be a file name")]
    Name,
    /// The path inside the directory is not one.
    #[error("the URL's path inside the directory is not valid")]
    Path,
    /// Longer than any URL that this program makes.
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
}

impl FromStr for OffUrl {
    type Err = OffUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_URL {
            return Err(OffUrlError::TooLong);
        }
        let tail = strip_scheme(text).ok_or(OffUrlError::Scheme)?;
        let end = tail.find(['?', '#']).unwrap_or(tail.len());
        let mut parts = tail[..end].split('/');
        match parts.next() {
            Some("v4") => {}
            Some("v2") => return Err(OffUrlError::Version2),
            Some("v3") => return Err(OffUrlError::Version3),
            _ => return Err(OffUrlError::Version),
        }
        let mut part = |what| parts.next().filter(|part| !part.is_empty()).ok_or(OffUrlError::Missing(what));
        let content_type = format!("{}/{}", part("media type")?, part("media type")?).replace("%23", "#");
        let content_type: ContentType = content_type.parse().map_err(|_| OffUrlError::ContentType)?;
        let length = parse_length(part("length")?).ok_or(OffUrlError::Length)?;
        let reference = part("reference")?.parse()?;
        let name = parts.next();
        let path: Vec<_> = parts.map(decode).collect::<Option<_>>().ok_or(OffUrlError::Path)?;
        let name = match name {
            // Left out before a path.
            Some("") if !path.is_empty() => None,
            name => name.map(parse_name).transpose()?,
        };
        let total: usize = path.iter().map(|component| component.len() + 1).sum();
        if total > 4097 || !path.iter().all(|component| crate::directory::is_component(component)) {
            return Err(OffUrlError::Path);
        }
        if !path.is_empty() && !content_type.is_directory() {
            return Err(OffUrlError::Path);
        }
        Ok(Self { content_type, length, reference, name, path })
    }
}

/// What follows `off:` or `http://HOST/offsystem/`.
fn strip_scheme(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix("off:") {
        return Some(rest);
    }
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let (host, rest) = rest.split_once('/')?;
    let is_host =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    if is_host { rest.strip_prefix("offsystem/") } else { None }
}

fn parse_length(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok())?.filter(|length| *length <= MAX_LENGTH)
}

fn parse_name(text: &str) -> Result<String, OffUrlError> {
    let name = decode(text).and_then(|name| String::from_utf8(name).ok()).ok_or(OffUrlError::Name)?;
    OffUrl::check_name(&name)?;
    Ok(name)
}

/// Percent-decodes. What has to be escaped and is not, and a `%` without two hex digits, is an error: a URL
/// that something cut or rewrote on its way should not open something else.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let sound = bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        byte => byte.is_ascii_alphanumeric() || b"-._~".contains(byte),
    });
    sound.then(|| percent_decode_str(text).collect())
}

#[cfg(test)]
mod tests {
    use cas::{Algorithm, Score};
    use proptest::prelude::*;

    use super::*;
    use crate::Key;

    proptest! {
        #[test]
        fn both_forms_round_trip(
            digest: [u8; 32],
            key: Option<[u8; 32]>,
            length in 0_u64..=1 << 60,
            name in proptest::option::of("[^/\0]{1,20}"),
            path in proptest::collection::vec(proptest::collection::vec(1_u8..=255, 1..10), 0..4),
        ) {
            let path: Vec<_> = path.into_iter().filter(|part| crate::directory::is_component(part)).collect();
            let name = name.filter(|name| name != "." && name != "..");
            let url = OffUrl {
                content_type: ContentType::directory(),
                length,
                reference: Reference { root: Score::from_digest(Algorithm::Blake3, digest), key: key.map(Key::from_bytes) },
                name,
                path,
            };
            prop_assert_eq!(&url.to_string().parse::<OffUrl>(), &Ok(url.clone()));
            prop_assert_eq!(&url.to_http("example.org:1").parse::<OffUrl>(), &Ok(url));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC*", tail in "[a-z0-9/%#?.:]*") {
            let _ = text.parse::<OffUrl>();
            let _ = format!("off:v4/{tail}").parse::<OffUrl>();
        }
    }
}
