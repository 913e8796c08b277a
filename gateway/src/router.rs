//! Which request is answered by what.

use std::{io::Read as _, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION},
};
use offs::{ContentType, OffUrl};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
    task::spawn_blocking,
};

use crate::{
    answer::{self, About, Answer, Plan},
    archive, assets,
    backend::{Backend, KnownUrl},
    body::{Body, PIECES, Piece},
    conditions::Validators,
    directory::Directories,
    guard::{self, Guard},
    listing,
    metrics::{self, Figures},
    place::{self, MOST_LISTED, Place, Target},
    reading::{self, Sending, Slot, Streams},
    trouble::Trouble,
    upload, user,
};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// Requests of which it is found out at a time whose they are.
const ASKING: usize = 2;
/// Longest body of a request that is not a file.
const MOST_BODY: u64 = 32 << 10;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    pub(crate) client: SocketAddr,
    /// Which address of ours it came to.
    pub(crate) server: SocketAddr,
}

/// Everything that the door for people answers with.
pub(crate) struct Router {
    backend: Arc<dyn Backend>,
    guard: Guard,
    directories: Arc<Directories>,
    streams: Arc<Streams>,
    figures: Figures,
    /// For finding out who asks.
    asking: Semaphore,
}

impl Router {
    pub(crate) fn new(backend: Arc<dyn Backend>, guard: Guard) -> Self {
        Self {
            backend,
            guard,
            directories: Arc::default(),
            streams: Arc::default(),
            figures: Figures::default(),
            asking: Semaphore::new(ASKING),
        }
    }

    /// Answers a request; what goes wrong is an answer, too.
    pub(crate) async fn answer(self: &Arc<Self>, request: Request<Incoming>, from: From) -> Answer {
        let (method, head) = (request.method().clone(), *request.method() == Method::HEAD);
        let answered = self.route(request, from).await;
        let mut answer = answered.unwrap_or_else(|trouble| answer::trouble(&trouble));
        self.figures.answered(&method, answer.status());
        if head && answer.body().size() > 0 {
            let length = answer.body().size();
            answer::set(&mut answer, hyper::header::CONTENT_LENGTH, length);
            *answer.body_mut() = Body::empty();
        }
        answer
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>, from: From) -> Result<Answer, Trouble> {
        self.guard.check_host(request.headers())?;
        let path = request.uri().path().to_owned();
        let reads = guard::reads(request.method());
        if let Some(url) = place::url_in(&path) {
            return if reads { self.file(url?, request).await } else { Err(Trouble::Method("GET, HEAD")) };
        }
        match (request.method(), &path[..]) {
            (_, "/health") if reads => Ok(answer::whole(StatusCode::OK, TEXT, "ok\n")),
            (_, "/ready") if reads => self.ready().await,
            (_, "/metrics") if reads => self.metrics().await,
            (_, path) if reads && path.starts_with("/api/") => {
                self.check_owner(request.headers(), from).await?;
                self.ask(path, request.uri().query().unwrap_or_default()).await
            }
            (&Method::POST, "/api/unpin") => {
                self.check_owner(request.headers(), from).await?;
                self.unpin(request).await
            }
            (_, path) if reads => {
                assets::find(path).map(|asset| page(asset.content_type, asset.body)).ok_or(Trouble::NoRoute)
            }
            (&Method::PUT | &Method::POST, path) if !path.starts_with("/api/") => {
                self.check_owner(request.headers(), from).await?;
                self.put(request).await
            }
            _ => Err(Trouble::Method("GET, HEAD, PUT, POST")),
        }
    }

