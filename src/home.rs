//! The home directory: settings, store, URL database.

use std::{
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use cas::{BlockStore, Options, PackStore};
use etcetera::BaseStrategy as _;
use gateway::{BucketDoor, Keys, Usage};
use offs::OffUrl;
use replication::{Patience, PeerKey};
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

use crate::{
    arguments::Arguments,
    config::Config,
    control::remote_store::{self, RemoteStore},
    daemon::{backend::HomeBackend, supervisor::Services},
    failure::Failure,
    peers::{self, Peers, pool::Pool, pooled_store::PooledStore},
    pins::Pins,
    progress::{remark, warn},
    saved_buckets,
    url_database::{Operation, UrlDatabase},
};

/// A home that this process owns, or the daemon that owns it.
pub(crate) enum Entered {
    Home(Box<Home>),
    Daemon(PathBuf, UnixStream),
}

/// What storing and reading files needs of a home, whoever owns it.
pub(crate) struct Access {
    path: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn BlockStore>,
    ledger: Ledger,
    /// What the store's peers run on.
    #[expect(dead_code, reason = "it must live as long as the store is used")]
    runtime: Option<Arc<Runtime>>,
}

/// Who writes URLs down.
enum Ledger {
    Here(Arc<Mutex<UrlDatabase>>),
    Daemon(Arc<RemoteStore>),
}

impl Access {
    /// Through the daemon.
    pub(crate) fn through(path: PathBuf, stream: UnixStream) -> Result<Self, Failure> {
        let config = Config::read(&path.join("config.toml"))?;
        let store = Arc::new(RemoteStore::new(&path, stream));
        Ok(Self {
            path,
            config,
            store: Arc::<RemoteStore>::clone(&store),
            ledger: Ledger::Daemon(store),
            runtime: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn record(&self, operation: Operation, url: &OffUrl) -> Result<(), Failure> {
        match &self.ledger {
            Ledger::Here(urls) => {
                urls.lock().unwrap_or_else(PoisonError::into_inner).append(operation, std::slice::from_ref(url))
            }
            Ledger::Daemon(store) => Ok(store.record(&json!({"operation": operation.name(), "url": url.to_string()}))?),
        }
    }
}

/// Everything that lasts from one command to the next.
pub(crate) struct Home {
    path: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Arc<PackStore>,
    urls: Arc<Mutex<UrlDatabase>>,
    /// What the daemon runs; empty in a command.
    pub(crate) services: Arc<Services>,
    /// What the daemon's doors are called, and where they are; empty in a command.
    pub(crate) doors: OnceLock<Vec<(&'static str, String)>>,
    /// Whether services may be made to panic.
    pub(crate) allow_faults: bool,
    peers: OnceLock<Arc<Peers>>,
    /// The buckets of S3 clients, once they are used.
    buckets: Mutex<Option<BucketDoor>>,
    /// What a command's peers run on, when it has any.
    runtime: OnceLock<Arc<Runtime>>,
}

/// The file of access keys in a home.
pub(crate) const KEYS: &str = "keys.json";

/// How long a command waits for another to let go of the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the store of a home lies.
pub(crate) fn store_directory(home: &Path) -> PathBuf {
    home.join("store")
}

impl Home {
    /// Opens the home directory and makes it if it is not there; or finds the daemon that owns it.
    pub(crate) fn enter(arguments: &Arguments) -> Result<Entered, Failure> {
        let path = locate(arguments)?;
        let daemon = || if path.exists() { remote_store::connect(&path).map_err(Failure::Daemon) } else { Ok(None) };
        if let Some(stream) = daemon()? {
            return Ok(Entered::Daemon(path, stream));
        }
        match Self::open_with(path.clone(), PackStore::open) {
            // A daemon that has just been started owns the store before it listens.
            Err(Failure::File(offs::Error::Store(cas::Error::InUse { path: store, owner }))) => match daemon()? {
                Some(stream) => Ok(Entered::Daemon(path, stream)),
                None => Err(cas::Error::InUse { path: store, owner }.into()),
            },
            opened => opened.map(|home| Entered::Home(Box::new(home))),
        }
    }

    /// Opens it with an index made anew.
    pub(crate) fn rebuild(arguments: &Arguments) -> Result<Self, Failure> {
        Self::open_with(locate(arguments)?, PackStore::rebuild)
    }

    fn open_with(path: PathBuf, open: fn(&Path, Options) -> cas::Result<PackStore>) -> Result<Self, Failure> {
        let is_new = !path.exists();
        make_private(&path)?;
        if is_new {
            // Who mistyped it wonders where everything is.
            remark(&format!("made a new home in {}", path.display()));
        }
        let config = Config::read(&path.join("config.toml"))?;
        let directory = store_directory(&path);
        // The index has the keys of objects, so a home that others may look into has a store that they may not.
        make_private(&directory)?;
        close(&directory);
        let existed = directory.join("packs").exists();
        let defaults = Options::default();
        let options = Options {
            capacity: config.capacity.map(|size| size.0),
            reserve: config.reserve.map_or(defaults.reserve, |size| size.0),
            ..defaults
        };
        let store = Arc::new(wait_for(&path, || open(&directory, options.clone()))?);
        let empty = store.statistics().packs == 0;
        let urls = Arc::new(Mutex::new(UrlDatabase::open(&path, existed && !empty)?));
        store.set_reachable(Arc::new(Pins::new(Arc::downgrade(&store), Arc::clone(&urls))));
        let services = Arc::default();
        Ok(Self {
            path,
            config,
            store,
            urls,
            services,
            doors: OnceLock::new(),
            allow_faults: false,
            peers: OnceLock::new(),
            buckets: Mutex::default(),
            runtime: OnceLock::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn urls(&self) -> MutexGuard<'_, UrlDatabase> {
        self.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The URL database, for who shares it.
    pub(crate) fn url_database(&self) -> Arc<Mutex<UrlDatabase>> {
        Arc::clone(&self.urls)
    }

    /// The buckets of S3 clients. Whoever uses them uses the same.
    pub(crate) fn buckets(&self) -> Result<BucketDoor, Failure> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*buckets {
            return Ok(known.clone());
        }
        let backend = self.bucket_backend()?;
        let keys = Arc::new(Keys::new(self.path.join(KEYS)));
        // Keys that cannot be read are told now, not to each client.
        keys.list()?;
        let catalogue = Arc::<PackStore>::clone(&self.store);
        if saved_buckets::are_lost(&self.store, &self.urls)? {
            return Err(Failure::BucketsLost);
        }
        let made = BucketDoor::new(backend, catalogue, keys, &self.config.s3.domains)?;
        *buckets = Some(made.clone());
        Ok(made)
    }

    fn bucket_backend(&self) -> Result<Arc<HomeBackend>, Failure> {
        Ok(Arc::new(HomeBackend::new(self, || Value::Null)?))
    }

    /// The list of buckets that was saved last and is still pinned.
    pub(crate) fn saved_buckets(&self) -> Option<OffUrl> {
        saved_buckets::all(&self.urls()).pop()
    }

    /// Goes on without the buckets that were saved, when there are none.
    pub(crate) fn give_up_buckets(&self) -> Result<usize, Failure> {
        if !saved_buckets::are_lost(&self.store, &self.urls)? {
            return Err(Failure::NothingSaved);
        }
        let mut urls = self.urls();
        let saved = saved_buckets::all(&urls);
        urls.append(Operation::Unpin, &saved)?;
        Ok(saved.len())
    }

    /// Brings buckets back that were saved, when there are none and nobody uses them.
    pub(crate) fn restore_buckets(&self, url: &OffUrl) -> Result<(), Failure> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = BucketDoor::read_saved(self.bucket_backend()?.as_ref(), self.store.as_ref(), url)?;
        // One that has begun knows nothing of what they need.
        let _no_collection = self.store.no_collection();
        BucketDoor::restore(self.store.as_ref(), &saved)?;
        // Whoever uses them next reads them anew.
        *buckets = None;
        Ok(())
    }

    /// Whether S3 clients use the buckets.
    pub(crate) fn serves_buckets(&self) -> bool {
        self.services.list().iter().any(|(name, _)| *name == "s3")
    }

    /// What buckets hold, if they are used.
    pub(crate) fn bucket_usages(&self) -> Option<Vec<(String, Usage)>> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.as_ref().map(BucketDoor::usages)
    }

    /// What collection must keep when room is needed.
    pub(crate) fn pins(&self) -> Pins {
        Pins::new(Arc::downgrade(&self.store), Arc::clone(&self.urls))
    }

    /// What it must keep else: what is held for the pool, too.
    pub(crate) fn pins_and_held(&self) -> Result<Pins, Failure> {
        Ok(if self.has_pool() { self.pins().and_held_for(self.peers()?) } else { self.pins() })
    }

    pub(crate) fn record(&self, operation: Operation, url: &OffUrl) -> Result<(), Failure> {
        self.urls().append(operation, std::slice::from_ref(url))
    }

    /// The peers, when somebody has greeted them: without a daemon nobody has yet.
    pub(crate) fn meet_peers(&self) -> Result<Arc<Peers>, Failure> {
        let peers = self.peers()?;
        if self.services.list().is_empty() {
            peers.runtime.block_on(peers.greet_all());
        }
        Ok(peers)
    }

    /// Whether the peers are open, as a daemon's always are.
    pub(crate) fn has_peers(&self) -> bool {
        self.peers.get().is_some()
    }

    /// The peers of this home; in a command they are asked, and nobody asks us.
    pub(crate) fn peers(&self) -> Result<Arc<Peers>, Failure> {
        if let Some(peers) = self.peers.get() {
            return Ok(Arc::clone(peers));
        }
        let runtime = match Handle::try_current() {
            Ok(daemon) => daemon,
            Err(_) => self.own_runtime()?,
        };
        let settings = &self.config.peers;
        let (grace, defaults) = (Duration::from_secs(settings.grace), Patience::default());
        // Who is impatient with the silent is so with those that come back.
        let patience = Patience { grace, settling: defaults.settling.min(grace), most: defaults.most.min(16 * grace) };
        let settings = peers::Settings {
            replicas: usize::from(settings.replicas.max(1)),
            patience,
            repair_rate: settings.repair_rate.0,
        };
        let peers = Arc::new(Peers::open(&self.path, Arc::clone(&self.store), settings, runtime)?);
        self.configure_pool(&peers)?;
        Ok(Arc::clone(self.peers.get_or_init(|| peers)))
    }

    fn own_runtime(&self) -> Result<Handle, Failure> {
        if self.runtime.get().is_none() {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build().map_err(Failure::Socket)?;
            // Nobody else has made one: a command is one thread.
            let _made = self.runtime.set(Arc::new(runtime));
        }
        self.runtime.get().map(|runtime| runtime.handle().clone()).ok_or(Failure::Worker)
    }

    /// Joins the pool that the settings name, if it is not this home's already.
    fn configure_pool(&self, peers: &Peers) -> Result<(), Failure> {
        let Some(settings) = &self.config.pool else { return Ok(()) };
        let key = PeerKey::from_seed(peers.identity.seed());
        let pool = match &settings.secret {
            Some(secret) => Pool::of_secret(&key, &settings.name, secret)?,
            None => Pool::Open { name: settings.name.clone() },
        };
        let own = peers.pool().as_ref().map(Pool::pool_id);
        match own {
            Some(own) if own == pool.pool_id() => Ok(()),
            Some(_) => Err(Failure::OtherPool { path: self.path.clone() }),
            None => peers.change_pool(|own| {
                *own = Some(pool);
                Ok(())
            }),
        }
    }

    /// Whether blocks that are missing may be at peers.
    pub(crate) fn has_pool(&self) -> bool {
        self.config.pool.is_some() || self.path.join("pool.json").exists()
    }

    /// The store that files are read from: with a pool, what is missing is asked of peers.
    pub(crate) fn reading_store(&self) -> Result<Arc<dyn BlockStore>, Failure> {
        if self.has_pool() {
            Ok(Arc::new(PooledStore::new(&self.peers()?)))
        } else {
            Ok(Arc::<PackStore>::clone(&self.store))
        }
    }

    /// What storing and reading files needs.
    pub(crate) fn access(&self) -> Result<Access, Failure> {
        let store = self.reading_store()?;
        let (path, config) = (self.path.clone(), self.config.clone());
        Ok(Access {
            path,
            config,
            store,
            ledger: Ledger::Here(Arc::clone(&self.urls)),
            runtime: self.runtime.get().cloned(),
        })
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

/// Takes from others the right to look into a directory of ours.
fn close(path: &Path) {
    let open = |mode: u32| mode & 0o077 != 0;
    let closed = std::fs::metadata(path).and_then(|metadata| {
        if open(metadata.permissions().mode()) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    });
    if let Err(error) = closed {
        warn(&format!("others may be able to look into {}: {error}", path.display()));
    }
}

/// Another command may be using the store; it is worth waiting a little, but not for a daemon.
fn wait_for(home: &Path, open: impl Fn() -> cas::Result<PackStore>) -> Result<PackStore, Failure> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match open() {
            Err(cas::Error::InUse { .. })
                if started.elapsed() < PATIENCE && !matches!(remote_store::connect(home), Ok(Some(_))) =>
            {
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
