//! `offs pin` and `offs unpin`

use cas::BlockStore as _;

use crate::{
    arguments::Urls,
    command::{get, parse_whole},
    failure::Failure,
    home::Home,
    url_database::Operation,
};

pub(crate) fn run(home: &Home, arguments: &Urls, operation: Operation) -> Result<(), Failure> {
    let mut urls = Vec::new();
    for text in &arguments.urls {
        let url = parse_whole(text)?;
        if operation == Operation::Pin {
            // A pin that cannot be followed would stop every collection.
            get::open(home.store.as_ref(), &url)?;
            let (mut blocks, mut missing, mut failed) = (0, 0, Ok(()));
            offs::list(home.store.as_ref(), &url.reference, &mut |score| {
                blocks += 1;
                match home.store.contains(score) {
                    Ok(here) => missing += u64::from(!here),
                    Err(error) => failed = Err(error),
                }
            })?;
            failed?;
            if missing > 0 {
                return Err(Failure::NotWhole { url: url.to_string(), missing, blocks });
            }
        } else if !home.urls().list().iter().any(|listed| listed.url.reference == url.reference) {
            return Err(Failure::NotListed { url: url.to_string() });
        }
        urls.push(url);
    }
    home.urls().append(operation, &urls)
}