    /// Runs what may wait for the disk.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        run: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        let router = Arc::clone(self);
        spawn_blocking(move || run(&router)).await.map_err(|_| Trouble::Worker)
    }

    /// Whether a request may change something, or see what belongs to the owner.
    async fn check_owner(self: &Arc<Self>, headers: &HeaderMap, from: From) -> Result<(), Trouble> {
        Guard::check_owner(headers, from.client)?;
        if self.guard.everybody {
            return Ok(());
        }
        // A stranger who asks again and again does not take all threads.
        let turn = self.asking.acquire().await.map_err(|_| Trouble::Worker)?;
        let users = self.blocking(move |_| user::of(from.client, from.server)).await?;
        drop(turn);
        match users {
            Ok(users) if user::are_owner(&users, rustix::process::geteuid().as_raw()) => Ok(()),
            Ok(_) => Err(Trouble::Forbidden("only for the user whose daemon this is (docs/gateway.md, section 4)")),
            Err(error) => {
                tracing::warn!(%error, "whose request it is cannot be told, so it is refused");
                Err(Trouble::Forbidden("whose request this is cannot be told"))
            }
        }
    }

    async fn ready(self: &Arc<Self>) -> Result<Answer, Trouble> {
        let status = self.blocking(|router| router.backend.status()).await?;
        let down = status["services"].as_object().into_iter().flatten().find(|(_, health)| health["running"] != true);
        Ok(match down {
            None => answer::whole(StatusCode::OK, TEXT, "ready\n"),
            Some((name, _)) => answer::whole(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{name} is down\n")),
        })
    }

    async fn metrics(self: &Arc<Self>) -> Result<Answer, Trouble> {
        let text = self
            .blocking(|router| metrics::to_text(&router.backend.status(), &router.figures, router.streams.active()));
        Ok(answer::whole(StatusCode::OK, metrics::CONTENT_TYPE, text.await?))
    }

    async fn ask(self: &Arc<Self>, path: &str, query: &str) -> Result<Answer, Trouble> {
        let value = match path {
            "/api/status" => self.blocking(|router| router.backend.status()).await?,
            "/api/urls" => {
                let urls = self.blocking(|router| router.backend.urls()).await?;
                urls.iter().rev().map(known).collect()
            }
            "/api/directory" => {
                let url = field(query, "url").ok_or(Trouble::Request("no url is given"))?;
                let url: OffUrl = url.parse()?;
                self.blocking(move |router| router.list(&url)).await??
            }
            "/api/qr" => {
                let text = field(query, "text").ok_or(Trouble::Request("no text is given"))?;
                let code = assets::qr(&text).ok_or(Trouble::TooLong("the text of a QR code"))?;
                let mut answer = answer::whole(StatusCode::OK, "image/svg+xml", code);
                answer::set(&mut answer, CONTENT_SECURITY_POLICY, answer::OWN);
                return Ok(answer);
            }
            _ => return Err(Trouble::NoRoute),
        };
        let mut answer = answer::whole(StatusCode::OK, JSON, value.to_string());
        answer::set(&mut answer, CACHE_CONTROL, "no-store");
        Ok(answer)
    }

    /// A directory as the page shows it.
    fn list(&self, url: &OffUrl) -> Result<serde_json::Value, Trouble> {
        let store = self.backend.store();
        let directory = self.directories.open(store.as_ref(), &url.reference)?;
        let at = directory.find(store.as_ref(), &url.path)?;
        let entries = directory.children(store.as_ref(), &at.path, MOST_LISTED)?;
        Ok(json!({
            "entries": entries.iter().map(|entry| listing::to_json(url, entry)).collect::<Vec<_>>(),
            "complete": entries.len() < MOST_LISTED,
        }))
    }

    async fn unpin(self: &Arc<Self>, request: Request<Incoming>) -> Result<Answer, Trouble> {
        let received = upload::receive(request.into_body());
        self.blocking(move |router| {
            let mut text = String::new();
            received.take(MOST_BODY).read_to_string(&mut text).map_err(|_| Trouble::Body)?;
            let url: OffUrl = text.trim().parse()?;
            if !url.path.is_empty() {
                return Err(Trouble::Request("only a whole directory can be unpinned"));
            }
            Ok::<_, Trouble>(router.backend.unpin(&url)?)
        })
        .await??;
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        Ok(answer)
    }

    /// Stores the body of a request.
    async fn put(self: &Arc<Self>, request: Request<Incoming>) -> Result<Answer, Trouble> {
        let name = name_of(request.uri().path())?;
        let content_type = sent_type(request.headers(), name.as_deref());
        let as_directory = has(request.uri().query(), "directory");
        if content_type.is_directory() {
            return Err(Trouble::Request("a directory is no single file"));
        }
        let slot = self.streams.begin()?;
        let mut received = upload::receive(request.into_body());
        let url = self.blocking(move |router| {
            let _slot = slot;
            let backend = router.backend.as_ref();
            if as_directory {
                archive::store(backend, &mut received, name)
            } else {
                upload::store(backend, &mut received, name, content_type)
            }
        });
        let url = url.await??;
        let mut answer = answer::whole(StatusCode::CREATED, TEXT, format!("{url}\n"));
        answer::set(&mut answer, LOCATION, place::path_of(&url));
        answer::set(&mut answer, CACHE_CONTROL, "no-store");
        Ok(answer)
    }

    /// Answers with what an OFF URL names.
    async fn file(self: &Arc<Self>, url: OffUrl, request: Request<Incoming>) -> Result<Answer, Trouble> {
        let slot = self.streams.begin()?;
        let (to, from) = mpsc::channel::<Piece>(PIECES);
        let (opened, answer) = oneshot::channel();
        let (router, runtime) = (Arc::clone(self), Handle::current());
        spawn_blocking(move || {
            let asked = Asked::new(&url, &request);
            router.read(&asked, opened, Lane { to, runtime, slot });
        });
        let (mut answer, left) = answer.await.map_err(|_| Trouble::Worker)??;
        if left > 0 {
            self.figures.sent(left);
            *answer.body_mut() = Body::Pieces { from, left };
        }
        Ok(answer)
    }

    /// Finds what is asked for, says how the answer begins, and sends its bytes.
    fn read(&self, asked: &Asked<'_>, opened: oneshot::Sender<Opened>, lane: Lane) {
        let store = self.backend.store();
        let target = match place::find(store.as_ref(), &self.directories, asked.url, asked.slash) {
            Ok(Place::File(target)) => target,
            Ok(Place::Listing(listed)) => return reply(opened, Ok((page(HTML, listing::to_html(&listed)), 0))),
            Ok(Place::Elsewhere(path)) => return reply(opened, Ok((answer::elsewhere(&(path + &asked.query())), 0))),
            Err(trouble) => return reply(opened, Err(trouble)),
        };
        let file = match reading::open(store.as_ref(), &target) {
            Ok(file) => file,
            Err(trouble) => return reply(opened, Err(trouble)),
        };
        let about = about(&target, file.root().content_hash);
        let Plan { answer, send } = answer::plan(&about, &asked.method, &asked.headers, asked.download);
        let Some(range) = send else { return reply(opened, Ok((answer, 0))) };
        let whole = target.part.is_none() && range == (0..about.length);
        let begin = target.part.as_ref().map_or(0, |part| part.start);
        let range = begin + range.start..begin + range.end;
        let Lane { to, runtime, slot } = lane;
        let mut sending = Sending { file: &file, to, runtime, slot: &slot, hasher: whole.then(Box::default) };
        match sending.first(&range) {
            Ok(first) => {
                reply(opened, Ok((answer, range.end - range.start)));
                sending.run(first, range);
            }
            Err(trouble) => reply(opened, Err(trouble)),
        }
    }
}

