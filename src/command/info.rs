//! `offs info`

use std::collections::HashSet;

use cas::{BlockStore, Score};
use offs::{FileReader, Kind};
use serde_json::json;

use crate::{
    arguments::{Arguments, Info},
    command::{get, parse_url},
    failure::Failure,
    home::Home,
    output, restore,
    size::Size,
};

/// How much of a file is here.
#[derive(Default)]
struct Presence {
    blocks: HashSet<Score>,
    missing: HashSet<Score>,
    stripes: u64,
    /// Stripes with something missing that parity makes up for.
    rebuildable: u64,
    lost: u64,
}

pub(crate) fn run(arguments: &Arguments, info: &Info) -> Result<(), Failure> {
    let url = parse_url(&info.url)?;
    let home = Home::open(arguments)?;
    let store = home.store.as_ref();
    let file = get::open(store, &url)?;
    let presence = presence(store, &file)?;
    let root = file.root();
    let parameters = root.parameters;
    let parity =
        if parameters.parity == 0 { "none".to_owned() } else { format!("{}+{}", parameters.data, parameters.parity) };
    let listed = home.urls().list().into_iter().find(|listed| listed.url.reference == url.reference);
    let pinned = listed.as_ref().is_some_and(|listed| listed.pinned);
    let hash = blake3::Hash::from_bytes(root.content_hash).to_hex();
    // A directory whose object cannot be read has no count; the presence says why.
    let counts = if root.kind == Kind::Directory && presence.lost == 0 { Some(restore::count(&file)?) } else { None };
    if info.json {
        return output::json(&json!({
            "url": url.to_string(),
            "http": url.to_http("localhost:23402"),
            "type": url.content_type.as_str(),
            "name": url.name,
            "length": root.length,
            "sealed": url.reference.key.is_some(),
            "root": url.reference.root.to_string(),
            "blake3": hash.as_str(),
            "hash": parameters.algorithm.name(),
            "tuple": parameters.tuple,
            "parity": parity,
            "code": parameters.code.name(),
            "inline": root.inline,
            "levels": file.layout().levels().len(),
            "blocks": presence.blocks.len(),
            "missing": presence.missing.len(),
            "stripes": presence.stripes,
            "stripes_rebuildable": presence.rebuildable,
            "stripes_lost": presence.lost,
            "pinned": pinned,
            "entries": counts,
        }));
    }
    output::line(&url)?;
    let field = |name: &str, value: String| output::line(format!("{name:10} {value}"));
    field("type", url.content_type.to_string())?;
    field("length", format!("{} ({})", root.length, Size(root.length)))?;
    if let Some(counts) = counts {
        let count = |kind| counts.get(kind).copied().unwrap_or(0);
        let text = format!("{} files, {} directories, {} links", count("files"), count("directories"), count("links"));
        field("entries", text)?;
    }
    field("content", format!("blake3:{hash}"))?;
    field("root", url.reference.root.to_string())?;
    field(
        "stored",
        format!(
            "{}, {}",
            if url.reference.key.is_some() { "sealed" } else { "bare" },
            if pinned { "pinned" } else { "not pinned" }
        ),
    )?;
    if root.inline {
        field("blocks", "inside its root".to_owned())?;
        return Ok(());
    }
    field(
        "tuples",
        format!(
            "of {} blocks, {}, parity {parity} ({})",
            parameters.tuple,
            parameters.algorithm.name(),
            parameters.code.name()
        ),
    )?;
    let here = presence.blocks.len() - presence.missing.len();
    field(
        "blocks",
        format!("{} different ones, {here} here, {} missing", presence.blocks.len(), presence.missing.len()),
    )?;
    let whole = presence.stripes - presence.rebuildable - presence.lost;
    field(
        "stripes",
        format!(
            "{} of them: {whole} whole, {} can be rebuilt, {} lost",
            presence.stripes, presence.rebuildable, presence.lost
        ),
    )
}

/// Looks every block up, without reading any but the descriptor's.
fn presence(store: &dyn BlockStore, file: &FileReader<'_>) -> Result<Presence, Failure> {
    let mut presence = Presence::default();
    let parameters = file.root().parameters;
    presence.blocks.insert(file.reference().root);
    for level in (0..file.layout().levels().len()).rev() {
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        for number in 0..file.layout().stripes(level) {
            let stripe = file.layout().stripe(level, number);
            presence.stripes += 1;
            let tuples = match file.tuples(&stripe) {
                Ok(tuples) => tuples,
                Err(offs::Error::Lost { .. }) => {
                    presence.lost += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mut broken = 0;
            for tuple in tuples.chunks(32 * usize::from(parameters.tuple)) {
                let mut whole = true;
                for digest in tuple.as_chunks().0 {
                    let score = Score::from_digest(parameters.algorithm, *digest);
                    presence.blocks.insert(score);
                    if !store.contains(&score)? {
                        presence.missing.insert(score);
                        whole = false;
                    }
                }
                broken += usize::from(!whole);
            }
            if broken > stripe.parity {
                presence.lost += 1;
            } else if broken > 0 {
                presence.rebuildable += 1;
            }
        }
    }
    Ok(presence)
}
