//! What stands behind the doors: this home.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cas::{BlockStore, PackStore};
use gateway::{Backend, BackendError, KnownUrl};
use offs::{OffUrl, PutOptions};
use serde_json::Value;

use crate::{
    failure::Failure,
    home::Home,
    peers::{Peers, pooled_store::PooledStore},
    report,
    url_database::{Operation, UrlDatabase},
};

/// A home, for the doors.
pub(crate) struct HomeBackend {
    path: PathBuf,
    urls: Arc<Mutex<UrlDatabase>>,
    here: Arc<PackStore>,
    /// A daemon's, which may enter a pool or leave it at any time; of a command only with a pool.
    peers: Option<Arc<Peers>>,
    options: PutOptions,
    status: Box<dyn Fn() -> Value + Send + Sync>,
}

impl HomeBackend {
    /// Over the store of a home; `status` says how everything is.
    pub(crate) fn new(home: &Home, status: impl Fn() -> Value + Send + Sync + 'static) -> Result<Self, Failure> {
        let parameters = home.config.put.parameters(home.path())?;
        parameters.check()?;
        let options = PutOptions { parameters, ..PutOptions::default() };
        let (path, urls) = (home.path().to_owned(), home.url_database());
        let peers = if home.has_pool() || home.has_peers() { Some(home.peers()?) } else { None };
        Ok(Self { path, urls, here: Arc::clone(&home.store), peers, options, status: Box::new(status) })
    }

    fn urls(&self) -> MutexGuard<'_, UrlDatabase> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, operation: Operation, url: &OffUrl) -> Result<(), BackendError> {
        self.urls().append(operation, std::slice::from_ref(url)).map_err(|failure| failed(&failure))
    }
}

fn failed(failure: &Failure) -> BackendError {
    BackendError::Failed(report::in_one_line(failure))
}

impl Backend for HomeBackend {
    fn store(&self) -> Arc<dyn BlockStore> {
        match &self.peers {
            Some(peers) if peers.pool().is_some() => Arc::new(PooledStore::new(peers)),
            _ => Arc::<PackStore>::clone(&self.here),
        }
    }

    fn room(&self) -> u64 {
        self.here.room()
    }

    fn put_options(&self) -> PutOptions {
        self.options.clone()
    }

    fn scratch(&self) -> &Path {
        &self.path
    }

    fn keep(&self, url: &OffUrl) -> Result<(), BackendError> {
        self.here.sync().map_err(|error| failed(&error.into()))?;
        self.record(Operation::Put, url)
    }

    fn unpin(&self, url: &OffUrl) -> Result<(), BackendError> {
        let listed = Self::urls(self).list();
        if !listed.iter().any(|listed| listed.url.reference == url.reference) {
            return Err(BackendError::NotListed);
        }
        self.record(Operation::Unpin, url)
    }

    fn urls(&self) -> Vec<KnownUrl> {
        let listed = Self::urls(self).list();
        listed.into_iter().map(|one| KnownUrl { url: one.url, time: one.time, pinned: one.pinned }).collect()
    }

    fn status(&self) -> Value {
        (self.status)()
    }
}
