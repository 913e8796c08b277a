//! Storing a directory that comes as a tar archive.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Read, Seek as _, Write as _},
};

use cas::BlockStore;
use offs::{ContentType, DirectoryWriter, Entry, Head, Kind, Node, OffUrl, PutOptions, SystemDice};
use tar::{Archive, EntryType};

use crate::{backend::Backend, trouble::Trouble, upload};

/// Files below this size are packed into one.
const PACKED_BELOW: u64 = 1 << 20;
/// Most entries of a directory that is stored this way.
const MOST_ENTRIES: usize = 1 << 20;

/// Components of a path: in this order a directory comes before what is in it.
type Path = Vec<Vec<u8>>;

/// A directory that is being received.
struct Receiving<'a> {
    store: &'a dyn BlockStore,
    options: &'a PutOptions,
    entries: BTreeMap<Path, Entry>,
    /// The small files, end to end.
    packed: BufWriter<std::fs::File>,
    at: u64,
}

/// Stores what is in an archive as a directory and gives its URL, which opens from now on. May wait for the disk.
pub(crate) fn store(backend: &dyn Backend, source: &mut dyn Read, name: Option<String>) -> Result<OffUrl, Trouble> {
    let store = backend.store();
    // From the first block to the pin nothing of it may be evicted.
    let _hold = store.hold();
    let options = backend.put_options();
    let spool = tempfile::tempfile_in(backend.scratch()).map_err(offs::Error::Write)?;
    let mut receiving = Receiving {
        store: store.as_ref(),
        options: &options,
        entries: BTreeMap::new(),
        packed: BufWriter::new(spool),
        at: 0,
    };
    receiving.directory(Vec::new(), 0o755, 0)?;
    let mut archive = Archive::new(source);
    for entry in archive.entries().map_err(offs::Error::Read)? {
        receiving.entry(entry.map_err(offs::Error::Read)?)?;
    }
    let stored = receiving.finish()?;
    upload::give_out(backend, stored, name, ContentType::directory())
}

/// The path of an entry. One that could lead elsewhere is refused.
fn components(path: &[u8]) -> Result<Path, Trouble> {
    let parts: Path =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && part != b".").map(<[u8]>::to_vec).collect();
    let bad = |part: &Vec<u8>| part == b".." || part.len() > 255 || part.contains(&0);
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    if path.starts_with(b"/") || parts.iter().any(bad) || length > 4097 {
        return Err(Trouble::Request("a path in the archive is absolute, leads out of it, or is too long"));
    }
    Ok(parts)
}

impl Receiving<'_> {
    fn directory(&mut self, path: Path, mode: u32, mtime: i64) -> Result<(), Trouble> {
        self.insert(path, mode, mtime, Node::Directory)
    }

    fn insert(&mut self, path: Path, mode: u32, mtime: i64, node: Node) -> Result<(), Trouble> {
        if self.entries.len() >= MOST_ENTRIES {
            return Err(Trouble::TooLong("the list of entries"));
        }
        if self.entries.get(&path).is_some_and(|known| known.node != Node::Directory || node != Node::Directory) {
            return Err(Trouble::Request("a path is in the archive twice"));
        }
        let entry = Entry { path: path.join(&b'/'), mode: mode & 0o7777, mtime, nsec: 0, node };
        self.entries.insert(path, entry);
        Ok(())
    }

    /// The directories above an entry, which an archive need not name.
    fn parents(&mut self, path: &Path) -> Result<(), Trouble> {
        for end in 1..path.len() {
            match self.entries.get(&path[..end]) {
                Some(entry) if entry.node == Node::Directory => {}
                Some(_) => return Err(Trouble::Request("a file in the archive is used as a directory")),
                None => self.directory(path[..end].to_vec(), 0o755, 0)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: tar::Entry<'_, impl Read>) -> Result<(), Trouble> {
        let path = components(&entry.path_bytes())?;
        let header = entry.header();
        let wrong = |_: io::Error| Trouble::Request("a header in the archive is not valid");
        let (kind, mode) = (header.entry_type(), header.mode().map_err(wrong)?);
        let mtime = i64::try_from(header.mtime().map_err(wrong)?).unwrap_or(i64::MAX);
        let size = entry.size();
        self.parents(&path)?;
        let node = match kind {
            EntryType::Directory => return self.directory(path, mode, mtime),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
                if target.is_empty() || target.len() > 4095 {
                    return Err(Trouble::Request("a link in the archive leads nowhere"));
                }
                Node::Link { target }
            }
            EntryType::Regular | EntryType::Continuous if size < PACKED_BELOW => {
                let at = self.at;
                let copied = io::copy(&mut entry, &mut self.packed).map_err(offs::Error::Read)?;
                if copied != size {
                    return Err(Trouble::Body);
                }
                self.at += size;
                Node::Packed { at, size }
            }
            EntryType::Regular | EntryType::Continuous => {
                let stored = offs::put(self.store, &mut entry, self.options, Box::new(SystemDice::new()), &|_| {})?;
                if stored.length != size {
                    return Err(Trouble::Body);
                }
                Node::File { reference: stored.reference, size }
            }
            _ => return Err(Trouble::Request("the archive has something that is no file, directory or symbolic link")),
        };
        self.insert(path, mode, mtime, node)
    }

    fn finish(mut self) -> Result<offs::Stored, Trouble> {
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
