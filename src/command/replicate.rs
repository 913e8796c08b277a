//! `offs replicate`, and the copies that `offs put` waits for.

use std::path::Path;

use offs::OffUrl;
use serde_json::json;

use crate::{
    arguments::Put,
    command::parse_alone,
    control::{remote_command, remote_store},
    failure::Failure,
    home::Home,
    output,
    peers::{arguments::Replicate, push::Spread},
    progress::warn,
};

pub(crate) fn run(home: &Home, replicate: &Replicate) -> Result<(), Failure> {
    let url = parse_alone(home, &replicate.url)?;
    if !home.has_pool() {
        return Err(Failure::NoPool);
    }
    let peers = home.peers()?;
    let to = replicate.to.iter().map(|name| peers.find(name)).collect::<Result<Vec<_>, _>>()?;
    let copies = replicate.copies.map(usize::from);
    let spread = peers.runtime.block_on(async {
        // In a command nobody has greeted anybody yet.
        if peers.port().is_none() {
            peers.greet_all().await;
        }
        peers.replicate(&url, copies, &to, !replicate.count).await
    })?;
    for (peer, why) in &spread.failed {
        warn(&format!("peer {} {why}", peer.short()));
    }
    if replicate.json {
        output::json(&to_json(&spread))?;
    } else {
        output::line(in_words(&spread))?;
    }
    // What was asked for in numbers and is not there is a failure.
    let wanted = if to.is_empty() { copies } else { Some(to.len()) };
    wanted.map_or(Ok(()), |wanted| spread.kept(wanted))
}

/// After a put in a home that no daemon owns.
pub(crate) fn after_put(home: &Home, url: &OffUrl, put: &Put) -> (Option<usize>, Result<(), Failure>) {
    let Some(wanted) = put.replicas.map(usize::from) else { return (None, Ok(())) };
    if !home.has_pool() {
        return (None, Err(Failure::NoPool));
    }
    let spread = home.peers().and_then(|peers| {
        peers.runtime.block_on(async {
            peers.greet_all().await;
            peers.replicate(url, Some(wanted), &[], true).await
        })
    });
    match spread {
        Ok(spread) => (Some(spread.copies), spread.kept(wanted)),
        Err(failure) => (None, Err(failure)),
    }
}

/// After a put into the daemon's store.
pub(crate) fn after_put_there(home: &Path, url: &OffUrl, put: &Put) -> (Option<usize>, Result<(), Failure>) {
    let asked = remote_store::connect(home).map_err(Failure::Daemon).and_then(|stream| {
        let mut stream = stream.ok_or(Failure::NoDaemon)?;
        let url = url.to_string();
        let mut line = vec!["offs", "replicate", "--json", &url];
        let copies = put.replicas.map(|copies| copies.to_string());
        match &copies {
            Some(copies) => line.extend(["--copies", copies]),
            None => line.push("--count"),
        }
        let mut said = String::new();
        let quiet = put.replicas.is_none();
        let ended = remote_command::run_line(&mut stream, &line, quiet, &mut |text| {
            text.clone_into(&mut said);
            Ok(())
        });
        let copies = serde_json::from_str::<serde_json::Value>(&said).ok().and_then(|said| said["copies"].as_u64());
        Ok((copies.and_then(|copies| usize::try_from(copies).ok()), ended))
    });
    match asked {
        // Nobody asked for copies, so that there is no pool is no failure.
        Ok((copies, ended)) => (copies, if put.replicas.is_some() { ended } else { Ok(()) }),
        Err(failure) => (None, Err(failure)),
    }
}

fn to_json(spread: &Spread) -> serde_json::Value {
    let at = spread.at.iter().map(|(peer, blocks)| (peer.to_string(), json!(blocks)));
    let failed = spread.failed.iter().map(|(peer, why)| (peer.to_string(), json!(why)));
    json!({
        "blocks": spread.blocks,
        "copies": spread.copies,
        "short": spread.short,
        "at": at.collect::<serde_json::Map<_, _>>(),
        "failed": failed.collect::<serde_json::Map<_, _>>(),
    })
}

/// How many peers have it.
fn in_words(spread: &Spread) -> String {
    let whole = spread.at.values().filter(|blocks| **blocks == spread.blocks).count();
    let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    format!(
        "each of {} is on at least {} beside this one; {} all of it",
        plural(spread.blocks, "block", "blocks"),
        plural(spread.copies, "peer", "peers"),
        plural(whole, "peer has", "peers have"),
    )
}
