//! A directory that is put together from files, the small ones of which are packed into one.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Read, Seek as _, Write as _},
    path,
};

use cas::BlockStore;
use offs::{DirectoryWriter, Entry, Head, Kind, Node, PutOptions, Stored, SystemDice};

use crate::trouble::Trouble;

/// Files below this size are packed into one.
pub(crate) const PACKED_BELOW: u64 = 1 << 20;
/// Most entries of a directory that is stored this way.
const MOST_ENTRIES: usize = 1 << 20;

/// Components of a path: in this order a directory comes before what is in it.
pub(crate) type Path = Vec<Vec<u8>>;

/// A directory that is being put together.
pub(crate) struct Gathering<'a> {
    store: &'a dyn BlockStore,
    options: &'a PutOptions,
    entries: BTreeMap<Path, Entry>,
    /// The small files, end to end.
    packed: BufWriter<std::fs::File>,
    at: u64,
}

/// The components of a path. One that could lead elsewhere is refused.
pub(crate) fn components(path: &[u8]) -> Result<Path, Trouble> {
    let parts: Path =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && part != b".").map(<[u8]>::to_vec).collect();
    let bad = |part: &Vec<u8>| part == b".." || part.len() > 255 || part.contains(&0);
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    if path.starts_with(b"/") || parts.iter().any(bad) || length > 4097 {
        return Err(Trouble::Request("a path is absolute, leads out of the directory, or is too long"));
    }
    Ok(parts)
}

impl<'a> Gathering<'a> {
    /// An empty one, which spools in `scratch`.
    pub(crate) fn new(
        store: &'a dyn BlockStore,
        options: &'a PutOptions,
        scratch: &path::Path,
    ) -> Result<Self, Trouble> {
        let spool = tempfile::tempfile_in(scratch).map_err(offs::Error::Write)?;
        let mut gathering = Self { store, options, entries: BTreeMap::new(), packed: BufWriter::new(spool), at: 0 };
        gathering.insert(Vec::new(), 0o755, 0, Node::Directory)?;
        Ok(gathering)
    }

    pub(crate) fn insert(&mut self, path: Path, mode: u32, mtime: i64, node: Node) -> Result<(), Trouble> {
        if self.entries.len() >= MOST_ENTRIES {
            return Err(Trouble::TooLong("the list of entries"));
        }
        if self.entries.get(&path).is_some_and(|known| known.node != Node::Directory || node != Node::Directory) {
            return Err(Trouble::Request("a path is there twice"));
        }
        let entry = Entry { path: path.join(&b'/'), mode: mode & 0o7777, mtime, nsec: 0, node };
        self.entries.insert(path, entry);
        Ok(())
    }

    /// The directories above an entry, which need not be named.
    pub(crate) fn parents(&mut self, path: &Path) -> Result<(), Trouble> {
        for end in 1..path.len() {
            match self.entries.get(&path[..end]) {
                Some(entry) if entry.node == Node::Directory => {}
                Some(_) => return Err(Trouble::Request("a file is used as a directory")),
                None => self.insert(path[..end].to_vec(), 0o755, 0, Node::Directory)?,
            }
        }
        Ok(())
    }

    /// Packs the content of a small file.
    pub(crate) fn pack(&mut self, source: &mut dyn Read, size: u64) -> Result<Node, Trouble> {
        let at = self.at;
        let copied = io::copy(source, &mut self.packed).map_err(offs::Error::Read)?;
        if copied != size {
            return Err(Trouble::Body);
        }
        self.at += size;
        Ok(Node::Packed { at, size })
    }

    /// Stores a file of its own.
    pub(crate) fn file(&mut self, source: &mut dyn Read, size: u64) -> Result<Node, Trouble> {
        let stored = offs::put(self.store, source, self.options, Box::new(SystemDice::new()), &|_| {})?;
        if stored.length != size {
            return Err(Trouble::Body);
        }
        Ok(Node::File { reference: stored.reference, size })
    }

    /// Stores the directory.
    pub(crate) fn finish(mut self) -> Result<Stored, Trouble> {
        let failed = offs::Error::Write;
        self.packed.flush().map_err(failed)?;
        let mut packed = self.packed.into_inner().map_err(|error| failed(error.into_error()))?;
        packed.rewind().map_err(failed)?;
        let dice = || Box::new(SystemDice::new());
        let packed = offs::put(self.store, &mut packed, self.options, dice(), &|_| {})?;
        let head = Head { entries: self.entries.len() as u64, packed: Some((packed.reference, packed.length)) };
        let mut object = DirectoryWriter::head(&head);
        for entry in self.entries.values() {
            DirectoryWriter::entry(entry, &mut object).map_err(failed)?;
        }
        let options = PutOptions { kind: Kind::Directory, ..self.options.clone() };
        Ok(offs::put(self.store, &mut &object[..], &options, dice(), &|_| {})?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_do_not_lead_out() {
        let path = |text: &str| components(text.as_bytes()).map(|parts| parts.join(&b'/')).ok();
        assert_eq!(path("./a//b/"), Some(b"a/b".to_vec()));
        assert_eq!(path("./"), Some(Vec::new()));
        for bad in ["/etc/passwd", "a/../../b", "..", "a/\0"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
