//! `offs dht serve`: a node that runs until it is told to end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use krpc::{Counters, Event, Settings};
use serde_json::{Value, json};

use crate::{
    dht::{
        arguments::Serve,
        client::VERSION,
        driver::Driver,
        names::{is_private_network, resolve_all},
        state::State,
        udp::Udp,
    },
    failure::Failure,
    output,
    progress::{remark, warn},
    report::tell,
};

/// Where it listens when nothing else is said.
const PORT: u16 = 23401;

/// How often ids and nodes are saved.
const SAVING: Duration = Duration::from_mins(1);

pub(crate) fn run(serve: &Serve, state: &State) -> Result<(), Failure> {
    let _lock = state.lock()?;
    let saved = state.read()?;
    // Saved nodes do as well as a name that has no address at the moment.
    let bootstrap = resolve_all(&serve.bootstrap, serve.public, serve.public || saved.is_some())?;
    let (sockets, addresses) = sockets(serve)?;
    let private = !serve.public && is_private_network(&addresses, &bootstrap);
    let settings = Settings {
        v4: addresses.iter().any(SocketAddr::is_ipv4),
        v6: addresses.iter().any(SocketAddr::is_ipv6),
        private,
        read_only: false,
        samples: serve.public,
        bootstrap,
        siblings: serve.sibling.clone(),
        version: Some(VERSION),
    };
    let mut driver = Driver::new().map_err(Failure::Socket)?;
    driver.stop_at_signals().map_err(Failure::Socket)?;
    driver.add(settings, saved.as_ref(), sockets).map_err(Failure::Socket)?;
    save(&driver, state)?;
    state.write_addresses(&addresses)?;
    let result = tell_start(serve, &addresses, private).and_then(|()| turn_until_stopped(&mut driver, state));
    let figures = figures(&driver.endpoints()[0].node.counters(), driver.lost);
    let kept = save(&driver, state).and_then(|()| state.remove_addresses());
    if serve.json {
        output::json(&figures)?;
    } else {
        tracing::info!(%figures, "ended");
    }
    result.and(kept)
}

fn sockets(serve: &Serve) -> Result<(Vec<Udp>, Vec<SocketAddr>), Failure> {
    let any = [SocketAddr::from(([0; 4], PORT)), SocketAddr::from(([0_u16; 8], PORT))];
    let binds = match (serve.bind.is_empty(), serve.public) {
        (false, _) => serve.bind.clone(),
        (true, true) => any.to_vec(),
        (true, false) => vec![SocketAddr::from(([127, 0, 0, 1], PORT))],
    };
    let both = binds.iter().filter(|bind| bind.is_ipv4()).count() > 1
        || binds.iter().filter(|bind| bind.is_ipv6()).count() > 1;
    if both {
        return Err(Failure::Usage { what: "a node has one address of each family" });
    }
    let mut sockets = Vec::new();
    for address in binds {
        match Udp::bind(address) {
            Ok(socket) => sockets.push(socket),
            // Nobody asked for both: a machine without IPv6 has one.
            Err(error) if serve.bind.is_empty() && address.is_ipv6() => warn(&format!("no IPv6: {error}")),
            Err(source) => return Err(Failure::Bind { address, source }),
        }
    }
    let addresses = sockets.iter().map(Udp::address).collect();
    Ok((sockets, addresses))
}

fn tell_start(serve: &Serve, addresses: &[SocketAddr], private: bool) -> Result<(), Failure> {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    if serve.json {
        return output::json(&json!({ "listening": addresses, "private": private }));
    }
    for address in &addresses {
        output::line(format_args!("listening on {address}"))?;
    }
    if private {
        remark("private mode: addresses here are private, so many nodes may share one");
    }
    Ok(())
}

fn turn_until_stopped(driver: &mut Driver, state: &State) -> Result<(), Failure> {
    let mut saved = Instant::now();
    while driver.turn(SAVING).map_err(Failure::Socket)? {
        for (_, event) in driver.events() {
            if let Event::IdChanged { id, address } = event {
                tracing::info!(%id, %address, "the id changed to go with the address");
            }
        }
        if saved.elapsed() >= SAVING {
            saved = Instant::now();
            // It is only a convenience: the node goes on, and finds others again the next time.
            if let Err(failure) = save(driver, state) {
                tell(&failure);
            }
        }
    }
    Ok(())
}

/// Saves ids, nodes and figures.
fn save(driver: &Driver, state: &State) -> Result<(), Failure> {
    let node = &driver.endpoints()[0].node;
    state.write(&node.save())?;
    state.write_figures(&figures(&node.counters(), driver.lost))
}

/// A node's figures, by the names that they have in `krpc`.
fn figures(counters: &Counters, lost: u64) -> Value {
    let [ping, find_node, get_peers, announce_peer, get, put, sample_infohashes, other] = counters.answered;
    json!({
        "received": counters.received, "sent": counters.sent, "lost": lost,
        "bogons": counters.bogons, "limited": counters.limited, "malformed": counters.malformed,
        "unexpected": counters.unexpected, "changed_ids": counters.changed_ids,
        "answered": {
            "ping": ping, "find_node": find_node, "get_peers": get_peers, "announce_peer": announce_peer,
            "get": get, "put": put, "sample_infohashes": sample_infohashes, "other": other,
        },
        "refused": counters.refused,
        "queries": counters.queries, "repeated": counters.repeated, "responses": counters.responses,
        "refusals": counters.refusals, "timeouts": counters.timeouts,
        "nodes": counters.nodes, "swarms": counters.swarms, "peers": counters.peers, "items": counters.items,
    })
}
