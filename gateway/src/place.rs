//! What a path of a request names: a file, a directory, or a better path.

use std::ops::Range;

use cas::BlockStore;
use offs::{ContentType, Entry, Node, OffUrl, Reference};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::{directory::Directories, trouble::Trouble};

/// Names of a directory's own page.
const INDEX: [&[u8]; 2] = [b"index.html", b"index.htm"];
/// Most entries of a directory that are listed.
pub(crate) const MOST_LISTED: usize = 10_000;

/// What stays as it is in a path (RFC 3986, section 2.3).
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A file, and which of its bytes are meant.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) reference: Reference,
    /// The length that whoever named it says.
    pub(crate) length: u64,
    /// A part, when it is one of many that are packed into a file.
    pub(crate) part: Option<Range<u64>>,
    pub(crate) content_type: ContentType,
    pub(crate) name: Option<String>,
    /// Seconds since 1970.
    pub(crate) modified: Option<u64>,
}

/// What is in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) url: OffUrl,
    pub(crate) entries: Vec<Entry>,
}

/// What a path names.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File(Target),
    Listing(Listing),
    /// It is found under this path.
    Elsewhere(String),
}

/// The URL in the path of a request; `None` when the path is not of that kind.
///
/// Browsers leave some bytes as they are that have to be escaped in an OFF URL, so the name and what follows is
/// escaped again before it is read.
pub(crate) fn url_in(path: &str) -> Option<Result<OffUrl, Trouble>> {
    let tail = path.strip_prefix("/off:").or_else(|| path.strip_prefix("/offsystem/"))?;
    let tail = tail.strip_suffix('/').unwrap_or(tail);
    // Version, type and subtype, length, reference.
    let mut parts = tail.split('/');
    let mut text = "off:".to_owned() + &parts.by_ref().take(5).collect::<Vec<_>>().join("/");
    let rest: Vec<_> = parts.collect();
    // A directory without a name, and no path in it.
    if rest != [""] {
        for part in rest {
            text.push('/');
            text.extend(part.split('%').enumerate().flat_map(|(number, piece)| {
                let sign = if number == 0 { "" } else { "%" };
                std::iter::once(sign).chain(percent_encode(piece.as_bytes(), &ESCAPED))
            }));
        }
    }
    Some(text.parse().map_err(Trouble::from))
}

/// The path under which a URL is found here.
pub(crate) fn path_of(url: &OffUrl) -> String {
    let mut path = format!("/{url}");
    if url.content_type.is_directory() && url.name.is_none() && url.path.is_empty() {
        // So that what is in it has a path below this one.
        path.push('/');
    }
    path
}

/// Finds what a URL names. `slash` says whether the request's path ended in one.
pub(crate) fn find(
    store: &dyn BlockStore,
    directories: &Directories,
    url: &OffUrl,
    slash: bool,
) -> Result<Place, Trouble> {
    if !url.content_type.is_directory() {
        return Ok(Place::File(Target {
            reference: url.reference.clone(),
            length: url.length,
            part: None,
            content_type: url.content_type.clone(),
            name: url.name.clone(),
            modified: None,
        }));
    }
    let directory = directories.open(store, &url.reference)?;
    if directory.length != url.length {
        return Err(offs::Error::Length { url: url.length, root: directory.length }.into());
    }
    let entry = directory.find(store, &url.path)?;
    if entry.node != Node::Directory {
        return Ok(Place::File(target(entry, directory.packed.as_ref())?));
    }
    if !slash {
        return Ok(Place::Elsewhere(path_of(url) + "/"));
    }
    for name in INDEX {
        let path = if entry.path.is_empty() { name.to_vec() } else { [&entry.path, name].join(&b'/') };
        let path: Vec<_> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        match directory.find(store, &path) {
            Ok(index) if index.node != Node::Directory => {
                return Ok(Place::File(target(index, directory.packed.as_ref())?));
            }
            Ok(_) | Err(Trouble::NoEntry(_) | Trouble::Link(_)) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    let entries = directory.children(store, &entry.path, MOST_LISTED)?;
    Ok(Place::Listing(Listing { url: url.clone(), entries }))
}

/// The file that an entry of a directory names.
fn target(entry: Entry, packed: Option<&(Reference, u64)>) -> Result<Target, Trouble> {
    let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    let (reference, length, part) = match entry.node {
        Node::File { reference, size } => (reference, size, None),
        Node::Packed { at, size } => {
            let (reference, length) = packed.ok_or_else(|| Trouble::NoEntry(name.clone()))?;
            (reference.clone(), *length, Some(at..at.saturating_add(size)))
        }
        Node::Directory | Node::Link { .. } => return Err(Trouble::NoEntry(name)),
    };
    Ok(Target {
        reference,
        length,
        part,
        content_type: type_of(&name),
        name: Some(name),
        modified: u64::try_from(entry.mtime).ok(),
    })
}

/// The media type that a name's ending stands for.
pub(crate) fn type_of(name: &str) -> ContentType {
    let guess = mime_guess::from_path(name).first_raw().and_then(|guess| guess.parse().ok());
    guess.unwrap_or_else(ContentType::octet_stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "v4/offsystem/directory/100/RDSJU8N7XWgE541VWbsaTuSNvD7XTvgYg2s6zA3qchA4zap9MpCiydqDNzTqkiDr7bPBUYnqkKsZNHjwqw1kmQRmZ";

    fn read(path: &str) -> OffUrl {
        url_in(path).expect("of that kind").expect("a URL")
    }

    #[test]
    fn both_forms_and_what_browsers_leave_as_it_is() {
        let url = read(&format!("/off:{ROOT}/site/a(1)%20b/c+d.html"));
        assert_eq!(url.name.as_deref(), Some("site"));
        assert_eq!(url.path, [b"a(1) b".to_vec(), b"c+d.html".to_vec()]);
        assert_eq!(read(&format!("/offsystem/{ROOT}/site/a(1)%20b/c+d.html")), url);
        assert!(url_in("/else").is_none());
        assert!(matches!(url_in("/off:v3/x"), Some(Err(Trouble::Url(offs::OffUrlError::Version3)))));
    }

    #[test]
    fn a_directory_has_a_path_below_which_its_entries_are() {
        for name in ["/site", ""] {
            let url = read(&format!("/off:{ROOT}{name}"));
            let path = path_of(&url) + "/";
            assert_eq!(read(&path), url);
            let entry = read(&format!("{path}style.css"));
            assert_eq!((entry.name, entry.path), (url.name, vec![b"style.css".to_vec()]));
        }
    }

    #[test]
    fn paths_do_not_lead_out() {
        for path in ["..", "a/../..", "%2e%2e", "a%2f..", "%00"] {
            assert!(url_in(&format!("/off:{ROOT}/site/{path}")).is_some_and(|url| url.is_err()), "{path}");
        }
    }
}
