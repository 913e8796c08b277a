//! Peers that lie, stall, flood and replay, against one that does not.

use std::{convert::Infallible, io::ErrorKind, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use cas::{Algorithm, BlockStore as _, MAX_BLOCK, Options, PackStore, Score};
use http_body_util::Full;
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use replication::{Action, Bits, Envelope, Patience, PeerId, PeerKey, PeerStatus, Refusal, Word, proof_to_bencode};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    daemon::stop::Stop,
    peers::{
        Peers, Settings,
        audit::Audit,
        identity::Identity,
        link::{AT_ONCE, Link, LinkError},
        lock,
        pool::{Pool, now},
        raw_link::RawLink,
        server,
    },
};

/// A peer of ours, on loopback.
struct Honest {
    peers: Arc<Peers>,
    address: SocketAddr,
    stop: Stop,
    _home: tempfile::TempDir,
}

fn key(peers: &Peers) -> PeerKey {
    PeerKey::from_seed(peers.identity.seed())
}

fn open(home: &Path) -> Arc<Peers> {
    let store = Arc::new(PackStore::open(&home.join("store"), Options::default()).expect("store"));
    let settings = Settings { replicas: 3, patience: Patience::default(), repair_rate: 1 << 30 };
    Arc::new(Peers::open(home, store, settings, Handle::current()).expect("peers"))
}

impl Honest {
    async fn start() -> Self {
        let home = tempfile::tempdir().expect("home");
        let peers = open(home.path());
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bind"));
        let address = listener.local_addr().expect("address");
        peers.set_port(address.port());
        let stop = Stop::new();
        tokio::spawn(server::serve(Arc::clone(&peers), listener, stop.clone()));
        Self { peers, address, stop, _home: home }
    }

    fn put(&self, block: &[u8]) -> Score {
        let score = self.peers.store.put(Algorithm::Sha256, block).expect("put");
        self.peers.store.sync().expect("sync");
        score
    }

    /// Tells it that a peer is at an address.
    fn meets(&self, peer: &PeerId, address: SocketAddr) {
        self.peers.book().reached(peer, address);
        self.peers.heard(peer);
    }

    async fn link(&self, from: &Identity) -> Link {
        Link::connect(from, self.address, None).await.expect("a link")
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.stop.ask();
    }
}

/// Puts all of them into one pool, which the first one founds.
fn pool(members: &[(&Arc<Peers>, &PeerKey)]) -> Vec<Vec<u8>> {
    let (founder, key) = members[0];
    let mut pool = Pool::create(key, "household").expect("a pool");
    let invitation = PeerKey::from_seed([9; 32]);
    let log = pool.log().expect("a log");
    let invite = Action::Invite { key: invitation.id(), uses: 9, expires: u64::MAX, admin: false };
    let invite = log.write(key, now(), invite).expect("invited").id();
    for (_, joiner) in &members[1..] {
        let proof = Action::proof(&invitation, &log.pool(), &joiner.id());
        log.write(joiner, now(), Action::Join { invitation: invite, peer: joiner.id(), proof }).expect("joined");
    }
    let id = log.pool();
    let entries = pool.missing(&[]);
    for (peers, _) in members {
        let pool = Pool::joined(id, &entries).expect("the same pool");
        peers
            .change_pool(|own| {
                *own = Some(pool);
                Ok(())
            })
            .expect("changed");
    }
    assert_eq!(founder.others().len(), members.len() - 1);
    entries
}

/// What a hostile peer does with a request.
#[derive(Clone, Copy, Debug)]
enum Malice {
    WrongBytes,
    Oversized,
    Stalls,
    ClaimsAll,
    Babbles,
}

