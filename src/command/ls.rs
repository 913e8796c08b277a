//! `offs ls`

use serde_json::json;

use crate::{arguments::Ls, date, failure::Failure, home::Home, output, size::Size};

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
