//! `offs pin` and `offs unpin`

use crate::{
    arguments::Urls,
    command::{get, parse_url},
    failure::Failure,
    home::Home,
    url_database::Operation,
};

pub(crate) fn run(home: &Home, arguments: &Urls, operation: Operation) -> Result<(), Failure> {
    let mut urls = Vec::new();
    for text in &arguments.urls {
        let url = parse_url(text)?.without_path();
        if operation == Operation::Pin {
            // A pin that cannot be followed would stop every collection.
            get::open(home.store.as_ref(), &url)?;
            offs::list(home.store.as_ref(), &url.reference, &mut |_| {})?;
        } else if !home.urls().list().iter().any(|listed| listed.url.reference == url.reference) {
            return Err(Failure::NotListed { url: url.to_string() });
        }
        urls.push(url);
    }
    home.urls().append(operation, &urls)
}
