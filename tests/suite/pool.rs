//! Daemons, pools and what goes between them, on loopback.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::world::{World, bytes};

/// A home with a daemon.
struct Peer {
    world: World,
    child: Option<Child>,
    address: String,
}

impl Peer {
    /// With these settings in its `config.toml`, in TOML.
    fn start(settings: &str) -> Self {
        let world = World::new();
        fs::create_dir(world.home()).expect("create");
        fs::write(world.home().join("config.toml"), settings).expect("write");
        let mut peer = Self { world, child: None, address: "127.0.0.1:0".to_owned() };
        peer.begin();
        peer
    }

    fn quick() -> Self {
        Self::start("[peers]\nlan = false\ngrace = 2\n")
    }

    fn begin(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_offs"))
            .args(["serve", "--allow-faults", "--no-http", "--listen", &self.address])
            .env("OFFS_HOME", self.world.home())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        line.trim().rsplit(' ').next().expect("an address").clone_into(&mut self.address);
        assert!(self.address.parse::<std::net::SocketAddr>().is_ok(), "{line}");
        // Whatever else it says is not to fill the pipe.
        std::thread::spawn(move || drop(std::io::copy(&mut said, &mut std::io::sink())));
        self.child = Some(child);
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("it ends");
    }

    /// Tells it to end, which it does in order.
    fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("told");
        assert!(child.wait().expect("it ends").success());
        assert!(!self.world.home().join("control").exists(), "the socket is removed");
    }

    fn status(&self) -> Value {
        let said = self.world.run(&["status", "--json"]).expect(0);
        serde_json::from_slice(&said.out).expect("JSON")
    }

    fn id(&self) -> String {
        self.status()["peer"].as_str().expect("an id").to_owned()
    }

    /// Waits until something holds.
    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status();
            if holds(&status) {
                return;
            }
            assert!(started.elapsed() < Duration::from_mins(2), "never: {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Daemons in one closed pool.
fn household(count: usize) -> Vec<Peer> {
    let peers: Vec<_> = (0..count).map(|_| Peer::quick()).collect();
    peers[0].world.run(&["pool", "create", "household"]).expect(0);
    for peer in &peers[1..] {
        let invitation = peers[0].world.run(&["pool", "invite"]).expect(0).text();
        peer.world.run(&["pool", "join", &invitation]).expect(0);
    }
    for peer in &peers {
        peer.until("all members are reachable", |status| {
            let known = status["peers"].as_array().expect("peers");
            known.len() == count - 1 && known.iter().all(|peer| peer["reachable"] == true)
        });
    }
    peers
}

#[test]
fn a_household_keeps_what_one_member_put() {
    let mut peers = household(3);
    let content = bytes(1, 700_000);
    let path = peers[0].world.write("film", &content);
    let url = peers[0].world.put(&["--replicas", "2", path.to_str().expect("text")]);
    // There are only two others, and that is said.
    let ran = peers[0].world.run(&["put", "--replicas", "3", path.to_str().expect("text")]).expect(1);
    assert!(ran.err.contains("fewer than 3 copies") && ran.text().starts_with("off:v4/"), "{}", ran.err);
    let counted = peers[2].world.run(&["replicate", &url, "--count", "--json"]).expect(0);
    let counted: Value = serde_json::from_slice(&counted.out).expect("JSON");
    assert_eq!(counted["copies"], 2);
    let audited = peers[1].world.run(&["peers", "audit", "--json"]).expect(0).text();
    for line in audited.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&line["failed"], &line["trouble"]), (&0.into(), &Value::Null), "{line}");
    }
    // What is held for others is not garbage.
    peers[1].world.run(&["gc"]).expect(0);
    let counted = peers[2].world.run(&["replicate", &url, "--count", "--json"]).expect(0);
    assert!(counted.text().contains("\"copies\":2"), "{}", counted.text());
    // Two of three are gone for good.
    peers[0].kill();
    peers[1].kill();
    assert_eq!(peers[2].world.get(&url).expect(0).out, content);
    // What nobody has is not found, in bounded time.
    let elsewhere = World::new();
    let stranger = elsewhere.write("other", &bytes(2, 300_000));
    let foreign = elsewhere.put(&[stranger.to_str().expect("text")]);
    let started = Instant::now();
    peers[2].world.get(&foreign).expect(4);
    assert!(started.elapsed() < Duration::from_secs(30));
    // Without its daemon the home works the same, even when its own blocks are gone and a peer has to be asked.
    peers[2].stop();
    assert_eq!(peers[2].world.get(&url).expect(0).out, content);
    peers[0].begin();
    for pack in peers[2].world.packs() {
        fs::remove_file(pack).expect("removed");
    }
    assert_eq!(peers[2].world.get(&url).expect(0).out, content);
}

