//! Which stored files buckets need, and which objects need a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as StdError,
    ops::{ControlFlow, Range},
};

use cas::{BlockStore, Score};
use offs::Reference;
use serde::Deserialize;

use crate::s3::{
    backup,
    catalogue::Catalogue,
    door::BucketsError,
    entry,
    fault::{Fault, Result},
    object::{Pack, Piece, Place, version_id},
};

/// What an entry of a version or of a part says of what it needs.
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

/// An entry that needs something.
enum Needing {
    /// A packed file.
    Pack(Reference),
    /// A version of an object, or a part of an upload.
    Object(Holding),
}

fn parse(reference: &str) -> Result<Reference> {
    reference.parse().map_err(|_| Fault::Lost("a reference that can be read"))
}

/// Calls `visit` with the key of each entry that needs a stored file, and what it needs; packed files before what is in
/// them.
///
/// # Errors
/// When an entry cannot be read; then nothing may be thought unneeded.
fn each(catalogue: &dyn Catalogue, visit: &mut dyn FnMut(&[u8], Needing) -> Result<()>) -> Result<()> {
    if catalogue.get(entry::RESTORING)?.is_some() {
        return Err(Fault::HalfRestored);
    }
    if catalogue.get(entry::LAST)?.is_none() && !backup::is_empty(catalogue)? {
        // What comes last is not there: some of it was lost, and nobody knows what.
        return Err(Fault::Lost("the last number"));
    }
    let mut see = |key: &[u8], value: &[u8]| match key.first() {
        Some(b'k') => visit(key, Needing::Pack(parse(&serde_json::from_slice::<Pack>(value)?.reference)?)),
        Some(b'o' | b'v' | b'p') => visit(key, Needing::Object(serde_json::from_slice(value)?)),
        _ => Ok(()),
    };
    let mut outcome = Ok(());
    // One scan is of one moment: between two, a reference could move from where the second looks to where the first did.
    catalogue.scan_from(b"", b"", &mut |key, value| match see(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            outcome = Err(error);
            ControlFlow::Break(())
        }
    })?;
    outcome
}

/// Calls `visit` with the reference of every file that buckets need.
fn files(catalogue: &dyn Catalogue, visit: &mut dyn FnMut(&Reference) -> Result<()>) -> Result<()> {
    each(catalogue, &mut |_, needing| match needing {
        Needing::Pack(reference) => visit(&reference),
        Needing::Object(holding) => {
            holding.pieces.iter().chain(&holding.piece).try_for_each(|piece| match &piece.place {
                Place::File(reference) => visit(&parse(reference)?),
                Place::Small | Place::Packed { .. } => Ok(()),
            })
        }
    })
}

/// Every file that buckets need, each once.
///
/// # Errors
/// When an entry of the catalogue cannot be read.
pub fn references(catalogue: &dyn Catalogue) -> std::result::Result<Vec<Reference>, BucketsError> {
    let (mut references, mut seen) = (Vec::new(), BTreeSet::new());
    files(catalogue, &mut |reference| {
        if seen.insert(reference.root.to_binary()) {
            references.push(reference.clone());
        }
        Ok(())
    })?;
    Ok(references)
}

/// Calls `keep` with the score of every block that buckets need.
pub fn reachable(
    store: &dyn BlockStore,
    catalogue: &dyn Catalogue,
    keep: &mut dyn FnMut(&Score),
) -> std::result::Result<(), Box<dyn StdError + Send + Sync>> {
    files(catalogue, &mut |reference| Ok(offs::list(store, reference, keep)?))?;
    Ok(())
}

/// An object, or a part of an upload, that needs a stored file.
#[derive(Debug)]
pub struct Holder {
    /// The object: `s3://bucket/name`, and behind a `?` which version or part, unless it is the current version.
    pub name: String,
    /// The bytes of the file that it needs.
    pub range: Range<u64>,
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
    let (mut packs, mut found) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    each(catalogue, &mut |key, needing| {
        let holding = match needing {
            Needing::Pack(reference) => {
                packs.insert(entry::number(key), reference.root);
                return Ok(());
            }
            Needing::Object(holding) => holding,
        };
        for piece in holding.pieces.iter().chain(&holding.piece) {
            let (root, at) = match &piece.place {
                Place::Small => continue,
                Place::Packed { pack, at } => (*packs.get(pack).ok_or(Fault::Lost("a packed file"))?, *at),
                Place::File(reference) => (parse(reference)?.root, 0),
            };
            if roots.contains(&root) {
                let holder = Holder { name: name(key, &holding), range: at..at + piece.length };
                found.entry(root).or_default().push(holder);
            }
        }
        Ok(())
    })?;
    Ok(found)
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
            format!("s3://{first}/{name}?versionId={}", version_id(holding.seq, holding.null))
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