async fn answer(malice: Malice, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let block = request.method() == Method::GET;
    let body: Vec<u8> = match malice {
        Malice::WrongBytes if block => vec![6; MAX_BLOCK],
        Malice::Oversized => vec![7; 20 << 20],
        Malice::Stalls => {
            sleep(Duration::from_hours(1)).await;
            Vec::new()
        }
        Malice::ClaimsAll if !block => {
            let read = http_body_util::BodyExt::collect(request.into_body()).await.expect("a body").to_bytes();
            let results = match Word::from_bytes(&read) {
                Ok(Word::Have { scores }) => Bits(vec![true; scores.len()]).to_bencode(),
                _ => proof_to_bencode(&[1; 32]),
            };
            Envelope::Answer { results }.to_bytes()
        }
        Malice::Babbles => b"d1:rd999999999999:".to_vec(),
        Malice::WrongBytes | Malice::ClaimsAll => Vec::new(),
    };
    Response::new(Full::new(body.into()))
}

/// A member that means ill.
async fn hostile(malice: Malice) -> (Identity, SocketAddr, tempfile::TempDir) {
    let home = tempfile::tempdir().expect("home");
    let identity = Identity::open(home.path()).expect("an identity");
    let tls = TlsAcceptor::from(identity.server().expect("TLS"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(tls) = tls.accept(tcp).await else { return };
                let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(malice, request).await) });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                drop(http.serve_connection(TokioIo::new(tls), service).await);
            });
        }
    });
    (identity, address, home)
}

