//! The memory of a daemon stays bounded whatever a peer floods it with.
//!
//! The daemon is a process of its own, so that what it takes can be read: this same program, told to run [`victim`]
//! only. `SOAK=full` makes the floods ten times as long.

use std::{
    fs,
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cas::{Algorithm, MAX_BLOCK, Options, PackStore, Score};
use rand::RngExt as _;
use replication::{
    Action, Ask, ENTRIES_AT_ONCE, MOST_MESSAGE, MOST_SCORES, Patience, PeerId, PeerKey, PeerStatus, PoolId, RangeQuery,
    Rumour, Salt, Word,
};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    daemon::stop::Stop,
    peers::{
        Peers, Settings,
        identity::Identity,
        link::{AT_ONCE, FRAME, Link, WINDOWS},
        pool::{Pool, now},
        raw_link::{CONTINUATION, HEADERS, PING, RawLink, SETTINGS, frame},
        server,
    },
};

/// Names the home of the daemon that is to be flooded.
const HOME: &str = "OFFS_FLOODED_HOME";
/// What it may store: the quota that pushing fills.
const CAPACITY: u64 = 48 << 20;
const MIB: u64 = 1 << 20;
const LINKS: usize = server::MOST_OF_ONE;

/// What any use makes a process take: the stacks of threads that were idle, the parts of the heap that each of them has,
/// what the allocator keeps for the next request. It took 8 MiB at most.
const USE: u64 = 16 * MIB;
/// A frame that is read and one that is written, and a record of TLS for each.
const LINK: u64 = 2 * (FRAME as u64 + (16 << 10));

/// What floods over the links of one member may take: what is held of requests and answers, in buffers that double when
/// they are full; and what came over links and waits for the requests that it belongs to, a window of each link.
fn member() -> u64 {
    USE + 2 * Peers::allowances().member.held + LINKS as u64 * (LINK + u64::from(WINDOWS.1))
}

/// The same for strangers, who have smaller windows.
fn strangers() -> u64 {
    let links = server::MOST_OF_STRANGERS as u64;
    USE + 2 * Peers::allowances().strangers.held + links * (LINK + u64::from(WINDOWS.0))
}

fn scale() -> usize {
    if std::env::var("SOAK").is_ok_and(|soak| soak == "full") { 10 } else { 1 }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

fn block() -> Vec<u8> {
    let mut bytes = vec![0; MAX_BLOCK];
    rand::rng().fill(&mut bytes[..]);
    bytes
}

fn scores(count: usize) -> Vec<Score> {
    (0..count).map(|_| Score::of(Algorithm::Sha256, &random::<32>())).collect()
}

/// Runs the daemon, when the process was started for that.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let home = Path::new(&home);
    let options = Options { capacity: Some(CAPACITY), ..Options::default() };
    let store = Arc::new(PackStore::open(&home.join("store"), options).expect("store"));
    let settings = Settings { replicas: 3, patience: Patience::default(), repair_rate: 1 << 30 };
    let peers = Arc::new(Peers::open(home, store, settings, Handle::current()).expect("peers"));
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.expect("bind"));
    let address = listener.local_addr().expect("address");
    peers.set_port(address.port());
    let stop = Stop::new();
    let serving = tokio::spawn(server::serve(peers, listener, stop.clone()));
    fs::write(home.join("new"), address.to_string()).expect("write");
    fs::rename(home.join("new"), home.join("address")).expect("rename");
    let ended = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
    ended.await.expect("read").expect("read");
    stop.ask();
    serving.await.expect("no panic").expect("served");
}

/// The daemon, and the members of its pool.
struct Victim {
    child: Child,
    address: SocketAddr,
    pool: PoolId,
    id: PeerId,
    score: Score,
    honest: Identity,
    hostile: Identity,
    liar: Identity,
    home: tempfile::TempDir,
}

fn identity() -> Identity {
    Identity::open(tempfile::tempdir().expect("directory").path()).expect("an identity")
}

/// Makes a pool of the daemon and others.
fn found(home: &Path, key: &PeerKey, others: &[&Identity]) -> PoolId {
    let mut pool = Pool::create(key, "household").expect("a pool");
    let invitation = PeerKey::from_seed([9; 32]);
    let log = pool.log().expect("a log");
    let invite = Action::Invite { key: invitation.id(), uses: 9, expires: u64::MAX, admin: false };
    let invite = log.write(key, now(), invite).expect("invited").id();
    for other in others {
        let proof = Action::proof(&invitation, &log.pool(), &other.id());
        let join = Action::Join { invitation: invite, peer: other.id(), proof };
        log.write(&PeerKey::from_seed(other.seed()), now(), join).expect("joined");
    }
    pool.write(home).expect("written");
    pool.pool_id()
}

