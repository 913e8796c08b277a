//! What must be kept: every block that a pinned URL needs, or an object in a bucket.

use std::{
    error::Error as StdError,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use cas::{BlockStore as _, PackStore, Reachable, Score};
use replication::Bucket;

use crate::{failure::Failure, peers::Peers, saved_buckets, url_database::UrlDatabase};

/// Follows the pinned URLs of the database, and the buckets, through the store.
pub(crate) struct Pins {
    /// Weak, because the store itself keeps one of these.
    store: Weak<PackStore>,
    urls: Arc<Mutex<UrlDatabase>>,
    /// The pool, when what is held for it is needed too.
    held_for: Option<Arc<Peers>>,
}

impl Pins {
    pub(crate) fn new(store: Weak<PackStore>, urls: Arc<Mutex<UrlDatabase>>) -> Self {
        Self { store, urls, held_for: None }
    }

    /// And what this peer holds for its pool.
    pub(crate) fn and_held_for(self, peers: Arc<Peers>) -> Self {
        Self { held_for: Some(peers), ..self }
    }
}

impl Reachable for Pins {
    fn visit(&self, keep: &mut dyn FnMut(&Score)) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let Some(store) = self.store.upgrade() else { return Ok(()) };
        let lost = || -> Result<(), Failure> {
            if saved_buckets::are_lost(&store, &self.urls)? { Err(Failure::BucketsLost) } else { Ok(()) }
        };
        lost()?;
        // Before the URLs: a snapshot moves references from buckets to them.
        gateway::reachable(store.as_ref(), store.as_ref(), keep)?;
        let urls = self.urls.lock().unwrap_or_else(PoisonError::into_inner);
        if urls.lost() {
            return Err(Failure::UrlsLost { path: urls.path().to_owned() }.into());
        }
        let listed = urls.list();
        drop(urls);
        lost()?;
        for listed in listed.iter().filter(|listed| listed.pinned) {
            offs::list(store.as_ref(), &listed.url.reference, keep).map_err(|source| {
                let url = listed.url.to_string();
                Failure::Pin { url, source: Box::new(source.into()) }
            })?;
        }
        if let Some(peers) = &self.held_for {
            let holds = peers.held_buckets();
            store.scores(&mut |score| {
                if holds[usize::from(Bucket::of(&score).number())] {
                    keep(&score);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    }
}
