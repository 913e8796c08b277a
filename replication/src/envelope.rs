//! The envelope of what peers say to each other over a link: KRPC's, as the DHT has it (BEP 5).
//!
//! A query is `d1:a<arguments>1:q<word>1:t<transaction>1:y1:qe`, an answer `d1:r<results>1:t<transaction>1:y1:re`,
//! a refusal `d1:eli<code>e<text>e1:t<transaction>1:y1:ee`. Arguments and results are dictionaries that each word
//! defines for itself, so the envelope carries them as they are.

use krpc::bencode::{self, Field};

/// Longest message on a link, in bytes.
pub const MOST_MESSAGE: usize = 1 << 20;

/// What one peer says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// A question.
    Query {
        /// What is asked.
        word: String,
        /// A bencoded dictionary.
        arguments: Vec<u8>,
    },
    /// An answer.
    Answer {
        /// A bencoded dictionary.
        results: Vec<u8>,
    },
    /// A refusal.
    Refusal(Refusal),
}

/// Why a peer does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text} (code {code})")]
pub struct Refusal {
    /// KRPC's code, or one of [`Refusal`]'s own.
    pub code: i64,
    /// In words.
    pub text: String,
}

/// Bytes that are no message of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of a link")]
pub struct NotAMessage;

impl From<bencode::NotBencode> for NotAMessage {
    fn from(_: bencode::NotBencode) -> Self {
        Self
    }
}

impl Refusal {
    /// The message is not right.
    pub const PROTOCOL: i64 = 203;
    /// There is no such word.
    pub const UNKNOWN: i64 = 204;
    /// The peer itself failed.
    pub const FAILED: i64 = 202;
    /// Who asks does not belong to the pool.
    pub const STRANGER: i64 = 401;
    /// There is no room, or none left for who asks.
    pub const FULL: i64 = 402;
    /// Who asks asks too much; later.
    pub const BUSY: i64 = 403;
    /// The two have different views of who holds what.
    pub const VIEW: i64 = 404;

    /// A refusal in words.
    pub fn new(code: i64, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl Envelope {
    /// The message's bytes. A link carries one question at a time on each stream, so the transaction only has to be
    /// there.
    pub fn to_bytes(&self) -> Vec<u8> {
        let string = |bytes: &[u8]| [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
        match self {
            Self::Query { word, arguments } => {
                [&b"d1:a"[..], arguments, b"1:q", &string(word.as_bytes()), b"1:t1:a1:y1:qe"].concat()
            }
            Self::Answer { results } => [&b"d1:r"[..], results, b"1:t1:a1:y1:re"].concat(),
            Self::Refusal(Refusal { code, text }) => {
                [format!("d1:eli{code}e").as_bytes(), &string(text.as_bytes()), b"e1:t1:a1:y1:ee"].concat()
            }
        }
    }

    /// Reads a message. Keys that are not known are passed over.
    ///
    /// # Errors
    /// When it is none, or longer than [`MOST_MESSAGE`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAMessage> {
        if bytes.len() > MOST_MESSAGE {
            return Err(NotAMessage);
        }
        bencode::bounded(bytes)?;
        let (mut kind, mut word, mut arguments, mut results, mut refusal) = (None, None, None, None, None);
        bencode::dictionary(bytes, &mut |key, field| match (key, field) {
            (b"y", _) => kind = field.bytes(),
            (b"q", _) => word = field.bytes(),
            (b"a", Field::Dictionary(raw)) => arguments = Some(raw),
            (b"r", Field::Dictionary(raw)) => results = Some(raw),
            (b"e", Field::List(raw)) => refusal = Refusal::from_list(raw),
            _ => {}
        })?;
        let read = match kind {
            Some(b"q") => word
                .and_then(|word| std::str::from_utf8(word).ok())
                .zip(arguments)
                .map(|(word, raw)| Self::Query { word: word.to_owned(), arguments: raw.to_vec() }),
            Some(b"r") => results.map(|raw| Self::Answer { results: raw.to_vec() }),
            Some(b"e") => refusal.map(Self::Refusal),
            _ => None,
        };
        read.ok_or(NotAMessage)
    }
}

impl Refusal {
    fn from_list(raw: &[u8]) -> Option<Self> {
        let (mut code, mut text) = (None, None);
        bencode::list(raw, &mut |field| match field {
            Field::Integer(_) => code = code.or(field.integer()),
            Field::Bytes(bytes) => text = text.take().or_else(|| Some(String::from_utf8_lossy(bytes).into_owned())),
            Field::List(_) | Field::Dictionary(_) => {}
        })
        .ok()?;
        let text = text?.chars().filter(|sign| !sign.is_control()).take(200).collect();
        Some(Self { code: code?, text })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for message in [
            Envelope::Query { word: "have".into(), arguments: b"d1:s3:abce".to_vec() },
            Envelope::Answer { results: b"de".to_vec() },
            Envelope::Refusal(Refusal::new(Refusal::FULL, "no room")),
        ] {
            assert_eq!(Envelope::from_bytes(&message.to_bytes()), Ok(message));
        }
    }

    #[test]
    fn foreign_text_is_cut_and_cleaned() {
        let refusal = Refusal::new(1, "a\u{1b}[2J".to_owned() + &"b".repeat(300));
        let bytes = Envelope::Refusal(refusal).to_bytes();
        let Ok(Envelope::Refusal(read)) = Envelope::from_bytes(&bytes) else { panic!("a refusal") };
        assert!(read.text.starts_with("a[2Jb") && read.text.len() == 200);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _read = Envelope::from_bytes(&bytes);
        }
    }
}
