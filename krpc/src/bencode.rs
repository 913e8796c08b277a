//! Reading bencoded dictionaries that strangers sent, on top of `bendy`.
//!
//! Only canonical bencode is read: sorted keys, none twice, no leading zeros, nothing after the end.

use bendy::{
    decoding::{Decoder, Object},
    encoding::{PrintableInteger, SingleItemEncoder},
};

/// Deepest nesting that is read: our own messages need four.
const DEPTH: usize = 10;

/// Most lists, dictionaries and elements of one message. A value of 1,000 bytes has up to 998, and an answer has
/// others beside it.
const MOST_TOKENS: usize = 1200;

/// The bytes are not canonical bencode, or too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not canonical bencode")]
pub struct NotBencode;

impl From<bendy::decoding::Error> for NotBencode {
    fn from(_: bendy::decoding::Error) -> Self {
        Self
    }
}

/// A value in a dictionary or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// An integer, as text: it may be of any size.
    Integer(&'a str),
    /// A list, in its bencoded form.
    List(&'a [u8]),
    /// A dictionary, in its bencoded form.
    Dictionary(&'a [u8]),
}

impl<'a> Field<'a> {
    fn of(object: Object<'_, 'a>) -> Result<Self, NotBencode> {
        Ok(match object {
            Object::Bytes(bytes) => Self::Bytes(bytes),
            Object::Integer(text) => Self::Integer(text),
            Object::List(list) => Self::List(list.into_raw()?),
            Object::Dict(dictionary) => Self::Dictionary(dictionary.into_raw()?),
        })
    }

    /// The bytes of a string.
    pub fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The bytes of a string that has just that many.
    pub fn fixed<const N: usize>(self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    /// An integer, if it fits.
    pub fn integer(self) -> Option<i64> {
        if let Self::Integer(text) = self { text.parse().ok() } else { None }
    }

    /// The bencoded form of any kind of value.
    pub(crate) fn to_bencode(self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => {
                let mut whole = format!("{}:", bytes.len()).into_bytes();
                whole.extend_from_slice(bytes);
                whole
            }
            Self::Integer(text) => format!("i{text}e").into_bytes(),
            Self::List(raw) | Self::Dictionary(raw) => raw.to_vec(),
        }
    }
}

/// Whether the bytes are one object that a message can hold, and nothing else.
pub(crate) fn is_one_object(bytes: &[u8]) -> bool {
    let read = || -> Result<bool, NotBencode> {
        // A message has two dictionaries around a value.
        let mut decoder = Decoder::new(bytes).with_max_depth(DEPTH - 2);
        let Some(object) = decoder.next_object()? else { return Ok(false) };
        Field::of(object)?;
        Ok(decoder.next_object()?.is_none())
    };
    read().unwrap_or(false)
}

/// Calls `visit` with each key and value of a dictionary that is all of `bytes`.
pub fn dictionary<'a>(bytes: &'a [u8], visit: &mut dyn FnMut(&'a [u8], Field<'a>)) -> Result<(), NotBencode> {
    let mut decoder = Decoder::new(bytes).with_max_depth(DEPTH);
    let Some(Object::Dict(mut pairs)) = decoder.next_object()? else { return Err(NotBencode) };
    while let Some((key, object)) = pairs.next_pair()? {
        visit(key, Field::of(object)?);
    }
    drop(pairs);
    if decoder.next_object()?.is_none() { Ok(()) } else { Err(NotBencode) }
}

/// Calls `visit` with each value of a list that is all of `bytes`.
pub fn list<'a>(bytes: &'a [u8], visit: &mut dyn FnMut(Field<'a>)) -> Result<(), NotBencode> {
    let mut decoder = Decoder::new(bytes).with_max_depth(DEPTH);
    let Some(Object::List(mut values)) = decoder.next_object()? else { return Err(NotBencode) };
    while let Some(object) = values.next_object()? {
        visit(Field::of(object)?);
    }
    Ok(())
}

/// Refuses what has more parts than any message needs.
pub fn bounded(bytes: &[u8]) -> Result<(), NotBencode> {
    // Each part has a byte at least.
    if bytes.len() <= MOST_TOKENS {
        return Ok(());
    }
    let mut tokens = 0;
    for token in Decoder::new(bytes).with_max_depth(DEPTH).tokens() {
        token?;
        tokens += 1;
        if tokens > MOST_TOKENS {
            return Err(NotBencode);
        }
    }
    Ok(())
}

/// Writes a value that is bencoded already. It was read before, so there is nothing wrong with it.
pub(crate) fn emit(encoder: SingleItemEncoder<'_>, value: &[u8]) -> Result<(), bendy::encoding::Error> {
    let mut decoder = Decoder::new(value).with_max_depth(DEPTH);
    match decoder.next_object() {
        Ok(Some(object)) => emit_object(encoder, object),
        _ => encoder.emit_bytes(b""),
    }
}

/// An integer of any size, as its text.
struct Digits<'a>(&'a str);

impl std::fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl PrintableInteger for Digits<'_> {}

fn emit_object(encoder: SingleItemEncoder<'_>, object: Object<'_, '_>) -> Result<(), bendy::encoding::Error> {
    match object {
        Object::Bytes(bytes) => encoder.emit_bytes(bytes),
        Object::Integer(text) => encoder.emit_int(Digits(text)),
        Object::List(mut list) => encoder.emit_list(|e| {
            while let Ok(Some(object)) = list.next_object() {
                e.emit_with(|e| emit_object(e, object))?;
            }
            Ok(())
        }),
        Object::Dict(mut pairs) => encoder.emit_dict(|mut e| {
            while let Ok(Some((key, object))) = pairs.next_pair() {
                e.emit_pair_with(key, |e| emit_object(e, object))?;
            }
            Ok(())
        }),
    }
}