/// How an answer begins, and how many bytes follow.
type Opened = Result<(Answer, u64), Trouble>;

fn reply(to: oneshot::Sender<Opened>, opened: Opened) {
    // Whoever asked may have gone.
    let _gone = to.send(opened);
}

/// What a thread needs to send something.
struct Lane {
    to: mpsc::Sender<Piece>,
    runtime: Handle,
    slot: Slot,
}

/// A request for what a URL names.
struct Asked<'a> {
    url: &'a OffUrl,
    method: Method,
    headers: HeaderMap,
    slash: bool,
    download: bool,
    query: Option<String>,
}

impl<'a> Asked<'a> {
    fn new(url: &'a OffUrl, request: &Request<Incoming>) -> Self {
        let (path, query) = (request.uri().path(), request.uri().query());
        // Without a name, the directory itself has an empty one.
        let nameless = url.name.is_none() && url.path.is_empty();
        Self {
            url,
            method: request.method().clone(),
            headers: request.headers().clone(),
            slash: path.ends_with(if nameless { "//" } else { "/" }),
            download: has(query, "download"),
            query: query.map(str::to_owned),
        }
    }

    fn query(&self) -> String {
        self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default()
    }
}

/// What is known of a file before it is sent.
fn about(target: &Target, content_hash: [u8; 32]) -> About {
    let tag = |digest: &[u8]| blake3::hash(digest).to_hex()[..32].to_owned();
    let etag = match &target.part {
        None => blake3::Hash::from_bytes(content_hash).to_hex()[..32].to_owned(),
        // Of a packed file it is known where it lies, and that is never changed.
        Some(part) => tag(&[&content_hash[..], &part.start.to_be_bytes()[..], &part.end.to_be_bytes()[..]].concat()),
    };
    let mut content_type = target.content_type.to_string();
    if content_type.starts_with("text/") && content_type != "text/html" {
        // What a page says of itself counts; nothing else can say it.
        content_type += "; charset=utf-8";
    }
    About {
        length: target.part.as_ref().map_or(target.length, |part| part.end - part.start),
        content_type,
        name: target.name.clone(),
        validators: Validators { etag: format!("\"{etag}\""), modified: target.modified },
    }
}

