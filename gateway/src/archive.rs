//! Storing a directory that comes as a tar archive.

use std::{
    cell::Cell,
    io::{self, Read},
};

use offs::{ContentType, Node, OffUrl};
use tar::{Archive, EntryType};

use crate::{
    backend::Backend,
    gathering::{Gathering, PACKED_BELOW, components},
    trouble::Trouble,
    upload,
};

/// The body of a request, and whether anything of it came, and whether it is the body that came to an untimely end, and
/// not what is in it that is wrong.
struct Body<'a> {
    source: &'a mut dyn Read,
    stopped: &'a Cell<bool>,
    began: &'a Cell<bool>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer).inspect_err(|_| self.stopped.set(true))?;
        self.began.set(self.began.get() || read > 0);
        Ok(read)
    }
}

/// Stores what is in an archive as a directory and gives its URL, which opens from now on. May wait for the disk.
pub(crate) fn store(backend: &dyn Backend, source: &mut dyn Read, name: Option<String>) -> Result<OffUrl, Trouble> {
    let store = backend.store();
    // From the first block to the pin nothing of it may be evicted.
    let _hold = store.hold();
    let options = backend.put_options();
    let mut gathering = Gathering::new(store.as_ref(), &options, backend.scratch())?;
    let (stopped, began) = (Cell::new(false), Cell::new(false));
    let wrong = |error| {
        let what = Trouble::Request("this is no whole tar archive");
        if stopped.get() { Trouble::from(offs::Error::Read(error)) } else { what }
    };
    let mut archive = Archive::new(Body { source, stopped: &stopped, began: &began });
    for entry in archive.entries().map_err(wrong)? {
        add(&mut gathering, entry.map_err(wrong)?)?;
    }
    if !began.get() {
        // An archive of nothing has an end, too. Who makes them has failed.
        return Err(Trouble::Request("an empty body is no archive"));
    }
    let stored = gathering.finish()?;
    upload::give_out(backend, stored, name, ContentType::directory())
}

fn add(gathering: &mut Gathering<'_>, mut entry: tar::Entry<'_, impl Read>) -> Result<(), Trouble> {
    let path = components(&entry.path_bytes())?;
    let header = entry.header();
    let wrong = |_: io::Error| Trouble::Request("a header in the archive is not valid");
    let (kind, mode) = (header.entry_type(), header.mode().map_err(wrong)?);
    let mtime = i64::try_from(header.mtime().map_err(wrong)?).unwrap_or(i64::MAX);
    let size = entry.size();
    gathering.parents(&path)?;
    let node = match kind {
        EntryType::Directory => return gathering.insert(path, mode, mtime, Node::Directory),
        EntryType::Symlink => {
            let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
            if target.is_empty() || target.len() > 4095 {
                return Err(Trouble::Request("a link in the archive leads nowhere"));
            }
            Node::Link { target }
        }
        EntryType::Regular | EntryType::Continuous if size < PACKED_BELOW => gathering.pack(&mut entry, size)?,
        EntryType::Regular | EntryType::Continuous => gathering.file(&mut entry, size)?,
        _ => return Err(Trouble::Request("the archive has something that is no file, directory or symbolic link")),
    };
    gathering.insert(path, mode, mtime, node)
}