#[test]
fn commands_work_the_same_with_a_daemon() {
    let mut peer = Peer::quick();
    let world = &peer.world;
    let ran = world.run(&["serve"]).expect(1);
    assert!(ran.err.contains("runs already"), "{}", ran.err);
    let folder = world.path("folder");
    fs::create_dir(&folder).expect("create");
    for n in 0..30 {
        fs::write(folder.join(n.to_string()), bytes(n, 2000)).expect("write");
    }
    let content = bytes(3, 5_000_000);
    let path = world.write("file", &content);
    let path = path.to_str().expect("text");
    let directory = world.put(&[folder.to_str().expect("text")]);
    let url = world.put(&[path]);
    let bare = world.put(&["--bare", "--parity", "none", path]);
    assert_eq!(world.get(&url).expect(0).out, content);
    assert_eq!(world.get(&bare).expect(0).out, content);
    assert_eq!(world.get(&format!("{directory}/7")).expect(0).out, bytes(7, 2000));
    assert_eq!(world.run(&["get", &url, "--range", "5-9", "-o", "-"]).expect(0).out, content[5..10]);
    world.run(&["get", &directory, "-o", "copy"]).expect(0);
    assert_eq!(fs::read(world.path("copy/29")).expect("read"), bytes(29, 2000));
    assert_eq!(world.run(&["ls"]).expect(0).text().lines().count(), 3);
    assert!(world.run(&["info", &url]).expect(0).text().contains("0 missing"));
    world.run(&["unpin", &bare]).expect(0);
    let collected = world.run(&["gc", "--json"]).expect(0).text();
    assert!(!collected.contains("\"dropped\":0,"), "{collected}");
    world.run(&["verify"]).expect(0);
    assert!(world.run(&["stats", "--json"]).expect(0).text().contains("\"urls\":"));
    world.run(&["get", "off:v4/a/b/3/xyz"]).expect(2);
    let ran = world.run(&["repair", "index"]).expect(1);
    assert!(ran.err.contains("in use"), "{}", ran.err);
    peer.stop();
    let world = &peer.world;
    assert_eq!(world.get(&url).expect(0).out, content);
    world.run(&["repair", "index"]).expect(0);
    world.run(&["verify"]).expect(0);
}

#[test]
fn a_panic_restarts_one_service() {
    let peer = Peer::quick();
    let before = peer.status();
    let services: Vec<_> = before["services"].as_object().expect("services").keys().cloned().collect();
    assert!(services.len() >= 8, "{services:?}");
    for service in &services {
        peer.world.run(&["status", "--fault", service]).expect(0);
        peer.until("it runs again", |status| {
            let health = &status["services"][service];
            health["running"] == true && health["restarts"] == 1
        });
    }
    let after = peer.status();
    assert_eq!(after["daemon"], before["daemon"], "the daemon itself went on");
    for service in &services {
        assert_eq!(after["services"][service]["restarts"], 1, "{service} was started again once");
    }
    peer.world.run(&["status", "--fault", "dance"]).expect(4);
}

