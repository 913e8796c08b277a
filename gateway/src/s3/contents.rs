//! The bytes of objects: from the catalogue, from packed files, from files of their own.

use std::{
    num::NonZeroUsize,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use lru::LruCache;
use offs::{BLOCK, FileReader, Kind, Reference};
use s3s::{
    StdError,
    dto::StreamingBlob,
    stream::{ByteStream, RemainingLength},
};
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    body::{PIECES, Piece as Sent},
    reading::{Sending, Slot},
    s3::{
        entry,
        fault::{Fault, Result},
        object::{Pack, Piece, Place, Version},
        receive::SMALL,
        shelf::Shelf,
    },
};

/// Blocks of packed files that are kept in memory: 32 MiB.
const CACHED: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// What is at most so long is read before the answer begins: all that is not in files, and as much of them.
const AT_ONCE: u64 = SMALL as u64;

/// Source blocks of packed files, by the file's number and their own.
pub(crate) struct Blocks {
    cached: Mutex<LruCache<(u64, u64), Bytes>>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { cached: Mutex::new(LruCache::new(CACHED)) }
    }
}

impl Blocks {
    fn get(&self, at: (u64, u64)) -> Option<Bytes> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).get(&at).cloned()
    }

    fn put(&self, at: (u64, u64), block: Bytes) {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).put(at, block);
    }
}

/// The parts of pieces that a range covers, each with its place in the whole.
fn covered(pieces: &[Piece], range: &Range<u64>) -> Vec<(Piece, Range<u64>)> {
    let mut start = 0;
    let mut covered = Vec::new();
    for piece in pieces {
        let end = start + piece.length;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            covered.push((piece.clone(), from - start..to - start));
        }
        start = end;
    }
    covered
}

/// The body of an answer.
pub(crate) enum Bodied {
    Full(Bytes),
    Pieces { from: mpsc::Receiver<Sent>, length: u64 },
}

impl Shelf {
    /// Bytes of a version, all in memory. For small ones.
    pub(crate) fn bytes(&self, version: &Version, range: &Range<u64>) -> Result<Bytes> {
        let mut read = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        for (piece, part) in covered(&version.pieces, range) {
            if read.is_empty() && part.end - part.start == range.end - range.start {
                return self.piece(version.seq, &piece, &part);
            }
            read.extend_from_slice(&self.piece(version.seq, &piece, &part)?);
        }
        Ok(read.into())
    }