/// A page of our own.
fn page(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = answer::whole(StatusCode::OK, content_type, body);
    answer::set(&mut answer, CONTENT_SECURITY_POLICY, answer::OWN);
    answer::set(&mut answer, CACHE_CONTROL, "no-cache");
    answer
}

fn known(known: &KnownUrl) -> serde_json::Value {
    json!({
        "url": known.url.to_string(),
        "path": place::path_of(&known.url),
        "name": known.url.name,
        "type": known.url.content_type.as_str(),
        "length": known.url.length,
        "time": known.time,
        "pinned": known.pinned,
    })
}

/// Whether a query has a field without a value.
fn has(query: Option<&str>, name: &str) -> bool {
    query.is_some_and(|query| query.split('&').any(|field| field == name))
}

/// A field of a query.
fn field(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').filter_map(|field| field.split_once('=')).find(|(field, _)| *field == name)?.1;
    percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

/// The name that a file is put under: the last part of the path.
fn name_of(path: &str) -> Result<Option<String>, Trouble> {
    let last = path.rsplit('/').next().unwrap_or_default();
    if last.is_empty() {
        return Ok(None);
    }
    let wrong = || Trouble::Request("that cannot be a file's name");
    let name = percent_decode_str(last).decode_utf8().map_err(|_| wrong())?.into_owned();
    OffUrl::check_name(&name).map_err(|_| wrong())?;
    Ok(Some(name))
}

/// The media type that is sent along; a client that knows no better says nothing, or one of two.
fn sent_type(headers: &HeaderMap, name: Option<&str>) -> ContentType {
    let sent = headers.get(CONTENT_TYPE).and_then(|sent| sent.to_str().ok());
    let sent = sent.and_then(|sent| sent.split(';').next()).map(str::trim);
    let unsaid = [None, Some("application/octet-stream"), Some("application/x-www-form-urlencoded")];
    let said = sent.filter(|_| !unsaid.contains(&sent)).and_then(|sent| sent.to_ascii_lowercase().parse().ok());
    said.unwrap_or_else(|| name.map_or_else(ContentType::octet_stream, place::type_of))
}
