//! Finding members through the DHT: they announce themselves under the pool's rendezvous.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use krpc::{Event, Publication, Settings, Target, Task, TaskId};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    config::DhtSettings,
    daemon::stop::Stop,
    dht::{
        client::VERSION,
        driver::Driver,
        names::{is_private_network, resolve_all},
        state::State,
        udp::Udp,
    },
    failure::Failure,
    home::Home,
    peers::{Peers, discover::try_all, pool::Pool},
    progress::warn,
};

/// How often the rendezvous is looked up: often while nobody is known, seldom afterwards.
const LOOKING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(10));
/// How often the node looks whether it is to stop.
const TURN: Duration = Duration::from_millis(250);
/// How often ids and nodes are saved.
const SAVING: Duration = Duration::from_mins(5);

/// Runs a node of the DHT, and tries the addresses that it finds, until it is told to stop.
pub(crate) async fn run(home: Arc<Home>, peers: Arc<Peers>, stop: Stop) -> Result<(), Failure> {
    // What cannot be tried in time is found again at the next look.
    let (found, mut addresses) = mpsc::channel::<Vec<SocketAddr>>(4);
    let for_thread = (Arc::clone(&peers), stop.clone());
    let node = spawn_blocking(move || {
        let (peers, stop) = for_thread;
        Swarm::new(&home, peers)?.turn_until(&stop, &found)
    });
    // The channel ends with the node.
    while let Some(addresses) = addresses.recv().await {
        try_all(&peers, &addresses).await;
    }
    node.await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Failure::Worker,
    })?
}

/// The node, and what it is after.
struct Swarm {
    driver: Driver,
    state: State,
    peers: Arc<Peers>,
    /// What is announced now.
    announced: Option<(Target, u16)>,
    lookup: Option<TaskId>,
    looked: Option<Instant>,
    /// Only one node at a time uses what is saved.
    _lock: std::fs::File,
}

impl Swarm {
    fn new(home: &Home, peers: Arc<Peers>) -> Result<Self, Failure> {
        let DhtSettings { listen, bootstrap, public, .. } = home.config.dht.clone();
        let address = listen.unwrap_or(home.config.peers.listen);
        let state = State::new(home.path());
        let lock = state.lock()?;
        let saved = state.read()?;
        let bootstrap = resolve_all(&bootstrap, public, true)?;
        let private = !public && is_private_network(&[address], &bootstrap);
        let settings = Settings {
            v4: address.is_ipv4(),
            v6: address.is_ipv6(),
            private,
            bootstrap,
            version: Some(VERSION),
            ..Settings::private()
        };
        let socket = Udp::bind(address).map_err(|source| Failure::Bind { address, source })?;
        state.write_addresses(&[socket.address()])?;
        let mut driver = Driver::new().map_err(Failure::Socket)?;
        driver.add(settings, saved.as_ref(), vec![socket]).map_err(Failure::Socket)?;
        Ok(Self { driver, state, peers, announced: None, lookup: None, looked: None, _lock: lock })
    }

    fn turn_until(mut self, stop: &Stop, found: &mpsc::Sender<Vec<SocketAddr>>) -> Result<(), Failure> {
        let mut saved = Instant::now();
        while !stop.is_asked() && !found.is_closed() {
            self.driver.turn(TURN).map_err(Failure::Socket)?;
            self.announce();
            self.look();
            for (_, event) in self.driver.events() {
                let Event::Done { task, outcome } = event else { continue };
                if self.lookup == Some(task) {
                    self.lookup = None;
                    if !outcome.peers.is_empty() && found.try_send(outcome.peers).is_err() {
                        tracing::debug!("addresses from the DHT are not tried yet");
                    }
                }
            }
            if saved.elapsed() > SAVING {
                saved = Instant::now();
                self.save();
            }
        }
        self.save();
        self.state.remove_addresses()
    }

    /// Announces this peer under the rendezvous of its pool, and no longer under that of another one.
    fn announce(&mut self) {
        let pool = self.peers.pool().as_ref().map(Pool::pool_id);
        let now = pool.map(|pool| pool.rendezvous()).zip(self.peers.port());
        if now == self.announced {
            return;
        }
        let before = std::mem::replace(&mut self.announced, now);
        self.looked = None;
        self.driver.with(0, |node, at| {
            if let Some((info_hash, _)) = before {
                node.unpublish(&info_hash);
            }
            if let Some((info_hash, port)) = now {
                let peer = Publication::Peer { info_hash, port, implied_port: false, seed: false };
                node.publish(peer, true, at);
            }
        });
    }

    /// Looks for others, more often while some are missing.
    fn look(&mut self) {
        let Some((info_hash, _)) = self.announced.filter(|_| self.lookup.is_none()) else { return };
        let others = self.peers.others();
        let missing = others.is_empty() || others.iter().any(|peer| !self.peers.is_reachable(peer));
        let every = if missing { LOOKING.0 } else { LOOKING.1 };
        // A peer that is away for long need not be looked for all the time.
        let every =
            if others.iter().any(|peer| self.peers.is_reachable(peer)) { every.max(LOOKING.0 * 12) } else { every };
        if self.looked.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.looked = Some(Instant::now());
        self.lookup = Some(self.driver.with(0, |node, at| node.start(Task::GetPeers { info_hash, scrape: false }, at)));
    }

    /// Saved nodes are only a convenience, so that not being able to is only said.
    fn save(&self) {
        if let Err(failure) = self.state.write(&self.driver.endpoints()[0].node.save()) {
            warn(&crate::report::in_one_line(&failure));
        }
    }
}
