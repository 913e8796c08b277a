//! The daemon's store, seen from a command.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::ControlFlow,
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cas::{
    Algorithm, BlockStore, Drawn, Error, Hold, IndexError, PackReader, Place, Result, Sampler, Score, check_length,
};
use rustix::process::Pid;
use serde_json::{Value, json};

use crate::{
    control::frame::{self, Kind},
    home::store_directory,
};

/// The version that both ends must have.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A store that the daemon owns. Each thread that uses it has a connection of its own.
///
/// Blocks are read from the packs, where the daemon says that they lie, and only what cannot be read there goes through
/// the socket.
pub(crate) struct RemoteStore {
    home: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
    packs: PackReader,
    /// The process at the other end. What a daemon held for this command is gone with it, so that another one must not
    /// go on with what it began.
    daemon: Option<Pid>,
    /// Where blocks lie that will be read soon.
    places: Mutex<HashMap<Score, Place>>,
}

/// Most places that are remembered; those that are forgotten cost a question more.
const MOST_PLACES: usize = 65_536;

/// A score and its place, in bytes.
pub(crate) const PLACED: usize = Score::BINARY + Place::SIZE;

/// Blocks that are put at once.
const AT_ONCE: usize = 16;

/// The name of the socket in the home directory.
pub(crate) const SOCKET: &str = "control";

/// Calls `use_path` with a path to the socket that is short enough for any home: a socket's address has room for 107
/// bytes only.
pub(crate) fn with_socket_path<T>(home: &Path, use_path: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = File::open(home)?;
    use_path(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd())))
}