/// A directory in memory, where there is such a place: nothing here depends on the disk.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("directory")
}

impl Victim {
    async fn start() -> Self {
        // Thousands of connections are files here and there.
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).expect("more files");
        let home = directory();
        let (honest, hostile, liar) = (identity(), identity(), identity());
        let own = Identity::open(home.path()).expect("an identity");
        let pool = found(home.path(), &PeerKey::from_seed(own.seed()), &[&honest, &hostile, &liar]);
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "peers::flood_tests::victim", "--nocapture"])
            .env(HOME, home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::create(home.path().join("said")).expect("a file"))
            .spawn()
            .expect("it starts");
        let told = home.path().join("address");
        while !told.exists() {
            assert!(child.try_wait().expect("asked").is_none(), "it ended");
            sleep(Duration::from_millis(10)).await;
        }
        let address = fs::read_to_string(told).expect("read").parse().expect("an address");
        let block = block();
        let score = Score::of(Algorithm::Sha256, &block);
        let victim = Self { child, address, pool, id: own.id(), score, honest, hostile, liar, home };
        victim.link(&victim.honest).await.put(&score, false, block.into()).await.expect("stored");
        victim
    }

    /// A link, as soon as what was closed before is noticed.
    async fn link(&self, from: &Identity) -> Link {
        for _ in 0..100 {
            if let Ok(link) = Link::connect(from, self.address, None).await
                && link.say(&status()).await.is_ok()
            {
                return link;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it takes no links any more");
    }

    /// The same for one that does what it likes.
    async fn raw(&self, from: &Identity, window: u32, read: bool) -> RawLink {
        for _ in 0..100 {
            if let Ok(link) = RawLink::connect(from, self.address, window, read).await {
                return link;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it takes no links any more");
    }

    async fn answers(&self, flood: &str) {
        let link = self.link(&self.honest).await;
        let block = link.get(&self.score).await.unwrap_or_else(|error| panic!("{flood}: {error}"));
        assert!(block.is_some_and(|block| self.score.matches(&block)), "{flood}: the block is there");
    }

    /// A figure of the process, in bytes.
    fn figure(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a figure");
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().expect("a number") << 10
    }

    /// Begins the peak anew.
    fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("forgotten");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if std::thread::panicking() {
            let _gone = self.child.kill();
            println!("{}", fs::read_to_string(self.home.path().join("said")).unwrap_or_default());
        }
        let _ended = self.child.wait();
    }
}

fn status() -> Word {
    Word::Status(Box::default())
}

/// Floods a daemon of its own, and looks what it takes meanwhile.
async fn measure(flood: &str, bound: u64, work: impl AsyncFnOnce(&Victim)) {
    let victim = Victim::start().await;
    victim.answers(flood).await;
    victim.forget_peak();
    let before = victim.figure("VmRSS");
    work(&victim).await;
    victim.answers(flood).await;
    let (peak, after) = (victim.figure("VmHWM"), victim.figure("VmRSS"));
    let grown = |to: u64| to.saturating_sub(before) / MIB;
    let (most, left) = (grown(peak), grown(after));
    let row = format!("{flood}: {most} MiB more, {left} afterwards; {} are allowed", bound / MIB);
    println!("{row}");
    assert!(peak <= before + bound, "{row}");
}

/// Connects from one address of several: from a single one not all slots can be had.
async fn connect(victim: &Victim, n: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let host = u8::try_from(2 + n / server::MOST_UNNAMED).unwrap_or(u8::MAX);
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into())?;
    socket.connect(victim.address).await
}

/// Connections that say nothing, more than there are slots.
async fn silence(victim: &Victim) {
    for _ in 0..5 * scale() {
        let mut kept = Vec::new();
        for n in 0..600 {
            // Faster than they are taken, they would wait for the system.
            if n % 50 == 0 {
                sleep(Duration::from_millis(2)).await;
            }
            kept.extend(connect(victim, n).await);
        }
    }
}

/// The beginning of a greeting as long as one may be, on every slot.
async fn half_handshakes(victim: &Victim) {
    let record = |payload: Vec<u8>| [&[22, 3, 1][..], &(16_384_u16).to_be_bytes(), &payload].concat();
    let first = record([&[1, 0, 0xff, 0xff][..], &[0; 16_380]].concat());
    let hello = [first, record(vec![0; 16_384]), record(vec![0; 16_384])].concat();
    for _ in 0..scale() {
        let mut kept = JoinSet::new();
        for n in 0..server::MOST_CONNECTIONS {
            let (tcp, hello) = (connect(victim, n).await, hello.clone());
            kept.spawn(async move {
                let mut tcp = tcp?;
                // It may be refused before it is all there.
                let _refused = tcp.write_all(&hello).await;
                io::Result::Ok(tcp)
            });
        }
        let kept = kept.join_all().await;
        sleep(Duration::from_millis(50)).await;
        drop(kept);
    }
}

/// Streams of all links that peers may have, with bodies that do not end.
async fn unfinished(victim: &Victim, from: &[&Identity], (streams, length): (usize, usize)) {
    let body = vec![b'1'; length];
    let links = from.iter().flat_map(|identity| [*identity; LINKS]).map(async |identity| {
        let mut link = victim.raw(identity, 0, true).await;
        for _ in 0..streams {
            let stream = link.ask("POST", "/krpc", false).await?;
            link.body(stream, &body, 8 << 10, false).await?;
        }
        link.settle().await?;
        io::Result::Ok(link)
    });
    drop(kept(all(links).await));
}

/// The same, a byte in each frame, as slowly as they are taken.
async fn dribbled(victim: &Victim, bytes: usize) {
    const AT_A_TIME: usize = 16;
    let links = [&victim.hostile; LINKS].into_iter().map(async |identity| {
        let mut link = victim.raw(identity, 0, true).await;
        let mut streams = Vec::new();
        for _ in 0..AT_ONCE {
            streams.push(link.ask("POST", "/krpc", false).await?);
        }
        for _ in 0..bytes / AT_A_TIME {
            for stream in &streams {
                link.body(*stream, &[b'1'; AT_A_TIME], 1, false).await?;
            }
            link.settle().await?;
        }
        io::Result::Ok(link)
    });
    drop(kept(all(links).await));
}

/// The links that were not thrown out; a flood that all of them were is none.
fn kept(links: Vec<io::Result<RawLink>>) -> Vec<RawLink> {
    let kept: Vec<_> = links.into_iter().flatten().collect();
    assert!(!kept.is_empty(), "all were thrown out");
    kept
}

/// Waits for all of them at once.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        let ready = waiting.iter().all(|(_, done)| done.is_some());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

/// Blocks of full size, right or wrong.
async fn pushes(victim: &Victim, from: &Identity, right: bool) {
    let links = all([from; LINKS].into_iter().map(|from| victim.link(from))).await;
    let mut pushes = JoinSet::new();
    for n in 0..512 {
        let link = links[n % LINKS].clone();
        let bytes = block();
        let score = if right { Score::of(Algorithm::Sha256, &bytes) } else { victim.score };
        pushes.spawn(async move { link.put(&score, n % 2 == 0, bytes.into()).await.is_ok() });
        if pushes.len() >= 128 {
            pushes.join_next().await;
        }
    }
    pushes.join_all().await;
}

/// The longest messages there are.
fn long_words(victim: &Victim) -> Vec<Word> {
    let entries = (0..ENTRIES_AT_ONCE).map(|_| vec![7; 1024]).collect();
    let slices = (0..8000).map(|index| (index, 3)).collect();
    let ask = Ask::List { width: 4, slices, ids: (0..24_000).map(|_| random()).collect() };
    let range = RangeQuery { view: random(), salt: Salt(random()), ask };
    vec![
        Word::Have { scores: scores(MOST_SCORES) },
        Word::Offer { scores: scores(MOST_SCORES) },
        some_buckets(),
        Word::Members { heads: vec![[5; 32]; 256], entries },
        Word::Since { epoch: 0, after: 0, limit: u64::MAX },
        Word::Range(range.to_bytes()),
        rumours(victim),
    ]
}

/// As long as if it asked for all, without the work.
fn some_buckets() -> Word {
    let bits = std::iter::repeat_n(0xff, 16).chain(std::iter::repeat_n(0, 8176));
    Word::List { from: 0, buckets: bits.collect() }
}

fn rumours(victim: &Victim) -> Word {
    let rumour = || Rumour { peer: PeerId::from_bytes(random()), address: (random::<16>(), 4000).into() };
    Word::Status(Box::new(PeerStatus {
        pool: PeerStatus::proof(&victim.pool, &victim.hostile.id(), &victim.id),
        version: "x".repeat(1000),
        port: 1,
        rumours: (0..256).map(|_| rumour()).collect(),
        ..PeerStatus::default()
    }))
}

async fn words(victim: &Victim) {
    let links = all([&victim.hostile; LINKS].into_iter().map(|from| victim.link(from))).await;
    for word in long_words(victim) {
        let mut said = JoinSet::new();
        for n in 0..64 * scale() {
            let (link, word) = (links[n % LINKS].clone(), word.clone());
            said.spawn(async move { link.say(&word).await.is_ok() });
        }
        said.join_all().await;
    }
}

/// Rumours of peers that there are not, and strangers that come and go.
async fn names(victim: &Victim) {
    let link = victim.link(&victim.hostile).await;
    for _ in 0..64 * scale() {
        // Who says too much is told so.
        let _busy = link.say(&rumours(victim)).await;
    }
    for _ in 0..64 * scale() {
        let link = Link::connect(&identity(), victim.address, None).await;
        if let Ok(link) = link {
            let _busy = link.say(&status()).await;
        }
    }
}

/// Answers that are never read: the window is closed, or the connection is not looked at.
async fn unread(victim: &Victim, read: bool) {
    let list = some_buckets().to_bytes();
    let members = Word::Members { heads: Vec::new(), entries: Vec::new() }.to_bytes();
    let path = format!("/block/{}", victim.score);
    let links = [&victim.hostile; LINKS].into_iter().enumerate().map(async |(n, identity)| {
        let window = if read { 0 } else { u32::MAX >> 1 };
        let mut link = victim.raw(identity, window, read).await;
        for _ in 0..AT_ONCE {
            if n < LINKS - 1 {
                link.ask("GET", &path, true).await?;
            } else {
                let stream = link.ask("POST", "/krpc", false).await?;
                link.body(stream, if stream % 4 == 1 { &list } else { &members }, 8192, true).await?;
            }
        }
        let answered = || link.seen.answers.load(Ordering::Relaxed) == AT_ONCE as u64;
        for _ in 0..20 {
            if !answered() {
                sleep(Duration::from_millis(10)).await;
            }
        }
        io::Result::Ok(link)
    });
    let links = kept(all(links).await);
    let good = links.iter().map(|link| link.seen.good.load(Ordering::Relaxed)).sum::<u64>();
    // Three of four links asked for blocks.
    let held = Peers::allowances().member.held;
    assert!(good.saturating_sub(AT_ONCE as u64) * MAX_BLOCK as u64 <= held, "{good} answers wait to be read");
}

/// Requests that are complete and then taken back, while they are worked on: whoever takes back what was not even looked
/// at is thrown out.
async fn cancelled(victim: &Victim, (method, path): (&'static str, String), body: &[u8], count: usize) {
    let links = [&victim.hostile; LINKS].into_iter().map(async |identity| {
        let mut link = victim.raw(identity, 0, true).await;
        for _ in 0..count.div_ceil(LINKS * AT_ONCE) {
            let mut streams = Vec::new();
            for _ in 1..AT_ONCE {
                let stream = link.ask(method, &path, body.is_empty()).await?;
                link.body(stream, body, 8 << 10, !body.is_empty()).await?;
                streams.push(stream);
            }
            link.taken_up().await?;
            for stream in streams {
                link.cancel(stream).await?;
            }
        }
        io::Result::Ok(link)
    });
    drop(kept(all(links).await));
}

async fn cancelled_words(victim: &Victim) {
    let members = long_words(victim).swap_remove(3);
    for (word, count) in [(some_buckets(), 1024), (members, 512)] {
        cancelled(victim, ("POST", "/krpc".into()), &word.to_bytes(), count * scale()).await;
    }
}

async fn cancelled_blocks(victim: &Victim) {
    let get = ("GET", format!("/block/{}", victim.score));
    cancelled(victim, get, &[], 8192 * scale()).await;
    let block = block();
    let put = ("PUT", format!("/block/{}", Score::of(Algorithm::Sha256, &block)));
    cancelled(victim, put, &block, 1024 * scale()).await;
}

/// Requests that are taken back as soon as they are there.
async fn rapid_resets(victim: &Victim) {
    let path = format!("/block/{}", victim.score);
    for _ in 0..50 * scale() {
        let mut link = victim.raw(&victim.hostile, 1 << 20, true).await;
        let resets = async {
            for _ in 0..1000 {
                let stream = link.ask("GET", &path, true).await?;
                link.cancel(stream).await?;
            }
            io::Result::Ok(())
        };
        // It is thrown out, and comes again.
        let _thrown_out = resets.await;
    }
}

/// Headers that go on and on.
async fn long_headers(victim: &Victim) {
    let field: Vec<u8> = [&[0x40, 60][..], &[b'a'; 60], &[60], &[b'b'; 60]].concat();
    let fields = field.repeat((16 << 10) / field.len());
    for flags in [0, 4] {
        let mut link = victim.raw(&victim.hostile, 0, true).await;
        for n in 0..1000 * u32::try_from(scale()).expect("small") {
            // One block of headers without end, or many that are too long.
            let kind = if n == 0 || flags != 0 { HEADERS } else { CONTINUATION };
            let stream = if flags == 0 { 1 } else { 2 * n + 1 };
            if link.send(&frame(kind, flags, stream, &fields)).await.is_err() {
                break;
            }
        }
    }
}

/// Frames that each want an answer, which is read or not.
async fn controls(victim: &Victim, read: bool) {
    let (ping, settings) = (frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]));
    let many = [ping.repeat(1000), settings.repeat(1000)].concat();
    let links = [&victim.hostile; LINKS].into_iter().map(async |identity| {
        let mut link = victim.raw(identity, 0, read).await;
        let sending = async {
            for _ in 0..200 * scale() {
                link.send(&many).await?;
            }
            io::Result::Ok(())
        };
        // Who does not read is not read.
        let _stuck = timeout(Duration::from_millis(500), sending).await;
        io::Result::Ok(link)
    });
    drop(kept(all(links).await));
}

