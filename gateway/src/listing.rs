//! Directories as pages and as JSON.

use std::fmt::Write as _;

use offs::{Entry, Node, OffUrl};
use serde_json::{Value, json};

use crate::place::{self, Listing, MOST_LISTED};

/// The name of an entry, and what follows it in a path.
fn name_of(entry: &Entry) -> &[u8] {
    entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn size_of(entry: &Entry) -> Option<u64> {
    match entry.node {
        Node::File { size, .. } | Node::Packed { size, .. } => Some(size),
        Node::Directory | Node::Link { .. } => None,
    }
}

/// The URL of an entry of a directory that `url` names.
fn url_of(url: &OffUrl, entry: &Entry) -> OffUrl {
    let path = entry.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
    OffUrl { path, ..url.clone() }
}

/// An entry as the page shows it.
pub(crate) fn to_json(url: &OffUrl, entry: &Entry) -> Value {
    let name = String::from_utf8_lossy(name_of(entry)).into_owned();
    let (kind, content_type) = match entry.node {
        Node::Directory => ("directory", None),
        Node::Link { .. } => ("link", Some(place::type_of(&name))),
        Node::File { .. } | Node::Packed { .. } => ("file", Some(place::type_of(&name))),
    };
    let of_entry = url_of(url, entry);
    json!({
        "name": name,
        "kind": kind,
        "length": size_of(entry),
        "type": content_type.map(|content_type| content_type.to_string()),
        "time": entry.mtime,
        "url": of_entry.to_string(),
        "path": place::path_of(&of_entry),
    })
}

/// A directory as a page.
pub(crate) fn to_html(listing: &Listing) -> String {
    let here = listing.url.path.last().map(|last| String::from_utf8_lossy(last).into_owned());
    let title = escape(&here.or_else(|| listing.url.name.clone()).unwrap_or_else(|| "Directory".to_owned()));
    let mut rows = String::new();
    if !listing.url.path.is_empty() {
        rows += "<tr><td><a href=\"../\">The folder above</a></td><td></td></tr>\n";
    }
    for entry in &listing.entries {
        let name = name_of(entry);
        let slash = if entry.node == Node::Directory { "/" } else { "" };
        let href = percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let shown = escape(&String::from_utf8_lossy(name));
        let size = size_of(entry).map(in_words).unwrap_or_default();
        // Writing to a string cannot fail.
        let _written = writeln!(
            rows,
            "<tr><td><a class=\"name\" href=\"{href}{slash}\">{shown}{slash}</a></td><td class=\"number\">{size}</td></tr>"
        );
    }
    if listing.entries.is_empty() {
        rows += "<tr><td>This folder is empty.</td><td></td></tr>\n";
    }
    let more = if listing.entries.len() < MOST_LISTED {
        String::new()
    } else {
        format!("<p>Only the first {MOST_LISTED} entries are shown.</p>\n")
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"/assets/icon.svg\">\n<link rel=\"stylesheet\" href=\"/assets/style.css\">\n\
         <main>\n<section>\n<h1>{title}</h1>\n\
         <table><thead><tr><th scope=\"col\">Name</th><th scope=\"col\" class=\"number\">Size</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table>\n{more}</section>\n</main>\n"
    )
}

/// A size for people.
fn in_words(bytes: u64) -> String {
    let (mut whole, mut rest) = (bytes, 0);
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            return if unit == "B" { format!("{whole} B") } else { format!("{whole}.{} {unit}", rest * 10 / 1024) };
        }
        (whole, rest) = (whole / 1024, whole % 1024);
    }
    format!("{whole} PiB")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16383 PiB"),
        ] {
            assert_eq!(in_words(bytes), text);
        }
    }

    #[test]
    fn names_cannot_act() {
        let text = "v4/offsystem/directory/1/RDSJU8N7XWgE541VWbsaTuSNvD7XTvgYg2s6zA3qchA4zap9MpCiydqDNzTqkiDr7bPBUYnqkKsZNHjwqw1kmQRmZ/x";
        let url: OffUrl = format!("off:{text}").parse().expect("a URL");
        let name = b"<img src=x onerror=alert(1)>\"'&.html".to_vec();
        let entry = Entry { path: name, mode: 0, mtime: 0, nsec: 0, node: Node::Packed { at: 0, size: 5 } };
        let html = to_html(&Listing { url, entries: vec![entry] });
        assert!(!html.contains("<img") && html.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;.html"));
        assert!(html.contains("href=\"%3Cimg%20src"));
    }
}
