//! How fast blocks go from one peer to another, beside a link that does nothing else. For `offs bench`.

use std::{convert::Infallible, io, ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use cas::{BlockStore as _, Options, PackStore, Score};
use http_body_util::Full;
use hyper::{Response, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use replication::{Action, Patience, PeerKey};
use tokio::{net::TcpListener, runtime::Handle, task::JoinSet, time::Instant};
use tokio_rustls::TlsAcceptor;

use crate::{
    daemon::stop::Stop,
    failure::Failure,
    peers::{
        Peers, Settings,
        identity::Identity,
        link::{FRAME, Link, LinkError, WINDOWS},
        pool::{Pool, now},
        server,
    },
};

/// Requests at once, as in fetching ahead.
const AT_ONCE: usize = 64;

/// How long the same blocks took on a bare link, and from peer to peer.
pub(crate) struct Speed {
    pub(crate) bytes: u64,
    pub(crate) bare: Duration,
    pub(crate) fetched: Duration,
}

/// Moves at most so many blocks of a store over a bare link, and then into another store as peers do it. Both ends are
/// this process.
pub(crate) async fn measure(store: Arc<PackStore>, most: u64, work: &Path) -> Result<Speed, Failure> {
    let mut scores = Vec::new();
    store.scores(&mut |score| {
        scores.push(score);
        if (scores.len() as u64) < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut bytes = 0;
    let mut blocks = Vec::new();
    for score in &scores {
        if let Some(block) = store.get(score)? {
            bytes += block.len() as u64;
            blocks.push(Bytes::from(block));
        }
    }
    let bare = bare(&work.join("bare"), blocks).await?;
    let fetched = between(store, scores, work).await?;
    Ok(Speed { bytes, bare, fetched })
}

fn identity(home: &Path) -> Result<Identity, Failure> {
    std::fs::create_dir_all(home).map_err(|source| Failure::io("create", home, source))?;
    Identity::open(home)
}

fn failed(error: LinkError) -> Failure {
    Failure::Socket(io::Error::other(error))
}

/// The blocks from memory, over HTTP/2 and TLS, into nothing.
async fn bare(home: &Path, blocks: Vec<Bytes>) -> Result<Duration, Failure> {
    let (server, client) = (identity(&home.join("server"))?, identity(&home.join("client"))?);
    let tls = TlsAcceptor::from(server.server().map_err(|error| Failure::Socket(io::Error::other(error)))?);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::Socket)?;
    let address = listener.local_addr().map_err(Failure::Socket)?;
    let count = blocks.len();
    let blocks = Arc::new(blocks);
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let service = service_fn(|request: hyper::Request<_>| {
            let number = request.uri().path().rsplit('/').next().and_then(|text| usize::from_str_radix(text, 16).ok());
            let block = number.and_then(|number| blocks.get(number % count).cloned()).unwrap_or_default();
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(block))))
        });
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1).max_frame_size(FRAME);
        let connection = http.serve_connection(TokioIo::new(tls.accept(tcp).await?), service);
        connection.await.map_err(io::Error::other)
    });
    let link = Link::connect(&client, address, None).await.map_err(failed)?;
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0..count {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let link = link.clone();
        under_way.spawn(async move { link.raw(format!("/{number:x}")).await });
    }
    while let Some(one) = under_way.join_next().await {
        one.map_err(|_| Failure::Worker)?.map_err(failed)?;
    }
    let took = began.elapsed();
    drop(link);
    serving.abort();
    Ok(took)
}

/// The blocks from one peer's store into another's, on stable storage at the end.
async fn between(store: Arc<PackStore>, scores: Vec<Score>, work: &Path) -> Result<Duration, Failure> {
    let settings = Settings { replicas: 1, patience: Patience::default(), repair_rate: u64::MAX };
    let other = Arc::new(PackStore::open(&work.join("other/store"), Options::default())?);
    let home = work.join("one");
    std::fs::create_dir_all(&home).map_err(|source| Failure::io("create", &home, source))?;
    let open = |home: &Path, store: Arc<PackStore>| {
        Peers::open(home, store, settings.clone(), Handle::current()).map(Arc::new)
    };
    let (giver, taker) = (open(&home, store)?, open(&work.join("other"), Arc::clone(&other))?);
    let key = |peers: &Peers| PeerKey::from_seed(peers.identity.seed());
    let mut pool = Pool::create(&key(&giver), "bench")?;
    if let Some(log) = pool.log() {
        let invitation = PeerKey::from_seed(rand::random());
        let invite = Action::Invite { key: invitation.id(), uses: 1, expires: u64::MAX, admin: false };
        let invite = log.write(&key(&giver), now(), invite)?.id();
        let proof = Action::proof(&invitation, &log.pool(), &taker.id());
        log.write(&key(&taker), now(), Action::Join { invitation: invite, peer: taker.id(), proof })?;
    }
    let entries = pool.missing(&[]);
    for peers in [&giver, &taker] {
        peers.change_pool(|own| {
            *own = Pool::joined(pool.pool_id(), &entries);
            Ok(())
        })?;
    }
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.map_err(Failure::Socket)?);
    taker.book().reached(&giver.id(), listener.local_addr().map_err(Failure::Socket)?);
    let stop = Stop::new();
    let serving = tokio::spawn(server::serve(Arc::clone(&giver), listener, stop.clone()));
    taker.link(&giver.id()).await.map_err(failed)?;
    let began = Instant::now();
    let mut under_way = JoinSet::new();
    for score in scores {
        if under_way.len() >= AT_ONCE {
            under_way.join_next().await;
        }
        let taker = Arc::clone(&taker);
        under_way.spawn(async move { taker.fetch(score).await });
    }
    while let Some(one) = under_way.join_next().await {
        one.map_err(|_| Failure::Worker)?.map_err(|missing| Failure::Socket(io::Error::other(missing)))?;
    }
    other.sync()?;
    let took = began.elapsed();
    stop.ask();
    serving.await.map_err(|_| Failure::Worker)?.map_err(Failure::Socket)?;
    Ok(took)
}
