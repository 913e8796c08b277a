//! One pack file: naming, reading, and finding its records.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    ops::Range,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise};

use crate::{
    Error, PackKind, RECORD_HEADER, RecordHeader, Result, TableEntry, Trailer,
    record::{parse_pack_header, parse_table},
};

/// The file of a pack.
pub(crate) fn path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08x}.pack"))
}

/// The number in a pack's file name.
pub(crate) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".pack")?;
    let canonical = digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    // The highest numbers are nobody's, so that the next one can always be counted to.
    canonical.then(|| u32::from_str_radix(digits, 16).ok())?.filter(|number| *number < u32::MAX - (1 << 16))
}

/// What a reading of a whole pack found.
pub(crate) struct Contents {
    /// Kind in the header; `None` when the header is damaged.
    pub(crate) kind: Option<PackKind>,
    /// The trailer, when the pack is sealed and table and trailer are whole.
    pub(crate) trailer: Option<Trailer>,
    /// The records in order.
    pub(crate) entries: Vec<TableEntry>,
    /// Where the records end.
    pub(crate) end: u64,
    /// From here on records were looked for behind bytes that are none: they may be anything that lay in a
    /// block, and count only if their hash is right.
    pub(crate) searched: u64,
}

/// Reads a pack's header and its table, or, where there is none, walks its records.
///
/// A walk that meets bytes which are no record header looks for the next that is one, so that one
/// damaged header hides one record and not all that follow.
pub(crate) fn read(path: &Path, file: &File) -> Result<Contents> {
    let failed = |source| Error::io("read", path)(source);
    let length = file.metadata().map_err(failed)?.len();
    let kind = read_header(file, 0).map_err(failed)?.and_then(|h| parse_pack_header(&h)).map(|(_, kind)| kind);
    if let Some((trailer, entries)) = read_table(file, length).map_err(failed)? {
        return Ok(Contents { kind, trailer: Some(trailer), end: trailer.offset, entries, searched: u64::MAX });
    }
    let (entries, searched) = walk(file, length).map_err(failed)?;
    let end = entries.last().map_or(RECORD_HEADER as u64, TableEntry::end);
    Ok(Contents { kind, trailer: None, entries, end, searched })
}

/// Trailer and table of a sealed pack.
pub(crate) fn read_table(file: &File, length: u64) -> io::Result<Option<(Trailer, Vec<TableEntry>)>> {
    let Some(trailer) = read_trailer(file, length)? else { return Ok(None) };
    let Ok(size) = usize::try_from(trailer.table_length()) else { return Ok(None) };
    let mut table = vec![0; size];
    match file.read_exact_at(&mut table, trailer.offset) {
        Err(error) if is_unreadable(&error) => return Ok(None),
        read => read?,
    }
    Ok(parse_table(&trailer, &table).map(|entries| (trailer, entries)))
}

/// Opens a pack for reading blocks here and there: the kernel is not to read on behind each of them.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    fadvise(&file, 0, None, Advice::Random)?;
    Ok(file)
}

/// Says that this part of a pack is read soon, so that the disk can begin with it as a whole.
pub(crate) fn will_read(file: &File, part: Range<u64>) {
    if let Err(error) = fadvise(file, part.start, NonZeroU64::new(part.end - part.start), Advice::WillNeed) {
        tracing::debug!(%error, "the kernel takes no advice");
    }
}

/// Bytes that are free on the disk that a path lies on; `None` when it cannot be asked.
pub(crate) fn free_beside(path: &Path) -> Option<u64> {
    let state = rustix::fs::statvfs(path).ok()?;
    Some(state.f_bavail.saturating_mul(state.f_frsize))
}

/// Gives back room that is set aside behind the end of a file.
pub(crate) fn give_room_back(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    // A page that is half full, and what the file system needs for itself, are no room.
    let is_set_aside = metadata.blocks() * 512 > metadata.len() + (64 << 10);
    if is_set_aside { file.set_len(metadata.len()) } else { Ok(()) }
}

/// Whether the disk cannot read something: for us that is damage, and not a failure.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// The trailer alone, if the file ends in one that fits its length.
pub(crate) fn read_trailer(file: &File, length: u64) -> io::Result<Option<Trailer>> {
    let Some(at) = length.checked_sub(RECORD_HEADER as u64) else { return Ok(None) };
    let trailer = read_header(file, at)?.and_then(|bytes| Trailer::from_bytes(&bytes));
    Ok(trailer.filter(|trailer| trailer.offset.checked_add(trailer.table_length()) == Some(at)))
}

