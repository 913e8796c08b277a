//! Reading blocks out of the packs of a store that another process owns.

use std::{
    fs::File,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use lru::LruCache;

use crate::{Place, RecordHeader, Score, pack, pack_store::lock, place::runs};

/// Packs that are kept open: a quarter of the files that a process may usually open.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// Reads blocks by the places that the store's owner tells (`BlockStore::place`).
///
/// What it reads it compares with the record's header and checksum. Anything else that may have become of a block
/// meanwhile (a collection moved it, a disk damaged it) is for the owner to find out: then it reads nothing.
pub struct PackReader {
    directory: PathBuf,
    files: Mutex<LruCache<u32, Arc<File>>>,
}

impl PackReader {
    /// For the packs of the store in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.join("packs"), files: Mutex::new(LruCache::new(OPEN_FILES)) }
    }

    fn file(&self, pack: u32) -> Option<Arc<File>> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(&pack) {
            return Some(Arc::clone(file));
        }
        let opened = pack::open(&pack::path(&self.directory, pack));
        let file = Arc::new(opened.inspect_err(|error| tracing::debug!(pack, %error, "cannot read it here")).ok()?);
        files.put(pack, Arc::clone(&file));
        Some(file)
    }

    /// Reads the block with this score that lies at `place` into `buffer`; `false`, and the buffer holds anything, when
    /// it cannot be read there.
    pub fn read(&self, score: &Score, place: &Place, buffer: &mut Vec<u8>) -> bool {
        let Some(file) = self.file(place.pack) else { return false };
        let wanted = RecordHeader { score: *score, length: place.length, checksum: place.checksum };
        let read = pack::read_record(&file, place.offset, place.length, buffer);
        let header = read.inspect_err(|error| tracing::debug!(%score, %error, "cannot read it here")).ok().flatten();
        header == Some(wanted.to_bytes()) && crc32fast::hash(buffer) == place.checksum
    }

    /// Says that the blocks at these places will be read soon, so that a disk can begin with them.
    pub fn will_read(&self, places: Vec<Place>) {
        for (pack, from, to) in runs(places) {
            if let Some(file) = self.file(pack) {
                pack::will_read(&file, from..to);
            }
        }
    }
}
