//! The daemon's end of the control socket.

use std::{any::Any, io, ops::ControlFlow, os::unix::net::UnixStream, sync::Arc};

use cas::{Algorithm, BlockStore, Drawn, Error, Hold, Place, Score};
use serde_json::Value;

use crate::{
    control::{
        frame::{self, Kind},
        remote_store::{PLACED, VERSION, error_to_json, pack, unpack},
    },
    output::{self, Stream},
};

/// What the daemon does for commands.
pub(crate) trait Service: Send + Sync {
    /// Its store, which asks peers for what is missing.
    fn store(&self) -> &dyn BlockStore;
    /// The same, and nobody is asked.
    fn store_here(&self) -> &dyn BlockStore;
    /// A block was put; `root` when it was put twice.
    fn put_done(&self, score: &Score, root: bool);
    /// Writes a URL down.
    fn record(&self, line: &Value) -> Result<(), String>;
    /// Runs a command, whose output goes where this thread's output goes, and gives its exit code.
    fn command(&self, line: &Value) -> u8;
}

/// Scores in a frame.
const PAGE: usize = 4096;

/// Scores that are drawn at once.
const DRAWN: usize = 64;

/// Serves one connection until its end.
pub(crate) fn serve(mut stream: UnixStream, service: &Arc<dyn Service>) -> io::Result<()> {
    let mut payload = Vec::new();
    match frame::read(&mut stream, &mut payload)? {
        Some(Kind::Hello) if payload == VERSION.as_bytes() => frame::write(&mut stream, Kind::Done, &[])?,
        _ => return frame::write(&mut stream, Kind::Failed, &[VERSION.as_bytes()]),
    }
    let mut holds: Vec<Hold> = Vec::new();
    let mut block = Vec::new();
    while let Some(kind) = frame::read(&mut stream, &mut payload)? {
        match kind {
            Kind::Command => command(&mut stream, &payload, service)?,
            Kind::Sampler => return draw(&mut stream, &payload, service.store_here()),
            Kind::Scores => scores(&mut stream, service.store_here())?,
            Kind::Hold => {
                holds.push(service.store_here().hold());
                frame::write(&mut stream, Kind::Done, &[])?;
            }
            _ => match answer(kind, &payload, service.as_ref(), &mut block) {
                Ok((kind, answer)) => frame::write(&mut stream, kind, &[answer.as_deref().unwrap_or(&block)])?,
                Err(error) => fail(&mut stream, &error)?,
            },
        }
    }
    Ok(())
}

fn fail(stream: &mut UnixStream, error: &Error) -> io::Result<()> {
    frame::write(stream, Kind::Failed, &[error_to_json(error).to_string().as_bytes()])
}

fn wrong() -> Error {
    Error::Io { action: "read a frame from", path: "control".into(), source: io::ErrorKind::InvalidData.into() }
}

fn score(payload: &[u8]) -> Result<Score, Error> {
    unpack(payload).pop().ok_or_else(wrong)
}

/// What a frame is answered with; a block is left in `block`.
fn answer(
    kind: Kind,
    payload: &[u8],
    service: &dyn Service,
    block: &mut Vec<u8>,
) -> Result<(Kind, Option<Vec<u8>>), Error> {
    let store = service.store_here();
    let whether = |yes: bool| (if yes { Kind::Done } else { Kind::Absent }, Some(Vec::new()));
    Ok(match kind {
        Kind::Put => put(payload, service)?,
        Kind::PutMany => put_many(payload, service)?,
        Kind::Get => {
            let found = service.store().get_into(&score(payload)?, block)?;
            if found { (Kind::Block, None) } else { whether(false) }
        }
        Kind::Contains => whether(store.contains(&score(payload)?)?),
        Kind::MostBlocks => (Kind::Number, Some(store.most_blocks().to_be_bytes().to_vec())),
        Kind::Remove => whether(store.remove(&score(payload)?)?),
        Kind::Sync => {
            store.sync()?;
            whether(true)
        }
        Kind::Expect => {
            let scores = unpack(payload);
            service.store().expect(&scores);
            let scores: Vec<_> = scores.into_iter().map(Drawn::of).collect();
            (Kind::Placed, Some(placed(store, &scores)?))
        }
        Kind::Silent => (Kind::Done, Some(service.store().silent().join("\n").into_bytes())),
        Kind::Record => {
            let line = serde_json::from_slice(payload).map_err(|_| wrong())?;
            service.record(&line).map_err(|reason| Error::Io {
                action: "write",
                path: "urls".into(),
                source: io::Error::other(reason),
            })?;
            whether(true)
        }
        _ => return Err(wrong()),
    })
}