/// A slot has the state of TLS and of a task, and 64 KiB of a greeting at most, in a buffer that doubles; of peers there
/// are 4096 in the book and as many of whom something is remembered, each with less than 1 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn connections_do_not_fill_the_memory() {
    let slots = server::MOST_CONNECTIONS as u64;
    measure("silence", USE + slots * (32 << 10), silence).await;
    measure("half handshakes", USE + slots * (160 << 10), half_handshakes).await;
    measure("names", USE + 2 * 4096 * (1 << 10), names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_do_not_fill_the_memory() {
    let many: Vec<_> = (0..server::MOST_OF_STRANGERS / LINKS).map(|_| identity()).collect();
    let many: Vec<_> = many.iter().collect();
    // Of a stranger four requests are taken at a time.
    let body = (8, MOST_MESSAGE / 4);
    measure("bodies of strangers", strangers(), async |victim| unfinished(victim, &many, body).await).await;
    let body = (AT_ONCE, if scale() > 1 { MOST_MESSAGE - 1 } else { MOST_MESSAGE / 2 });
    measure("bodies", member(), async |victim| unfinished(victim, &[&victim.hostile], body).await).await;
    // So little is sent that it can be held, but each byte for itself would take fifty times as much.
    let sent = 4 << 10;
    let bound = USE + LINKS as u64 * LINK + (2 * LINKS * AT_ONCE * sent) as u64;
    measure("bodies byte by byte", bound, async |victim| dribbled(victim, sent).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_and_answers_do_not_fill_the_memory() {
    measure("long words", member(), words).await;
    measure("closed windows", member(), async |victim| unread(victim, true).await).await;
    measure("answers unread", member(), async |victim| unread(victim, false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_does_not_fill_the_memory() {
    measure("words taken back", member(), cancelled_words).await;
    measure("blocks taken back", member(), cancelled_blocks).await;
    measure("rapid resets", member(), rapid_resets).await;
}

/// No request is taken, so only links have anything.
#[tokio::test(flavor = "multi_thread")]
async fn frames_do_not_fill_the_memory() {
    let bound = USE + LINKS as u64 * LINK;
    measure("long headers", bound, long_headers).await;
    measure("controls", bound, async |victim| controls(victim, true).await).await;
    measure("controls unread", bound, async |victim| controls(victim, false).await).await;
}

/// The store has chunks of 4 MiB, five that wait or are written and two that are filled, and three tables of 8 MiB that
/// the index writes.
#[tokio::test(flavor = "multi_thread")]
async fn blocks_do_not_fill_the_memory() {
    let bound = member() + (7 * 4 + 3 * 8) * MIB;
    measure("wrong blocks", bound, async |victim| pushes(victim, &victim.liar, false).await).await;
    measure("right blocks", bound, async |victim| pushes(victim, &victim.hostile, true).await).await;
}