/// Two honest peers, the second of which has a block, and a hostile one that the first prefers.
async fn trio(malice: Malice) -> (Honest, Honest, PeerId, Score, tempfile::TempDir) {
    let (reader, holder) = (Honest::start().await, Honest::start().await);
    let (identity, address, home) = hostile(malice).await;
    let hostile_key = PeerKey::from_seed(identity.seed());
    // The hostile peer has no store of its own here, so it is only named in the log.
    let members = [(&reader.peers, &key(&reader.peers)), (&holder.peers, &key(&holder.peers))];
    let mut log = pool(&members);
    let invitation = PeerKey::from_seed([9; 32]);
    reader
        .peers
        .change_pool(|own| {
            let own = own.as_mut().expect("a pool");
            let proof = Action::proof(&invitation, &own.pool_id(), &hostile_key.id());
            own.admit(&key(&reader.peers), (&reader.peers.id(), &invitation.id()), hostile_key.id(), proof)?;
            log = own.missing(&[]);
            Ok(())
        })
        .expect("admitted");
    holder.peers.change_pool(|own| Ok(own.as_mut().map_or(0, |own| own.add(&log)))).expect("told");
    let score = holder.put(&vec![1; MAX_BLOCK]);
    reader.meets(&holder.peers.id(), holder.address);
    reader.meets(&hostile_key.id(), address);
    // It has been quick so far, so it is asked first.
    reader.peers.came(&hostile_key.id(), 1, Duration::from_millis(1));
    reader.peers.came(&holder.peers.id(), 1, Duration::from_millis(400));
    (reader, holder, hostile_key.id(), score, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_end_right_beside_a_peer_that_means_ill() {
    for malice in [Malice::WrongBytes, Malice::Oversized, Malice::Stalls, Malice::Babbles] {
        let (reader, _holder, hostile, score, home) = trio(malice).await;
        let block = reader.peers.fetch(score).await.unwrap_or_else(|error| panic!("{malice:?}: {error}"));
        assert!(score.matches(&block), "{malice:?}");
        let mut stored = Vec::new();
        let visit = &mut |score| {
            stored.push(score);
            std::ops::ControlFlow::Continue(())
        };
        reader.peers.store.scores(visit).expect("scores");
        assert_eq!(stored, [score], "{malice:?}: nothing else is stored");
        if !matches!(malice, Malice::Stalls) {
            // The other may have been quicker.
            assert!(reader.peers.fetch_from(&hostile, score).await.is_err(), "{malice:?}");
        }
        let state = reader.peers.state(&hostile);
        match malice {
            // What is no block is a block with wrong bytes.
            Malice::WrongBytes | Malice::Babbles => {
                assert!(reader.peers.is_banned(&hostile));
                let reason = state.standing.reason(reader.peers.now()).expect("a reason").to_string();
                assert!(reason.contains("wrong bytes"), "{reason}");
                assert!(reader.link(&Identity::open(home.path()).expect("it")).await.say(&status()).await.is_err());
            }
            Malice::Oversized => assert!(state.standing.deeds().timeouts > 0, "{malice:?}"),
            Malice::Stalls | Malice::ClaimsAll => {}
        }
    }
}

fn status() -> Word {
    Word::Status(Box::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_claims_what_it_lacks_fails_its_audit() {
    let (reader, _holder, hostile, _, _home) = trio(Malice::ClaimsAll).await;
    reader.put(b"a block that only we have");
    assert_eq!(reader.peers.audit(&hostile).await.expect("audited"), Audit::Failed);
    assert!(reader.peers.is_banned(&hostile));
    assert_eq!(reader.peers.state(&hostile).standing.deeds().failed_audits, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_are_not_taken_and_strangers_get_nothing() {
    let (honest, member) = (Honest::start().await, Honest::start().await);
    pool(&[(&honest.peers, &key(&honest.peers)), (&member.peers, &key(&member.peers))]);
    let score = honest.put(b"ours");
    let home = tempfile::tempdir().expect("home");
    let stranger = honest.link(&Identity::open(home.path()).expect("an identity")).await;
    let refused = |said: Result<(), LinkError>| match said {
        Err(LinkError::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    };
    let have = Word::Have { scores: vec![score] };
    for word in
        [have.clone(), Word::Members { heads: Vec::new(), entries: Vec::new() }, Word::Audit { score, nonce: [0; 32] }]
    {
        assert_eq!(refused(stranger.say(&word).await.map(drop)), Refusal::STRANGER, "{word:?}");
    }
    assert_eq!(refused(stranger.get(&score).await.map(drop)), Refusal::STRANGER);
    assert_eq!(refused(stranger.put(&score, false, Bytes::from_static(b"ours")).await), Refusal::STRANGER);
    // What a stranger is told of us is the version, and a proof that is of no use to it.
    let said = PeerStatus::from_bencode(&stranger.say(&status()).await.expect("a status")).expect("a status");
    assert_eq!((said.blocks, said.port, said.rumours.len(), said.heads), (0, 0, 0, [0; 32]));
    let link = honest.link(&member.peers.identity).await;
    link.say(&have).await.expect("a member is answered");
    assert_eq!(refused(link.put(&score, false, Bytes::from_static(b"others")).await), Refusal::PROTOCOL);
    assert!(honest.peers.is_banned(&member.peers.id()));
    assert!(!honest.peers.store.contains(&Score::of(Algorithm::Sha256, b"others")).expect("asked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_log_brings_nobody_back() {
    let (honest, member) = (Honest::start().await, Honest::start().await);
    let old = pool(&[(&honest.peers, &key(&honest.peers)), (&member.peers, &key(&member.peers))]);
    let expelled = member.peers.id();
    honest
        .peers
        .change_pool(|own| {
            let log = own.as_mut().and_then(Pool::log).expect("a log");
            Ok(log.write(&key(&honest.peers), now(), Action::Expel { peer: expelled }).map(drop)?)
        })
        .expect("expelled");
    let link = honest.link(&member.peers.identity).await;
    let replayed = link.say(&Word::Members { heads: Vec::new(), entries: old }).await;
    assert!(matches!(replayed, Err(LinkError::Refused(refusal)) if refusal.code == Refusal::STRANGER));
    assert!(!honest.peers.is_member(&expelled));
    let proof = Action::proof(
        &PeerKey::from_seed([9; 32]),
        &honest.peers.pool().as_ref().expect("a pool").pool_id(),
        &expelled,
    );
    let join = Word::Join { inviter: honest.peers.id(), key: PeerKey::from_seed([9; 32]).id(), proof };
    assert!(link.say(&join).await.is_err(), "the old invitation is no longer good for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_leaves_room_for_others() {
    let (honest, member) = (Honest::start().await, Honest::start().await);
    pool(&[(&honest.peers, &key(&honest.peers)), (&member.peers, &key(&member.peers))]);
    let score = honest.put(&vec![3; MAX_BLOCK]);
    let home = tempfile::tempdir().expect("home");
    let flooder = Identity::open(home.path()).expect("an identity");
    // Connections of one peer are counted: what is too many is closed.
    let mut links = Vec::new();
    for _ in 0..40 {
        links.push(honest.link(&flooder).await);
    }
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..2000 {
        let link = links[n % links.len()].clone();
        flood.spawn(async move { link.say(&status()).await.is_ok() });
    }
    let link = honest.link(&member.peers.identity).await;
    for _ in 0..20 {
        assert!(link.get(&score).await.expect("answered").is_some(), "a member is served meanwhile");
    }
    let mut answered = 0;
    while let Some(one) = flood.join_next().await {
        answered += usize::from(matches!(one, Ok(true)));
    }
    assert!(answered < 500, "{answered} of 2000 requests of a stranger were answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_keeps_nobody_out() {
    let honest = Honest::start().await;
    let connect = async || {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind("127.0.0.2:0".parse().expect("address")).expect("bind");
        socket.connect(honest.address).await.expect("connect")
    };
    let mut silent = Vec::new();
    for _ in 0..server::MOST_CONNECTIONS + 50 {
        silent.push(connect().await);
    }
    let home = tempfile::tempdir().expect("home");
    honest.link(&Identity::open(home.path()).expect("identity")).await;
    let is_open =
        |tcp: &TcpStream| matches!(tcp.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    let open = || silent.iter().filter(|tcp| is_open(tcp)).count();
    let closed = async {
        while open() > server::MOST_UNNAMED {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), closed).await.expect("the others are closed");
    // On a slow machine the first of them have been closed for their silence.
    assert!((1..=server::MOST_UNNAMED).contains(&open()));
    drop(silent);
    // What has ended does not count any more, whether it said who it is or not.
    let taken = async {
        loop {
            let tcp = connect().await;
            sleep(Duration::from_millis(50)).await;
            if is_open(&tcp) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(5), taken).await.expect("there is room again");
    for _ in 0..3 * server::MOST_UNNAMED {
        honest.link(&Identity::open(home.path()).expect("identity")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_counts_until_it_is_done() {
    let (honest, member) = (Honest::start().await, Honest::start().await);
    pool(&[(&honest.peers, &key(&honest.peers)), (&member.peers, &key(&member.peers))]);
    let score = honest.put(&vec![3; MAX_BLOCK]);
    // All threads wait until this is dropped.
    let (open, closed) = std::sync::mpsc::channel::<()>();
    let closed = Arc::new(std::sync::Mutex::new(closed));
    for _ in 0..256 {
        let (peers, closed) = (Arc::clone(&honest.peers), Arc::clone(&closed));
        tokio::spawn(async move { peers.threads.run(move || lock(&closed).recv().is_ok()).await.is_ok() });
    }
    let mut raw = RawLink::connect(&member.peers.identity, honest.address, 0, true).await.expect("a link");
    for _ in 0..5 {
        let mut asked = Vec::new();
        for _ in 1..AT_ONCE {
            asked.push(raw.ask("GET", &format!("/block/{score}"), true).await.expect("asked"));
        }
        raw.taken_up().await.expect("taken up");
        for stream in asked {
            raw.cancel(stream).await.expect("taken back");
        }
        raw.settle().await.expect("seen");
    }
    let link = honest.link(&member.peers.identity).await;
    let refused = link.get(&score).await;
    assert!(matches!(refused, Err(LinkError::Refused(refusal)) if refusal.code == Refusal::BUSY));
    drop(open);
    while link.get(&score).await.is_err() {}
}
