//! `offs info`

use offs::Kind;
use serde_json::json;

use crate::{
    arguments::Info,
    command::{get, parse_alone},
    failure::Failure,
    home::Home,
    output, restore,
    size::Size,
};

pub(crate) fn run(home: &Home, info: &Info) -> Result<(), Failure> {
    let url = parse_alone(home, &info.url)?;
    let store = home.store.as_ref();
    let file = get::open(store, &url)?;
    let survey = offs::survey(store, &url.reference)?;
    let root = file.root();
    let parameters = root.parameters;
    let parity =
        if parameters.parity == 0 { "none".to_owned() } else { format!("{}+{}", parameters.data, parameters.parity) };
    let listed = home.urls().list().into_iter().find(|listed| listed.url.reference == url.reference);
    let pinned = listed.as_ref().is_some_and(|listed| listed.pinned);
    let hash = blake3::Hash::from_bytes(root.content_hash).to_hex();
    // A directory whose object cannot be read has no count; the presence says why.
    let counts = if root.kind == Kind::Directory && survey.lost == 0 { Some(restore::count(&file)?) } else { None };
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
            "blocks": survey.blocks,
            "missing": survey.missing.len(),
            "stripes": survey.stripes,
            "stripes_rebuildable": survey.rebuildable,
            "stripes_lost": survey.lost,
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
    if root.inline && survey.files == 0 {
        return field("blocks", "inside its root".to_owned());
    }
    let (tuple, hash, code) = (parameters.tuple, parameters.algorithm.name(), parameters.code.name());
    field("tuples", format!("of {tuple} blocks, {hash}, parity {parity} ({code})"))?;
    if survey.files > 0 {
        field("holds", format!("{} files stored on their own, counted with it", survey.files))?;
    }
    field("blocks", format!("{} in tuples and roots, {} missing", survey.blocks, survey.missing.len()))?;
    let whole = survey.stripes - survey.rebuildable - survey.lost;
    let stripes = survey.stripes;
    field("stripes", format!("{stripes}: {whole} whole, {} can be rebuilt, {} lost", survey.rebuildable, survey.lost))
}
