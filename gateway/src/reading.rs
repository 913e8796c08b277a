//! Reading stored files for answers, in threads that may wait for the disk and for peers.

use std::{
    io::{self, Write},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cas::BlockStore;
use offs::{BLOCK, FileReader, Kind};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};

use crate::{body::Piece, place::Target, trouble::Trouble};

/// Files that are sent at once; who comes then is told to try again.
const MOST_STREAMS: usize = 400;
/// With at most so many, each reads ahead with all cores.
const FEW: usize = 2;
/// Else each reads so many bytes at a time: a part of a stripe, so that no stripe is read twice.
const PIECE: u64 = BLOCK as u64;
/// Pieces that are read at once, so that the buffers of a crowd do not fill the memory.
const READING: usize = 8;
/// How long a client may take nothing.
const STALLED: Duration = Duration::from_mins(2);

/// Everything that is being sent.
pub(crate) struct Streams {
    slots: Arc<Semaphore>,
    reading: Semaphore,
    active: AtomicUsize,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MOST_STREAMS)),
            reading: Semaphore::new(READING),
            active: AtomicUsize::new(0),
        }
    }
}

/// The right to send something; it ends when this is dropped.
pub(crate) struct Slot {
    streams: Arc<Streams>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.streams.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    /// Begins to send something, if not too much is being sent.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Slot, Trouble> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Trouble::Busy)?;
        self.active.fetch_add(1, Ordering::Relaxed);
        Ok(Slot { streams: Arc::clone(self), _permit: permit })
    }

    fn few(&self) -> bool {
        self.active.load(Ordering::Relaxed) <= FEW
    }

    /// What is being sent.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }
}

/// Opens the file of a target, and checks that it is as long as was said.
pub(crate) fn open<'a>(store: &'a dyn BlockStore, target: &Target) -> Result<FileReader<'a>, Trouble> {
    let file = FileReader::open_kind(store, &target.reference, Kind::File)?;
    let within = target.part.as_ref().is_none_or(|part| part.end <= file.length());
    if file.length() != target.length || !within {
        return Err(offs::Error::Length { url: target.length, root: file.length() }.into());
    }
    Ok(file)
}

/// Sends bytes of a file into an answer.
pub(crate) struct Sending<'a, 'b> {
    pub(crate) file: &'a FileReader<'b>,
    pub(crate) to: mpsc::Sender<Piece>,
    pub(crate) runtime: Handle,
    pub(crate) slot: &'a Slot,
    /// Hashes what is sent, when all of the file is.
    pub(crate) hasher: Option<Box<blake3::Hasher>>,
}

/// Why sending stopped before the end.
enum Stop {
    /// There are many now, so that it goes on in small pieces from here.
    Many(u64),
    /// The client has gone, or takes nothing.
    Gone,
    Failed(offs::Error),
}

impl Sending<'_, '_> {
    /// The first piece, so that what is missing is known before the answer begins.
    pub(crate) fn first(&mut self, range: &Range<u64>) -> Result<Bytes, Trouble> {
        self.piece(range.start..piece_end(range.start).min(range.end)).map_err(Trouble::from)
    }

    /// Sends `first` and then the rest of the range; whether all of it was sent.
    pub(crate) fn run(mut self, first: Bytes, range: Range<u64>) -> bool {
        let mut at = range.start + first.len() as u64;
        let mut ended = if self.send(first) { Ok(()) } else { Err(Stop::Gone) };
        while ended.is_ok() && at < range.end {
            let few = self.slot.streams.few();
            let sent = if few { self.many(at..range.end) } else { self.one(at..piece_end(at).min(range.end)) };
            match sent {
                Ok(end) | Err(Stop::Many(end)) => at = end,
                Err(stop) => ended = Err(stop),
            }
        }
        let error = match ended {
            Ok(()) => match self.hasher.take().map(|hasher| *hasher.finalize().as_bytes()) {
                Some(found) if found != self.file.root().content_hash => {
                    let expected = self.file.root().content_hash;
                    offs::Error::ContentHash { expected, found }
                }
                _ => return true,
            },
            Err(Stop::Failed(error)) => error,
            Err(_) => return false,
        };
        tracing::warn!(%error, "an answer is cut off");
        self.deliver(Err(io::Error::other(error)));
        false
    }

    fn one(&mut self, range: Range<u64>) -> Result<u64, Stop> {
        let end = range.end;
        let piece = self.piece(range).map_err(Stop::Failed)?;
        if self.send(piece) { Ok(end) } else { Err(Stop::Gone) }
    }

    fn piece(&self, range: Range<u64>) -> Result<Bytes, offs::Error> {
        let mut piece = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        let _turn = self.runtime.block_on(self.slot.streams.reading.acquire());
        self.file.copy_range(range, &mut piece, &|_| {})?;
        Ok(piece.into())
    }

    /// Reads ahead with all cores, until it is done or many others have come.
    fn many(&mut self, range: Range<u64>) -> Result<u64, Stop> {
        let (file, end) = (self.file, range.end);
        let mut pipe = Pipe { at: range.start, stop: None, sending: self };
        let copied = file.copy_range(range, &mut pipe, &|_| {});
        match (pipe.stop, copied) {
            (Some(stop), _) => Err(stop),
            (None, Ok(())) => Ok(end),
            (None, Err(error)) => Err(Stop::Failed(error)),
        }
    }

    fn send(&mut self, piece: Bytes) -> bool {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.deliver(Ok(piece))
    }

    fn deliver(&self, piece: Piece) -> bool {
        matches!(self.runtime.block_on(timeout(STALLED, self.to.send(piece))), Ok(Ok(())))
    }
}

/// Where the piece that begins here ends.
const fn piece_end(at: u64) -> u64 {
    (at / PIECE + 1) * PIECE
}

struct Pipe<'s, 'a, 'b> {
    at: u64,
    stop: Option<Stop>,
    sending: &'s mut Sending<'a, 'b>,
}

impl Write for Pipe<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(512 << 10) {
            if !self.sending.send(Bytes::copy_from_slice(piece)) {
                self.stop = Some(Stop::Gone);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.at += piece.len() as u64;
        }
        if !self.sending.slot.streams.few() {
            self.stop = Some(Stop::Many(self.at));
            return Err(io::Error::other("enough"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
