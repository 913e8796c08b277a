//! Directory objects: the records of a stored directory (docs/format.md, section 7).

use std::io::Write;

use bendy::{
    decoding::{Decoder, Object},
    encoding::{Encoder, SortedDictEncoder},
};

use crate::{Reference, ReferenceError, root::MAX_LENGTH};

const MAGIC: &[u8] = b"OFFDIR1\n";

/// Longest record in bytes.
pub const RECORD_LIMIT: usize = 16_384;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A file stored on its own.
    File {
        /// Its reference.
        reference: Reference,
        /// Its length.
        size: u64,
    },
    /// A file inside the packed file.
    Packed {
        /// Offset of its bytes.
        at: u64,
        /// Its length.
        size: u64,
    },
    /// A symbolic link.
    Link {
        /// Where it points to.
        target: Vec<u8>,
    },
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path below the directory, components joined by `/`; empty for the directory itself.
    pub path: Vec<u8>,
    /// Permission bits, 0 to 4095.
    pub mode: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// And nanoseconds.
    pub nsec: u32,
    /// What it is.
    pub node: Node,
}

/// The first record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub entries: u64,
    /// The packed file and its length.
    pub packed: Option<(Reference, u64)>,
}

/// Why bytes are not a directory object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// It does not begin like one.
    #[error("it does not begin like a directory object")]
    Magic,
    /// A record is empty or too long.
    #[error("a record of {0} bytes; records have 1 to {RECORD_LIMIT}")]
    RecordLength(u32),
    /// A record is not the dictionary that it should be.
    #[error("record {record} is not valid: {what}")]
    Record {
        /// Number of the record, the head being 0.
        record: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A reference is not one.
    #[error("record {record} has a bad reference")]
    Reference {
        /// Number of the record.
        record: u64,
        /// Why.
        source: ReferenceError,
    },
    /// It ends too early, or does not end.
    #[error("it has {found} entries and bytes to spare or to come, but says {expected}")]
    Count {
        /// In the head.
        expected: u64,
        /// Found.
        found: u64,
    },
}

/// Whether bytes can be one component of a path.
pub(crate) fn is_component(name: &[u8]) -> bool {
    (1..=255).contains(&name.len()) && !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b".."
}

/// Writes records.
pub struct DirectoryWriter;

impl DirectoryWriter {
    /// The object's beginning, with its head.
    pub fn head(head: &Head) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let record = dictionary(|dict| {
            dict.emit_pair(b"entries", head.entries)?;
            if let Some((reference, length)) = &head.packed {
                dict.emit_pair_with(b"packed", |e| e.emit_bytes(&reference.to_bytes()))?;
                dict.emit_pair(b"packed length", length)?;
            }
            Ok(())
        });
        push_record(&mut bytes, &record);
        bytes
    }

    /// Writes one entry.
    pub fn entry(entry: &Entry, out: &mut dyn Write) -> std::io::Result<()> {
        let record = dictionary(|dict| {
            if let Node::Packed { at, .. } = &entry.node {
                dict.emit_pair(b"at", at)?;
            }
            let kind: &[u8] = match &entry.node {
                Node::Directory => b"d",
                Node::File { .. } | Node::Packed { .. } => b"f",
                Node::Link { .. } => b"l",
            };
            dict.emit_pair_with(b"kind", |e| e.emit_bytes(kind))?;
            dict.emit_pair(b"mode", entry.mode)?;
            dict.emit_pair(b"mtime", entry.mtime)?;
            dict.emit_pair(b"nsec", entry.nsec)?;
            dict.emit_pair_with(b"path", |e| e.emit_bytes(&entry.path))?;
            match &entry.node {
                Node::Directory => {}
                Node::File { reference, size } => {
                    dict.emit_pair_with(b"ref", |e| e.emit_bytes(&reference.to_bytes()))?;
                    dict.emit_pair(b"size", size)?;
                }
                Node::Packed { size, .. } => dict.emit_pair(b"size", size)?,
                Node::Link { target } => dict.emit_pair_with(b"target", |e| e.emit_bytes(target))?,
            }
            Ok(())
        });
        let mut bytes = Vec::with_capacity(record.len() + 4);
        push_record(&mut bytes, &record);
        out.write_all(&bytes)
    }
}

