//! `offs status`

use std::{collections::BTreeMap, sync::atomic::Ordering};

use serde_json::{Value, json};

use crate::{
    command::peers,
    daemon::supervisor::Health,
    failure::Failure,
    home::Home,
    output,
    peers::{Peers, arguments::Status, lock, pool::Pool},
    saved_buckets,
    size::Size,
};

pub(crate) fn run(home: &Home, status: &Status) -> Result<(), Failure> {
    if let Some(name) = &status.fault {
        if !home.allow_faults {
            return Err(Failure::Usage { what: "this daemon takes no faults" });
        }
        let found = home.services.fault(name);
        return if found { Ok(()) } else { Err(Failure::NoService { name: name.clone() }) };
    }
    home.meet_peers()?;
    let value = value(home)?;
    if status.json { output::json(&value) } else { print(&value) }
}

/// How everything is.
pub(crate) fn value(home: &Home) -> Result<Value, Failure> {
    Ok(to_json(home, &*home.peers()?, &home.services.list()))
}

fn to_json(home: &Home, engine: &Peers, services: &[(&'static str, Health)]) -> Value {
    let store = home.store.statistics();
    let figures = &engine.figures;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (repairs, single) = engine.repairs.len();
    let pool = engine.pool().as_ref().map(|pool| {
        let members = if pool.is_open() { engine.others().len() + 1 } else { pool.members().len() };
        json!({"name": pool.name(), "open": pool.is_open(), "members": members, "id": Pool::pool_id(pool).to_string()})
    });
    let shown = services.iter().map(|(name, health)| {
        let health = json!({"running": health.running, "restarts": health.restarts, "last": health.last});
        ((*name).to_owned(), health)
    });
    let known: Vec<_> = peers::known(engine).iter().map(|peer| peers::to_json(engine, peer)).collect();
    let looked = lock(&figures.last_care).map(|at| at.elapsed().as_secs());
    json!({
        "daemon": (!services.is_empty()).then(std::process::id),
        "peer": engine.id().to_string(),
        "port": engine.port(),
        "pool": pool,
        "replicas": engine.settings.replicas,
        "live": engine.live().len(),
        "doors": home.doors.get().map(|doors| doors.iter().cloned().collect::<BTreeMap<_, _>>()).unwrap_or_default(),
        "services": shown.collect::<serde_json::Map<_, _>>(),
        "peers": known,
        "buckets": home.bucket_usages().map(|usages| {
            let usage = |(name, usage): (String, gateway::Usage)| (name, json!({"objects": usage.objects, "bytes": usage.bytes}));
            usages.into_iter().map(usage).collect::<serde_json::Map<_, _>>()
        }),
        "buckets_lost": saved_buckets::are_lost(&home.store, &home.url_database()).unwrap_or(true),
        "blocks": store.records,
        "bytes": store.bytes,
        "free": engine.free(),
        "missing_packs": store.missing_packs,
        "quarantined": store.quarantined,
        "pinned_blocks": count(&figures.looked_at),
        "endangered": count(&figures.endangered),
        "looked_seconds_ago": looked,
        "pushes_waiting": engine.pushes.len(),
        "peers_to_look_through": count(&figures.behind),
        "repairs_waiting": repairs,
        "repairs_with_one_copy": single,
        "repaired": count(&figures.repaired),
        "fetched": count(&figures.fetched),
        "missed": count(&figures.missed),
        "pushed": count(&figures.pushed),
        "last_audit": *lock(&figures.last_audit),
    })
}

fn print(value: &Value) -> Result<(), Failure> {
    let field = |name: &str, value: String| output::line(format!("{name:10} {value}"));
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    let daemon = value["daemon"].as_u64().map_or_else(|| "none".to_owned(), |id| format!("process {id}"));
    field("daemon", daemon)?;
    field("peer", value["peer"].as_str().unwrap_or_default().to_owned())?;
    match value["pool"].as_object() {
        Some(pool) => {
            let kind = if pool["open"] == true { "open" } else { "closed" };
            let name = pool["name"].as_str().unwrap_or_default();
            field("pool", format!("{name}, {kind}, {} members, {} live", pool["members"], value["live"]))?;
        }
        None => field("pool", "none".to_owned())?,
    }
    for (name, url) in value["doors"].as_object().into_iter().flatten() {
        field("door", format!("{name} at {}", url.as_str().unwrap_or_default()))?;
    }
    for (name, health) in value["services"].as_object().into_iter().flatten() {
        let running = if health["running"] == true { "runs" } else { "is down" };
        let restarts = health["restarts"].as_u64().unwrap_or(0);
        let last = health["last"].as_str().map(|last| format!(", the last time because it {last}")).unwrap_or_default();
        let restarts = if restarts == 0 { String::new() } else { format!(", started again {restarts} times{last}") };
        field("service", format!("{name} {running}{restarts}"))?;
    }
    for peer in value["peers"].as_array().into_iter().flatten() {
        field("peer", peers::in_words(peer))?;
    }
    if value["buckets_lost"] == true {
        field("buckets", "lost with the index, and not brought back; see `offs bucket list`".to_owned())?;
    }
    for (name, usage) in value["buckets"].as_object().into_iter().flatten() {
        let bytes = Size(usage["bytes"].as_u64().unwrap_or(0));
        field("bucket", format!("{name} {} objects, {bytes}", usage["objects"]))?;
    }
    field("blocks", format!("{}, {}", value["blocks"], Size(number("bytes"))))?;
    let looked = value["looked_seconds_ago"].as_u64();
    let looked = looked.map_or_else(|| "not looked at yet".to_owned(), |ago| format!("looked at {ago} s ago"));
    let (endangered, pinned) = (number("endangered"), number("pinned_blocks"));
    field("endangered", format!("{endangered} of {pinned} pinned blocks have too few copies, {looked}"))?;
    field("pushing", format!("{} blocks wait", value["pushes_waiting"]))?;
    let (waiting, single) = (number("repairs_waiting"), number("repairs_with_one_copy"));
    field("repair", format!("{waiting} blocks wait, {single} of which one copy is known; {} done", value["repaired"]))?;
    field(
        "look",
        format!("{} peers are to be looked through for blocks that belong here", value["peers_to_look_through"]),
    )?;
    field("audit", value["last_audit"].as_str().unwrap_or("none yet").to_owned())
}
