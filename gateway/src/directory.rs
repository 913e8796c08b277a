//! Stored directories, and finding things in them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use cas::BlockStore;
use offs::{DirectoryReader, Entry, Error, FileReader, Head, Kind, Node, Reference};

use crate::trouble::Trouble;

/// A directory with at most so many entries is kept in memory; of a larger one each question reads it anew.
const KEPT_ENTRIES: u64 = 20_000;
/// Directories that are kept: as a site is read, its directory is asked again and again.
const KEPT: usize = 8;
/// So many links one after the other are a circle.
const MOST_LINKS: usize = 16;

/// A directory that was opened.
pub(crate) struct Directory {
    reference: Reference,
    /// The length of the directory object.
    pub(crate) length: u64,
    pub(crate) packed: Option<(Reference, u64)>,
    entries: Option<BTreeMap<Vec<u8>, Entry>>,
}

/// What stops the reading of a directory: a failure, or that enough was seen.
enum Stop {
    Failed(Error),
    Enough,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Directory {
    fn open(store: &dyn BlockStore, reference: &Reference) -> Result<Self, Error> {
        let file = FileReader::open_kind(store, reference, Kind::Directory)?;
        let mut head = None;
        let mut entries = BTreeMap::new();
        let read = DirectoryReader::entries::<Stop>(
            &file,
            &mut |is: Head| {
                let small = is.entries <= KEPT_ENTRIES;
                head = Some(is);
                if small { Ok(()) } else { Err(Stop::Enough) }
            },
            &mut |entry| {
                entries.insert(entry.path.clone(), entry);
                Ok(())
            },
        );
        let entries = match read {
            Ok(()) => Some(entries),
            Err(Stop::Enough) => None,
            Err(Stop::Failed(error)) => return Err(error),
        };
        Ok(Self {
            reference: reference.clone(),
            length: file.length(),
            packed: head.and_then(|head| head.packed),
            entries,
        })
    }

    /// Calls `visit` with every entry at or below a path, until it says that it has seen enough.
    fn each(&self, store: &dyn BlockStore, below: &[u8], visit: &mut dyn FnMut(&Entry) -> bool) -> Result<(), Error> {
        if let Some(entries) = &self.entries {
            let within = entries.range(below.to_vec()..).take_while(|(path, _)| path.starts_with(below));
            for (_, entry) in within {
                if !visit(entry) {
                    break;
                }
            }
            return Ok(());
        }
        let file = FileReader::open_kind(store, &self.reference, Kind::Directory)?;
        let read = DirectoryReader::entries::<Stop>(&file, &mut |_| Ok(()), &mut |entry| {
            let more = !entry.path.starts_with(below) || visit(&entry);
            if more { Ok(()) } else { Err(Stop::Enough) }
        });
        match read {
            Ok(()) | Err(Stop::Enough) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn entry(&self, store: &dyn BlockStore, path: &[u8]) -> Result<Option<Entry>, Error> {
        let mut found = None;
        self.each(store, path, &mut |entry| {
            if entry.path == path {
                found = Some(entry.clone());
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// What is directly in a directory, at most so many.
    pub(crate) fn children(&self, store: &dyn BlockStore, path: &[u8], most: usize) -> Result<Vec<Entry>, Error> {
        let mut children = Vec::new();
        self.each(store, path, &mut |entry| {
            let inside = if path.is_empty() {
                (!entry.path.is_empty()).then_some(&entry.path[..])
            } else {
                entry.path[path.len()..].strip_prefix(b"/")
            };
            if inside.is_some_and(|inside| !inside.contains(&b'/')) {
                children.push(entry.clone());
            }
            children.len() < most
        })?;
        Ok(children)
    }

    /// Finds what is at a path. Links are followed as long as they stay inside.
    pub(crate) fn find(&self, store: &dyn BlockStore, path: &[Vec<u8>]) -> Result<Entry, Trouble> {
        let shown = || String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        let mut at: Vec<Vec<u8>> = Vec::new();
        let mut rest: VecDeque<Vec<u8>> = path.iter().cloned().collect();
        let mut links = 0;
        let mut found = None;
        while let Some(next) = rest.pop_front() {
            match &next[..] {
                b"" | b"." => continue,
                b".." => {
                    at.pop().ok_or_else(|| Trouble::Link(shown()))?;
                    found = None;
                    continue;
                }
                _ => at.push(next),
            }
            let entry = self.entry(store, &at.join(&b'/'))?.ok_or_else(|| Trouble::NoEntry(shown()))?;
            if let Node::Link { target } = &entry.node {
                links += 1;
                if links > MOST_LINKS || target.starts_with(b"/") {
                    return Err(Trouble::Link(shown()));
                }
                at.pop();
                target.split(|byte| *byte == b'/').rev().for_each(|part| rest.push_front(part.to_vec()));
                continue;
            }
            found = Some(entry);
        }
        match found {
            Some(entry) => Ok(entry),
            None => self.entry(store, &at.join(&b'/'))?.ok_or_else(|| Trouble::NoEntry(shown())),
        }
    }
}

/// Directories that were opened lately.
#[derive(Default)]
pub(crate) struct Directories(Mutex<VecDeque<Arc<Directory>>>);

impl Directories {
    /// Opens a directory, or takes it from memory: what a reference names never changes.
    pub(crate) fn open(&self, store: &dyn BlockStore, reference: &Reference) -> Result<Arc<Directory>, Error> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().iter().find(|known| known.reference == *reference) {
            return Ok(Arc::clone(known));
        }
        let opened = Arc::new(Directory::open(store, reference)?);
        let mut kept = lock();
        kept.push_back(Arc::clone(&opened));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(opened)
    }
}