fn dictionary(fill: impl FnOnce(&mut SortedDictEncoder<'_>) -> Result<(), bendy::encoding::Error>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let written = encoder.emit_dict(|mut dict| fill(&mut dict));
    debug_assert!(written.is_ok(), "keys are written in order");
    encoder.get_output().unwrap_or_default()
}

fn push_record(bytes: &mut Vec<u8>, record: &[u8]) {
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(record);
}

/// One step of a parse.
pub(crate) enum Parsed {
    Head(Head),
    Entry(Entry),
}

/// Parses a directory object piece by piece and checks every rule of the format before it gives an entry out.
/// Holds one record and one path at a time.
#[derive(Default)]
pub(crate) struct DirectoryParser {
    /// Bytes of the record, or of the magic, that is not complete.
    pending: Vec<u8>,
    head: Option<Head>,
    began: bool,
    entries: u64,
    /// Path of the entry before.
    last: Option<Vec<u8>>,
    /// Components of the directory that was entered last.
    open: Vec<Vec<u8>>,
}

impl DirectoryParser {
    /// Takes more bytes and calls `visit` with every record that is complete.
    pub(crate) fn feed<E: From<DirectoryError>>(
        &mut self,
        mut bytes: &[u8],
        visit: &mut dyn FnMut(Parsed) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let need = self.need()?;
            let take = (need - self.pending.len()).min(bytes.len());
            self.pending.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.pending.len() < need {
                return Ok(());
            }
            if self.need()? > need {
                continue;
            }
            let record = std::mem::take(&mut self.pending);
            if self.began {
                visit(self.record(&record[4..])?)?;
            } else if record == MAGIC {
                self.began = true;
            } else {
                return Err(DirectoryError::Magic.into());
            }
        }
    }

    /// Says that there are no more bytes.
    pub(crate) fn finish(&self) -> Result<(), DirectoryError> {
        let expected = self.head.as_ref().map_or(0, |head| head.entries);
        if self.head.is_none() || !self.pending.is_empty() || self.entries != expected || expected == 0 {
            return Err(DirectoryError::Count { expected, found: self.entries });
        }
        Ok(())
    }

    /// How many bytes `pending` must have before it can be used.
    fn need(&self) -> Result<usize, DirectoryError> {
        if !self.began {
            return Ok(MAGIC.len());
        }
        let Some(length) = self.pending.first_chunk::<4>() else { return Ok(4) };
        let length = u32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(size @ 1..=RECORD_LIMIT) => Ok(4 + size),
            _ => Err(DirectoryError::RecordLength(length)),
        }
    }

    fn record(&mut self, record: &[u8]) -> Result<Parsed, DirectoryError> {
        let Some(head) = &self.head else {
            let head = parse_head(&Fields::parse(0, record)?)?;
            self.head = Some(head.clone());
            return Ok(Parsed::Head(head));
        };
        if self.entries == head.entries {
            return Err(DirectoryError::Count { expected: head.entries, found: self.entries + 1 });
        }
        let number = self.entries + 1;
        let fields = Fields::parse(number, record)?;
        let packed = head.packed.as_ref().map(|(_, length)| *length);
        let entry = parse_entry(&fields, packed)?;
        self.check_order(&fields, &entry)?;
        self.entries = number;
        Ok(Parsed::Entry(entry))
    }

    /// The rules about the order of paths, which give every entry a directory for a parent, and no path twice.
    fn check_order(&mut self, fields: &Fields<'_>, entry: &Entry) -> Result<(), DirectoryError> {
        let Some(last) = &self.last else {
            self.last = Some(Vec::new());
            let is_first = entry.path.is_empty() && entry.node == Node::Directory;
            return is_first.then_some(()).ok_or_else(|| fields.bad("the first entry is not the directory itself"));
        };
        let components: Vec<_> = entry.path.split(|byte| *byte == b'/').collect();
        if entry.path.len() > 4096 || !components.iter().all(|component| is_component(component)) {
            return Err(fields.bad("not a relative path"));
        }
        let before = last.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
        if !before.lt(components.iter().copied()) {
            return Err(fields.bad("paths are not ascending"));
        }
        let parent = &components[..components.len() - 1];
        if self.open.len() < parent.len() || self.open.iter().zip(parent).any(|(open, part)| open != part) {
            return Err(fields.bad("its parent is not a directory of this object"));
        }
        self.open.truncate(parent.len());
        if entry.node == Node::Directory {
            self.open.extend(components.last().map(|name| name.to_vec()));
        }
        self.last = Some(entry.path.clone());
        Ok(())
    }
}

/// The fields of one record's dictionary.
struct Fields<'a> {
    record: u64,
    pairs: Vec<(&'a [u8], Value<'a>)>,
}

