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
    report,
    url_database::{Operation, UrlDatabase},
};

/// A home, for the doors.
pub(crate) struct HomeBackend {
    path: PathBuf,
    urls: Arc<Mutex<UrlDatabase>>,
    store: Arc<dyn BlockStore>,
    /// The same without peers.
    here: Arc<PackStore>,
    options: PutOptions,
    status: Box<dyn Fn() -> Value + Send + Sync>,
}

impl HomeBackend {
    /// Over a store that knows where to ask for what is missing; `status` says how everything is.
    pub(crate) fn new(
        home: &Home,
        store: Arc<dyn BlockStore>,
        status: impl Fn() -> Value + Send + Sync + 'static,
    ) -> Result<Self, Failure> {
        let parameters = home.config.put.parameters(home.path())?;
        parameters.check()?;
        let options = PutOptions { parameters, ..PutOptions::default() };
        let (path, urls) = (home.path().to_owned(), home.url_database());
        Ok(Self { path, urls, store, here: Arc::clone(&home.store), options, status: Box::new(status) })
    }

    fn urls(&self) -> MutexGuard<'_, UrlDatabase> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, operation: Operation, url: &OffUrl) -> Result<(), BackendError> {
        self.urls().append(operation, std::slice::from_ref(url)).map_err(|failure| failed(&failure))
    }
}

fn failed(failure: &Failure) -> BackendError {
    BackendError(report::in_one_line(failure))
}

impl Backend for HomeBackend {
    fn store(&self) -> Arc<dyn BlockStore> {
        Arc::clone(&self.store)
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
        self.store.sync().map_err(|error| failed(&error.into()))?;
        self.record(Operation::Put, url)
    }

    fn unpin(&self, url: &OffUrl) -> Result<(), BackendError> {
        let listed = Self::urls(self).list();
        if !listed.iter().any(|listed| listed.url.reference == url.reference) {
            return Err(failed(&Failure::NotListed { url: url.to_string() }));
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
