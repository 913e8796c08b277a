//! `offs stats`

use serde_json::json;

use crate::{arguments::Stats, failure::Failure, home::Home, output, size::Size};

pub(crate) fn run(home: &Home, arguments: &Stats) -> Result<(), Failure> {
    let store = home.store.statistics();
    let listed = home.urls().list();
    let pinned: Vec<_> = listed.iter().filter(|listed| listed.pinned).collect();
    let content: u64 = pinned.iter().map(|listed| listed.url.length).sum();
    let capacity = home.config.capacity.map(|size| size.0);
    if arguments.json {
        return output::json(&json!({
            "home": home.path().display().to_string(),
            "packs": store.packs,
            "records": store.records,
            "bytes": store.bytes,
            "capacity": capacity,
            "quarantined": store.quarantined,
            "missing_packs": store.missing_packs,
            "urls": listed.len(),
            "pinned": pinned.len(),
            "pinned_bytes": content,
        }));
    }
    let field = |name: &str, value: String| output::line(format!("{name:12} {value}"));
    field("home", home.path().display().to_string())?;
    field("packs", store.packs.to_string())?;
    field("blocks", format!("{}, garbage included", store.records))?;
    field("size", Size(store.bytes).to_string())?;
    field("capacity", capacity.map_or_else(|| "what the disk has".to_owned(), |bytes| Size(bytes).to_string()))?;
    field("damaged", format!("{} blocks in quarantine, {} packs missing", store.quarantined, store.missing_packs))?;
    field("URLs", format!("{}, {} of them pinned, which are {}", listed.len(), pinned.len(), Size(content)))
}
