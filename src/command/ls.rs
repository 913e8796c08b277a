//! `offs ls`

use std::fmt::Write as _;

use offs::{DirectoryReader, Entry, Kind, Node, OffUrl};
use serde_json::json;

use crate::{
    arguments::Ls,
    command::get,
    date, entry_url,
    failure::Failure,
    home::{Access, Home},
    output,
    restore::below,
    size::Size,
};

/// How what is in a directory is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Paths,
    Long,
    Json,
}

/// Lists what is in a directory, or below a path in it.
pub(crate) fn inside(home: &Access, url: &OffUrl, form: Form) -> Result<(), Failure> {
    let file = get::open(home.store.as_ref(), url)?;
    if file.root().kind != Kind::Directory {
        return Err(Failure::NotDirectory);
    }
    let wanted = url.path.join(&b'/');
    let mut found = false;
    DirectoryReader::entries::<Failure>(&file, &mut |_| Ok(()), &mut |entry| {
        let Some(path) = below(&entry.path, &wanted) else { return Ok(()) };
        found = true;
        // The directory that was asked for is not in itself.
        if path.is_empty() && entry.node == Node::Directory { Ok(()) } else { show(url, &entry, form) }
    })?;
    if found { Ok(()) } else { Err(Failure::NoSuchPath { path: String::from_utf8_lossy(&wanted).into_owned() }) }
}

fn show(url: &OffUrl, entry: &Entry, form: Form) -> Result<(), Failure> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, size, target) = match &entry.node {
        Node::Directory => ("directory", 0, None),
        Node::File { size, .. } | Node::Packed { size, .. } => ("file", *size, None),
        Node::Link { target } => ("link", 0, Some(text(target))),
    };
    if form == Form::Json {
        let path = entry.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        return output::json(&json!({
            "path": text(&entry.path),
            "type": kind,
            "length": size,
            "mode": entry.mode,
            "time": entry.mtime,
            "target": target,
            "url": OffUrl { path, ..url.clone() }.to_string(),
            "own": entry_url::own(entry).map(|own| own.to_string()),
        }));
    }
    let mut shown = output::plain(&text(&entry.path));
    if form == Form::Paths {
        return output::line(shown);
    }
    if let Some(target) = target {
        // Writing to a text does not fail.
        let _ = write!(shown, " -> {}", output::plain(&target));
    }
    let letter = match kind {
        "directory" => 'd',
        "link" => 'l',
        _ => '-',
    };
    let bits: String =
        (0..9).map(|at| if entry.mode >> (8 - at) & 1 == 0 { '-' } else { char::from(b"rwx"[at % 3]) }).collect();
    let time = date::in_words(entry.mtime);
    output::line(format!("{letter}{bits} {:>10} {time} {shown}", Size(size).to_string()))
}

pub(crate) fn run(home: &Home, arguments: &Ls) -> Result<(), Failure> {
    let urls = home.urls();
    let (listed, lost) = (urls.list(), urls.lost());
    let path = urls.path().to_owned();
    drop(urls);
    for listed in listed {
        let url = &listed.url;
        if arguments.json {
            output::json(&json!({
                "url": url.to_string(),
                "length": url.length,
                "type": url.content_type.as_str(),
                "name": url.name,
                "time": listed.time,
                "pinned": listed.pinned,
            }))?;
        } else if arguments.long {
            let state = if listed.pinned { "pinned" } else { "-" };
            output::line(format!(
                "{state:6} {:>10} {} {url}",
                Size(url.length).to_string(),
                date::in_words(listed.time)
            ))?;
        } else {
            output::line(url)?;
        }
    }
    if lost { Err(Failure::UrlsLost { path }) } else { Ok(()) }
}
