//! The door itself: buckets, who may use them, and where clients come in.

use std::{convert::Infallible, future::Future, ops::RangeInclusive, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, service::service_fn};
use offs::OffUrl;
use s3s::{
    S3ErrorCode,
    config::{S3Config, StaticConfigProvider},
    service::S3ServiceBuilder,
};
use tokio::{
    net::TcpListener,
    task::{JoinError, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    backend::Backend,
    door,
    s3::{
        access::Access,
        backup::{self, Saved as SavedBuckets},
        catalogue::Catalogue,
        entry,
        fault::Fault,
        form::LONGEST_FIELDS,
        front::{Front, LONGEST_DOCUMENT, LONGEST_FORM},
        keys::Keys,
        object::Usage,
        packer::Waiting,
        read_object::ReadObject,
        service::Service,
        shelf::Shelf,
        snapshot::Snapshot,
        target::Domains,
    },
};

/// How long a client may take to begin speaking TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often there is something to pack.
const PACKING: Duration = Duration::from_secs(5);
/// How often the catalogue is saved, when it has changed: the more seldom the longer it is, because each saving stores it
/// anew. Between the two, a second passes for each 16 KiB.
const SAVING: RangeInclusive<Duration> = Duration::from_mins(5)..=Duration::from_hours(1);
const SAVED_A_SECOND: u64 = 16 << 10;
/// How many times as long as the saving takes, at least.
const SAVING_TIMES: u32 = 100;
/// How soon it is looked whether there is something to save, when nothing ever was.
const FIRST_SAVING: Duration = Duration::from_secs(5);
/// How often life cycles are looked at.
const LIFE: Duration = Duration::from_mins(15);

/// Why the buckets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketsError {
    /// There is no bucket of that name.
    #[error("there is no such bucket")]
    NoBucket,
    /// Something that clients see, too; in words for people.
    #[error("{0}")]
    Failed(String),
}

impl From<Fault> for BucketsError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Code { code: S3ErrorCode::NoSuchBucket, .. } => Self::NoBucket,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What something came to. What went wrong is written down, and tried again the next time.
fn told<T>(what: &str, outcome: Result<Result<T, Fault>, JoinError>) -> Option<T> {
    match outcome.map_err(|_| Fault::Worker).flatten() {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::warn!(%error, "{what}");
            None
        }
    }
}

/// Buckets and the door to them.
#[derive(Clone)]
pub struct BucketDoor {
    shelf: Arc<Shelf>,
    front: Arc<Front>,
}

impl BucketDoor {
    /// Opens the buckets of a store. With `domains`, `bucket.domain` names a bucket, too.
    ///
    /// # Errors
    /// When the list of buckets cannot be read.
    pub fn new(
        backend: Arc<dyn Backend>,
        catalogue: Arc<dyn Catalogue>,
        keys: Arc<Keys>,
        domains: &[String],
    ) -> Result<Self, BucketsError> {
        let shelf = Arc::new(Shelf::open(backend, catalogue)?);
        let access = Access { keys, shelf: Arc::clone(&shelf), domains: Domains::new(domains) };
        let mut builder = S3ServiceBuilder::new(Service { access: access.clone() });
        builder.set_auth(access.clone());
        builder.set_access(access.clone());
        builder.set_route(ReadObject { access: access.clone() });
        let mut config = S3Config::default();
        config.xml_max_body_size = usize::try_from(LONGEST_DOCUMENT).unwrap_or(usize::MAX);
        config.post_object_max_file_size = LONGEST_FORM;
        config.form_max_field_size = 64 << 10;
        config.form_max_fields_size = 2 * LONGEST_FIELDS;
        config.form_max_parts = 100;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        if !domains.is_empty() {
            builder.set_host(access.domains.clone());
        }
        let front = Arc::new(Front::new(builder.build(), access));
        Ok(Self { shelf, front })
    }

    /// All buckets with what they hold.
    pub fn usages(&self) -> Vec<(String, Usage)> {
        self.shelf.usages()
    }

    /// A directory with all objects of a bucket, and its URL, which opens from now on. May wait for the disk.
    ///
    /// # Errors
    /// When there is no such bucket, or the store fails.
    pub fn snapshot(&self, bucket: &str) -> Result<Snapshot, BucketsError> {
        Ok(self.shelf.snapshot(bucket)?)
    }

    /// Limits of a bucket, in bytes and objects, old versions included; `None` for no limit.
    pub fn limits(&self, bucket: &str) -> Result<(Option<u64>, Option<u64>), BucketsError> {
        let settings = self.shelf.bucket(bucket)?.settings();
        Ok((settings.most_bytes, settings.most_objects))
    }

    /// Sets the limits of a bucket. What is there already stays.
    pub fn limit(&self, bucket: &str, bytes: Option<u64>, objects: Option<u64>) -> Result<(), BucketsError> {
        Ok(self.shelf.configure(bucket, |settings| {
            settings.most_bytes = bytes;
            settings.most_objects = objects;
        })?)
    }

