//! Taking the content of an object from a request.

use std::{
    io::Read,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use offs::{PutOptions, SystemDice};
use s3s::{S3Error, S3ErrorCode, StdError, dto::StreamingBlob};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use crate::s3::{
    digest::{Digest, Digests, Expected},
    fault::{Fault, Result},
    object::{Piece, Place},
    shelf::{Content, Shelf},
};

/// What is at most so long is kept in the catalogue first.
pub(crate) const SMALL: usize = 256 << 10;
/// Pieces that were received and not yet stored.
const PIECES: usize = 4;
/// Long objects that are stored at a time, each with some 10 MiB of memory; who comes then waits.
pub(crate) const STORING: usize = 32;
/// How long he waits, and how slow a body may be while others wait, in bytes a second.
const WAITING: Duration = Duration::from_mins(1);
const SLOW: u64 = 16 << 10;
/// With at most so many, each has two threads, else one.
const FEW: usize = 4;

/// Why a body ended early, in the words of the protocol.
pub(crate) fn broken(error: &StdError) -> S3Error {
    if let Some(known) = error.downcast_ref::<S3Error>() {
        let mut same = S3Error::new(known.code().clone());
        if let Some(message) = known.message() {
            same.set_message(message.to_owned());
        }
        return same;
    }
    // The library's own errors have no public type.
    let text = error.to_string();
    let code = if text.contains("Sha256Mismatch") {
        S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
    } else if text.contains("SignatureMismatch") {
        S3ErrorCode::SignatureDoesNotMatch
    } else if text.contains("Incomplete") || text.contains("LengthMismatch") || text.contains("Underlying") {
        S3ErrorCode::IncompleteBody
    } else if text.contains("AwsChunkedStreamError") || text.contains("InvalidChecksum") {
        S3ErrorCode::InvalidRequest
    } else {
        S3ErrorCode::IncompleteBody
    };
    let status = match code {
        S3ErrorCode::SignatureDoesNotMatch => hyper::StatusCode::FORBIDDEN,
        _ => hyper::StatusCode::BAD_REQUEST,
    };
    let mut error = S3Error::with_message(code, "the body is not what was announced, or did not come wholly");
    error.set_status_code(status);
    error
}

async fn next(blob: &mut StreamingBlob) -> Result<Option<Bytes>, S3Error> {
    blob.next().await.transpose().map_err(|error| broken(&error))
}

/// A body in a thread; `None` is its end. If it ends without, whoever receives it has an error to tell.
struct Pipe {
    from: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    whole: bool,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.whole = true,
                None if self.whole => return Ok(0),
                None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let read = buffer.len().min(self.piece.len());
        bytes::Buf::copy_to_slice(&mut self.piece, &mut buffer[..read]);
        Ok(read)
    }
}

impl Shelf {
    /// Receives a body, and stores it if it is long; it is nobody's until it is put. `always` stores short ones, too.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        mut blob: StreamingBlob,
        expected: &Expected,
        always: bool,
    ) -> Result<(Content, Digests), S3Error> {
        let mut first = BytesMut::new();
        let mut ended = false;
        while first.len() <= SMALL {
            let Some(bytes) = next(&mut blob).await? else {
                ended = true;
                break;
            };
            first.extend_from_slice(&bytes);
        }
        if ended && !always {
            let mut digest = Digest::new(expected);
            digest.update(&first);
            return Ok((Content::small(first.freeze()), digest.finish()));
        }
        let slot = self.begin_storing().await?;
        let (began, mut received) = (Instant::now(), 0);
        let (to, from) = mpsc::channel(PIECES);
        let mut pipe = Pipe { from, piece: Bytes::new(), whole: false };
        let (shelf, expected) = (Arc::clone(self), expected.clone());
        let storing = tokio::task::spawn_blocking(move || shelf.store(&mut pipe, &expected));
        let mut outcome = Ok(());
        let mut piece = Some(first.freeze());
        while let Some(bytes) = piece.take() {
            received += bytes.len() as u64;
            let seconds = began.elapsed().as_secs();
            if seconds > WAITING.as_secs() && received < SLOW * seconds && self.storing.available_permits() == 0 {
                let message = "the body came too slowly while others waited";
                outcome = Err(S3Error::with_message(S3ErrorCode::RequestTimeout, message));
                break;
            }
            if !bytes.is_empty() && to.send(Some(bytes)).await.is_err() {
                // The store has failed, and says why.
                break;
            }
            if ended {
                break;
            }
            match next(&mut blob).await {
                Ok(more) => piece = more,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if outcome.is_ok() {
            // Only this says that all of it has come.
            let _failed = to.send(None).await;
        }
        drop(to);
        let stored = storing.await.map_err(|_| Fault::Worker)?;
        drop(slot);
        outcome?;
        Ok(stored?)
    }

    /// The right to store a long object.
    pub(crate) async fn begin_storing(&self) -> Result<OwnedSemaphorePermit, S3Error> {
        match timeout(WAITING, Arc::clone(&self.storing).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(S3Error::with_message(S3ErrorCode::SlowDown, "too many long objects at once; try again later")),
        }
    }

    /// Stores what is read, as a file of its own.
    pub(crate) fn store(&self, source: &mut dyn Read, expected: &Expected) -> Result<(Content, Digests)> {
        let store = self.backend.store();
        // From the first block until the object is written down nothing of it may be evicted.
        let hold = store.hold();
        let many = STORING - self.storing.available_permits() > FEW;
        let options = PutOptions { workers: if many { 1 } else { 2 }, ..self.backend.put_options() };
        let mut taken = Taken { source, digest: Digest::new(expected) };
        let stored = offs::put(store.as_ref(), &mut taken, &options, Box::new(SystemDice::new()), &|_| {})?;
        let piece = Piece { length: stored.length, place: Place::File(stored.reference.to_string()) };
        Ok((Content::of_pieces(vec![piece], Some(hold)), taken.digest.finish()))
    }
}

struct Taken<'a> {
    source: &'a mut dyn Read,
    digest: Digest,
}

impl Read for Taken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
