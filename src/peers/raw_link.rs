//! An end of a link that writes frames of HTTP/2 as they come to mind; for tests of what a peer does about that.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::Semaphore,
    task::AbortHandle,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::pki_types::{IpAddr, ServerName},
};

use crate::peers::{identity::Identity, link::WINDOWS};

type Tls = TlsStream<TcpStream>;

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of frames.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The status 200, from the table (RFC 7541, appendix A).
const GOOD: u8 = 0x88;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a connection may send before it is allowed more.
const FIRST_WINDOW: usize = 65_535;

/// What came back so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answers: AtomicU64,
    /// Those with the status 200.
    pub(crate) good: AtomicU64,
    /// The highest stream that was answered.
    highest: AtomicU64,
}

/// A link that does what it likes.
pub(crate) struct RawLink {
    write: WriteHalf<Tls>,
    window: Arc<Semaphore>,
    pongs: Arc<Semaphore>,
    /// Who reads, or what nobody reads, kept so that the connection stays.
    reader: Option<AbortHandle>,
    _unread: Option<ReadHalf<Tls>>,
    pub(crate) seen: Arc<Seen>,
    stream: u32,
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Pseudo-headers of a request, none of them in a table (RFC 7541, section 6.2.2).
fn head(method: &str, path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| {
        let length = u8::try_from(value.len()).expect("short");
        assert!(length < 127, "a length of one byte");
        [&[name, length], value.as_bytes()].concat()
    };
    [literal(2, method), literal(4, path), vec![0x87], literal(1, "peer")].concat()
}

/// The head and the payload of a frame that came.
async fn read_frame(read: &mut ReadHalf<Tls>) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    read.read_exact(&mut payload).await?;
    Ok((kind, flags, u32::from_be_bytes(stream), payload))
}

async fn read_all(mut read: ReadHalf<Tls>, window: Arc<Semaphore>, pongs: Arc<Semaphore>, seen: Arc<Seen>) {
    while let Ok((kind, flags, stream, payload)) = read_frame(&mut read).await {
        match kind {
            HEADERS => {
                seen.answers.fetch_add(1, Ordering::Relaxed);
                seen.good.fetch_add(u64::from(payload.first() == Some(&GOOD)), Ordering::Relaxed);
                seen.highest.fetch_max(u64::from(stream), Ordering::Relaxed);
            }
            WINDOW_UPDATE if stream == 0 => {
                let more = payload.first_chunk().map_or(0, |more| u32::from_be_bytes(*more));
                window.add_permits(more as usize);
            }
            PING if flags & ACK != 0 => pongs.add_permits(1),
            _ => {}
        }
    }
    // Whoever waits for it waits for nothing.
    window.close();
    pongs.close();
}

impl RawLink {
    /// Connects. Streams of ours may be sent `window` bytes each; what comes is looked at only if it is `read`.
    pub(crate) async fn connect(identity: &Identity, to: SocketAddr, window: u32, read: bool) -> io::Result<Self> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let config = identity.client(None).map_err(io::Error::other)?;
        let tls = TlsConnector::from(config).connect(ServerName::IpAddress(IpAddr::from(to.ip())), tcp).await?;
        let (mut incoming, mut write) = tokio::io::split(tls);
        let settings = [&4_u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
        write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await?;
        write.flush().await?;
        read_frame(&mut incoming).await?;
        write.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        write.flush().await?;
        // Who does not read does not see how much is allowed, which is more.
        let first = if read { FIRST_WINDOW } else { WINDOWS.0 as usize };
        let (windows, pongs) = (Arc::new(Semaphore::new(first)), Arc::new(Semaphore::new(0)));
        let seen = Arc::new(Seen::default());
        let (mut reader, mut unread) = (None, None);
        if read {
            let reading = read_all(incoming, Arc::clone(&windows), Arc::clone(&pongs), Arc::clone(&seen));
            reader = Some(tokio::spawn(reading).abort_handle());
        } else {
            unread = Some(incoming);
        }
        Ok(Self { write, window: windows, pongs, reader, _unread: unread, seen, stream: 1 })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }

    /// Begins a request; the stream that it has.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, whole: bool) -> io::Result<u32> {
        let stream = self.stream;
        self.stream += 2;
        let flags = END_HEADERS | if whole { END_STREAM } else { 0 };
        self.send(&frame(HEADERS, flags, stream, &head(method, path))).await?;
        Ok(stream)
    }

    /// Sends a part of a body in frames of this size, as the window of the connection allows.
    pub(crate) async fn body(&mut self, stream: u32, bytes: &[u8], each: usize, last: bool) -> io::Result<()> {
        for part in bytes.chunks(8 << 10) {
            let permits = u32::try_from(part.len()).expect("short");
            self.window.acquire_many(permits).await.map_err(io::Error::other)?.forget();
            let frames: Vec<u8> = part.chunks(each).flat_map(|bytes| frame(DATA, 0, stream, bytes)).collect();
            self.send(&frames).await?;
        }
        if last { self.send(&frame(DATA, END_STREAM, stream, &[])).await } else { Ok(()) }
    }

    /// Takes a request back.
    pub(crate) async fn cancel(&mut self, stream: u32) -> io::Result<()> {
        self.send(&frame(RESET, 0, stream, &8_u32.to_be_bytes())).await
    }

    /// Waits until every request that was begun has been taken up at the other end: they are in their order, and one
    /// that is answered at once comes last. Whoever takes back many before that is thrown out.
    pub(crate) async fn taken_up(&mut self) -> io::Result<()> {
        let stream = self.ask("GET", "/nothing", true).await?;
        while self.seen.highest.load(Ordering::Relaxed) < u64::from(stream) {
            if self.pongs.is_closed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Waits until everything that was sent has been read at the other end.
    pub(crate) async fn settle(&mut self) -> io::Result<()> {
        self.send(&frame(PING, 0, 0, &[0; 8])).await?;
        self.pongs.acquire().await.map_err(io::Error::other)?.forget();
        Ok(())
    }
}

impl Drop for RawLink {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}
