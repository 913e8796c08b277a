//! `offs pin` and `offs unpin`

use cas::BlockStore as _;

use crate::{
    arguments::Urls,
    command::{get, parse_alone},
    failure::Failure,
    home::Home,
    url_database::Operation,
};

pub(crate) fn run(home: &Home, arguments: &Urls, operation: Operation) -> Result<(), Failure> {
    // What was looked at is still here when it is pinned.
    let _hold = home.store.hold();
    let mut urls = Vec::new();
    for text in &arguments.urls {
        let url = parse_alone(home, text)?;
        if operation == Operation::Pin {
            // A pin that cannot be followed would stop every collection.
            get::open(home.store.as_ref(), &url)?;
            let survey = offs::survey(home.store.as_ref(), &url.reference)?;
            if !survey.missing.is_empty() {
                let (missing, blocks) = (survey.missing.len() as u64, survey.blocks);
                return Err(Failure::NotWhole { url: url.to_string(), missing, blocks });
            }
        } else if !home.urls().list().iter().any(|listed| listed.url.reference == url.reference) {
            return Err(Failure::NotListed { url: url.to_string() });
        }
        urls.push(url);
    }
    home.urls().append(operation, &urls)
}