    /// Serves until `stop` is ready; then lets what is under way end, for a bounded time.
    pub async fn serve(&self, listener: Arc<TcpListener>, tls: Option<TlsAcceptor>, stop: impl Future<Output = ()>) {
        let front = Arc::clone(&self.front);
        let connection = move |stream, _, asked| {
            let (front, tls) = (Arc::clone(&front), tls.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let front = Arc::clone(&front);
                async move { Ok::<_, Infallible>(front.answer(request).await) }
            });
            async move {
                match tls {
                    None => door::speak(stream, asked, service).await,
                    Some(tls) => {
                        let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
                        door::speak(stream, asked, service).await
                    }
                }
            }
        };
        door::accept(listener, stop, connection).await;
    }

    /// Whether there is no bucket, and never was.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn is_unused(catalogue: &dyn Catalogue) -> Result<bool, BucketsError> {
        Ok(backup::is_empty(catalogue)?)
    }

    /// Stores the list of buckets and objects as a file and pins it, in place of the one before. May wait for the disk.
    ///
    /// # Errors
    /// When the store fails.
    pub fn save_now(&self) -> Result<OffUrl, BucketsError> {
        Ok(self.shelf.save()?)
    }

    /// Reads a saved list of buckets and objects, to be brought back where there are none. May wait for the disk and for
    /// peers.
    ///
    /// # Errors
    /// When there are buckets, or that file is no such list.
    pub fn read_saved(
        backend: &dyn Backend,
        catalogue: &dyn Catalogue,
        url: &OffUrl,
    ) -> Result<SavedBuckets, BucketsError> {
        Ok(backup::read(backend, catalogue, url)?)
    }

    /// Brings a saved list back. Nothing may be collected meanwhile. Whoever opens the buckets afterwards sees them.
    ///
    /// # Errors
    /// When there are buckets.
    pub fn restore(catalogue: &dyn Catalogue, saved: &SavedBuckets) -> Result<(), BucketsError> {
        Ok(backup::write(catalogue, saved)?)
    }

    /// How long what was saved is, if there was something to save; unless that failed.
    async fn save(&self) -> Option<Option<u64>> {
        let shelf = Arc::clone(&self.shelf);
        let saving = spawn_blocking(move || {
            // Where there never was a bucket, there is nothing to bring back. Where there were some, the list of them
            // must not keep what they had.
            if shelf.buckets().is_empty() && shelf.catalogue.get(entry::SAVED)?.is_none() {
                return Ok(None);
            }
            shelf.save().map(|url| Some(url.length))
        });
        told("the list of buckets is not saved", saving.await)
    }

    /// Packs small objects, follows life cycles and saves the catalogue, until `stop` is ready.
    pub async fn care(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut waiting = Waiting::default();
        let mut life = tokio::time::interval(LIFE);
        let mut packing = tokio::time::interval(PACKING);
        // What was written before the start may not have been saved.
        let mut saved = None;
        let never = matches!(self.shelf.catalogue.get(entry::SAVED), Ok(None));
        let mut next = Instant::now() + if never { FIRST_SAVING } else { *SAVING.start() };
        loop {
            tokio::select! {
                () = &mut stop => {
                    if saved != Some(self.shelf.committer.writes()) {
                        self.save().await;
                    }
                    return;
                }
                () = sleep_until(next) => {
                    let (began, writes) = (Instant::now(), self.shelf.committer.writes());
                    // Saving is a write, too.
                    let done = if saved == Some(writes) { None } else { self.save().await };
                    let pause = match done {
                        Some(Some(length)) => {
                            saved = Some(writes + 1);
                            let pause = Duration::from_secs(length / SAVED_A_SECOND);
                            pause.clamp(*SAVING.start(), *SAVING.end())
                        }
                        Some(None) => FIRST_SAVING,
                        None => *SAVING.start(),
                    };
                    next = Instant::now() + pause.max(SAVING_TIMES * began.elapsed());
                }
                _ = life.tick() => {
                    let shelf = Arc::clone(&self.shelf);
                    told("life cycles are not followed", spawn_blocking(move || shelf.follow_life_cycles()).await);
                }
                _ = packing.tick() => loop {
                    let shelf = Arc::clone(&self.shelf);
                    let turn = spawn_blocking(move || {
                        let more = shelf.pack(&mut waiting);
                        (more, waiting)
                    });
                    let Ok((more, after)) = turn.await else {
                        waiting = Waiting::default();
                        break;
                    };
                    waiting = after;
                    // A full store is no reason to stop: what waits is safe where it is.
                    if !told("small objects are not packed", Ok(more)).unwrap_or(false) {
                        break;
                    }
                },
            }
        }
    }
}
