//! Bodies of requests, watched while the library reads them.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use s3s::S3ErrorCode;
use tokio::time::{Instant, Sleep, sleep};

use crate::s3::{
    chunks::{Chunks, Recut},
    digest::{Digest, Expected},
    fault::{Fault, fault},
};

/// How long a client may send nothing.
const STALLED: Duration = Duration::from_secs(30);
/// The end of a body in chunks is within so many bytes of its own end.
const TAIL: usize = 2048;

/// Why a body was cut off, for the answer: the library only knows that it was.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<Fault>>>);

impl Verdict {
    pub(crate) fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, fault: Fault) -> io::Error {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        io::Error::other("the body is refused")
    }
}

/// A body that is cut off when it stalls, is too long, or is not what was said of it.
pub(crate) struct Watched {
    body: Incoming,
    patience: Pin<Box<Sleep>>,
    /// Bytes that may still come.
    left: u64,
    checked: Option<(Digest, Expected)>,
    /// The last bytes, when the body comes in chunks that end with an empty one.
    tail: Option<Vec<u8>>,
    chunks: Chunks,
    /// When the chunks are not signed.
    recut: Option<Recut>,
    verdict: Verdict,
}

impl Watched {
    pub(crate) fn new(body: Incoming, most: u64, verdict: &Verdict) -> Self {
        let patience = Box::pin(sleep(STALLED));
        Self {
            body,
            patience,
            left: most,
            checked: None,
            tail: None,
            chunks: Chunks::default(),
            recut: None,
            verdict: verdict.clone(),
        }
    }

    /// Its digests must be these.
    pub(crate) fn checked(self, expected: Expected) -> Self {
        Self { checked: Some((Digest::new(&expected), expected)), ..self }
    }

    /// It comes in chunks, the last of which is empty.
    pub(crate) fn in_chunks(self, signed: bool) -> Self {
        Self { tail: Some(vec![b'\n']), recut: (!signed).then(Recut::default), ..self }
    }

    fn see(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            self.verdict.set(fault(S3ErrorCode::MaxMessageLengthExceeded, "Your request was too big."))
        })?;
        if let Some((digest, _)) = &mut self.checked {
            digest.update(bytes);
        }
        if let Some(recut) = &mut self.recut
            && !recut.push(bytes.clone())
        {
            let message = "The chunks of the request body cannot be understood.";
            return Err(self.verdict.set(fault(S3ErrorCode::InvalidRequest, message)));
        }
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
            tail.drain(..tail.len().saturating_sub(TAIL));
            if self.recut.is_none() && !self.chunks.see(bytes) {
                let message = "a signed chunk is longer than 64 MiB, and would be held in memory";
                return Err(self.verdict.set(fault(S3ErrorCode::EntityTooLarge, message)));
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some((digest, expected)) = self.checked.take() {
            digest.finish().check(&expected).map_err(|fault| self.verdict.set(fault))?;
        }
        if let Some(recut) = self.recut.as_ref().filter(|recut| !recut.is_ended()) {
            tracing::debug!(waiting = !recut.is_empty(), "a body in chunks ends before its last one");
            let message = "The request body terminated unexpectedly";
            return Err(self.verdict.set(fault(S3ErrorCode::IncompleteBody, message)));
        }
        if let Some(tail) = self.tail.take()
            && ![&b"\n0;"[..], b"\n0\r\n"].iter().any(|end| tail.windows(end.len()).any(|part| part == *end))
        {
            let message = "The request body terminated unexpectedly";
            return Err(self.verdict.set(fault(S3ErrorCode::IncompleteBody, message)));
        }
        Ok(())
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(bytes) = self.recut.as_mut().and_then(Recut::pop) {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            return match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.patience.as_mut().reset(Instant::now() + STALLED);
                    let seen = frame.data_ref().cloned().map_or(Ok(()), |bytes| self.see(&bytes));
                    // Whoever knows the length does not ask for more.
                    let seen = seen.and_then(|()| if self.body.is_end_stream() { self.end() } else { Ok(()) });
                    match seen {
                        Err(error) => Poll::Ready(Some(Err(error))),
                        // What came of it is there to be taken.
                        Ok(()) if self.recut.is_some() => continue,
                        Ok(()) => Poll::Ready(Some(Ok(frame))),
                    }
                }
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(None) => Poll::Ready(self.end().err().map(Err)),
                Poll::Pending => self.patience.as_mut().poll(context).map(|()| {
                    let stalled = fault(S3ErrorCode::RequestTimeout, "The request body did not come in time.");
                    Some(Err(self.verdict.set(stalled)))
                }),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        let waiting = self.recut.as_ref().is_some_and(|recut| !recut.is_empty());
        self.body.is_end_stream() && self.checked.is_none() && self.tail.is_none() && !waiting
    }

    fn size_hint(&self) -> SizeHint {
        // Cut anew it has another length.
        if self.recut.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