/// Connects to the daemon of a home; `None` when there is none.
pub(crate) fn connect(home: &Path) -> io::Result<Option<UnixStream>> {
    let mut stream = match with_socket_path(home, |path| UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    frame::write(&mut stream, Kind::Hello, &[VERSION.as_bytes()])?;
    let mut answer = Vec::new();
    match frame::read(&mut stream, &mut answer)? {
        Some(Kind::Done) => Ok(Some(stream)),
        Some(_) => Err(io::Error::other(format!("the daemon is of version {}", String::from_utf8_lossy(&answer)))),
        // It is on its way out.
        None => Ok(None),
    }
}

impl RemoteStore {
    /// The store behind a connection; more are made when they are needed.
    pub(crate) fn new(home: &Path, first: UnixStream) -> Self {
        Self {
            daemon: process(&first),
            home: home.to_owned(),
            idle: Mutex::new(vec![first]),
            packs: PackReader::new(&store_directory(home)),
            places: Mutex::default(),
        }
    }

    fn socket(&self) -> io::Result<UnixStream> {
        if let Some(stream) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(stream);
        }
        let stream = connect(&self.home)?.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        if process(&stream) == self.daemon {
            Ok(stream)
        } else {
            Err(io::Error::other("it was started again meanwhile"))
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Io { action: "reach the daemon at", path: self.home.join(SOCKET), source }
    }

    /// Asks once, and gives back the kind of the answer; its payload is in `answer`.
    fn ask(&self, kind: Kind, parts: &[&[u8]], answer: &mut Vec<u8>) -> Result<Kind> {
        let mut stream = self.socket().map_err(|error| self.failed(error))?;
        let got = exchange(&mut stream, kind, parts, answer).map_err(|error| self.failed(error))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        if got == Kind::Failed { Err(error_of(answer)) } else { Ok(got) }
    }

    /// Asks something that is done or not.
    fn ask_whether(&self, kind: Kind, parts: &[&[u8]]) -> Result<bool> {
        Ok(self.ask(kind, parts, &mut Vec::new())? == Kind::Done)
    }

    /// Writes a URL down.
    pub(crate) fn record(&self, line: &Value) -> Result<()> {
        self.ask(Kind::Record, &[line.to_string().as_bytes()], &mut Vec::new()).map(drop)
    }

    /// A connection that keeps a state at the daemon.
    fn dedicated(&self, kind: Kind, parts: &[&[u8]]) -> Result<UnixStream> {
        let mut stream = self.socket().map_err(|error| self.failed(error))?;
        let mut answer = Vec::new();
        let got = exchange(&mut stream, kind, parts, &mut answer).map_err(|error| self.failed(error))?;
        if got == Kind::Failed { Err(error_of(&answer)) } else { Ok(stream) }
    }
}

/// The process that listens at the other end.
fn process(stream: &UnixStream) -> Option<Pid> {
    rustix::net::sockopt::socket_peercred(stream).ok().map(|of| of.pid)
}

fn exchange(stream: &mut UnixStream, kind: Kind, parts: &[&[u8]], answer: &mut Vec<u8>) -> io::Result<Kind> {
    frame::write(stream, kind, parts)?;
    frame::read(stream, answer)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Scores in their binary form, one after the other.
pub(crate) fn unpack(bytes: &[u8]) -> Vec<Score> {
    bytes.as_chunks::<{ Score::BINARY }>().0.iter().filter_map(|one| Score::from_binary(one).ok()).collect()
}

/// Scores and their places, which they need not have.
fn unpack_placed(bytes: &[u8]) -> Vec<Drawn> {
    let drawn = |one: &[u8; PLACED]| {
        let (score, place) = one.split_first_chunk()?;
        let place: &[u8; Place::SIZE] = place.try_into().ok()?;
        let place = Some(Place::from_bytes(place)).filter(|_| place.iter().any(|byte| *byte != 0));
        Some(Drawn { score: Score::from_binary(score).ok()?, place })
    };
    bytes.as_chunks::<PLACED>().0.iter().filter_map(drawn).collect()
}

pub(crate) fn pack(scores: &[Score]) -> Vec<u8> {
    scores.iter().flat_map(|score| score.to_binary()).collect()
}

impl BlockStore for RemoteStore {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        self.put_copies(algorithm, false, block)
    }

    fn put_many(&self, algorithm: Algorithm, blocks: &[&[u8]]) -> Result<Vec<Score>> {
        blocks.iter().try_for_each(|block| check_length(block))?;
        let mut scores = Vec::with_capacity(blocks.len());
        let mut answer = Vec::new();
        for blocks in blocks.chunks(AT_ONCE) {
            let code = [algorithm.code()];
            let lengths: Vec<_> =
                blocks.iter().map(|block| u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes()).collect();
            let mut parts: Vec<&[u8]> = vec![&code];
            for (length, block) in lengths.iter().zip(blocks) {
                parts.extend([length.as_slice(), block]);
            }
            self.ask(Kind::PutMany, &parts, &mut answer)?;
            scores.extend(unpack(&answer));
        }
        if scores.len() == blocks.len() { Ok(scores) } else { Err(self.failed(io::ErrorKind::InvalidData.into())) }
    }

    fn put_twice(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        self.put_copies(algorithm, true, block)
    }

    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let place = self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(score);
        if place.is_some_and(|place| self.packs.read(score, &place, buffer)) {
            return Ok(true);
        }
        Ok(self.ask(Kind::Get, &[&score.to_binary()], buffer)? == Kind::Block)
    }

    fn contains(&self, score: &Score) -> Result<bool> {
        self.ask_whether(Kind::Contains, &[&score.to_binary()])
    }

    fn most_blocks(&self) -> u64 {
        let mut answer = Vec::new();
        let asked = self.ask(Kind::MostBlocks, &[], &mut answer);
        asked.ok().and_then(|_| answer.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes)
    }

    fn remove(&self, score: &Score) -> Result<bool> {
        self.ask_whether(Kind::Remove, &[&score.to_binary()])
    }

    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        let mut stream = self.socket().map_err(|error| self.failed(error))?;
        let mut page = Vec::new();
        let mut kind = exchange(&mut stream, Kind::Scores, &[], &mut page).map_err(|error| self.failed(error))?;
        while kind == Kind::Scored && !page.is_empty() {
            // When `visit` breaks off, the rest of the pages go with the connection.
            if unpack(&page).into_iter().try_for_each(&mut *visit).is_break() {
                return Ok(());
            }
            let next = frame::read(&mut stream, &mut page).map_err(|error| self.failed(error))?;
            kind = next.ok_or_else(|| self.failed(io::ErrorKind::UnexpectedEof.into()))?;
        }
        if kind == Kind::Failed { Err(error_of(&page)) } else { Ok(()) }
    }

    fn sync(&self) -> Result<()> {
        self.ask(Kind::Sync, &[], &mut Vec::new()).map(drop)
    }

    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        let started = self.dedicated(Kind::Sampler, &[&[algorithm.code()], &seed.to_be_bytes()]);
        Box::new(RemoteSampler { store: self, started: Some(started), drawn: Vec::new().into_iter() })
    }

    fn hold(&self) -> Hold {
        match self.dedicated(Kind::Hold, &[]) {
            Ok(stream) => Hold::guarded(stream),
            Err(error) => {
                // Whatever is done next fails for the same reason, and says so.
                tracing::warn!(%error, "no hold");
                Hold::nothing()
            }
        }
    }

    fn silent(&self) -> Vec<String> {
        let mut answer = Vec::new();
        let asked = self.ask(Kind::Silent, &[], &mut answer);
        let text = asked.ok().and_then(|_| String::from_utf8(answer).ok()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn expect(&self, scores: &[Score]) {
        let mut answer = Vec::new();
        if let Err(error) = self.ask(Kind::Expect, &[&pack(scores)], &mut answer) {
            tracing::debug!(%error, "the daemon is not told what will be read");
            return;
        }
        let placed = unpack_placed(&answer).into_iter().filter_map(|drawn| Some((drawn.score, drawn.place?)));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MOST_PLACES {
            places.clear();
        }
        places.extend(placed);
    }

    fn get_drawn(&self, drawn: &Drawn, buffer: &mut Vec<u8>) -> Result<bool> {
        let read = drawn.place.is_some_and(|place| self.packs.read(&drawn.score, &place, buffer));
        if read { Ok(true) } else { self.get_into(&drawn.score, buffer) }
    }

    fn expect_drawn(&self, drawn: &[Drawn]) {
        self.packs.will_read(drawn.iter().filter_map(|drawn| drawn.place).collect());
    }
}

impl RemoteStore {
    fn put_copies(&self, algorithm: Algorithm, twice: bool, block: &[u8]) -> Result<Score> {
        // The frame has a limit of its own; this one is the contract's.
        check_length(block)?;
        let mut answer = Vec::new();
        self.ask(Kind::Put, &[&[algorithm.code(), u8::from(twice)], block], &mut answer)?;
        unpack(&answer).pop().ok_or_else(|| self.failed(io::ErrorKind::InvalidData.into()))
    }
}

/// Draws through a connection of its own, some scores at a time.
struct RemoteSampler<'a> {
    store: &'a RemoteStore,
    started: Option<Result<UnixStream>>,
    drawn: std::vec::IntoIter<Drawn>,
}

