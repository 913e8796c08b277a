//! Headers of records, trailers and table entries of packs: what is accepted is canonical.
#![no_main]

use cas::{RECORD_HEADER, RecordHeader, TableEntry, Trailer};
use libfuzzer_sys::fuzz_target;
use offs_fuzz::Recipe;

fuzz_target!(|input: &[u8]| {
    let mut recipe = Recipe::new(input);
    // A checksum that fits, or the one in the input.
    let close = recipe.byte() & 1 != 0;
    let bytes = recipe.rest();
    if let Some(first) = bytes.first_chunk::<RECORD_HEADER>() {
        let mut header = *first;
        if close {
            let checksum = crc32fast::hash(&header[..60]);
            header[60..].copy_from_slice(&checksum.to_be_bytes());
        }
        if let Some(record) = RecordHeader::from_bytes(&header) {
            assert_eq!(record.to_bytes(), header);
            assert!((1..=cas::MAX_BLOCK).contains(&(record.length as usize)));
        }
        if let Some(trailer) = Trailer::from_bytes(&header) {
            assert_eq!(trailer.to_bytes(), header);
            assert_eq!(trailer.table_length(), u64::from(trailer.records) * TableEntry::SIZE as u64);
        }
    }
    if let Some(first) = bytes.first_chunk::<{ TableEntry::SIZE }>()
        && let Some(entry) = TableEntry::from_bytes(first)
    {
        let mut written = Vec::with_capacity(TableEntry::SIZE);
        written.extend_from_slice(&entry.offset.to_be_bytes());
        written.extend_from_slice(&entry.length.to_be_bytes());
        written.extend_from_slice(&entry.checksum.to_be_bytes());
        written.extend_from_slice(&entry.score.to_binary());
        assert_eq!(written, first);
        // Where a record ends is asked of entries that were just read.
        let _ = entry.end();
    }
});
