//! Questions to one node, or to those near a target.

use krpc::{Contact, Method, Outcome, Response, Target, Task};
use serde_json::{Value, json};

use super::trace;
use crate::{
    dht::{arguments::Network, client::Client, names::resolve, state::State},
    failure::Failure,
    output,
};

/// Asks the node at a name: the first of its addresses that answers.
fn ask(
    node: &str,
    method: &Method,
    network: &Network,
    state: &State,
) -> Result<(std::net::SocketAddr, Outcome), Failure> {
    let addresses = resolve(node)?;
    let mut client = Client::new(network, state, &addresses)?;
    for to in addresses {
        let outcome = client.complete(Task::Ask { to, method: method.clone() }, &mut |_| ())?;
        if outcome.response.is_some() {
            return Ok((to, outcome));
        }
        if let Some(refusal) = refusal(&outcome) {
            return Err(refusal);
        }
    }
    Err(Failure::NoAnswer { node: node.to_owned() })
}

pub(crate) fn ping(node: &str, network: &Network, state: &State) -> Result<(), Failure> {
    let (address, outcome) = ask(node, &Method::Ping, network, state)?;
    let milliseconds = outcome.elapsed.as_secs_f64() * 1e3;
    let id = outcome.response.map(|response| response.id.to_string()).unwrap_or_default();
    if network.json {
        return output::json(&json!({ "address": address.to_string(), "id": id, "milliseconds": milliseconds }));
    }
    output::line(format_args!("{address}  {id}  {milliseconds:.1} ms"))
}

pub(crate) fn one(node: &str, method: &Method, network: &Network, state: &State) -> Result<(), Failure> {
    let (_, outcome) = ask(node, method, network, state)?;
    let response = outcome.response.ok_or_else(|| Failure::NoAnswer { node: node.to_owned() })?;
    if network.json {
        return output::json(&response_json(&response));
    }
    for contact in nodes_of(&response) {
        output::line(format_args!("{}  {}", contact.id, contact.address))?;
    }
    for sample in response.samples.iter().flat_map(|samples| &samples.info_hashes) {
        output::line(format_args!("sample {sample}"))?;
    }
    Ok(())
}

fn nodes_of(response: &Response) -> impl Iterator<Item = &Contact> {
    response.nodes.iter().chain(&response.nodes6).flatten()
}

fn response_json(response: &Response) -> Value {
    let samples = response.samples.as_ref();
    let hashes = samples.map(|s| s.info_hashes.iter().map(ToString::to_string).collect::<Vec<_>>());
    json!({
        "id": response.id.to_string(),
        "nodes": nodes_of(response).map(trace::contact).collect::<Vec<_>>(),
        "samples": hashes,
        "number": samples.map(|samples| samples.number),
        "interval": samples.map(|samples| samples.interval),
    })
}

/// The nodes nearest to a target.
pub(crate) fn all(task: Task, traced: bool, network: &Network, state: &State) -> Result<(), Failure> {
    let target = task.target().unwrap_or(Target::from_bytes([0; 20]));
    let mut client = Client::new(network, state, &[])?;
    let mut told = Ok(());
    let outcome = client.complete(task, &mut |event| {
        if traced && told.is_ok() {
            told = trace::step(event, &target, network.json);
        }
    })?;
    told?;
    found_anybody(&outcome)?;
    for contact in &outcome.nearest {
        if network.json {
            output::json(&trace::contact(contact))?;
        } else {
            output::line(format_args!("{}  {}", contact.id, contact.address))?;
        }
    }
    if traced && !network.json {
        output::line(trace::summary(&outcome))?;
    }
    Ok(())
}

/// A lookup in which nobody answers says nothing of what it looked for.
pub(crate) fn found_anybody(outcome: &Outcome) -> Result<(), Failure> {
    if outcome.answered > 0 {
        return Ok(());
    }
    Err(refusal(outcome).unwrap_or(Failure::NobodyAnswered { asked: outcome.asked }))
}

/// The first refusal there was.
pub(crate) fn refusal(outcome: &Outcome) -> Option<Failure> {
    let (node, error) = outcome.refused.first()?;
    Some(Failure::Refused { node: node.to_string(), code: error.code, text: error.text.clone() })
}

pub(crate) fn peers(info_hash: Target, scrape: bool, network: &Network, state: &State) -> Result<(), Failure> {
    let mut client = Client::new(network, state, &[])?;
    let outcome = client.complete(Task::GetPeers { info_hash, scrape }, &mut |_| ())?;
    found_anybody(&outcome)?;
    let estimates = outcome.scrape.as_ref().map(|(seeds, others)| (seeds.estimate(), others.estimate()));
    if network.json {
        output::json(&json!({
            "info_hash": info_hash.to_string(),
            "peers": outcome.peers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "seeds_estimate": estimates.map(|(seeds, _)| seeds),
            "others_estimate": estimates.map(|(_, others)| others),
            "asked": outcome.asked,
            "answered": outcome.answered,
        }))?;
    } else {
        for peer in &outcome.peers {
            output::line(peer)?;
        }
        if let Some((seeds, others)) = estimates {
            output::line(format_args!("about {seeds:.0} seeds and {others:.0} others"))?;
        }
    }
    if outcome.peers.is_empty() { Err(Failure::NoPeers { info_hash }) } else { Ok(()) }
}

pub(crate) fn samples(target: Target, network: &Network, state: &State) -> Result<(), Failure> {
    let mut client = Client::new(network, state, &[])?;
    let outcome = client.complete(Task::Sample { target }, &mut |_| ())?;
    found_anybody(&outcome)?;
    for sample in &outcome.samples {
        if network.json {
            output::json(&json!({ "info_hash": sample.to_string() }))?;
        } else {
            output::line(sample)?;
        }
    }
    Ok(())
}
