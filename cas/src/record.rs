//! The bytes of a pack: header, records, table, trailer (docs/format.md, section 8).

use sha2::Digest as _;

use crate::{Algorithm, MAX_BLOCK, Score, place::Place};

/// Size of a pack's header, of a record's header and of a trailer, in bytes.
pub const RECORD_HEADER: usize = 64;

const PACK_MAGIC: &[u8; 8] = b"OFFPACK1";
const RECORD_MAGIC: &[u8; 4] = b"OREC";
/// Highest offset of a record: beyond any pack, and far from where sums would overflow.
const MAX_OFFSET: u64 = 1 << 48;

const SEAL_MAGIC: &[u8; 8] = b"OFFSEAL1";

type Header = [u8; RECORD_HEADER];

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackKind {
    /// Blocks.
    Blocks,
    /// Second copies of roots.
    Copies,
}

impl PackKind {
    /// The code in a pack's header.
    pub const fn code(self) -> u8 {
        match self {
            Self::Blocks => 0,
            Self::Copies => 1,
        }
    }

    /// The kind of a code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Blocks),
            1 => Some(Self::Copies),
            _ => None,
        }
    }
}

fn close(mut header: Header) -> Header {
    let checksum = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn is_closed(header: &Header) -> bool {
    crc32fast::hash(&header[..60]).to_be_bytes() == header[60..]
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    (u64::from(word(bytes, at)) << 32) | u64::from(word(bytes, at + 4))
}

/// The header of a pack.
pub(crate) fn pack_header(number: u32, kind: PackKind) -> Header {
    let mut header = [0; RECORD_HEADER];
    header[..8].copy_from_slice(PACK_MAGIC);
    header[8..12].copy_from_slice(&number.to_be_bytes());
    header[12] = kind.code();
    close(header)
}

/// Number and kind of a pack, if the header is whole.
pub(crate) fn parse_pack_header(header: &Header) -> Option<(u32, PackKind)> {
    let whole = is_closed(header) && header.starts_with(PACK_MAGIC) && header[13..60] == [0; 47];
    whole.then(|| PackKind::from_code(header[12]).map(|kind| (word(header, 8), kind)))?
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The block's score.
    pub score: Score,
    /// Length of the block, 1 to [`MAX_BLOCK`].
    pub length: u32,
    /// CRC-32 of the block.
    pub checksum: u32,
}

impl RecordHeader {
    /// The 64 bytes before the block.
    pub fn to_bytes(&self) -> [u8; RECORD_HEADER] {
        let mut header = [0; RECORD_HEADER];
        header[..4].copy_from_slice(RECORD_MAGIC);
        header[4] = self.score.algorithm().code();
        header[8..12].copy_from_slice(&self.length.to_be_bytes());
        header[12..16].copy_from_slice(&self.checksum.to_be_bytes());
        header[16..48].copy_from_slice(self.score.digest());
        close(header)
    }

    /// Reads a header; `None` unless every byte is as it must be.
    pub fn from_bytes(header: &[u8; RECORD_HEADER]) -> Option<Self> {
        let length = word(header, 8);
        let whole = is_closed(header)
            && header.starts_with(RECORD_MAGIC)
            && header[5..8] == [0; 3]
            && header[48..60] == [0; 12]
            && (1..=MAX_BLOCK).contains(&usize::try_from(length).ok()?);
        if !whole {
            return None;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&header[16..48]);
        let score = Score::from_digest(Algorithm::from_code(header[4])?, digest);
        Some(Self { score, length, checksum: word(header, 12) })
    }
}

/// One record of a pack, as its table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Offset of the record's header in the pack.
    pub offset: u64,
    /// Length of the block.
    pub length: u32,
    /// CRC-32 of the block.
    pub checksum: u32,
    /// The block's score.
    pub score: Score,
}

impl TableEntry {
    /// Size of an entry in bytes.
    pub const SIZE: usize = 49;

    /// Offset of the first byte after the record.
    pub const fn end(&self) -> u64 {
        self.offset + RECORD_HEADER as u64 + self.length as u64
    }

    pub(crate) const fn place(&self, pack: u32) -> Place {
        Place { pack, offset: self.offset, length: self.length, checksum: self.checksum }
    }

    fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut entry = [0; Self::SIZE];
        entry[..8].copy_from_slice(&self.offset.to_be_bytes());
        entry[8..12].copy_from_slice(&self.length.to_be_bytes());
        entry[12..16].copy_from_slice(&self.checksum.to_be_bytes());
        entry[16..].copy_from_slice(&self.score.to_binary());
        entry
    }

    /// Reads an entry.
    pub fn from_bytes(entry: &[u8; Self::SIZE]) -> Option<Self> {
        let binary: &[u8; Score::BINARY] = entry[16..].try_into().ok()?;
        let score = Score::from_binary(binary).ok()?;
        // A table's hash says that it was not damaged, not that whoever wrote it meant well.
        let length_fits = (1..=MAX_BLOCK).contains(&usize::try_from(word(entry, 8)).ok()?);
        let offset_fits = (RECORD_HEADER as u64..=MAX_OFFSET).contains(&long(entry, 0));
        (length_fits && offset_fits).then_some(())?;
        Some(Self { offset: long(entry, 0), length: word(entry, 8), checksum: word(entry, 12), score })
    }
}