    fn piece(&self, seq: u64, piece: &Piece, part: &Range<u64>) -> Result<Bytes> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match &piece.place {
            Place::Small => {
                let value = Bytes::from(self.catalogue.get(&entry::small(seq))?.ok_or(Fault::Lost("a small object"))?);
                let (_, _, bytes) = entry::split_owned(&value).ok_or(Fault::Lost("an owner"))?;
                let at = value.len() - bytes.len();
                let end = at + size(part.end);
                if end > value.len() {
                    return Err(Fault::Lost("the end of a small object"));
                }
                Ok(value.slice(at + size(part.start)..end))
            }
            Place::Packed { pack, at } => self.packed(*pack, at + part.start..at + part.end),
            Place::File(text) => {
                let store = self.backend.store();
                let file = FileReader::open_kind(store.as_ref(), &parse(text)?, Kind::File)?;
                let mut bytes = Vec::with_capacity(size(part.end - part.start));
                file.copy_range(part.clone(), &mut bytes, &|_| {})?;
                Ok(bytes.into())
            }
        }
    }

    fn packed(&self, pack: u64, range: Range<u64>) -> Result<Bytes> {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let block = BLOCK as u64;
        let mut read = Vec::new();
        for number in range.start / block..range.end.div_ceil(block) {
            let start = number * block;
            let bytes = self.block_of_pack(pack, number)?;
            let (from, to) = (range.start.max(start) - start, range.end.min(start + block) - start);
            if size(to) > bytes.len() {
                return Err(Fault::Lost("the end of a packed file"));
            }
            let part = bytes.slice(size(from)..size(to));
            if to - from == range.end - range.start {
                return Ok(part);
            }
            read.extend_from_slice(&part);
        }
        Ok(read.into())
    }

    fn block_of_pack(&self, pack: u64, number: u64) -> Result<Bytes> {
        if let Some(block) = self.blocks.get((pack, number)) {
            return Ok(block);
        }
        // What moves into it can be read a little before it is counted.
        let known = match self.committer.pack(pack) {
            Some(known) => known,
            None => self.read::<Pack>(&entry::pack(pack))?.ok_or(Fault::Lost("a packed file"))?,
        };
        let store = self.backend.store();
        let file = FileReader::open_kind(store.as_ref(), &parse(&known.reference)?, Kind::File)?;
        let start = number * BLOCK as u64;
        let mut block = Vec::with_capacity(BLOCK);
        file.copy_range(start..(start + BLOCK as u64).min(file.length()), &mut block, &|_| {})?;
        let block = Bytes::from(block);
        self.blocks.put((pack, number), block.clone());
        Ok(block)
    }

    /// Bytes of a version for an answer; long ones come from a thread while they are sent.
    ///
    /// A version that is overwritten or deleted while this looks is read as it was, or looked up again by the caller.
    pub(crate) fn body(self: &Arc<Self>, version: &Version, range: Range<u64>, runtime: &Handle) -> Result<Bodied> {
        if range.end - range.start <= AT_ONCE {
            return Ok(Bodied::Full(self.bytes(version, &range)?));
        }
        let slot = self.streams.begin().map_err(|_| {
            crate::s3::fault::fault(
                s3s::S3ErrorCode::SlowDown,
                "too many objects are sent at once; try again in a moment",
            )
        })?;
        let length = range.end - range.start;
        let parts = covered(&version.pieces, &range);
        let (first, part) = parts.first().ok_or(Fault::Lost("the pieces of an object"))?;
        // What is missing is known before the answer begins.
        let end = part.end.min((part.start / BLOCK as u64 + 1) * BLOCK as u64);
        let begun = self.piece(version.seq, first, &(part.start..end))?;
        let (to, from) = mpsc::channel(PIECES);
        let (shelf, runtime, request) = (Arc::clone(self), runtime.clone(), tracing::Span::current());
        runtime.clone().spawn_blocking(move || request.in_scope(|| shelf.send(&to, &runtime, &slot, parts, begun)));
        Ok(Bodied::Pieces { from, length })
    }

    fn send(
        &self,
        to: &mpsc::Sender<Sent>,
        runtime: &Handle,
        slot: &Slot,
        parts: Vec<(Piece, Range<u64>)>,
        begun: Bytes,
    ) {
        let mut begun = Some(begun);
        for (piece, part) in parts {
            let sent = match &piece.place {
                Place::File(text) => self.send_file(to, runtime, slot, text, part, begun.take()),
                // What is longer than a small object is in files.
                Place::Small | Place::Packed { .. } => Err(Fault::Lost("a file of a long object")),
            };
            match sent {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "an answer is cut off");
                    let _gone = runtime.block_on(to.send(Err(std::io::Error::other(error))));
                    return;
                }
            }
        }
    }

    fn send_file(
        &self,
        to: &mpsc::Sender<Sent>,
        runtime: &Handle,
        slot: &Slot,
        text: &str,
        part: Range<u64>,
        begun: Option<Bytes>,
    ) -> Result<bool> {
        let store = self.backend.store();
        let file = FileReader::open_kind(store.as_ref(), &parse(text)?, Kind::File)?;
        let whole = part == (0..file.length());
        let hasher = whole.then(Box::default);
        let sending = Sending { file: &file, to: to.clone(), runtime: runtime.clone(), slot, hasher };
        Ok(sending.run(begun.unwrap_or_default(), part))
    }
}

pub(crate) fn parse(text: &str) -> Result<Reference> {
    text.parse().map_err(|_| Fault::Lost("a reference that can be read"))
}

impl Bodied {
    pub(crate) fn into_blob(self) -> StreamingBlob {
        match self {
            Self::Full(bytes) => StreamingBlob::from(s3s::Body::from(bytes)),
            Self::Pieces { from, length } => StreamingBlob::new(Pieces { from, left: length }),
        }
    }
}

struct Pieces {
    from: mpsc::Receiver<Sent>,
    left: u64,
}

impl Stream for Pieces {
    type Item = std::result::Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.from.poll_recv(context).map(|received| match received {
            Some(Ok(bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                Some(Ok(bytes))
            }
            Some(Err(error)) => Some(Err(error.into())),
            // The connection is cut off: the client must not take a part for the whole.
            None => Some(Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())),
        })
    }
}

impl ByteStream for Pieces {
    fn remaining_length(&self) -> RemainingLength {
        RemainingLength::new_exact(usize::try_from(self.left).unwrap_or(usize::MAX))
    }
}

/// Reads a range of a version, in order.
pub(crate) struct Reading<'a> {
    shelf: &'a Shelf,
    version: &'a Version,
    range: Range<u64>,
    read: Bytes,
}

/// So much is read at a time.
const STEP: u64 = 2 << 20;

impl Shelf {
    pub(crate) const fn reader<'a>(&'a self, version: &'a Version, range: Range<u64>) -> Reading<'a> {
        Reading { shelf: self, version, range, read: Bytes::new() }
    }
}

impl std::io::Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.read.is_empty() && !self.range.is_empty() {
            let end = self.range.end.min(self.range.start + STEP);
            let bytes = self.shelf.bytes(self.version, &(self.range.start..end));
            self.read = bytes.map_err(std::io::Error::other)?;
            self.range.start = end;
        }
        let read = buffer.len().min(self.read.len());
        bytes::Buf::copy_to_slice(&mut self.read, &mut buffer[..read]);
        Ok(read)
    }
}