enum Value<'a> {
    Integer(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn parse(record: u64, bytes: &'a [u8]) -> Result<Self, DirectoryError> {
        let bad = |what| DirectoryError::Record { record, what };
        let broken = |_| bad("not canonical bencode");
        let mut decoder = Decoder::new(bytes).with_max_depth(2);
        let object = decoder.next_object().map_err(broken)?;
        let Some(Object::Dict(mut dict)) = object else { return Err(bad("not a dictionary")) };
        let mut pairs = Vec::new();
        while let Some((key, object)) = dict.next_pair().map_err(broken)? {
            let value = match object {
                Object::Integer(text) => Value::Integer(text),
                Object::Bytes(bytes) => Value::Bytes(bytes),
                Object::List(_) | Object::Dict(_) => return Err(bad("a list or dictionary inside")),
            };
            pairs.push((key, value));
        }
        // The decoder does not mind bytes after the first object.
        if dict.into_raw().map_err(broken)?.len() != bytes.len() {
            return Err(bad("bytes after the dictionary"));
        }
        Ok(Self { record, pairs })
    }

    fn bad(&self, what: &'static str) -> DirectoryError {
        DirectoryError::Record { record: self.record, what }
    }

    fn only(&self, keys: &[&[u8]]) -> Result<(), DirectoryError> {
        let same = self.pairs.len() == keys.len() && self.pairs.iter().all(|(key, _)| keys.contains(key));
        if same { Ok(()) } else { Err(self.bad("its keys are not those of its kind")) }
    }

    fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn bytes(&self, key: &[u8]) -> Result<&'a [u8], DirectoryError> {
        match self.get(key) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(self.bad("a field is missing or of the wrong type")),
        }
    }

    fn integer<T: std::str::FromStr>(&self, key: &[u8]) -> Result<T, DirectoryError> {
        match self.get(key) {
            Some(Value::Integer(text)) => text.parse().map_err(|_| self.bad("a number is out of range")),
            _ => Err(self.bad("a field is missing or of the wrong type")),
        }
    }

    fn length(&self, key: &[u8]) -> Result<u64, DirectoryError> {
        let length = self.integer(key)?;
        if length <= MAX_LENGTH { Ok(length) } else { Err(self.bad("a number is out of range")) }
    }

    fn reference(&self, key: &[u8]) -> Result<Reference, DirectoryError> {
        let record = self.record;
        Reference::from_bytes(self.bytes(key)?).map_err(|source| DirectoryError::Reference { record, source })
    }
}

fn parse_head(fields: &Fields<'_>) -> Result<Head, DirectoryError> {
    let entries = fields.integer(b"entries")?;
    let packed = if fields.get(b"packed").is_some() {
        fields.only(&[b"entries", b"packed", b"packed length"])?;
        Some((fields.reference(b"packed")?, fields.length(b"packed length")?))
    } else {
        fields.only(&[b"entries"])?;
        None
    };
    Ok(Head { entries, packed })
}

fn parse_entry(fields: &Fields<'_>, packed: Option<u64>) -> Result<Entry, DirectoryError> {
    const COMMON: [&[u8]; 5] = [b"kind", b"mode", b"mtime", b"nsec", b"path"];
    let only = |more: &[&[u8]]| fields.only(&[&COMMON[..], more].concat());
    let node = match (fields.bytes(b"kind")?, fields.get(b"ref").is_some()) {
        (b"d", _) => {
            only(&[])?;
            Node::Directory
        }
        (b"f", true) => {
            only(&[b"ref", b"size"])?;
            Node::File { reference: fields.reference(b"ref")?, size: fields.length(b"size")? }
        }
        (b"f", false) => {
            only(&[b"at", b"size"])?;
            let (at, size) = (fields.length(b"at")?, fields.length(b"size")?);
            if packed.is_none_or(|length| at + size > length) {
                return Err(fields.bad("it lies outside of the packed file"));
            }
            Node::Packed { at, size }
        }
        (b"l", _) => {
            only(&[b"target"])?;
            let target = fields.bytes(b"target")?;
            if !(1..=4095).contains(&target.len()) || target.contains(&0) {
                return Err(fields.bad("a link's target cannot be that"));
            }
            Node::Link { target: target.to_vec() }
        }
        _ => return Err(fields.bad("unknown kind")),
    };
    let entry = Entry {
        path: fields.bytes(b"path")?.to_vec(),
        mode: fields.integer(b"mode")?,
        mtime: fields.integer(b"mtime")?,
        nsec: fields.integer(b"nsec")?,
        node,
    };
    if entry.mode > 0o7777 || entry.nsec > 999_999_999 {
        return Err(fields.bad("a number is out of range"));
    }
    Ok(entry)
}
