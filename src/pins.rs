//! What must be kept: every block that a pinned URL needs.

use std::{
    error::Error as StdError,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use cas::{PackStore, Reachable, Score};

use crate::{failure::Failure, url_database::UrlDatabase};

/// Follows the pinned URLs of the database through the store.
pub(crate) struct Pins {
    /// Weak, because the store itself keeps one of these.
    store: Weak<PackStore>,
    urls: Arc<Mutex<UrlDatabase>>,
}

impl Pins {
    pub(crate) fn new(store: Weak<PackStore>, urls: Arc<Mutex<UrlDatabase>>) -> Self {
        Self { store, urls }
    }
}

impl Reachable for Pins {
    fn visit(&self, keep: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let Some(store) = self.store.upgrade() else { return Ok(()) };
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if urls.lost() {
            return Err(Failure::UrlsLost { path: urls.path().to_owned() }.into());
        }
        let listed = urls.list();
        drop(urls);
        for listed in listed.iter().filter(|listed| listed.pinned) {
            offs::list(store.as_ref(), &listed.url.reference, keep).map_err(|source| {
                let url = listed.url.to_string();
                Failure::Pin { url, source: Box::new(source.into()) }
            })?;
        }
        Ok(())
    }
}
