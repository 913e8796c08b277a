//! Finding members whose addresses are not known.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mdns_sd::{ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::net::lookup_host;

use crate::{
    daemon::{stop::Stop, supervisor::Service},
    failure::Failure,
    home::Home,
    peers::{Peers, pool::Pool, swarm},
};

/// How often addresses in the settings are looked at.
const EVERY: Duration = Duration::from_mins(1);
/// The type of service by which peers find each other in a local network (RFC 6763).
const MDNS: &str = "_offs._tcp.local.";

/// The services that find members.
pub(crate) fn services(home: &Arc<Home>, peers: &Arc<Peers>) -> Vec<Service> {
    let settings = &home.config.peers;
    let mut services = Vec::new();
    let known = settings.known.clone();
    {
        let peers = Arc::clone(peers);
        services.push(Service::new("addresses", move |stop| {
            let (peers, known) = (Arc::clone(&peers), known.clone());
            async move {
                try_known(peers, known, stop).await;
                Ok(())
            }
        }));
    }
    if settings.lan {
        let peers = Arc::clone(peers);
        services.push(Service::new("lan", move |stop| {
            let peers = Arc::clone(&peers);
            async move { lan(peers, stop).await }
        }));
    }
    if home.config.dht.is_on() {
        let (home, peers) = (Arc::clone(home), Arc::clone(peers));
        services.push(Service::new("dht", move |stop| swarm::run(Arc::clone(&home), Arc::clone(&peers), stop)));
    }
    services
}

/// Tries the addresses that the settings name, as long as nobody there is known.
async fn try_known(peers: Arc<Peers>, known: Vec<String>, mut stop: Stop) {
    loop {
        for name in &known {
            let addresses: Vec<SocketAddr> = match lookup_host(name.as_str()).await {
                Ok(addresses) => addresses.collect(),
                Err(error) => {
                    tracing::warn!(%name, %error, "a name in the settings has no address");
                    continue;
                }
            };
            try_all(&peers, &addresses).await;
        }
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Looks who is there, unless a member that can be reached is known to be.
pub(crate) async fn try_all(peers: &Arc<Peers>, addresses: &[SocketAddr]) {
    for address in addresses {
        let known = peers
            .others()
            .into_iter()
            .any(|peer| peers.is_reachable(&peer) && peers.book().addresses(&peer).contains(address));
        if known || peers.pool().is_none() {
            continue;
        }
        match peers.try_address(*address).await {
            Ok(peer) => tracing::info!(%peer, %address, "found a peer"),
            Err(error) => tracing::debug!(%address, %error, "nobody of the pool is there"),
        }
    }
}

/// Tells the local network that this peer is here, and listens to others who do, until it is told to stop. What is
/// told is the rendezvous of the pool, which says nothing to strangers.
async fn lan(peers: Arc<Peers>, mut stop: Stop) -> Result<(), Failure> {
    while !stop.is_asked() {
        let pool = peers.pool().as_ref().map(Pool::rendezvous);
        if let Some((pool, port)) = pool.zip(peers.port()) {
            let ended = lan_of(&peers, &pool, port, &mut stop).await;
            ended.map_err(|error| Failure::Socket(std::io::Error::other(error)))?;
        } else {
            // There is nobody to find.
            tokio::select! {
                () = stop.asked() => {}
                () = peers.pool_changed.notified() => {}
            }
        }
    }
    Ok(())
}

async fn lan_of(peers: &Arc<Peers>, pool: &str, port: u16, stop: &mut Stop) -> Result<(), mdns_sd::Error> {
    let mdns = ServiceDaemon::new()?;
    let instance = hex::encode(&peers.id().as_bytes()[..8]);
    let info = ServiceInfo::new(MDNS, &instance, &format!("{instance}.local."), "", port, &[("pool", pool)][..])?;
    mdns.register(info.enable_addr_auto())?;
    let events = mdns.browse(MDNS)?;
    loop {
        let event = tokio::select! {
            () = stop.asked() => break,
            () = peers.pool_changed.notified() => break,
            event = events.recv_async() => event,
        };
        let Ok(event) = event else { break };
        let ServiceEvent::ServiceResolved(found) = event else { continue };
        if found.get_property_val_str("pool") == Some(pool) {
            let port = found.get_port();
            let addresses: Vec<SocketAddr> =
                found.get_addresses().iter().map(|ip| SocketAddr::new(ip.to_ip_addr(), port)).collect();
            try_all(peers, &addresses).await;
        }
    }
    mdns.shutdown().map(drop)
}
