//! The door for people: HTTP/1.1 on a socket, with everything bounded.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use crate::{
    backend::Backend,
    guard::Guard,
    router::{From, Router},
};

/// Connections at once, and of one address that is not this machine's.
const MOST_CONNECTIONS: usize = 1024;
const MOST_OF_ONE: usize = 64;
/// How long the head of a request may take, and a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);
/// How long a client may take nothing of what is sent.
const STALLED: Duration = Duration::from_mins(2);
/// Longest head of a request: an OFF URL has at most 16 KiB.
const LONGEST_HEAD: usize = 64 << 10;
/// How long requests may go on when the gateway is told to stop.
const DRAINING: Duration = Duration::from_secs(8);

/// A gateway: what it serves, and what it has done.
#[derive(Clone)]
pub struct Gateway {
    router: Arc<Router>,
}

impl Gateway {
    /// A gateway in front of a store; it answers to addresses, to `localhost` and to `names`. What only the owner may
    /// do is for the user of this process, or for everybody on this machine.
    pub fn new(backend: Arc<dyn Backend>, names: Vec<String>, everybody: bool) -> Self {
        Self { router: Arc::new(Router::new(backend, Guard { names, everybody })) }
    }

    /// Serves until `stop` is ready; then lets what is under way end, for a bounded time.
    pub async fn serve(&self, listener: Arc<TcpListener>, stop: impl Future<Output = ()>) {
        let router = Arc::clone(&self.router);
        let connection = move |stream: TcpStream, client, asked| {
            let router = Arc::clone(&router);
            async move {
                let from = From { client, server: stream.local_addr()? };
                let service = service_fn(move |request: Request<Incoming>| {
                    let router = Arc::clone(&router);
                    async move { Ok::<_, Infallible>(router.answer(request, from).await) }
                });
                speak(stream, asked, service).await
            }
        };
        accept(listener, stop, connection).await;
    }
}

/// Why a connection ended.
pub(crate) type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Takes connections until `stop` is ready; then lets them end, for a bounded time. Each is given its stream, where
/// it comes from, and what tells it to come to an end.
pub(crate) async fn accept<C: Future<Output = Ended> + Send + 'static>(
    listener: Arc<TcpListener>,
    stop: impl Future<Output = ()>,
    connection: impl Fn(TcpStream, SocketAddr, watch::Receiver<bool>) -> C,
) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let addresses: Arc<Mutex<HashMap<IpAddr, usize>>> = Arc::default();
    let (ask, asked) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely too many open files: some will be closed.
                tracing::warn!(%error, "a connection cannot be taken");
                sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let Some(counted) = Counted::new(&addresses, from.ip().to_canonical()) else { continue };
        // Head and body leave in two writes; without this the second waits for the first to be acknowledged.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended at once");
            continue;
        }
        let speaking = connection(tcp, from, asked.clone());
        connections.spawn(async move {
            if let Err(error) = speaking.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop((slot, counted));
        });
    }
    let _nobody_listens = ask.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAINING, all).await.is_err() {
        tracing::info!("some requests were cut off");
    }
}

/// A connection of an address that counts, until this is dropped.
struct Counted {
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Counted {
    fn new(addresses: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut counts = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= MOST_OF_ONE && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Self { addresses: Arc::clone(addresses), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Speaks HTTP/1.1 on a connection, until it ends or is asked to.
pub(crate) async fn speak<I, S, B>(stream: I, mut asked: watch::Receiver<bool>, service: S) -> Ended
where
    I: AsyncRead + AsyncWrite + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(STALLED));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LONGEST_HEAD).half_close(true);
    let serving = http.serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        _ = asked.wait_for(|asked| *asked) => serving.as_mut().graceful_shutdown(),
    }
    Ok(serving.await?)
}