/// Whether the pack's trailer is whole and says the same as `wanted`, whose digest does not count.
pub(crate) fn has_trailer(file: &File, wanted: &Trailer) -> bool {
    let found = read_header(file, wanted.offset + wanted.table_length());
    let found = found.ok().flatten().and_then(|bytes| Trailer::from_bytes(&bytes));
    found.is_some_and(|found| Trailer { digest: wanted.digest, ..found } == *wanted)
}

/// Number in the pack's header. `None` when that is damaged.
pub(crate) fn number_in_header(file: &File) -> io::Result<Option<u32>> {
    Ok(read_header(file, 0)?.and_then(|header| parse_pack_header(&header)).map(|(number, _)| number))
}

fn read_header(file: &File, at: u64) -> io::Result<Option<[u8; RECORD_HEADER]>> {
    let mut header = [0; RECORD_HEADER];
    match file.read_exact_at(&mut header, at) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The records of a pack without a table, from header to header, and where the first one lies that was searched for.
fn walk(file: &File, length: u64) -> io::Result<(Vec<TableEntry>, u64)> {
    let mut entries = Vec::new();
    let mut searched = u64::MAX;
    let mut at = RECORD_HEADER as u64;
    let mut expected = at;
    while let Some(bytes) = read_header(file, at)? {
        if let Some(RecordHeader { score, length: size, checksum }) = RecordHeader::from_bytes(&bytes) {
            let entry = TableEntry { offset: at, length: size, checksum, score };
            if entry.end() > length {
                break;
            }
            expect_headers(file, at..length, entry.end() - at, &mut expected);
            at = entry.end();
            entries.push(entry);
        } else if let Some(next) = find_record(file, at + 1)? {
            searched = searched.min(next);
            at = next;
        } else {
            break;
        }
    }
    Ok((entries, searched))
}

/// Has the disk read the headers that will be read next, so that it need not be waited for at each: most records are as
/// long as the one before. `expected` says up to where that was done.
fn expect_headers(file: &File, range: Range<u64>, length: u64, expected: &mut u64) {
    /// Headers that are read ahead.
    const AHEAD: u64 = 64;
    /// Shorter records lie close together, and what is read for one has the next.
    const SHORT: u64 = 16 << 10;
    if length < SHORT {
        return;
    }
    *expected = range.start.max(*expected);
    while *expected < range.end.min(range.start + AHEAD * length) {
        will_read(file, *expected..*expected + RECORD_HEADER as u64);
        *expected += length;
    }
}

/// Offset of the next whole record header at or after `from`.
fn find_record(file: &File, from: u64) -> io::Result<Option<u64>> {
    const WINDOW: usize = 1 << 20;
    let mut window = vec![0; WINDOW];
    let mut at = from;
    loop {
        let read = read_up_to(file, &mut window, at)?;
        if read < RECORD_HEADER {
            return Ok(None);
        }
        let found = window[..read].windows(RECORD_HEADER).position(|bytes| {
            bytes.starts_with(b"OREC") && bytes.try_into().ok().and_then(RecordHeader::from_bytes).is_some()
        });
        if let Some(found) = found {
            return Ok(Some(at + found as u64));
        }
        at += (read - RECORD_HEADER + 1) as u64;
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            // Nothing is to be found in a page that cannot be read, so what is behind it is looked at.
            Err(error) if is_unreadable(&error) => {
                let page = (4096 - (at + read as u64) % 4096).min((buffer.len() - read) as u64);
                let page = usize::try_from(page).unwrap_or(1);
                buffer[read..read + page].fill(0);
                read += page;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Reads a record: its block into `buffer`, and the bytes of its header. `None` when the file is too short for it.
pub(crate) fn read_record(
    file: &File,
    offset: u64,
    length: u32,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<[u8; RECORD_HEADER]>> {
    let mut header = [0; RECORD_HEADER];
    if buffer.capacity() == 0 {
        // A new buffer is not cleared to be filled. The header lies in the block's first page, or in the one before.
        buffer.reserve_exact(length as usize);
        let block = offset + RECORD_HEADER as u64;
        while buffer.len() < length as usize {
            let at = block + buffer.len() as u64;
            if rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), at)? == 0 {
                return Ok(None);
            }
        }
        buffer.truncate(length as usize);
        file.read_exact_at(&mut header, offset)?;
        return Ok(Some(header));
    }
    // Grows only: a reused buffer of the same size costs no clearing.
    buffer.resize(length as usize, 0);
    let read = rustix::io::preadv(file, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)], offset)?;
    let Some(of_block) = read.checked_sub(RECORD_HEADER) else { return Ok(None) };
    match file.read_exact_at(&mut buffer[of_block..], offset + read as u64) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
