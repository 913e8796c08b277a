//! The daemon: what runs as long as it runs.

pub(crate) mod backend;
pub(crate) mod certificate;
pub(crate) mod stop;
pub(crate) mod supervisor;

use std::{
    io,
    os::unix::{fs::PermissionsExt as _, net::UnixListener as StdListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use cas::{BlockStore, Score};
use clap::Parser as _;
use gateway::{BucketDoor, Gateway};
use serde_json::Value;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::spawn_blocking,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    arguments::Arguments,
    command,
    config::Users,
    control::{door, remote_store},
    daemon::{backend::HomeBackend, stop::Stop, supervisor::Service},
    failure::Failure,
    home::Home,
    peers::{self, Peers, pooled_store::PooledStore},
    report,
    url_database::Operation,
};

/// Connections of commands at once.
const COMMANDS: usize = 128;
/// How long commands may go on when the daemon is told to end.
const DRAINING: Duration = Duration::from_secs(10);

/// What the control socket gives access to.
struct Daemon {
    home: Arc<Home>,
    peers: Arc<Peers>,
    pooled: PooledStore,
}

impl door::Service for Daemon {
    fn store(&self) -> &dyn BlockStore {
        &self.pooled
    }

    fn store_here(&self) -> &dyn BlockStore {
        self.home.store.as_ref()
    }

    fn put_done(&self, score: &Score, root: bool) {
        self.peers.pushes.add(*score, root);
    }

    fn record(&self, line: &Value) -> Result<(), String> {
        let operation = line["operation"].as_str().and_then(Operation::from_name).ok_or("no operation")?;
        let url = line["url"].as_str().and_then(|url| url.parse().ok()).ok_or("no URL")?;
        self.home.record(operation, &url).map_err(|failure| report::in_one_line(&failure))
    }

    fn command(&self, line: &Value) -> u8 {
        let words = line["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let ended = match Arguments::try_parse_from(words) {
            Ok(arguments) => command::at_home(&self.home, &arguments.command),
            // The command itself has parsed them before.
            Err(_) => Err(Failure::Usage { what: "the daemon does not understand this command" }),
        };
        report::told(&ended)
    }
}

/// Where people and S3 clients come in.
pub(crate) struct Doors {
    pub(crate) http: Option<TcpListener>,
    pub(crate) s3: Option<S3>,
}

/// Where S3 clients come in.
pub(crate) struct S3 {
    pub(crate) buckets: BucketDoor,
    pub(crate) listener: Arc<TcpListener>,
    pub(crate) tls: Option<TlsAcceptor>,
}

/// Runs the services of a home until it is told to stop.
pub(crate) async fn run(home: Arc<Home>, listener: TcpListener, doors: Doors, stop: &Stop) -> Result<(), Failure> {
    let (peers, services) = (home.peers()?, Arc::clone(&home.services));
    let listener = Arc::new(listener);
    let control = bind_control(home.path())?;
    let control = Arc::new(UnixListener::from_std(control).map_err(Failure::Socket)?);
    let daemon: Arc<dyn door::Service> =
        Arc::new(Daemon { home: Arc::clone(&home), peers: Arc::clone(&peers), pooled: PooledStore::new(&peers) });
    let pinned: peers::care::Pinned = {
        let home = Arc::clone(&home);
        Arc::new(move || {
            let listed = home.urls().list();
            let pinned = listed.into_iter().filter(|listed| listed.pinned).map(|listed| listed.url.reference);
            Ok(pinned.chain(gateway::references(home.store.as_ref())?).collect())
        })
    };
    let mut children = vec![
        Service::new("control", move |stop| {
            let (control, daemon) = (Arc::clone(&control), Arc::clone(&daemon));
            async move { serve_control(control, daemon, stop).await }
        }),
        Service::new("links", {
            let peers = Arc::clone(&peers);
            move |stop| {
                let (peers, listener) = (Arc::clone(&peers), Arc::clone(&listener));
                async move { peers::server::serve(peers, listener, stop).await.map_err(Failure::Socket) }
            }
        }),
        Service::new("care", {
            let peers = Arc::clone(&peers);
            move |stop| {
                let (peers, pinned) = (Arc::clone(&peers), Arc::clone(&pinned));
                async move {
                    peers::care::run(peers, pinned, stop).await;
                    Ok(())
                }
            }
        }),
    ];
    macro_rules! service {
        ($name:literal, $run:path) => {
            children.push(Service::new($name, {
                let peers = Arc::clone(&peers);
                move |stop| {
                    let peers = Arc::clone(&peers);
                    async move {
                        $run(peers, stop).await;
                        Ok(())
                    }
                }
            }));
        };
    }
    service!("meet", peers::meet::run);
    service!("push", peers::push::run);
    service!("sync", peers::sync::run);
    service!("repair", peers::repair::run);
    service!("audit", peers::audit::run);
    service!("compare", peers::compare::run);
    children.extend(peers::discover::services(&home, &peers));
    if let Some(s3) = doors.s3 {
        children.extend(s3_services(s3));
    }
    if let Some(http) = doors.http {
        let status = {
            let home = Arc::downgrade(&home);
            // The peers of a daemon are there already.
            move || home.upgrade().and_then(|home| command::status::value(&home).ok()).unwrap_or_default()
        };
        let backend = Arc::new(HomeBackend::new(&home, status)?);
        let settings = &home.config.http;
        let gateway = Gateway::new(backend, settings.names.clone(), settings.users == Users::Everybody);
        let http = Arc::new(http);
        children.push(Service::new("http", move |mut stop| {
            let (gateway, http) = (gateway.clone(), Arc::clone(&http));
            async move {
                gateway.serve(http, async move { stop.asked().await }).await;
                Ok(())
            }
        }));
    }
    let ended = supervisor::run(&services, children, stop).await;
    if let Err(error) = remote_store::with_socket_path(home.path(), |path| std::fs::remove_file(path)) {
        tracing::debug!(%error, "the control socket is not removed");
    }
    peers.save_book();
    ended
}

/// The door for S3 clients, and the care for what they store.
fn s3_services(S3 { buckets, listener, tls }: S3) -> [Service; 2] {
    let door = Service::new("s3", {
        let buckets = buckets.clone();
        move |mut stop| {
            let (buckets, listener, tls) = (buckets.clone(), Arc::clone(&listener), tls.clone());
            async move {
                buckets.serve(listener, tls, async move { stop.asked().await }).await;
                Ok(())
            }
        }
    });
    let care = Service::new("buckets", move |mut stop| {
        let buckets = buckets.clone();
        async move {
            buckets.care(async move { stop.asked().await }).await;
            Ok(())
        }
    });
    [door, care]
}

/// The control socket, which only the owner of the home can open.
fn bind_control(home: &Path) -> Result<StdListener, Failure> {
    // This process owns the store, so a socket that is there was left behind.
    let bound = remote_store::with_socket_path(home, |path| {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| Failure::io("listen on", home.join(remote_store::SOCKET), source))
}

async fn serve_control(
    listener: Arc<UnixListener>,
    daemon: Arc<dyn door::Service>,
    mut stop: Stop,
) -> Result<(), Failure> {
    let slots = Arc::new(Semaphore::new(COMMANDS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await.map_err(|_| Failure::Worker)?;
        let accepted = tokio::select! {
            () = stop.asked() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = accepted.map_err(Failure::Socket)?;
        let stream = stream.into_std().map_err(Failure::Socket)?;
        stream.set_nonblocking(false).map_err(Failure::Socket)?;
        let daemon = Arc::clone(&daemon);
        spawn_blocking(move || {
            if let Err(error) = door::serve(stream, &daemon) {
                tracing::debug!(%error, "a command went away");
            }
            drop(slot);
        });
    }
    let all = u32::try_from(COMMANDS).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAINING, slots.acquire_many(all)).await.is_err() {
        tracing::info!("some commands were cut off");
    }
    Ok(())
}
