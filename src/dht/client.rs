//! A node for one command: it asks, and answers nobody.

use std::{net::SocketAddr, time::Duration};

use krpc::{Event, Family, Outcome, Saved, Settings, Task};

use super::{
    arguments::Network,
    driver::Driver,
    names::{is_private, resolve_all},
    state::State,
    udp::Udp,
};
use crate::failure::Failure;

/// What we call ourselves on the wire: OFFS, version 1.
pub(crate) const VERSION: [u8; 4] = *b"OF\0\x01";

/// The node and what runs it.
pub(crate) struct Client {
    driver: Driver,
}

impl Client {
    /// A node that knows where to begin. `also` are addresses that it must be able to reach.
    pub(crate) fn new(network: &Network, state: &State, also: &[SocketAddr]) -> Result<Self, Failure> {
        let mut bootstrap = resolve_all(&network.bootstrap, network.public, network.public)?;
        let mut saved = None;
        if bootstrap.is_empty() && also.is_empty() {
            bootstrap = state.addresses();
            saved = state.read()?.map(Saved::without_ids);
        }
        let public = |saved: &Saved| saved.contacts().iter().any(|contact| !is_private(&contact.address));
        if saved.as_ref().is_some_and(public) {
            // From the public network the node on this machine is not to be reached by its loopback address.
            bootstrap.retain(|address| !is_private(address));
        }
        let known: Vec<_> = saved.iter().flat_map(Saved::contacts).map(|contact| contact.address).collect();
        let all = || bootstrap.iter().chain(&known).chain(also);
        if all().next().is_none() {
            return Err(Failure::NobodyKnown);
        }
        if let Some(address) = network.bind.filter(|bind| !all().any(|other| Family::of(other) == Family::of(bind))) {
            return Err(Failure::BindFamily { address });
        }
        let private = all().all(is_private);
        let mut sockets = Vec::new();
        for family in [Family::V4, Family::V6] {
            if all().any(|address| Family::of(address) == family) {
                let any = if family == Family::V4 {
                    SocketAddr::from(([0; 4], 0))
                } else {
                    SocketAddr::from(([0_u16; 8], 0))
                };
                let address = network.bind.filter(|bind| Family::of(bind) == family).unwrap_or(any);
                sockets.push(Udp::bind(address).map_err(|source| Failure::Bind { address, source })?);
            }
        }
        let speaks = |family| sockets.iter().any(|socket| socket.family() == family);
        let settings = Settings {
            v4: speaks(Family::V4),
            v6: speaks(Family::V6),
            private,
            read_only: true,
            samples: false,
            bootstrap,
            siblings: Vec::new(),
            version: Some(VERSION),
        };
        let mut driver = Driver::new().map_err(Failure::Socket)?;
        driver.add(settings, saved.as_ref(), sockets).map_err(Failure::Socket)?;
        Ok(Self { driver })
    }

    /// Does a task; `step` hears of each of its steps.
    pub(crate) fn complete(&mut self, task: Task, step: &mut dyn FnMut(&Event)) -> Result<Outcome, Failure> {
        let id = self.driver.with(0, |node, now| node.start(task, now));
        loop {
            for (_, event) in self.driver.events() {
                match event {
                    Event::Done { task, outcome } if task == id => return Ok(*outcome),
                    event => step(&event),
                }
            }
            self.driver.turn(Duration::from_secs(1)).map_err(Failure::Socket)?;
        }
    }
}
