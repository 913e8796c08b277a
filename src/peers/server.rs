//! Answering peers: words, and blocks as raw bodies.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use cas::{BlockStore as _, Error as StoreError, MAX_BLOCK, Score};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use replication::{Envelope, Lie, MOST_MESSAGE, MOST_RANGE, PeerId, Refusal, Word};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    daemon::stop::Stop,
    peers::{
        Admitted, Peers,
        identity::peer_of,
        link::{AT_ONCE, FRAME, WINDOWS},
        lock,
        threads::Panicked,
    },
};

/// Connections at once, of one peer, and of all who do not belong to the pool.
pub(crate) const MOST_CONNECTIONS: usize = 512;
pub(crate) const MOST_OF_ONE: usize = 4;
pub(crate) const MOST_OF_STRANGERS: usize = 64;
/// Connections from one address that have not said yet who they are. Others find room while somebody opens as many as
/// he can and says nothing.
pub(crate) const MOST_UNNAMED: usize = 32;
/// How long a stranger may stay: long enough to bring an invitation.
const VISIT: Duration = Duration::from_mins(1);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What is held for the answer to a word before it is known: as much as one to `range` may have.
const ANSWER: usize = MOST_RANGE;
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(30);
/// How long connections may go on when the daemon is told to end.
const DRAINING: Duration = Duration::from_secs(5);

/// Who is connected, and how often.
#[derive(Default)]
pub(crate) struct Connections(Mutex<HashMap<PeerId, usize>>);

/// A connection that counts, until it is dropped.
struct Connected {
    peers: Arc<Peers>,
    peer: PeerId,
}

impl Connected {
    /// A connection of a peer; `None` when there are too many of it, or of strangers.
    fn new(peers: &Arc<Peers>, peer: PeerId) -> Option<Self> {
        let mut connections = lock(&peers.connections.0);
        let strangers =
            || connections.iter().filter(|(peer, _)| !peers.is_member(peer)).map(|(_, count)| *count).sum::<usize>();
        if !peers.is_member(&peer) && strangers() >= MOST_OF_STRANGERS {
            return None;
        }
        let count = connections.entry(peer).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Self { peers: Arc::clone(peers), peer })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connections = lock(&self.peers.connections.0);
        if let Some(count) = connections.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.peer);
            }
        }
    }
}

/// Who has connected and not said yet who he is: how many of each address, of IPv6 of each network (/64), any address of
/// which one host may take.
#[derive(Clone, Default)]
struct Unnamed(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that counts as unnamed, until it is dropped.
struct Naming {
    unnamed: Unnamed,
    from: IpAddr,
}

impl Unnamed {
    /// One more; `None` when there are too many from there.
    fn enter(&self, from: IpAddr) -> Option<Naming> {
        let from = match from.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        };
        let mut counts = lock(&self.0);
        let count = counts.entry(from).or_default();
        if *count >= MOST_UNNAMED {
            return None;
        }
        *count += 1;
        Some(Naming { unnamed: self.clone(), from })
    }
}