impl Sampler for RemoteSampler<'_> {
    fn next(&mut self) -> Result<Option<Drawn>> {
        if let Some(drawn) = self.drawn.next() {
            return Ok(Some(drawn));
        }
        let mut stream = match self.started.take() {
            Some(started) => started?,
            None => return Ok(None),
        };
        let mut answer = Vec::new();
        let got = exchange(&mut stream, Kind::Draw, &[], &mut answer).map_err(|error| self.store.failed(error))?;
        if got == Kind::Failed {
            return Err(error_of(&answer));
        }
        self.drawn = unpack_placed(&answer).into_iter();
        let first = self.drawn.next();
        if first.is_some() {
            self.started = Some(Ok(stream));
        }
        Ok(first)
    }
}

/// An error of the store as JSON.
pub(crate) fn error_to_json(error: &Error) -> Value {
    let causes = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    };
    match error {
        Error::Damaged { score } => json!({"damaged": score.to_string()}),
        Error::BlockLength { length } => json!({"length": length}),
        Error::Full { capacity, used } => json!({"full": [capacity, used]}),
        Error::DiskFull { path, free } => json!({"disk_full": free, "path": path}),
        Error::Index(IndexError::Damaged { detail }) => json!({"index": detail}),
        Error::Index(IndexError::Entry { key }) => json!({"entry": hex::encode(key)}),
        Error::Index(IndexError::Full { detail }) => json!({"index_full": detail}),
        Error::Index(IndexError::Failed { detail }) => json!({"index_failed": detail}),
        Error::Broken => json!({"broken": true}),
        Error::Reachable(source) => json!({"reachable": causes(source.as_ref())}),
        Error::Io { path, source, .. } => json!({"io": source.to_string(), "path": path}),
        Error::InUse { .. } => json!({"io": causes(error)}),
    }
}

