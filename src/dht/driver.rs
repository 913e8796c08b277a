//! Runs nodes: gives them packets and the time, and does what they say. One thread has any number of them.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use krpc::{Event, Node, Poll, Saved, Settings, Transmit};
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::udp::{Batch, Udp};

/// Batches that are taken from one socket before others have their turn.
const TURN: usize = 16;

/// What epoll says when the process is told to end.
const STOP: u64 = u64::MAX;

/// A node and its sockets.
pub(crate) struct Endpoint {
    pub(crate) node: Node,
    pub(crate) sockets: Vec<Udp>,
    /// When it is due next.
    wake: Duration,
}

/// Nodes, and what runs them.
pub(crate) struct Driver {
    endpoints: Vec<Endpoint>,
    epoll: OwnedFd,
    born: Instant,
    batch: Batch,
    wakes: BinaryHeap<Reverse<(Duration, usize)>>,
    outbox: Vec<Transmit>,
    /// The other end is written to by signal handlers.
    stop: Option<UnixStream>,
    events: Vec<(usize, Event)>,
    /// Packets that the kernel did not take.
    pub(crate) lost: u64,
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            endpoints: Vec::new(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            born: Instant::now(),
            batch: Batch::new(),
            wakes: BinaryHeap::new(),
            outbox: Vec::new(),
            stop: None,
            events: Vec::new(),
            lost: 0,
        })
    }

    /// From now on a signal to end makes [`Driver::turn`] return `false`, instead of ending the process.
    pub(crate) fn stop_at_signals(&mut self) -> io::Result<()> {
        let (read, write) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        epoll::add(&self.epoll, &read, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        self.stop = Some(read);
        Ok(())
    }

    /// The nodes' time.
    pub(crate) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// Adds a node on sockets that are bound; returns its number.
    pub(crate) fn add(&mut self, settings: Settings, saved: Option<&Saved>, sockets: Vec<Udp>) -> io::Result<usize> {
        let index = self.endpoints.len();
        for (which, socket) in sockets.iter().enumerate() {
            // Two sockets a node at most.
            let data = u64::try_from(2 * index + which).map_err(io::Error::other)?;
            epoll::add(&self.epoll, socket, epoll::EventData::new_u64(data), epoll::EventFlags::IN)?;
        }
        let node = Node::new(settings, saved, rand::random(), self.now());
        self.endpoints.push(Endpoint { node, sockets, wake: Duration::MAX });
        self.drain(index);
        Ok(index)
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Does something with a node, and what follows from it.
    pub(crate) fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Node, Duration) -> T) -> T {
        let now = self.now();
        let done = act(&mut self.endpoints[index].node, now);
        self.drain(index);
        done
    }

    /// What happened since the last call.
    pub(crate) fn events(&mut self) -> Vec<(usize, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Waits for packets or for the next thing that is due, at most so long, and does it. `false` when the process
    /// was told to end.
    pub(crate) fn turn(&mut self, most: Duration) -> io::Result<bool> {
        let due = self.wakes.peek().map_or(most, |Reverse((at, _))| at.saturating_sub(self.now()).min(most));
        let timeout = Timespec::try_from(due).map_err(io::Error::other)?;
        let mut ready = Vec::with_capacity(256);
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in ready {
            let data = event.data.u64();
            if data == STOP {
                return Ok(false);
            }
            let which = usize::try_from(data).map_err(io::Error::other)?;
            self.receive(which / 2, which % 2)?;
        }
        let now = self.now();
        while let Some(Reverse((at, index))) = self.wakes.peek().copied() {
            if at > now {
                break;
            }
            self.wakes.pop();
            if self.endpoints[index].wake == at {
                self.endpoints[index].wake = Duration::MAX;
                self.drain(index);
            }
        }
        Ok(true)
    }

    fn receive(&mut self, index: usize, which: usize) -> io::Result<()> {
        for _ in 0..TURN {
            let now = self.now();
            let Endpoint { node, sockets, .. } = &mut self.endpoints[index];
            let count = sockets[which].receive(&mut self.batch, &mut |bytes, from| node.handle(bytes, from, now))?;
            if count == 0 {
                break;
            }
            self.drain(index);
        }
        Ok(())
    }

    /// Does what a node says until it says to wait.
    fn drain(&mut self, index: usize) {
        let now = self.now();
        let endpoint = &mut self.endpoints[index];
        let wake = loop {
            match endpoint.node.poll(now) {
                Poll::Transmit(transmit) => self.outbox.push(transmit),
                Poll::Event(event) => self.events.push((index, event)),
                Poll::Wake(at) => break at,
            }
        };
        for socket in &endpoint.sockets {
            let family = socket.family();
            let lost = if endpoint.sockets.len() == 1 {
                socket.send(&mut self.batch, &self.outbox)
            } else {
                let own: Vec<_> = self.outbox.extract_if(.., |t| krpc::Family::of(&t.to) == family).collect();
                socket.send(&mut self.batch, &own)
            };
            self.lost += u64::try_from(lost).unwrap_or(0);
        }
        self.outbox.clear();
        if wake < endpoint.wake {
            endpoint.wake = wake;
            self.wakes.push(Reverse((wake, index)));
        }
    }
}
