//! Bodies in chunks, each with its length in front (AWS, "Signature calculations: transferring a payload in chunks").

use std::collections::VecDeque;

use bytes::Bytes;

/// The longest chunk that is signed: the library holds each in memory, until it has seen its signature.
const LONGEST_CHUNK: u64 = 64 << 20;

/// Where a body in chunks is, so far that the lengths of chunks are known.
#[derive(Default)]
pub(crate) struct Chunks {
    /// Bytes of the chunk, and of the line end behind it, that are still to come.
    left: u64,
    length: u64,
    /// Behind the digits of a length, to the end of the line.
    extension: bool,
    /// Behind the empty chunk, where the trailers are.
    ended: bool,
}

impl Chunks {
    /// Goes on; `false` when a chunk is too long.
    pub(crate) fn see(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((byte, rest)) = bytes.split_first().filter(|_| !self.ended) {
            if self.left > 0 {
                let skipped = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
                continue;
            }
            match (char::from(*byte).to_digit(16), byte) {
                (_, b'\n') => {
                    self.ended = self.length == 0;
                    self.left = if self.ended { 0 } else { self.length + 2 };
                    (self.length, self.extension) = (0, false);
                }
                (Some(digit), _) if !self.extension => {
                    self.length = self.length << 4 | u64::from(digit);
                    if self.length > LONGEST_CHUNK {
                        return false;
                    }
                }
                _ => self.extension = true,
            }
            bytes = rest;
        }
        true
    }
}

/// A body in chunks without signatures, cut into other chunks: each as long as what came of it at once. Some clients send
/// everything in one, and the library holds a chunk in memory until it is whole.
#[derive(Default)]
pub(crate) struct Recut {
    at: At,
    out: VecDeque<Bytes>,
}

/// Where in the body it is.
enum At {
    /// In the line with the length, of which these are the bytes so far.
    Length(Vec<u8>),
    /// In a chunk of which so much is to come.
    Data(u64),
    /// So far in the line end behind a chunk.
    End(usize),
    /// Behind the empty chunk.
    Trailers,
}

impl Default for At {
    fn default() -> Self {
        Self::Length(Vec::new())
    }
}

/// The longest line with a length.
const LONGEST_LINE: usize = 1024;
const LINE_END: &[u8] = b"\r\n";

impl Recut {
    /// Takes what came; `false` when it is no body in chunks.
    pub(crate) fn push(&mut self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Length(line) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    line.extend_from_slice(&bytes.split_to(end.map_or(bytes.len(), |end| end + 1)));
                    if line.len() > LONGEST_LINE {
                        return false;
                    }
                    if end.is_some() {
                        let Some(length) = length(line) else { return false };
                        self.at = if length == 0 {
                            self.out.push_back(Bytes::copy_from_slice(line));
                            At::Trailers
                        } else {
                            At::Data(length)
                        };
                    }
                }
                At::Data(left) => {
                    let here = bytes.split_to(bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                    *left -= here.len() as u64;
                    if *left == 0 {
                        self.at = At::End(0);
                    }
                    self.out.push_back(Bytes::from(format!("{:x}\r\n", here.len())));
                    self.out.push_back(here);
                    self.out.push_back(Bytes::from_static(LINE_END));
                }
                At::End(seen) => {
                    if bytes.split_to(1)[..] != LINE_END[*seen..=*seen] {
                        return false;
                    }
                    *seen += 1;
                    if *seen == LINE_END.len() {
                        self.at = At::default();
                    }
                }
                At::Trailers => self.out.push_back(std::mem::take(&mut bytes)),
            }
        }
        true
    }

    /// What the library gets next, if something is there.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// Whether the empty chunk has come.
    pub(crate) const fn is_ended(&self) -> bool {
        matches!(self.at, At::Trailers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

/// The length in a line.
fn length(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let digits = line.split(';').next().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chunks_are_seen_wherever_the_pieces_end() {
        let body = b"5;chunk-signature=abcdef\r\nhello\r\n3\r\n\n\n9\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for step in 1..body.len() {
            let mut chunks = Chunks::default();
            assert!(body.chunks(step).all(|piece| chunks.see(piece)), "{step}");
            assert_eq!(chunks.left, 0);
        }
        let long = b"5\r\nhello\r\n4000001;x\r\n";
        for step in 1..long.len() {
            let mut chunks = Chunks::default();
            assert!(!long.chunks(step).all(|piece| chunks.see(piece)), "{step}");
        }
    }

    #[test]
    fn what_is_cut_anew_is_the_same() {
        let body = b"5;x=y\r\nhello\r\n3\r\n\n\n9\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for step in 1..=body.len() {
            let mut recut = Recut::default();
            assert!(body.chunks(step).all(|piece| recut.push(Bytes::copy_from_slice(piece))), "{step}");
            let mut all = Vec::new();
            while let Some(bytes) = recut.pop() {
                all.extend_from_slice(&bytes);
            }
            assert!(recut.is_ended() && recut.is_empty());
            let (mut rest, mut content) = (&all[..], Vec::new());
            loop {
                let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
                let length = usize::try_from(length(&rest[..=end]).expect("a length")).expect("short");
                rest = &rest[end + 1..];
                if length == 0 {
                    break;
                }
                content.extend_from_slice(&rest[..length]);
                assert_eq!(&rest[length..length + 2], LINE_END);
                rest = &rest[length + 2..];
            }
            assert_eq!((&content[..], rest), (&b"hello\n\n9"[..], &b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n"[..]));
        }
        for wrong in
            [&b"x\r\n"[..], b"5\nhello", b"1\r\nab", b"1\r\na\n", b"\r\n", b"10000000000000000\r\n", &[b'0'; 2000]]
        {
            assert!(!Recut::default().push(Bytes::copy_from_slice(wrong)), "{wrong:?}");
        }
    }
}
