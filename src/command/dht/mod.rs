//! `offs dht`: a node of the DHT, and questions to others.

mod ask;
mod item;
mod load;
mod serve;
mod swarm;
mod trace;

use krpc::{Family, Method, Task};
use serde_json::json;

use crate::{
    arguments::Arguments,
    dht::{
        arguments::{Dht, DhtCommand},
        state::State,
    },
    failure::Failure,
    home, output,
};

pub(crate) fn run(arguments: &Arguments, dht: &Dht) -> Result<(), Failure> {
    let state = State::new(&home::locate(arguments)?);
    match &dht.command {
        DhtCommand::Serve(serve) => serve::run(serve, &state),
        DhtCommand::Ping { node, network } => ask::ping(node, network, &state),
        DhtCommand::FindNode { target, at: Some(node), network } => {
            ask::one(node, &Method::FindNode { target: *target }, network, &state)
        }
        DhtCommand::FindNode { target, at: None, network } => {
            ask::all(Task::FindNode { target: *target }, false, network, &state)
        }
        DhtCommand::Lookup { target, trace, network } => {
            ask::all(Task::FindNode { target: *target }, *trace, network, &state)
        }
        DhtCommand::GetPeers { info_hash, scrape, network } => ask::peers(*info_hash, *scrape, network, &state),
        DhtCommand::Announce { info_hash, port, seed, network } => {
            let task = Task::Announce { info_hash: *info_hash, port: *port, implied_port: false, seed: *seed };
            item::store(task, network, &state)
        }
        DhtCommand::Get(get) => item::get(get, &state),
        DhtCommand::Put(put) => item::put(put, &state),
        DhtCommand::Sample { target, at: Some(node), network } => {
            ask::one(node, &Method::SampleInfohashes { target: *target }, network, &state)
        }
        DhtCommand::Sample { target, at: None, network } => ask::samples(*target, network, &state),
        DhtCommand::Nodes { json } => nodes(*json, &state),
        DhtCommand::Stats { json } => stats(*json, &state),
        DhtCommand::Swarm(swarm) => swarm::run(swarm),
        DhtCommand::Load(load) => load::run(load),
    }
}

fn stats(as_json: bool, state: &State) -> Result<(), Failure> {
    let text = state.figures()?;
    if as_json {
        return output::line(text);
    }
    let figures: serde_json::Map<_, _> = serde_json::from_str(&text).unwrap_or_default();
    let answered = figures.get("answered").and_then(serde_json::Value::as_object);
    for (name, figure) in figures.iter().filter(|(_, figure)| figure.is_number()) {
        output::line(format_args!("{name:24}{figure}"))?;
    }
    for (name, figure) in answered.into_iter().flatten() {
        output::line(format_args!("{:24}{figure}", format!("answered {name}")))?;
    }
    Ok(())
}

fn nodes(as_json: bool, state: &State) -> Result<(), Failure> {
    let saved = state.read()?.ok_or(Failure::NobodyKnown)?;
    if !as_json {
        for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
            if let Some(id) = saved.id(family) {
                crate::progress::remark(&format!("own id of {name}: {id}"));
            }
        }
    }
    for contact in saved.contacts() {
        if as_json {
            output::json(&json!({ "id": contact.id.to_string(), "address": contact.address.to_string() }))?;
        } else {
            output::line(format_args!("{}  {}", contact.id, contact.address))?;
        }
    }
    Ok(())
}
