//! Where a block lies, and how the index writes it down.

use crate::{Change, IndexError, PackKind, RECORD_HEADER, Score};

/// Where a block lies: a record of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the pack.
    pub(crate) pack: u32,
    /// Offset of the record's header.
    pub(crate) offset: u64,
    /// Length of the block in bytes.
    pub(crate) length: u32,
    /// CRC-32 of the block.
    pub(crate) checksum: u32,
}

impl Place {
    /// Offset of the first byte behind the record.
    pub(crate) fn end(&self) -> u64 {
        self.offset + RECORD_HEADER as u64 + u64::from(self.length)
    }

    /// Length of its binary form, which is that of the value in the index.
    pub const SIZE: usize = 20;

    /// Pack, offset, length and checksum, all big-endian.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.pack.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_be_bytes());
        bytes[16..].copy_from_slice(&self.checksum.to_be_bytes());
        bytes
    }

    /// Reads the binary form.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let mut offset = [0; 8];
        offset.copy_from_slice(&bytes[4..12]);
        Self {
            pack: u32::from_be_bytes(word(0)),
            offset: u64::from_be_bytes(offset),
            length: u32::from_be_bytes(word(12)),
            checksum: u32::from_be_bytes(word(16)),
        }
    }

    pub(crate) fn to_value(self) -> Vec<u8> {
        self.to_bytes().to_vec()
    }

    pub(crate) fn from_value(key: &[u8], value: &[u8]) -> Result<Self, IndexError> {
        let bytes = value.try_into().map_err(|_| IndexError::Entry { key: key.to_vec() })?;
        Ok(Self::from_bytes(bytes))
    }
}

/// The parts of packs that hold some places, as pack, first byte and end; neighbours together.
pub(crate) fn runs(mut places: Vec<Place>) -> Vec<(u32, u64, u64)> {
    places.sort_unstable_by_key(|place| (place.pack, place.offset));
    let near = |a: &Place, b: &Place| a.pack == b.pack && b.offset <= a.end();
    let ends = |run: &[Place]| Some((run.first()?.pack, run.first()?.offset, run.last()?.end()));
    places.chunk_by(near).filter_map(ends).collect()
}

/// First byte of an index key: what the entry is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Score -> place of the block.
    Block,
    /// Score -> place of its second copy.
    Copy,
    /// Score -> place of the damaged block.
    Quarantine,
    /// Pack number -> catalogue entry.
    Pack,
    /// Pack number -> which of its blocks were used.
    Used,
    /// Pack number -> which of its records are not drawn as randomizers.
    Undrawn,
    /// Pack number -> which of its blocks are likely to stay.
    Kept,
    /// Nothing -> version of arrivals and fingerprints, and how far the arrivals go.
    Ledger,
    /// Arrival number, 8 bytes big-endian -> score.
    Arrival,
    /// First 20 bits of digests, then 4 zero bits -> fingerprint of the blocks in the index.
    Leaf,
    /// Key of a layer above -> its value.
    Note,
}

impl Tag {
    /// Takes out what the index says of a pack: all of it goes with the pack.
    pub(crate) fn forget_pack(pack: u32) -> [Change; 4] {
        [Self::Pack, Self::Used, Self::Undrawn, Self::Kept].map(|tag| Change::Delete(tag.pack(pack)))
    }

    /// Under which tag the blocks of a pack are found.
    pub(crate) const fn of(kind: PackKind) -> Self {
        match kind {
            PackKind::Blocks => Self::Block,
            PackKind::Copies => Self::Copy,
        }
    }

    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Block => b'b',
            Self::Copy => b'c',
            Self::Quarantine => b'q',
            Self::Pack => b'p',
            Self::Used => b'u',
            Self::Undrawn => b'n',
            Self::Kept => b'k',
            Self::Ledger => b'l',
            Self::Arrival => b'a',
            Self::Leaf => b'f',
            Self::Note => b't',
        }
    }

    /// Key of an entry about a block.
    pub(crate) fn score(self, score: &Score) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + Score::BINARY);
        key.push(self.byte());
        key.extend_from_slice(&score.to_binary());
        key
    }

    /// Key of an entry about a pack.
    pub(crate) fn pack(self, pack: u32) -> Vec<u8> {
        let mut key = vec![self.byte()];
        key.extend_from_slice(&pack.to_be_bytes());
        key
    }
}

/// The score in a key that [`Tag::score`] made.
pub(crate) fn score_of_key(key: &[u8]) -> Result<Score, IndexError> {
    let unreadable = || IndexError::Entry { key: key.to_vec() };
    let binary = key.get(1..).and_then(|rest| rest.try_into().ok()).ok_or_else(unreadable)?;
    Score::from_binary(binary).map_err(|_| unreadable())
}

/// The pack number in a key that [`Tag::pack`] made.
pub(crate) fn pack_of_key(key: &[u8]) -> Result<u32, IndexError> {
    let number = key.get(1..).and_then(|rest| rest.try_into().ok());
    number.map(u32::from_be_bytes).ok_or_else(|| IndexError::Entry { key: key.to_vec() })
}
