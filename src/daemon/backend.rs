//! What stands behind the doors: this home.

use std::{path::Path, sync::Arc};

use cas::BlockStore;
use gateway::{Backend, BackendError, KnownUrl};
use offs::{OffUrl, PutOptions};
use serde_json::Value;

use crate::{
    command::status,
    failure::Failure,
    home::Home,
    peers::{Peers, pooled_store::PooledStore},
    report,
    url_database::Operation,
};

/// A home and its peers, for the doors.
pub(crate) struct HomeBackend {
    home: Arc<Home>,
    store: Arc<PooledStore>,
    options: PutOptions,
}

impl HomeBackend {
    pub(crate) fn new(home: Arc<Home>, peers: &Arc<Peers>) -> Result<Self, Failure> {
        let parameters = home.config.put.parameters(home.path())?;
        parameters.check()?;
        let options = PutOptions { parameters, ..PutOptions::default() };
        Ok(Self { store: Arc::new(PooledStore::new(peers)), home, options })
    }
}

fn failed(failure: &Failure) -> BackendError {
    BackendError(report::in_one_line(failure))
}

impl Backend for HomeBackend {
    fn store(&self) -> Arc<dyn BlockStore> {
        Arc::<PooledStore>::clone(&self.store)
    }

    fn put_options(&self) -> PutOptions {
        self.options.clone()
    }

    fn scratch(&self) -> &Path {
        self.home.path()
    }

    fn keep(&self, url: &OffUrl) -> Result<(), BackendError> {
        self.store.sync().map_err(|error| failed(&error.into()))?;
        self.home.record(Operation::Put, url).map_err(|failure| failed(&failure))
    }

    fn unpin(&self, url: &OffUrl) -> Result<(), BackendError> {
        let listed = self.home.urls().list();
        if !listed.iter().any(|listed| listed.url.reference == url.reference) {
            return Err(failed(&Failure::NotListed { url: url.to_string() }));
        }
        self.home.record(Operation::Unpin, url).map_err(|failure| failed(&failure))
    }

    fn urls(&self) -> Vec<KnownUrl> {
        let listed = self.home.urls().list();
        listed.into_iter().map(|one| KnownUrl { url: one.url, time: one.time, pinned: one.pinned }).collect()
    }

    fn status(&self) -> Value {
        // The peers of a daemon are there already.
        status::value(&self.home).unwrap_or_default()
    }
}