/// The error that the other end met.
fn error_of(json: &[u8]) -> Error {
    let said: Value = serde_json::from_slice(json).unwrap_or_default();
    let text = |key: &str| said[key].as_str().map(str::to_owned);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let path = || PathBuf::from(text("path").unwrap_or_default());
    if let Some(score) = text("damaged").and_then(|score| score.parse().ok()) {
        Error::Damaged { score }
    } else if said["length"].is_u64() {
        Error::BlockLength { length: usize::try_from(number(&said["length"])).unwrap_or(usize::MAX) }
    } else if said["full"].is_array() {
        Error::Full { capacity: number(&said["full"][0]), used: number(&said["full"][1]) }
    } else if said["disk_full"].is_u64() {
        Error::DiskFull { path: path(), free: number(&said["disk_full"]) }
    } else if let Some(detail) = text("index") {
        Error::Index(IndexError::Damaged { detail })
    } else if let Some(key) = text("entry").and_then(|key| hex::decode(key).ok()) {
        Error::Index(IndexError::Entry { key })
    } else if let Some(detail) = text("index_full") {
        Error::Index(IndexError::Full { detail })
    } else if let Some(detail) = text("index_failed") {
        Error::Index(IndexError::Failed { detail })
    } else if said["broken"] == true {
        Error::Broken
    } else if let Some(reason) = text("reachable") {
        Error::Reachable(reason.into())
    } else {
        let reason = text("io").unwrap_or_else(|| "it gave no reason".to_owned());
        Error::Io { action: "use the daemon's store at", path: path(), source: io::Error::other(reason) }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::FileExt as _, net::UnixListener},
        sync::Arc,
        thread,
    };

    use cas::{MAX_BLOCK, MemoryStore, Options, PackStore};

    use super::*;
    use crate::control::door;

    /// A daemon that has a store and nothing else.
    struct Bare(Box<dyn BlockStore>);

    impl door::Service for Bare {
        fn store(&self) -> &dyn BlockStore {
            self.0.as_ref()
        }

        fn store_here(&self) -> &dyn BlockStore {
            self.0.as_ref()
        }

        fn put_done(&self, _: &Score, _: bool) {}

        fn record(&self, _: &Value) -> std::result::Result<(), String> {
            Err("full".to_owned())
        }

        fn command(&self, _: &Value) -> u8 {
            7
        }
    }

    fn remote(home: &Path, store: impl BlockStore + 'static) -> RemoteStore {
        let daemon: Arc<dyn door::Service> = Arc::new(Bare(Box::new(store)));
        let listener = UnixListener::bind(home.join(SOCKET)).expect("bind");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(io::Result::ok) {
                let daemon = Arc::clone(&daemon);
                // It ends when the store that talks to it is dropped.
                thread::spawn(move || drop(door::serve(stream, &daemon)));
            }
        });
        RemoteStore::new(home, connect(home).expect("connect").expect("a daemon"))
    }

    fn packs(home: &Path) -> PackStore {
        PackStore::open(&store_directory(home), Options::default()).expect("open")
    }

    #[test]
    fn conforms() {
        let homes: Vec<_> = (0..64).map(|_| tempfile::tempdir().expect("home")).collect();
        let mut homes = homes.iter().map(tempfile::TempDir::path);
        cas::conformance::check(|| remote(homes.next().expect("enough of them"), MemoryStore::new()));
        cas::conformance::check(|| {
            let home = homes.next().expect("enough of them");
            remote(home, packs(home))
        });
    }

    #[test]
    fn what_cannot_be_read_from_the_packs_comes_through_the_socket() {
        let home = tempfile::tempdir().expect("home");
        let block = |n: u8| vec![n; MAX_BLOCK];
        let store = packs(home.path());
        let scores: Vec<_> = (0..20).map(|n| store.put(Algorithm::Sha256, &block(n)).expect("put")).collect();
        drop(store);
        let store = remote(home.path(), packs(home.path()));
        let all = |places: &RemoteStore| places.places.lock().expect("places").len();
        // What is not written yet has no place.
        let unwritten = store.put(Algorithm::Sha256, &block(20)).expect("put");
        let absent = Score::of(Algorithm::Sha256, b"absent");
        store.expect(&[&scores[..], &[unwritten, absent]].concat());
        assert_eq!(all(&store), 20);
        // One is damaged meanwhile, without the daemon's knowing.
        let pack = store_directory(home.path()).join("packs/00000001.pack");
        let pack = File::options().write(true).open(pack).expect("open");
        let record = (cas::RECORD_HEADER + MAX_BLOCK) as u64;
        pack.write_all_at(&[99], 64 + 3 * record + 1000).expect("write");
        for (n, score) in (0..).zip(&scores) {
            match store.get(score) {
                Err(Error::Damaged { .. }) => assert_eq!(n, 3),
                read => assert_eq!(read.expect("read"), Some(block(n))),
            }
        }
        assert_eq!(all(&store), 0, "each is used once");
        assert_eq!(store.get(&unwritten).expect("read"), Some(block(20)));
        assert_eq!(store.get(&absent).expect("read"), None);
        // Where the packs cannot be reached, all of it does.
        let stream = connect(home.path()).expect("connect").expect("a daemon");
        let elsewhere = PackReader::new(&home.path().join("elsewhere"));
        let other = RemoteStore { packs: elsewhere, ..RemoteStore::new(home.path(), stream) };
        other.expect(&scores);
        for (n, score) in (0..).zip(&scores).filter(|(n, _)| *n != 3) {
            assert_eq!(other.get(score).expect("read"), Some(block(n)));
        }
        let mut sampler = other.sampler(Algorithm::Sha256, 1);
        let mut buffer = Vec::new();
        let mut drawn = Vec::new();
        while let Some(one) = sampler.next().expect("draw") {
            assert!(one.place.is_some() && other.get_drawn(&one, &mut buffer).expect("read"));
            assert!(one.score.matches(&buffer));
            drawn.push(one);
        }
        assert_eq!(drawn.len(), 19, "neither the damaged one, nor what the index does not know yet");
        other.expect_drawn(&drawn);
    }

    #[test]
    fn another_daemon_does_not_go_on_with_what_one_began() {
        let home = tempfile::tempdir().expect("home");
        let store = remote(home.path(), MemoryStore::new());
        assert_eq!(store.daemon, Some(rustix::process::getpid()));
        let store = RemoteStore { daemon: Pid::from_raw(1), ..store };
        // The connection that there is goes to the hold; the next one reaches another process.
        let _hold = store.hold();
        let error = store.put(Algorithm::Sha256, b"x").expect_err("refused");
        assert!(format!("{error:?}").contains("started again"), "{error:?}");
    }

    #[test]
    fn what_the_daemon_says_comes_through() {
        let home = tempfile::tempdir().expect("home");
        assert!(connect(home.path()).expect("connect").is_none(), "there is no daemon");
        let store = remote(home.path(), MemoryStore::new());
        let error = store.record(&json!({})).expect_err("it is full");
        assert!(format!("{error:?}").contains("full"));
        let mut stream = connect(home.path()).expect("connect").expect("a daemon");
        let line = ["offs", "dance"];
        let ended = crate::control::remote_command::run_line(&mut stream, &line, true, &mut |_| Ok(()));
        assert!(matches!(ended, Err(crate::failure::Failure::Said { code: 7 })));
        // Another version is told so, and a daemon that went away counts as none.
        let mut old = with_socket_path(home.path(), |path| UnixStream::connect(path)).expect("connect");
        let mut answer = Vec::new();
        let kind = exchange(&mut old, Kind::Hello, &[b"0.0.0"], &mut answer).expect("an answer");
        assert_eq!((kind, answer.as_slice()), (Kind::Failed, VERSION.as_bytes()));
    }

    #[test]
    fn errors_come_through() {
        let score = Score::of(Algorithm::Sha256, b"x");
        for error in [
            Error::Damaged { score },
            Error::BlockLength { length: 0 },
            Error::Full { capacity: 1, used: 2 },
            Error::DiskFull { path: "/p".into(), free: 3 },
            Error::Index(IndexError::Damaged { detail: "d".into() }),
            Error::Index(IndexError::Entry { key: vec![1] }),
            Error::Index(IndexError::Full { detail: "d".into() }),
            Error::Index(IndexError::Failed { detail: "d".into() }),
            Error::Broken,
        ] {
            let through = error_of(error_to_json(&error).to_string().as_bytes());
            assert_eq!(format!("{through:?}"), format!("{error:?}"));
        }
    }
}
