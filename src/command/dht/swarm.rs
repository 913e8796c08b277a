//! `offs dht swarm`: a network of many nodes in one process, to test clients in.

use std::{net::SocketAddr, time::Duration};

use krpc::{Family, Settings};
use serde_json::json;

use crate::{
    dht::{arguments::Swarm, client::VERSION, driver::Driver, names::resolve_all, udp::Udp},
    failure::Failure,
    output,
    progress::remark,
};

pub(crate) fn run(swarm: &Swarm) -> Result<(), Failure> {
    let mut driver = Driver::new().map_err(Failure::Socket)?;
    driver.stop_at_signals().map_err(Failure::Socket)?;
    if swarm.port.is_some_and(|port| port.checked_add(swarm.nodes - 1).is_none()) {
        return Err(Failure::Usage { what: "there are no ports above 65535" });
    }
    let mut bootstrap = resolve_all(&swarm.bootstrap, false, false)?;
    for number in 0..swarm.nodes {
        let port = swarm.port.map_or(0, |port| port + number);
        let address = SocketAddr::new(swarm.bind, port);
        let socket = Udp::bind(address).map_err(|source| Failure::Bind { address, source })?;
        let address = socket.address();
        let family = Family::of(&address);
        let settings = Settings {
            v4: family == Family::V4,
            v6: family == Family::V6,
            bootstrap: bootstrap.clone(),
            version: Some(VERSION),
            ..Settings::private()
        };
        let index = driver.add(settings, None, vec![socket]).map_err(Failure::Socket)?;
        if bootstrap.is_empty() {
            bootstrap.push(address);
        }
        let id = driver.endpoints()[index].node.id(family).map(|id| id.to_string()).unwrap_or_default();
        if swarm.json {
            output::json(&json!({ "address": address.to_string(), "id": id }))?;
        } else {
            output::line(format_args!("{id}  {address}"))?;
        }
        // Those that are there already go on meanwhile.
        driver.turn(Duration::ZERO).map_err(Failure::Socket)?;
    }
    remark("running until interrupted");
    while driver.turn(Duration::from_mins(1)).map_err(Failure::Socket)? {
        driver.events();
    }
    Ok(())
}
