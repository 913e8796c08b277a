//! Records of a pack, read and compared with what they should be, by all cores.

use std::{
    fs::File,
    num::NonZeroUsize,
    os::unix::fs::FileExt as _,
    sync::{Mutex, mpsc},
    thread,
};

use crate::{
    Algorithm, Error, RECORD_HEADER, RecordHeader, Result, Score, TableEntry, pack,
    pack_store::{Shared, lock},
    place::Tag,
};

/// Records that one thread reads and hashes together, at least: 2 MiB of whole blocks.
const TOGETHER: usize = 16;

/// What reading a record came to.
pub(crate) struct Verdict {
    pub(crate) entry: TableEntry,
    /// The bytes of the block are those of its score.
    pub(crate) whole: bool,
    /// The record's header says what the table says.
    pub(crate) is_named: bool,
}

/// Reads those records of a pack that the index finds there, and calls `judge` with each, in any order.
pub(crate) fn read_all(
    shared: &Shared,
    (tag, number, file): (Tag, u32, &File),
    entries: &[TableEntry],
    judge: &mut dyn FnMut(Verdict),
) -> Result<()> {
    let together = Score::at_once(Algorithm::Sha256).max(TOGETHER);
    let groups = Mutex::new(entries.chunks(together));
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let (to_us, verdicts) = mpsc::sync_channel::<Result<Vec<Verdict>>>(cores);
    thread::scope(|scope| {
        for _ in 0..cores.min(entries.len().div_ceil(together)) {
            let (groups, to_us) = (&groups, to_us.clone());
            scope.spawn(move || {
                let mut buffers = Vec::new();
                loop {
                    let Some(group) = lock(groups).next() else { return };
                    // If nobody listens any more, another thread has failed.
                    if to_us.send(read(shared, (tag, number, file), group, &mut buffers)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to_us);
        for verdicts in verdicts {
            verdicts?.into_iter().for_each(&mut *judge);
        }
        Ok(())
    })
}

fn read(
    shared: &Shared,
    (tag, number, file): (Tag, u32, &File),
    group: &[TableEntry],
    buffers: &mut Vec<Vec<u8>>,
) -> Result<Vec<Verdict>> {
    let mut found = Vec::with_capacity(group.len());
    for entry in group {
        if shared.lookup(tag, &entry.score)? == Some(entry.place(number)) {
            found.push(*entry);
        }
    }
    if let [first, .., last] = &found[..] {
        pack::will_read(file, first.offset..last.end());
    }
    buffers.resize_with(group.len(), Vec::new);
    let mut headers = Vec::with_capacity(found.len());
    for (entry, buffer) in found.iter().zip(buffers.iter_mut()) {
        headers.push(match pack::read_record(file, entry.offset, entry.length, buffer) {
            Ok(header) => header,
            Err(error) if pack::is_unreadable(&error) => None,
            Err(source) => return Err(Error::io("read", pack::path(&shared.directory, number))(source)),
        });
    }
    let named: Vec<_> = found.iter().zip(buffers.iter()).map(|(entry, block)| (entry.score, &block[..])).collect();
    let right = Score::match_many(&named);
    let mut verdicts = Vec::with_capacity(found.len());
    for (((entry, (_, block)), mut header), right) in found.iter().zip(&named).zip(headers).zip(right) {
        let whole = right && header.is_some() && crc32fast::hash(block) == entry.checksum;
        if header.is_none() {
            // A block that cannot be read may stand behind a header that can.
            let mut alone = [0; RECORD_HEADER];
            header = file.read_exact_at(&mut alone, entry.offset).is_ok().then_some(alone);
        }
        let should = RecordHeader { score: entry.score, length: entry.length, checksum: entry.checksum }.to_bytes();
        verdicts.push(Verdict { entry: *entry, whole, is_named: header == Some(should) });
    }
    Ok(verdicts)
}
