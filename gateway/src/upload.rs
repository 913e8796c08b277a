//! Taking a file from a request and storing it.

use std::{
    io::{self, Read},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use offs::{ContentType, OffUrl, PutOptions, Stored, SystemDice};
use tokio::{sync::mpsc, time::timeout};

use crate::{backend::Backend, trouble::Trouble};

/// How long a client may send nothing.
const STALLED: Duration = Duration::from_mins(1);
/// Pieces that were received and not yet stored.
const PIECES: usize = 16;

/// A body that is being received, as something to read from in a thread.
pub(crate) struct Received {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

/// Receives a body; whoever reads it need not be quick.
pub(crate) fn receive(mut body: Incoming) -> Received {
    let (to, from) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        loop {
            let piece = match timeout(STALLED, body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    // Trailers say nothing about what is stored.
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => Err(io::Error::other(error)),
                Ok(None) => return,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let failed = piece.is_err();
            if to.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Received { from, piece: Bytes::new() }
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let read = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..read]);
        Ok(read)
    }
}

/// Stores what is read and gives its URL, which opens from now on. May wait for the disk.
pub(crate) fn store(
    backend: &dyn Backend,
    source: &mut dyn Read,
    name: Option<String>,
    content_type: ContentType,
) -> Result<OffUrl, Trouble> {
    let store = backend.store();
    // From the first block to the pin nothing of it may be evicted.
    let _hold = store.hold();
    let options: PutOptions = backend.put_options();
    let stored = offs::put(store.as_ref(), source, &options, Box::new(SystemDice::new()), &|_| {})?;
    give_out(backend, stored, name, content_type)
}

/// Makes what was stored last, and gives its URL.
pub(crate) fn give_out(
    backend: &dyn Backend,
    stored: Stored,
    name: Option<String>,
    content_type: ContentType,
) -> Result<OffUrl, Trouble> {
    let url = OffUrl { content_type, length: stored.length, reference: stored.reference, name, path: Vec::new() };
    // A URL that could not be opened again must not be given out.
    let url: OffUrl = url.to_string().parse()?;
    backend.keep(&url)?;
    Ok(url)
}
