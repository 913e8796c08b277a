//! `offs pool`

use std::net::{IpAddr, SocketAddr};

use replication::{Action, Invitation, PeerKey};
use serde_json::json;

use crate::{
    failure::Failure,
    home::Home,
    interfaces, output,
    peers::{
        Peers,
        arguments::PoolCommand,
        pool::{Pool, now},
    },
};

/// Seconds of a day.
const DAY: u64 = 86_400;

pub(crate) fn run(home: &Home, command: &PoolCommand) -> Result<(), Failure> {
    let peers = home.peers()?;
    let key = PeerKey::from_seed(peers.identity.seed());
    match command {
        PoolCommand::Create { name, open } => {
            let pool = if *open { Pool::Open { name: name.clone() } } else { Pool::create(&key, name)? };
            begin(&peers, pool)
        }
        PoolCommand::Invite { uses, days, admin, address } => {
            let expires = now() + u64::from(*days) * DAY;
            invite(home, &peers, &key, (*uses, expires, *admin), address)
        }
        PoolCommand::Join { text, address } => join(&peers, text, address),
        PoolCommand::Members { json } => members(&peers, *json),
        PoolCommand::Expel { peer } => {
            let peer = peers.find(peer)?;
            let secret = home.config.pool.as_ref().and_then(|pool| Some((&pool.name, pool.secret.as_ref()?)));
            let founder = secret.map(|(name, secret)| Pool::founder(name, secret));
            write(&peers, founder.as_ref().unwrap_or(&key), Action::Expel { peer })
        }
        PoolCommand::Leave if home.config.pool.is_some() => {
            Err(Failure::Usage { what: "remove [pool] from config.toml first: it would be joined again" })
        }
        PoolCommand::Leave => {
            // The others should know; if nobody can be told, they see that we are silent.
            if peers.pool().as_ref().is_some_and(|pool| !pool.is_open()) {
                write(&peers, &key, Action::Leave)?;
            }
            peers.change_pool(|pool| {
                *pool = None;
                Ok(())
            })
        }
    }
}

fn begin(peers: &Peers, new: Pool) -> Result<(), Failure> {
    peers.change_pool(|pool| {
        if pool.is_some() {
            return Err(Failure::HasPool);
        }
        *pool = Some(new);
        Ok(())
    })
}

/// Writes an entry into the pool's log and tells the members that can be reached.
fn write(peers: &std::sync::Arc<Peers>, key: &PeerKey, action: Action) -> Result<(), Failure> {
    peers.change_pool(|pool| {
        let log = pool.as_mut().ok_or(Failure::NoPool)?.log();
        let log = log.ok_or(Failure::Usage { what: "an open pool has no members to invite or expel" })?;
        Ok(log.write(key, now(), action).map(drop)?)
    })?;
    peers.runtime.block_on(peers.greet_all());
    Ok(())
}

fn invite(
    home: &Home,
    peers: &std::sync::Arc<Peers>,
    key: &PeerKey,
    (uses, expires, admin): (u16, u64, bool),
    addresses: &[SocketAddr],
) -> Result<(), Failure> {
    let pool = peers.pool().as_ref().map(Pool::pool_id).ok_or(Failure::NoPool)?;
    let port = peers.port().unwrap_or(home.config.peers.listen.port());
    let own = own_addresses(home.config.peers.listen.ip(), port);
    let addresses = if addresses.is_empty() { &own } else { addresses };
    let invitation = Invitation::new(pool, rand::random(), peers.id(), addresses);
    write(peers, key, Action::Invite { key: invitation.key().id(), uses, expires, admin })?;
    output::line(invitation)
}

/// Where this machine may be reached: the address that is listened on, or all of its own when that is any.
fn own_addresses(listen: IpAddr, port: u16) -> Vec<SocketAddr> {
    if !listen.is_unspecified() {
        return vec![SocketAddr::new(listen, port)];
    }
    interfaces::own_ips().into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn join(peers: &std::sync::Arc<Peers>, text: &str, addresses: &[SocketAddr]) -> Result<(), Failure> {
    let invitation: Invitation = text.trim().parse()?;
    if peers.pool().is_some() {
        return Err(Failure::HasPool);
    }
    let addresses = if addresses.is_empty() { invitation.addresses() } else { addresses };
    if addresses.is_empty() {
        return Err(Failure::Usage { what: "the invitation names no address: say with --address where a member is" });
    }
    let joined = peers.runtime.block_on(peers.join(&invitation, addresses))?;
    let name = peers.pool().as_ref().map(|pool| pool.name().to_owned()).unwrap_or_default();
    output::line(format!("joined {name} through {joined}"))
}

fn members(peers: &Peers, json: bool) -> Result<(), Failure> {
    let (mut members, admins) = {
        let pool = peers.pool();
        let pool = pool.as_ref().ok_or(Failure::NoPool)?;
        (pool.members(), pool.admins())
    };
    if members.is_empty() {
        members = peers.others();
        members.push(peers.id());
    }
    for peer in members {
        let (admin, own) = (admins.contains(&peer), peer == peers.id());
        if json {
            output::json(&json!({"peer": peer.to_string(), "admin": admin, "own": own}))?;
        } else {
            let marks = [(admin, " admin"), (own, " (this one)")];
            let marks: String = marks.iter().filter(|(yes, _)| *yes).map(|(_, mark)| *mark).collect();
            output::line(format!("{peer}{marks}"))?;
        }
    }
    Ok(())
}