/// Scores with the places where whoever asks can read them.
fn placed(store: &dyn BlockStore, drawn: &[Drawn]) -> Result<Vec<u8>, Error> {
    let mut placed = Vec::with_capacity(drawn.len() * PLACED);
    for drawn in drawn {
        let place = store.place(drawn)?;
        placed.extend_from_slice(&drawn.score.to_binary());
        placed.extend_from_slice(&place.map_or([0; Place::SIZE], Place::to_bytes));
    }
    Ok(placed)
}

fn put(payload: &[u8], service: &dyn Service) -> Result<(Kind, Option<Vec<u8>>), Error> {
    let ([code, twice], bytes) = payload.split_first_chunk::<2>().ok_or_else(wrong)?;
    let algorithm = Algorithm::from_code(*code).ok_or_else(wrong)?;
    let store = service.store_here();
    let root = *twice == 1;
    let score = if root { store.put_twice(algorithm, bytes)? } else { store.put(algorithm, bytes)? };
    service.put_done(&score, root);
    Ok((Kind::Score, Some(score.to_binary().to_vec())))
}

fn put_many(payload: &[u8], service: &dyn Service) -> Result<(Kind, Option<Vec<u8>>), Error> {
    let (code, mut rest) = payload.split_first().ok_or_else(wrong)?;
    let algorithm = Algorithm::from_code(*code).ok_or_else(wrong)?;
    let mut blocks = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or_else(wrong)?;
        blocks.push(block);
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(wrong());
    }
    let scores = service.store_here().put_many(algorithm, &blocks)?;
    for score in &scores {
        service.put_done(score, false);
    }
    Ok((Kind::Scored, Some(pack(&scores))))
}

fn scores(stream: &mut UnixStream, store: &dyn BlockStore) -> io::Result<()> {
    let mut page = Vec::with_capacity(PAGE);
    let mut sent = Ok(());
    let listed = store.scores(&mut |score| {
        page.push(score);
        if page.len() == PAGE {
            sent = frame::write(stream, Kind::Scored, &[&pack(&page)]);
            page.clear();
        }
        if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    sent?;
    if let Err(error) = listed {
        return fail(stream, &error);
    }
    if !page.is_empty() {
        frame::write(stream, Kind::Scored, &[&pack(&page)])?;
    }
    frame::write(stream, Kind::Scored, &[])
}

fn draw(stream: &mut UnixStream, payload: &[u8], store: &dyn BlockStore) -> io::Result<()> {
    let parameters = payload
        .split_first()
        .and_then(|(code, seed)| Some((Algorithm::from_code(*code)?, u64::from_be_bytes(seed.try_into().ok()?))));
    let Some((algorithm, seed)) = parameters else { return fail(stream, &wrong()) };
    let mut sampler = store.sampler(algorithm, seed);
    frame::write(stream, Kind::Done, &[])?;
    let mut asked = Vec::new();
    while let Some(Kind::Draw) = frame::read(stream, &mut asked)? {
        let mut drawn = Vec::new();
        while drawn.len() < DRAWN {
            match sampler.next() {
                Ok(Some(one)) => drawn.push(one),
                Ok(None) => break,
                Err(error) => return fail(stream, &error),
            }
        }
        match placed(store, &drawn) {
            Ok(placed) => frame::write(stream, Kind::Placed, &[&placed])?,
            Err(error) => return fail(stream, &error),
        }
    }
    Ok(())
}

/// Runs a command in a thread of its own, which takes its output with it.
fn command(stream: &mut UnixStream, line: &[u8], service: &Arc<dyn Service>) -> io::Result<()> {
    let Ok(line) = serde_json::from_slice::<Value>(line) else { return fail(stream, &wrong()) };
    let mut out = stream.try_clone()?;
    let terminal = line["terminal"] == true;
    let for_thread = Arc::clone(service);
    let run = std::thread::Builder::new().name("command".into()).spawn(move || {
        output::redirect(
            terminal,
            Box::new(move |stream, text| {
                let kind = match stream {
                    Stream::Out => Kind::Out,
                    Stream::Err => Kind::Err,
                };
                frame::write(&mut out, kind, &[text.as_bytes()])
            }),
        );
        for_thread.command(&line)
    });
    let code = run?.join().unwrap_or_else(|panic: Box<dyn Any + Send>| {
        tracing::error!(panic = panic.downcast_ref::<&str>().copied().unwrap_or("?"), "a command panicked");
        1
    });
    frame::write(stream, Kind::Exit, &[&[code]])
}