#[test]
fn who_is_expelled_has_no_access_and_who_has_no_invitation_neither() {
    let peers = household(3);
    let content = bytes(4, 300_000);
    let path = peers[0].world.write("secret", &content);
    let url = peers[0].world.put(&["--replicas", "1", path.to_str().expect("text")]);
    let expelled = peers[2].id();
    // Only admins expel, and a name that fits nobody is not found.
    peers[1].world.run(&["pool", "expel", &expelled]).expect(1);
    peers[0].world.run(&["pool", "expel", "zzzz"]).expect(4);
    peers[0].world.run(&["pool", "expel", &expelled[..12]]).expect(0);
    for peer in &peers[..2] {
        peer.until("it has one peer less", |status| status["pool"]["members"] == 2);
    }
    let told = |status: &Value| {
        let trouble =
            |peer: &Value| peer["trouble"].as_str().is_some_and(|trouble| trouble.contains("expelled from this pool"));
        status["peers"].as_array().is_some_and(|peers| peers.iter().all(trouble))
    };
    peers[2].until("it is told that it was expelled", told);
    // The others give it nothing any more: not even what it is told to fetch by a URL.
    let second = bytes(5, 300_000);
    let path = peers[0].world.write("later", &second);
    let later = peers[0].world.put(&["--replicas", "1", path.to_str().expect("text")]);
    peers[2].world.get(&later).expect(4);
    assert_eq!(peers[1].world.get(&later).expect(0).out, second);
    assert_eq!(peers[1].world.get(&url).expect(0).out, content);
    // An invitation is good once, and only whole.
    let invitation = peers[0].world.run(&["pool", "invite"]).expect(0).text();
    let (first, other) = (Peer::quick(), Peer::quick());
    first.world.run(&["pool", "join", &invitation[..60]]).expect(2);
    first.world.run(&["pool", "join", &invitation]).expect(0);
    let ran = other.world.run(&["pool", "join", &invitation]).expect(1);
    assert!(ran.err.contains("used up"), "{}", ran.err);
    assert_eq!(first.world.get(&url).expect(0).out, content);
}

#[test]
fn the_same_name_and_secret_in_the_settings_make_a_pool() {
    let first = Peer::start("[pool]\nname = \"home\"\nsecret = \"correct horse\"\n[peers]\nlan = false\n");
    let settings = format!(
        "[pool]\nname = \"home\"\nsecret = \"correct horse\"\n[peers]\nlan = false\nknown = [\"{}\"]\n",
        first.address
    );
    let second = Peer::start(&settings);
    let third = Peer::start(&settings.replace("correct", "wrong"));
    second.until("it sees the first", |status| status["peers"][0]["reachable"] == true);
    first.until("it sees the second", |status| status["pool"]["members"] == 2);
    let content = bytes(6, 200_000);
    let path = first.world.write("file", &content);
    let url = first.world.put(&["--replicas", "1", path.to_str().expect("text")]);
    assert_eq!(second.world.get(&url).expect(0).out, content);
    third.world.get(&url).expect(4);
    assert_eq!(third.status()["peers"].as_array().map(Vec::len), Some(0), "it knows nobody");
}

#[test]
fn what_came_while_a_peer_was_away_reaches_it() {
    let mut peers = household(2);
    peers[1].stop();
    let content = bytes(7, 900_000);
    let path = peers[0].world.write("file", &content);
    let url = peers[0].world.put(&[path.to_str().expect("text")]);
    peers[1].begin();
    peers[1].until("it has what it missed", |status| status["blocks"].as_u64() >= Some(10));
    peers[0].until("each pinned block has its copy", |status| {
        status["pinned_blocks"].as_u64() > Some(0) && status["endangered"] == 0
    });
    peers[0].kill();
    assert_eq!(peers[1].world.get(&url).expect(0).out, content);
}