/// Table and trailer of a pack whose records are `entries` and end at `offset`.
pub(crate) fn seal(number: u32, offset: u64, entries: &[TableEntry]) -> Vec<u8> {
    let mut table = Vec::with_capacity(entries.len() * TableEntry::SIZE + RECORD_HEADER);
    for entry in entries {
        table.extend_from_slice(&entry.to_bytes());
    }
    let digest = sha2::Sha256::digest(&table);
    let records = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    let trailer = Trailer { number, records, offset, digest: digest.into() };
    table.extend_from_slice(&trailer.to_bytes());
    table
}

/// Reads a table and checks it against its trailer.
pub(crate) fn parse_table(trailer: &Trailer, table: &[u8]) -> Option<Vec<TableEntry>> {
    let whole = <[u8; 32]>::from(sha2::Sha256::digest(table)) == trailer.digest;
    whole.then_some(())?;
    let entries: Vec<_> = table.as_chunks().0.iter().map(TableEntry::from_bytes).collect::<Option<_>>()?;
    let ascending = entries.is_sorted_by(|a, b| a.end() <= b.offset);
    let within = entries.last().is_none_or(|last| last.end() <= trailer.offset);
    (ascending && within).then_some(entries)
}

/// The last 64 bytes of a sealed pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Number of the pack.
    pub number: u32,
    /// Number of records.
    pub records: u32,
    /// Offset of the table.
    pub offset: u64,
    /// SHA-256 of the table.
    pub digest: [u8; 32],
}

impl Trailer {
    /// The bytes at the end of the pack.
    pub fn to_bytes(&self) -> [u8; RECORD_HEADER] {
        let mut trailer = [0; RECORD_HEADER];
        trailer[..8].copy_from_slice(SEAL_MAGIC);
        trailer[8..12].copy_from_slice(&self.number.to_be_bytes());
        trailer[12..16].copy_from_slice(&self.records.to_be_bytes());
        trailer[16..24].copy_from_slice(&self.offset.to_be_bytes());
        trailer[24..56].copy_from_slice(&self.digest);
        close(trailer)
    }

    /// Reads a trailer; `None` unless every byte is as it must be.
    pub fn from_bytes(trailer: &[u8; RECORD_HEADER]) -> Option<Self> {
        let whole = is_closed(trailer) && trailer.starts_with(SEAL_MAGIC) && trailer[56..60] == [0; 4];
        whole.then_some(())?;
        let mut digest = [0; 32];
        digest.copy_from_slice(&trailer[24..56]);
        Some(Self { number: word(trailer, 8), records: word(trailer, 12), offset: long(trailer, 16), digest })
    }

    /// Length of the table in bytes.
    pub fn table_length(&self) -> u64 {
        u64::from(self.records) * TableEntry::SIZE as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_round_trip_and_refuse_any_flipped_byte() {
        let score = Score::of(Algorithm::Sha256, b"x");
        let record = RecordHeader { score, length: 1, checksum: 7 };
        let trailer = Trailer { number: 3, records: 1, offset: 129, digest: [5; 32] };
        let pack = pack_header(3, PackKind::Copies);
        assert_eq!(RecordHeader::from_bytes(&record.to_bytes()), Some(record));
        assert_eq!(Trailer::from_bytes(&trailer.to_bytes()), Some(trailer));
        assert_eq!(parse_pack_header(&pack), Some((3, PackKind::Copies)));
        for at in 0..RECORD_HEADER {
            let flip = |mut bytes: Header| {
                bytes[at] ^= 0x10;
                bytes
            };
            assert_eq!(RecordHeader::from_bytes(&flip(record.to_bytes())), None);
            assert_eq!(Trailer::from_bytes(&flip(trailer.to_bytes())), None);
            assert_eq!(parse_pack_header(&flip(pack)), None);
        }
    }

    #[test]
    fn a_table_is_checked_against_its_trailer() {
        let score = Score::of(Algorithm::Blake3, b"y");
        let entry = TableEntry { offset: 64, length: 1, checksum: 9, score };
        let sealed = seal(1, 129, &[entry]);
        let (table, trailer) = sealed.split_at(TableEntry::SIZE);
        let trailer = Trailer::from_bytes(trailer.try_into().expect("64 bytes")).expect("whole");
        assert_eq!(parse_table(&trailer, table), Some(vec![entry]));
        let mut bad = table.to_vec();
        bad[3] ^= 1;
        assert_eq!(parse_table(&trailer, &bad), None);
    }
}
