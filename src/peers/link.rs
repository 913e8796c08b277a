//! A link to a peer: HTTP/2 over TLS 1.3, many requests at once.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use cas::{MAX_BLOCK, Score};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use replication::{Envelope, MOST_MESSAGE, PeerId, Refusal, Word};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::pki_types::{IpAddr, ServerName},
};

use crate::peers::identity::{Identity, peer_of};

/// How long a peer may take to be connected.
const CONNECTING: Duration = Duration::from_secs(4);
/// How long a peer may take to answer.
const ANSWERING: Duration = Duration::from_secs(20);
/// Requests at once.
pub(crate) const AT_ONCE: usize = 64;
/// Bytes in flight of one request, and of all of a link.
pub(crate) const WINDOWS: (u32, u32) = (1 << 20, 16 << 20);
/// Longest frame of HTTP/2: a block and its head fit.
pub(crate) const FRAME: u32 = 160 << 10;

/// What goes wrong on a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer cannot be connected, or the connection broke.
    #[error("cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// It could not be reached a moment ago.
    #[error("{why}")]
    Unreachable { why: String },
    /// Nobody has said where it is.
    #[error("cannot be reached: no address of it is known")]
    NoAddress,
    /// HTTP/2 broke.
    #[error("the link broke: {0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The peer refuses.
    #[error("refuses: {0}")]
    Refused(#[from] Refusal),
    /// The peer sends a block whose bytes are not those of its score.
    #[error("sent wrong bytes for {score}")]
    WrongBytes { score: Score },
    /// The peer says something that is wrong.
    #[error("says what it must not: {what}")]
    Wrong { what: &'static str },
}

/// A connection to a peer. Clones share it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) address: SocketAddr,
    requests: http2::SendRequest<Full<Bytes>>,
    slots: Arc<Semaphore>,
}

impl Link {
    /// Connects to an address where `peer` is said to be, or to whoever is there.
    pub(crate) async fn connect(
        identity: &Identity,
        address: SocketAddr,
        peer: Option<PeerId>,
    ) -> Result<Self, LinkError> {
        timeout(CONNECTING, Self::handshake(identity, address, peer)).await.map_err(|_| LinkError::Timeout)?
    }

    async fn handshake(identity: &Identity, address: SocketAddr, peer: Option<PeerId>) -> Result<Self, LinkError> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let config = identity.client(peer).map_err(io::Error::other)?;
        let name = ServerName::IpAddress(IpAddr::from(address.ip()));
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        let proved = peer_of(tls.get_ref().1.peer_certificates())?;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_frame_size(FRAME)
            .max_header_list_size(16 << 10)
            .keep_alive_interval(Duration::from_mins(5))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(tls))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %address, "a link ended");
            }
        });
        Ok(Self { peer: proved, address, requests, slots: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Asks, and reads an answer of at most `most` bytes.
    async fn ask(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        most: usize,
    ) -> Result<(StatusCode, Bytes), LinkError> {
        let exchange = async {
            let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
            let mut requests = self.requests.clone();
            requests.ready().await?;
            let request = Request::builder().method(method).uri(format!("https://peer{path}")).body(Full::new(body));
            let answer: Response<Incoming> = requests.send_request(request.map_err(io::Error::other)?).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), most).collect().await;
            let body = body.map_err(|_| LinkError::Wrong { what: "an answer that is too long or torn" })?;
            Ok((status, body.to_bytes()))
        };
        timeout(ANSWERING, exchange).await.map_err(|_| LinkError::Timeout)?
    }

    /// Gets whatever is at a path; for measuring.
    pub(crate) async fn raw(&self, path: String) -> Result<Bytes, LinkError> {
        Ok(self.ask(Method::GET, path, Bytes::new(), MAX_BLOCK).await?.1)
    }

    /// Says a word and gives back the bencoded results.
    pub(crate) async fn say(&self, word: &Word) -> Result<Vec<u8>, LinkError> {
        let (status, body) = self.ask(Method::POST, "/krpc".into(), word.to_bytes().into(), MOST_MESSAGE).await?;
        match Envelope::from_bytes(&body) {
            Ok(Envelope::Answer { results }) if status == StatusCode::OK => Ok(results),
            Ok(Envelope::Refusal(refusal)) => Err(refusal.into()),
            _ => Err(LinkError::Wrong { what: "an answer that is no message" }),
        }
    }

    /// Fetches a block; `None` when the peer does not have it. What comes back has not been compared with its score.
    pub(crate) async fn get(&self, score: &Score) -> Result<Option<Bytes>, LinkError> {
        let (status, body) = self.ask(Method::GET, format!("/block/{score}"), Bytes::new(), MAX_BLOCK).await?;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refusal(status, &body).into()),
        }
    }

    /// Pushes a block; a root when nothing else can rebuild it. It is not durable there before a `have` says so.
    pub(crate) async fn put(&self, score: &Score, root: bool, block: Bytes) -> Result<(), LinkError> {
        let path = format!("/{}/{score}", if root { "root" } else { "block" });
        let (status, body) = self.ask(Method::PUT, path, block, MOST_MESSAGE).await?;
        if status == StatusCode::NO_CONTENT { Ok(()) } else { Err(refusal(status, &body).into()) }
    }
}

/// The refusal in an answer's body, or one that stands for it.
fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    match Envelope::from_bytes(body) {
        Ok(Envelope::Refusal(refusal)) => refusal,
        _ => Refusal::new(i64::from(status.as_u16()), "no reason given"),
    }
}
