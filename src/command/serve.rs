//! `offs serve`

use std::{net::SocketAddr, sync::Arc};

use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal::unix::{SignalKind, signal},
};

use crate::{
    arguments::Arguments,
    daemon::{self, certificate, stop::Stop},
    failure::Failure,
    home::{Entered, Home},
    peers::arguments::Serve,
    progress::{say, warn},
};

pub(crate) fn run(arguments: &Arguments, serve: &Serve) -> Result<(), Failure> {
    let mut home = match Home::enter(arguments)? {
        Entered::Home(home) => home,
        Entered::Daemon(path, _) => return Err(Failure::Serving { path }),
    };
    let settings = &mut home.config.peers;
    settings.listen = serve.listen.unwrap_or(settings.listen);
    settings.known.extend(serve.peer.iter().cloned());
    settings.lan &= !serve.no_lan;
    home.allow_faults = serve.allow_faults;
    let http = &mut home.config.http;
    http.listen = serve.http.or(http.listen);
    http.on = (http.on || serve.http.is_some()) && !serve.no_http;
    let s3 = &mut home.config.s3;
    s3.listen = serve.s3.flatten().or(s3.listen);
    s3.on |= serve.s3.is_some();
    if serve.s3_tls && !s3.on {
        return Err(Failure::Usage { what: "--s3-tls needs --s3, or `on = true` below [s3] in config.toml" });
    }
    s3.tls |= serve.s3_tls;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().max_blocking_threads(1200).build().map_err(Failure::Socket)?;
    let ended = runtime.block_on(serve_home(Arc::from(home)));
    // What hangs in a system call must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ended
}

async fn serve_home(home: Arc<Home>) -> Result<(), Failure> {
    let address = home.config.peers.listen;
    let listener = listen(address).map_err(|source| Failure::Bind { address, source })?;
    let local = listener.local_addr().map_err(Failure::Socket)?;
    let http = listen_http(&home)?;
    let s3 = listen_s3(&home)?;
    let peers = home.peers()?;
    peers.set_port(local.port());
    let stop = Stop::new();
    let listening = stop_on_signals(&stop)?;
    notify(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(watch(stop.clone()));
    say(format_args!("offs: peer {} takes links on {local}", peers.id()));
    let mut doors = Vec::new();
    if let Some(http) = http.as_ref().and_then(|http| http.local_addr().ok()) {
        say(format_args!("offs: http://{http}/"));
        doors.push(("http", format!("http://{http}/")));
    }
    if let Some(s3) = &s3 {
        let scheme = if s3.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/", s3.listener.local_addr().map_err(Failure::Socket)?);
        say(format_args!("offs: S3 at {url}"));
        doors.push(("s3", url));
    }
    // It is served once.
    let _set = home.doors.set(doors);
    let doors = daemon::Doors { http, s3 };
    let ended = daemon::run(home, listener, doors, &stop).await;
    notify(&[NotifyState::Stopping]);
    watchdog.abort();
    listening.abort();
    ended
}

/// The door for people. When nobody has said where it is to be, it may be missing: another daemon may be there.
fn listen_http(home: &Home) -> Result<Option<TcpListener>, Failure> {
    let settings = &home.config.http;
    if !settings.on {
        return Ok(None);
    }
    let address = settings.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 23402)));
    match listen(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if settings.listen.is_none() => {
            warn(&format!("there is no door for people: cannot listen on {address}: {error}"));
            Ok(None)
        }
        Err(source) => Err(Failure::Bind { address, source }),
    }
}

/// The door for S3 clients.
fn listen_s3(home: &Home) -> Result<Option<daemon::S3>, Failure> {
    let settings = &home.config.s3;
    if !settings.on {
        return Ok(None);
    }
    let address = settings.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 23404)));
    let buckets = home.buckets()?;
    let tls = if settings.tls {
        Some(certificate::acceptor(home.path(), settings, address.ip())?)
    } else {
        if settings.certificate.is_some() || settings.key.is_some() {
            return Err(Failure::Usage {
                what: "the certificate below [s3] in config.toml is for TLS: say `tls = true`",
            });
        }
        if !address.ip().is_loopback() {
            warn("S3 clients are served without TLS: what they send and get can be read on the way");
        }
        None
    };
    let listener = listen(address).map_err(|source| Failure::Bind { address, source })?;
    Ok(Some(daemon::S3 { buckets, listener: Arc::new(listener), tls }))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A daemon that is started again at once gets its port back.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

fn stop_on_signals(stop: &Stop) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Socket)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Socket)?;
    let stop = stop.clone();
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.ask();
    }))
}

/// Tells who started us how we are (`sd_notify`(3)); nobody may be listening.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "nobody is told how the daemon is");
    }
}

/// Shows the watchdog, if there is one, that the runtime still turns.
async fn watch(stop: Stop) {
    let Some(every) = sd_notify::watchdog_enabled() else { return };
    while !stop.is_asked() {
        notify(&[NotifyState::Watchdog]);
        tokio::time::sleep(every / 2).await;
    }
}
