//! Bodies of answers: bytes that are here, or that come from a thread piece by piece.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that wait to be sent; more are not made.
pub(crate) const PIECES: usize = 1;

/// A piece, or why there are no more.
pub(crate) type Piece = io::Result<Bytes>;

/// The body of an answer.
pub(crate) enum Body {
    /// What is here already.
    Full(Option<Bytes>),
    /// Pieces that a thread sends; so many bytes are still to come.
    Pieces { from: mpsc::Receiver<Piece>, left: u64 },
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Full(None)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces { left: 0, .. } => Poll::Ready(None),
            Self::Pieces { from, left } => Poll::Ready(match ready!(from.poll_recv(context)) {
                Some(Ok(bytes)) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Some(Ok(Frame::data(bytes)))
                }
                Some(Err(error)) => Some(Err(error)),
                // The connection is cut off: the client must not take a part for the whole.
                None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None) | Self::Pieces { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Full(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Pieces { left, .. } => *left,
        })
    }
}

impl Body {
    /// Bytes that are still to come.
    pub(crate) fn size(&self) -> u64 {
        self.size_hint().exact().unwrap_or(0)
    }
}
