//! The home directory: settings, store, URL database.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use cas::{Options, PackStore};
use etcetera::BaseStrategy as _;
use offs::OffUrl;

use crate::{
    arguments::Arguments,
    config::Config,
    failure::Failure,
    pins::Pins,
    progress::remark,
    url_database::{Operation, UrlDatabase},
};

/// Everything that lasts from one command to the next.
pub(crate) struct Home {
    path: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Arc<PackStore>,
    urls: Arc<Mutex<UrlDatabase>>,
}

/// How long a command waits for another to let go of the store.
const PATIENCE: Duration = Duration::from_secs(10);

impl Home {
    /// Opens the home directory and makes it if it is not there.
    pub(crate) fn open(arguments: &Arguments) -> Result<Self, Failure> {
        Self::open_with(arguments, PackStore::open)
    }

    /// Opens it with an index made anew.
    pub(crate) fn rebuild(arguments: &Arguments) -> Result<Self, Failure> {
        Self::open_with(arguments, PackStore::rebuild)
    }

    fn open_with(arguments: &Arguments, open: fn(&Path, Options) -> cas::Result<PackStore>) -> Result<Self, Failure> {
        let path = locate(arguments)?;
        make_private(&path)?;
        let config = Config::read(&path.join("config.toml"))?;
        let directory = path.join("store");
        let existed = directory.join("packs").exists();
        let defaults = Options::default();
        let options = Options {
            capacity: config.capacity.map(|size| size.0),
            reserve: config.reserve.map_or(defaults.reserve, |size| size.0),
            ..defaults
        };
        let store = Arc::new(wait_for(|| open(&directory, options.clone()))?);
        let empty = store.statistics().packs == 0;
        let urls = Arc::new(Mutex::new(UrlDatabase::open(&path, existed && !empty)?));
        store.set_reachable(Arc::new(Pins::new(Arc::downgrade(&store), Arc::clone(&urls))));
        Ok(Self { path, config, store, urls })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn urls(&self) -> MutexGuard<'_, UrlDatabase> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What collection must keep.
    pub(crate) fn pins(&self) -> Pins {
        Pins::new(Arc::downgrade(&self.store), Arc::clone(&self.urls))
    }

    pub(crate) fn record(&self, operation: Operation, url: &OffUrl) -> Result<(), Failure> {
        self.urls().append(operation, std::slice::from_ref(url))
    }
}

/// Where the home directory is, whether it exists or not.
pub(crate) fn locate(arguments: &Arguments) -> Result<PathBuf, Failure> {
    if let Some(home) = &arguments.home {
        return Ok(home.clone());
    }
    Ok(etcetera::choose_base_strategy().map_err(|_| Failure::NoHome)?.data_dir().join("offs"))
}

pub(crate) fn make_private(path: &Path) -> Result<(), Failure> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(path).map_err(|source| Failure::io("create", path, source))
}

/// Another command may be using the store; it is worth waiting a little.
fn wait_for(open: impl Fn() -> cas::Result<PackStore>) -> Result<PackStore, Failure> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match open() {
            Err(cas::Error::InUse { .. }) if started.elapsed() < PATIENCE => {
                if !told && started.elapsed() > Duration::from_secs(1) {
                    remark("waiting for another command to end");
                    told = true;
                }
                thread::sleep(Duration::from_millis(50));
            }
            opened => return Ok(opened?),
        }
    }
}
