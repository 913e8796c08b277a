//! The node of the DHT, run as a user runs it, on loopback.

use std::{
    io::BufReader,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::world::World;

/// `offs dht serve` in a home of its own.
struct Server {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Server {
    fn start(world: &World, extra: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_offs"))
            .args(["dht", "serve", "--json"])
            .args(extra)
            .env("OFFS_HOME", world.home())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let address = json(&mut out)["listening"][0].as_str().expect("an address").to_owned();
        Self { child, out, address }
    }

    /// Tells it to end and returns its figures.
    fn stop(mut self) -> Value {
        let id = i32::try_from(self.child.id()).expect("a process id");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(id).expect("a process"),
            rustix::process::Signal::TERM,
        )
        .expect("it is there");
        let figures = json(&mut self.out);
        assert!(self.child.wait().expect("it ends").success());
        figures
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless a test failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn json(out: &mut impl std::io::BufRead) -> Value {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

const LOOPBACK: &[&str] = &["--bind", "127.0.0.1:0"];

#[test]
fn items_are_put_and_got() {
    let world = World::new();
    let server = Server::start(&world, LOOPBACK);
    let ran = world.run(&["dht", "serve", "--bind", "127.0.0.1:0"]).expect(1);
    assert!(ran.err.contains("another node uses"), "{}", ran.err);
    // The commands find the node by its home.
    let target = world.run(&["dht", "put", "hello"]).expect(0).text();
    assert_eq!(target, "e28910ea0adb94dd45ced75fbff3e135c01bc437");
    assert_eq!(world.run(&["dht", "get", &target]).expect(0).out, b"hello");
    assert_eq!(world.run(&["dht", "get", &target, "--bencode"]).expect(0).out, b"5:hello");
    let target = world.run_with(&["dht", "put", "--bencode", "-"], b"d1:ali1ee1:bi-2ee").expect(0).text();
    assert_eq!(world.run(&["dht", "get", &target]).expect(0).out, b"d1:ali1ee1:bi-2ee");
    world.run(&["dht", "get", &"0".repeat(40)]).expect(4);
    world.run_with(&["dht", "put", "-"], &[7; 997]).expect(2);
    world.run(&["dht", "put", "--bencode", "i05e"]).expect(2);

    let key = world.run(&["key", "new", "my.key"]).expect(0).text();
    assert_eq!(world.run(&["key", "show", "my.key"]).expect(0).text(), key);
    world.run(&["key", "new", "my.key"]).expect(1);
    let put = |value: &str, extra: &[&str]| {
        world.run(&[&["dht", "put", "--json", "--key", "my.key", "--salt", "s", value], extra].concat())
    };
    let seq = |ran: &crate::world::Ran| serde_json::from_slice::<Value>(&ran.out).expect("JSON")["seq"].as_i64();
    assert_eq!(seq(&put("one", &[]).expect(0)), Some(1));
    assert_eq!(seq(&put("two", &[]).expect(0)), Some(2), "without a number it is the next");
    assert!(put("old", &["--seq", "1"]).expect(1).err.contains("code 302"));
    assert!(put("three", &["--seq", "3", "--cas", "1"]).expect(1).err.contains("code 301"));
    assert_eq!(seq(&put("three", &["--seq", "3", "--cas", "2"]).expect(0)), Some(3));
    assert_eq!(world.run(&["dht", "get", "--key", &key, "--salt", "s"]).expect(0).out, b"three");
    world.run(&["dht", "get", "--key", &key]).expect(4);
    let figures = server.stop();
    let stats = world.run(&["dht", "stats", "--json"]).expect(0);
    assert_eq!(serde_json::from_slice::<Value>(&stats.out).expect("JSON"), figures);
    assert!(world.run(&["dht", "stats"]).expect(0).text().contains("answered put"));
    assert_eq!((figures["items"].as_u64(), figures["malformed"].as_u64()), (Some(3), Some(0)));
}

#[test]
fn peers_are_announced_and_found() {
    let world = World::new();
    let server = Server::start(&world, LOOPBACK);
    let swarm = "ab".repeat(20);
    world.run(&["dht", "get-peers", &swarm]).expect(4);
    for (port, extra) in [("4001", &[][..]), ("4002", &["--seed"])] {
        world.run(&[&["dht", "announce", &swarm, "--port", port], extra].concat()).expect(0);
    }
    let mut found: Vec<_> =
        world.run(&["dht", "get-peers", &swarm]).expect(0).text().lines().map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["127.0.0.1:4001", "127.0.0.1:4002"]);
    let scraped = world.run(&["dht", "get-peers", &swarm, "--scrape", "--json"]).expect(0);
    let scraped: Value = serde_json::from_slice(&scraped.out).expect("JSON");
    assert_eq!(scraped["seeds_estimate"].as_f64().map(f64::round), Some(1.0), "{scraped}");
    // What is kept is nobody's business in a private network.
    let sample = world.run(&["dht", "sample", &swarm, "--at", &server.address, "--json"]).expect(0);
    assert_eq!(serde_json::from_slice::<Value>(&sample.out).expect("JSON")["samples"], serde_json::json!([]));
    server.stop();
}

#[test]
fn a_node_that_starts_again_has_its_id_and_its_nodes() {
    let world = World::new();
    let other = World::new();
    let hub = Server::start(&other, LOOPBACK);
    let id = |server: &Server| world.run(&["dht", "ping", &server.address]).expect(0).text()[..].to_owned();
    let server = Server::start(&world, &["--bind", "127.0.0.1:0", "--bootstrap", &hub.address]);
    let address = server.address.clone();
    let before = id(&server);
    wait(|| {
        let at = world.run(&["dht", "find-node", &"0".repeat(40), "--at", &server.address]);
        at.code == 0 && at.text().contains(&hub.address)
    });
    server.stop();
    assert!(world.run(&["dht", "nodes"]).expect(0).text().contains(&hub.address));
    // Nobody tells it where to begin now.
    let server = Server::start(&world, &["--bind", &address]);
    let words = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    assert_eq!(words(&id(&server)), words(&before));
    wait(|| {
        let at = world.run(&["dht", "find-node", &"0".repeat(40), "--at", &server.address]);
        at.code == 0 && at.text().contains(&hub.address)
    });
    server.stop();
    hub.stop();
}

#[test]
fn a_node_speaks_both_families() {
    let world = World::new();
    let server = Server::start(&world, &["--bind", "127.0.0.1:0", "--bind", "[::1]:0"]);
    let addresses = std::fs::read_to_string(world.home().join("dht/addresses")).expect("addresses");
    for address in addresses.lines() {
        world.run(&["dht", "ping", address]).expect(0);
    }
    let target = world.run(&["dht", "put", "for both"]).expect(0).text();
    for address in addresses.lines() {
        let lonely = World::new();
        let got = lonely.run(&["dht", "get", &target, "--bootstrap", address]).expect(0);
        assert_eq!(got.out, b"for both", "{address}");
    }
    server.stop();
}

#[test]
fn a_swarm_is_a_network() {
    let world = World::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_offs"))
        .args(["dht", "swarm", "30", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let nodes: Vec<_> = (0..30).map(|_| json(&mut out)["address"].as_str().expect("an address").to_owned()).collect();
    let bootstrap = ["--bootstrap", &nodes[7]];
    let target = world.run(&[&["dht", "put", "into the swarm"][..], &bootstrap].concat()).expect(0).text();
    let got = world.run(&["dht", "get", &target, "--bootstrap", &nodes[22]]).expect(0);
    assert_eq!(got.out, b"into the swarm");
    let trace = world.run(&[&["dht", "lookup", "--trace", &target][..], &bootstrap].concat()).expect(0).text();
    assert!(trace.contains("round 2") && trace.contains("bits shared"), "{trace}");
    let nearest = world.run(&[&["dht", "find-node", &target][..], &bootstrap].concat()).expect(0).text();
    assert_eq!(nearest.lines().count(), 8, "{nearest}");
    child.kill().expect("it is there");
    child.wait().expect("it ends");
}

#[test]
fn failures_are_said() {
    let world = World::new();
    let ran = world.run(&["dht", "get", &"0".repeat(40)]).expect(1);
    assert!(ran.err.contains("no node of the DHT is known") && ran.err.contains("hint"), "{}", ran.err);
    // A socket that nobody reads.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = silent.local_addr().expect("bound").to_string();
    let ran = world.run(&["dht", "ping", &address]).expect(1);
    assert!(ran.err.contains("does not answer"), "{}", ran.err);
    let ran = world.run(&["dht", "serve", "--bind", &address]).expect(1);
    assert!(ran.err.contains("listens there already"), "{}", ran.err);
    world.run(&["dht", "serve", "--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0"]).expect(2);
    world.run(&["dht", "get", "abc"]).expect(2);
    world.run(&["dht", "get", &"0".repeat(40), "--salt", "s"]).expect(2);
    for wrong in ["127.0.0.1", "host", "host:70000", "host:0", ":1"] {
        assert!(world.run(&["dht", "ping", wrong]).expect(2).err.contains("HOST:PORT"), "{wrong}");
    }
    world.run(&["dht", "ping", "[::1]:9", "--bind", "127.0.0.1:0"]).expect(2);
    world.run(&["dht", "swarm", "3", "--port", "65534"]).expect(2);
    world.run(&["dht", "load", &address, "--seconds", "1"]).expect(1);
    world.run(&["dht", "load", "8.8.8.8:1"]).expect(2);
    world.write("no.key", b"nonsense");
    world.run(&["key", "show", "no.key"]).expect(2);
}

/// Waits until something holds, for a bounded time.
#[track_caller]
fn wait(holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not come");
        std::thread::sleep(Duration::from_millis(100));
    }
}