impl Drop for Naming {
    fn drop(&mut self) {
        let mut counts = lock(&self.unnamed.0);
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

/// Takes links until it is told to stop.
pub(crate) async fn serve(peers: Arc<Peers>, listener: Arc<TcpListener>, mut stop: Stop) -> io::Result<()> {
    let tls = TlsAcceptor::from(peers.identity.server().map_err(io::Error::other)?);
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let unnamed = Unnamed::default();
    loop {
        let accepted = tokio::select! {
            () = stop.asked() => return drained(&slots).await,
            accepted = listener.accept() => accepted,
        };
        let (tcp, from) = match accepted {
            Ok((tcp, from)) => (tcp, from.ip()),
            Err(error) => {
                // Most likely too many open files: some will be closed.
                tracing::warn!(%error, "a link cannot be taken");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Some(naming) = unnamed.enter(from) else { continue };
        // Who comes when all slots are taken is turned away, so that the others are served.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let (peers, tls, stop) = (Arc::clone(&peers), tls.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(peers, tls, (tcp, from, naming), stop).await {
                tracing::debug!(%error, "a link ended");
            }
            drop(slot);
        });
    }
}

async fn drained(slots: &Semaphore) -> io::Result<()> {
    let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
    if timeout(DRAINING, slots.acquire_many(all)).await.is_err() {
        tracing::info!("some links did not end by themselves");
    }
    Ok(())
}

async fn connection(
    peers: Arc<Peers>,
    tls: TlsAcceptor,
    (tcp, from, naming): (TcpStream, IpAddr, Naming),
    mut stop: Stop,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tcp.set_nodelay(true)?;
    let tls = timeout(HANDSHAKE, tls.accept(tcp)).await??;
    drop(naming);
    let peer = peer_of(tls.get_ref().1.peer_certificates())?;
    if peers.is_banned(&peer) {
        return Ok(());
    }
    let Some(connected) = Connected::new(&peers, peer) else { return Ok(()) };
    // A stranger's window is that of one request; whoever was let in meanwhile has the other when it comes again.
    let (visit, window) = if peers.is_member(&peer) { (Duration::MAX, WINDOWS.1) } else { (VISIT, WINDOWS.0) };
    let at_once = u32::try_from(AT_ONCE)?;
    let service = service_fn(|request| {
        let peers = Arc::clone(&peers);
        async move { Ok::<_, Infallible>(answer(peers, peer, from, request).await) }
    });
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(window)
        .max_frame_size(FRAME)
        .max_concurrent_streams(at_once)
        .max_header_list_size(16 << 10)
        .keep_alive_interval(Duration::from_mins(5))
        .keep_alive_timeout(Duration::from_secs(20));
    let serving = http.serve_connection(TokioIo::new(tls), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        () = stop.asked() => {}
        () = tokio::time::sleep(visit) => {}
    }
    serving.as_mut().graceful_shutdown();
    let ended = timeout(DRAINING, serving).await;
    drop(connected);
    Ok(ended??)
}

type Answer = Response<Full<Bytes>>;

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

fn refuse(refusal: Refusal) -> Answer {
    let status = match refusal.code {
        Refusal::STRANGER => StatusCode::FORBIDDEN,
        Refusal::FULL => StatusCode::INSUFFICIENT_STORAGE,
        Refusal::BUSY => StatusCode::TOO_MANY_REQUESTS,
        Refusal::FAILED => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    respond(status, Envelope::Refusal(refusal).to_bytes())
}

async fn answer(peers: Arc<Peers>, peer: PeerId, from: IpAddr, request: Request<Incoming>) -> Answer {
    let admitted = match peers.admit(peer) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(refusal),
    };
    let answered = match (request.method(), request.uri().path()) {
        (&Method::POST, "/krpc") => word(&peers, peer, from, (request, admitted)).await,
        (&Method::GET, path) if path.starts_with("/block/") => match score(path) {
            Ok(score) => get(&peers, peer, score, admitted).await,
            Err(refusal) => Err(refusal),
        },
        (&Method::PUT, path) => match score(path) {
            Ok(score) => put(&peers, peer, score, (request, admitted)).await,
            Err(refusal) => Err(refusal),
        },
        _ => Ok(respond(StatusCode::NOT_FOUND, Bytes::new())),
    };
    answered.unwrap_or_else(refuse)
}

/// The score in `/block/<score>` or `/root/<score>`.
fn score(path: &str) -> Result<Score, Refusal> {
    let text = path.strip_prefix("/block/").or_else(|| path.strip_prefix("/root/"));
    let score = text.and_then(|text| text.parse().ok());
    score.ok_or_else(|| Refusal::new(Refusal::PROTOCOL, "no score in the path"))
}

async fn body(request: Request<Incoming>, most: usize, admitted: &mut Admitted) -> Result<Vec<u8>, Refusal> {
    let wrong = || Refusal::new(Refusal::PROTOCOL, "the body is too long, torn or too slow");
    let (mut frames, mut bytes) = (request.into_body(), Vec::new());
    let read = async {
        while let Some(frame) = frames.frame().await {
            let Ok(data) = frame.map_err(|_| wrong())?.into_data() else { continue };
            if data.len() > most - bytes.len() {
                return Err(wrong());
            }
            admitted.hold(data.len())?;
            // A piece of one byte keeps everything that was read with it, so no pieces are kept.
            bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    timeout(BODY, read).await.map_err(|_| wrong())??;
    Ok(bytes)
}

/// An answer on its way. The request is under way until it is sent.
struct Sent {
    bytes: Bytes,
    _admitted: Admitted,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn send(bytes: impl Into<Bytes>, mut admitted: Admitted) -> Result<Answer, Refusal> {
    let bytes = bytes.into();
    admitted.hold_only(bytes.len())?;
    Ok(respond(StatusCode::OK, Bytes::from_owner(Sent { bytes, _admitted: admitted })))
}

impl From<Panicked> for Refusal {
    fn from(panicked: Panicked) -> Self {
        Self::new(Self::FAILED, panicked.to_string())
    }
}

fn failed(error: &StoreError) -> Refusal {
    match error {
        StoreError::Full { .. } | StoreError::DiskFull { .. } => Refusal::new(Refusal::FULL, "there is no room"),
        _ => {
            tracing::warn!(%error, "a peer's request failed");
            Refusal::new(Refusal::FAILED, "the store failed")
        }
    }
}

async fn word(
    peers: &Arc<Peers>,
    peer: PeerId,
    from: IpAddr,
    (request, mut admitted): (Request<Incoming>, Admitted),
) -> Result<Answer, Refusal> {
    let said = body(request, MOST_MESSAGE, &mut admitted).await?;
    admitted.hold(ANSWER)?;
    let word = Word::from_bytes(&said)?;
    peers.transfer(&peer, said.len())?;
    drop(said);
    let for_thread = Arc::clone(peers);
    // A word may look through much of the store: blocks do not wait for it. Whoever asked may go, but the request is
    // under way until the thread is done with it.
    let answered = spawn_blocking(move || (for_thread.answer(&peer, from, word), admitted));
    let (results, admitted) = answered.await.map_err(|_| Panicked)?;
    send(Envelope::Answer { results: results? }.to_bytes(), admitted)
}

async fn get(peers: &Arc<Peers>, peer: PeerId, score: Score, mut admitted: Admitted) -> Result<Answer, Refusal> {
    peers.admit_member(&peer)?;
    admitted.hold(MAX_BLOCK)?;
    let store = Arc::clone(&peers.store);
    let (read, admitted) = peers.threads.run(move || (store.get(&score), admitted)).await?;
    match read {
        Ok(Some(block)) => {
            peers.transfer(&peer, block.len())?;
            peers.went(&peer, block.len());
            send(block, admitted)
        }
        // What is damaged here is not here.
        Ok(None) | Err(StoreError::Damaged { .. }) => Ok(respond(StatusCode::NOT_FOUND, Bytes::new())),
        Err(error) => Err(failed(&error)),
    }
}

async fn put(
    peers: &Arc<Peers>,
    peer: PeerId,
    score: Score,
    (request, mut admitted): (Request<Incoming>, Admitted),
) -> Result<Answer, Refusal> {
    let root = request.uri().path().starts_with("/root/");
    peers.admit_member(&peer)?;
    let block = body(request, MAX_BLOCK, &mut admitted).await?;
    peers.transfer(&peer, block.len())?;
    peers.store_for(&peer, block.len())?;
    let stored = if root {
        let store = Arc::clone(&peers.store);
        let twice = move || {
            let _under_way = admitted;
            let right = store.put_if(&score, &block)?;
            if right {
                store.put_twice(score.algorithm(), &block)?;
            }
            Ok(right)
        };
        peers.threads.run(twice).await?
    } else {
        peers.intake.take(&peers.threads, score, block.into(), Some(admitted)).await?
    };
    if !stored.map_err(|error| failed(&error))? {
        peers.lied(&peer, Lie::WrongBytes, &format!("for {score}"));
        return Err(Refusal::new(Refusal::PROTOCOL, "the bytes are not those of the score"));
    }
    Ok(respond(StatusCode::NO_CONTENT, Bytes::new()))
}
