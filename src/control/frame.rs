//! Frames on the control socket: 4 bytes of length, big-endian, a byte for the kind, and the payload.
//!
//! Both ends are the same program on the same machine, so there is no other version to get along with: the first
//! frame compares them.

use std::io::{self, Read, Write};

/// Longest payload: some blocks with their lengths, or a page of text.
const MOST: usize = 4 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The version of the program; answered with `Done` or `Failed`.
    Hello,
    /// Algorithm code, whether twice, the block; answered with `Score`.
    Put,
    /// A score; answered with `Block` or `Absent`, once peers were asked.
    Get,
    /// A score; answered with `Done` or `Absent`.
    Contains,
    /// Answered with `Number`.
    MostBlocks,
    /// A score; answered with `Done` or `Absent`.
    Remove,
    /// Answered with `Scored`, the last of which is empty.
    Scores,
    /// Answered with `Done`.
    Sync,
    /// Algorithm code and seed; answered with `Done`. The next frames on this connection are `Draw`.
    Sampler,
    /// Answered with `Placed`; empty when there are no more.
    Draw,
    /// Answered with `Done`. Holds as long as the connection lasts.
    Hold,
    /// Scores that will be read soon; answered with `Placed`.
    Expect,
    /// Answered with `Done` and a line for each peer that did not answer lately.
    Silent,
    /// Operation and URL as JSON; answered with `Done`.
    Record,
    /// A command line as JSON; answered with `Out` and `Err`, then `Exit`.
    Command,
    /// Bytes of a block.
    Block,
    /// There is no such thing.
    Absent,
    /// It is done.
    Done,
    /// A score.
    Score,
    /// Scores.
    Scored,
    /// A number of 8 bytes.
    Number,
    /// An error as JSON.
    Failed,
    /// A line for standard output.
    Out,
    /// A line for standard error.
    Err,
    /// An exit code of one byte.
    Exit,
    /// Algorithm code, then blocks, each behind its length in 4 bytes; answered with `Scored`.
    PutMany,
    /// Scores, each with the place in the packs where it can be read, or zeros.
    Placed,
}

const KINDS: [Kind; 27] = [
    Kind::Hello,
    Kind::Put,
    Kind::Get,
    Kind::Contains,
    Kind::MostBlocks,
    Kind::Remove,
    Kind::Scores,
    Kind::Sync,
    Kind::Sampler,
    Kind::Draw,
    Kind::Hold,
    Kind::Expect,
    Kind::Silent,
    Kind::Record,
    Kind::Command,
    Kind::Block,
    Kind::Absent,
    Kind::Done,
    Kind::Score,
    Kind::Scored,
    Kind::Number,
    Kind::Failed,
    Kind::Out,
    Kind::Err,
    Kind::Exit,
    Kind::PutMany,
    Kind::Placed,
];

/// Writes a frame whose payload is `parts`, one after the other.
pub(crate) fn write(stream: &mut impl Write, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).ok().filter(|length| *length as usize <= MOST);
    let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    // One system call for all that is short.
    let mut head = Vec::with_capacity(5 + if length < 4096 { length as usize } else { 0 });
    head.extend_from_slice(&length.to_be_bytes());
    head.push(kind as u8);
    if length < 4096 {
        for part in parts {
            head.extend_from_slice(part);
        }
        return stream.write_all(&head);
    }
    stream.write_all(&head)?;
    parts.iter().try_for_each(|part| stream.write_all(part))
}

/// Reads a frame's payload into `payload` and returns its kind; `None` at the end of the connection.
pub(crate) fn read(stream: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Option<Kind>> {
    let mut head = [0; 5];
    let first = stream.read(&mut head)?;
    if first == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[first..])?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let kind = KINDS.get(usize::from(head[4])).filter(|_| length <= MOST);
    let kind = *kind.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    payload.resize(length, 0);
    stream.read_exact(payload)?;
    Ok(Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let mut wire = Vec::new();
        for (at, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            write(&mut wire, kind, &[b"ab", &vec![7; at * 1000]]).expect("write");
        }
        let mut wire = wire.as_slice();
        let mut payload = Vec::new();
        for (at, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(read(&mut wire, &mut payload).expect("read"), Some(kind));
            assert_eq!(payload.len(), 2 + at * 1000);
        }
        assert_eq!(read(&mut wire, &mut payload).expect("read"), None);
        assert!(read(&mut &[0, 0, 0, 0, 99][..], &mut payload).is_err(), "no such kind");
        assert!(read(&mut &[255, 0, 0, 0, 1][..], &mut payload).is_err(), "too long");
    }
}
