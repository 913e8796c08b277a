//! Which objects need a stored file.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{ControlFlow, Range},
};

use cas::Score;
use offs::Reference;
use serde::Deserialize;

use crate::s3::{
    catalogue::Catalogue,
    door::BucketsError,
    entry,
    fault::{Fault, Result},
    object::{Pack, Piece, Place},
};

/// An object, or a part of an upload, that needs a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The object: `s3://bucket/name`, and behind a `?` which version or part, unless it is the current version.
    pub name: String,
    /// The bytes of the file that it needs.
    pub range: Range<u64>,
}

#[derive(Deserialize)]
struct Holding {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    null: bool,
    #[serde(default)]
    pieces: Vec<Piece>,
    piece: Option<Piece>,
}

/// Who needs each of these files, by the scores of their roots. An object that needs several parts of a file is there
/// several times. What nobody needs any more is not there at all.
///
/// # Errors
/// When an entry of the catalogue cannot be read.
pub fn holders(
    catalogue: &dyn Catalogue,
    roots: &BTreeSet<Score>,
) -> std::result::Result<BTreeMap<Score, Vec<Holder>>, BucketsError> {
    Ok(find(catalogue, roots)?)
}

fn root_of(reference: &str) -> Result<Score> {
    reference
        .parse()
        .map(|reference: Reference| reference.root)
        .map_err(|_| Fault::Lost("a reference that can be read"))
}

fn find(catalogue: &dyn Catalogue, roots: &BTreeSet<Score>) -> Result<BTreeMap<Score, Vec<Holder>>> {
    let (mut packs, mut found) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    let mut outcome = Ok(());
    // One scan is of one moment: between two, an object could move from where the second looks to where the first did.
    // Packed files come before what is in them.
    catalogue.scan_from(b"", b"", &mut |key, value| match see(key, value, roots, &mut packs, &mut found) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            outcome = Err(error);
            ControlFlow::Break(())
        }
    })?;
    outcome.map(|()| found)
}

fn see(
    key: &[u8],
    value: &[u8],
    roots: &BTreeSet<Score>,
    packs: &mut BTreeMap<u64, Score>,
    found: &mut BTreeMap<Score, Vec<Holder>>,
) -> Result<()> {
    match key.first() {
        Some(b'k') => {
            let root = root_of(&serde_json::from_slice::<Pack>(value)?.reference)?;
            packs.insert(entry::number(key), root);
        }
        Some(b'o' | b'v' | b'p') => {
            let holding: Holding = serde_json::from_slice(value)?;
            for piece in holding.pieces.iter().chain(&holding.piece) {
                let (root, at) = match &piece.place {
                    Place::Small => continue,
                    Place::Packed { pack, at } => match packs.get(pack) {
                        Some(root) => (*root, *at),
                        None => return Err(Fault::Lost("a packed file")),
                    },
                    Place::File(reference) => (root_of(reference)?, 0),
                };
                if roots.contains(&root) {
                    let holder = Holder { name: name(key, &holding), range: at..at + piece.length };
                    found.entry(root).or_default().push(holder);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// What people call the owner of an entry.
fn name(key: &[u8], holding: &Holding) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let split = |rest: &[u8]| {
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        (text(&rest[..end]), rest.get(end + 1..).unwrap_or_default().to_vec())
    };
    let (first, behind) = split(&key[1..]);
    match key[0] {
        b'v' => {
            let name = text(&behind[..behind.len().saturating_sub(9)]);
            let id = if holding.null { "null".to_owned() } else { format!("{:016x}", holding.seq) };
            format!("s3://{first}/{name}?versionId={id}")
        }
        b'p' => {
            let number = behind.last_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
            format!("s3://?uploadId={first}&partNumber={number}")
        }
        _ => format!("s3://{first}/{}", text(&behind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let of = |key: &[u8], seq, null| name(key, &Holding { seq, null, pieces: Vec::new(), piece: None });
        assert_eq!(of(&entry::object("b.c", b"a/k"), 1, false), "s3://b.c/a/k");
        assert_eq!(of(&entry::version("b.c", "k", 10), 10, false), "s3://b.c/k?versionId=000000000000000a");
        assert_eq!(of(&entry::version("b.c", "k", 10), 10, true), "s3://b.c/k?versionId=null");
        assert_eq!(of(&entry::part("id", 258), 0, false), "s3://?uploadId=id&partNumber=258");
    }
}
