//! `offs peers`

use std::net::ToSocketAddrs as _;

use replication::PeerId;
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    home::Home,
    output,
    peers::{
        Peers,
        arguments::{PeersArguments, PeersCommand},
        audit::Audit,
    },
    size::Size,
};

pub(crate) fn run(home: &Home, arguments: &PeersArguments) -> Result<(), Failure> {
    let peers = home.peers()?;
    match &arguments.command {
        None => list(&*home.meet_peers()?, arguments.json),
        Some(PeersCommand::List { json }) => list(&*home.meet_peers()?, *json || arguments.json),
        Some(PeersCommand::Add { address }) => add(&peers, address),
        Some(PeersCommand::Ban { peer, lift }) => {
            let peer = peers.find(peer)?;
            if !lift {
                if peer == peers.id() {
                    return Err(Failure::Peer { peer, why: "is this one itself".to_owned() });
                }
                peers.ban(&peer, "banned by the owner");
                return Ok(());
            }
            let lifted = peers.book().lift_ban(&peer);
            peers.save_book();
            if lifted { Ok(()) } else { Err(Failure::Peer { peer, why: "is not banned".to_owned() }) }
        }
        Some(PeersCommand::Audit { peer, blocks, json }) => {
            let audited = match peer {
                Some(name) => vec![peers.find(name)?],
                None => peers.others(),
            };
            audit(&peers, &audited, *blocks, *json || arguments.json)
        }
    }
}

/// All that is known of a peer, for programs.
pub(crate) fn to_json(peers: &Peers, peer: &PeerId) -> Value {
    let state = peers.state(peer);
    let now = peers.now();
    let (deeds, status) = (state.standing.deeds(), state.status.clone().unwrap_or_default());
    let (ban, addresses) = {
        let book = peers.book();
        let addresses: Vec<_> = book.addresses(peer).iter().map(ToString::to_string).collect();
        (book.ban(peer).map(str::to_owned), addresses)
    };
    json!({
        "peer": peer.to_string(),
        "member": peers.is_member(peer),
        "reachable": peers.is_reachable(peer),
        "trouble": ban
            .or_else(|| state.standing.reason(now).map(|reason| reason.to_string()))
            .or_else(|| state.refuses.as_ref().map(|why| format!("refuses this peer: {why}"))),
        "heard": state.heard.map(|at| now.saturating_sub(at).as_secs()),
        "addresses": addresses,
        "version": status.version,
        "blocks": status.blocks,
        "free": status.free,
        "full": state.full,
        "received": deeds.good_bytes,
        "pushed": state.pushed,
        "given": state.given,
        "timeouts": deeds.timeouts,
        "refused": deeds.refused,
        "wrong_bytes": deeds.wrong_bytes,
        "failed_audits": deeds.failed_audits,
    })
}

/// Members, and whoever is banned.
pub(crate) fn known(peers: &Peers) -> Vec<PeerId> {
    let mut known = peers.others();
    let banned = peers.book().peers();
    known.extend(banned.into_iter().filter(|peer| peers.is_banned(peer)));
    known.sort_unstable();
    known.dedup();
    known.retain(|peer| *peer != peers.id());
    known
}

fn list(peers: &Peers, json: bool) -> Result<(), Failure> {
    for peer in known(peers) {
        let value = to_json(peers, &peer);
        if json {
            output::json(&value)?;
        } else {
            output::line(in_words(&value))?;
        }
    }
    Ok(())
}

/// A peer in one line.
pub(crate) fn in_words(value: &Value) -> String {
    let state = if value["reachable"] == true { "here" } else { "away" };
    let heard = value["heard"].as_u64().map_or_else(|| "never heard".to_owned(), |ago| format!("heard {ago} s ago"));
    let bytes = |key: &str| Size(value[key].as_u64().unwrap_or(0)).to_string();
    let text = |value: &Value| value.as_str().map(|text| format!(", {text}")).unwrap_or_default();
    format!(
        "{} {state}, {heard}{}, {} blocks, gave {}, took {}{}{}",
        value["peer"].as_str().unwrap_or_default(),
        text(&value["addresses"][0]),
        value["blocks"],
        bytes("received"),
        bytes("given"),
        if value["full"] == true { ", full" } else { "" },
        text(&value["trouble"]),
    )
}

fn add(peers: &std::sync::Arc<Peers>, name: &str) -> Result<(), Failure> {
    let addresses = name.to_socket_addrs().map_err(|source| Failure::Name { name: name.to_owned(), source })?;
    let mut why = String::from("no address");
    for address in addresses {
        match peers.runtime.block_on(peers.try_address(address)) {
            Ok(peer) if peers.is_member(&peer) => {
                peers.book().give(&peer, address);
                peers.save_book();
                return output::line(peer);
            }
            Ok(peer) => why = format!("{peer} does not belong to the pool"),
            Err(error) => why = error.to_string(),
        }
    }
    Err(Failure::NotFoundAt { address: name.to_owned(), why })
}

fn audit(peers: &std::sync::Arc<Peers>, audited: &[PeerId], blocks: u16, json: bool) -> Result<(), Failure> {
    let mut failed = 0;
    for peer in audited {
        let (mut passed, mut wrong, mut trouble) = (0, 0, None);
        for _ in 0..blocks {
            match peers.runtime.block_on(peers.audit(peer)) {
                Ok(Audit::Passed) => passed += 1,
                Ok(Audit::Failed) => wrong += 1,
                Ok(Audit::Nothing) => break,
                Err(error) => {
                    peers.failed(peer, &error);
                    trouble = Some(error.to_string());
                    break;
                }
            }
        }
        failed += usize::from(wrong > 0 || trouble.is_some());
        if json {
            let peer = peer.to_string();
            output::json(&json!({"peer": peer, "passed": passed, "failed": wrong, "trouble": trouble}))?;
        } else {
            let trouble = trouble.map(|why| format!(", {why}")).unwrap_or_default();
            output::line(format!("{peer} passed {passed}, failed {wrong}{trouble}"))?;
        }
    }
    if failed > 0 { Err(Failure::Some { failed, of: audited.len(), code: 1 }) } else { Ok(()) }
}
