//! `offs put`

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use offs::{Code, ContentType, OffUrl, Parameters, PutOptions, Stored, SystemDice};
use serde_json::json;

use crate::{
    arguments::Put,
    entry_url::type_by_ending,
    failure::Failure,
    home::Access,
    output,
    progress::{Progress, remark},
    report,
    source_file::SourceFile,
    tree,
    url_database::Operation,
};

/// Gives what a URL needs to peers, or counts its copies; and says how that ended.
pub(crate) type AfterPut<'a> = dyn FnMut(&OffUrl) -> (Option<usize>, Result<(), Failure>) + 'a;

pub(crate) fn run(home: &Access, arguments: &Put, after: &mut AfterPut<'_>) -> Result<(), Failure> {
    check(arguments)?;
    let options =
        PutOptions { parameters: parameters(home, arguments)?, sealed: !arguments.bare, ..PutOptions::default() };
    let mut failures = Vec::new();
    for path in &arguments.paths {
        if let Err(failure) = put_one(home, arguments, &options, path, after) {
            failures.push(failure);
        }
    }
    // One path, one failure: it needs no list.
    if failures.len() < 2 && arguments.paths.len() == 1 {
        return failures.pop().map_or(Ok(()), Err);
    }
    let code = failures.iter().map(report::code).max();
    failures.iter().for_each(report::tell);
    code.map_or(Ok(()), |code| Err(Failure::Some { failed: failures.len(), of: arguments.paths.len(), code }))
}

/// What is wrong with the arguments is said before anything is stored.
fn check(arguments: &Put) -> Result<(), Failure> {
    let name = arguments.name.as_deref();
    let what = if name.is_some_and(|name| OffUrl::check_name(name).is_err()) {
        "--name must be 1 to 1024 bytes without a slash, and neither . nor .."
    } else if name.is_some() && arguments.paths.len() > 1 {
        "--name goes with one path only"
    } else if arguments.content_type.as_ref().is_some_and(ContentType::is_directory) {
        "--type offsystem/directory is for directories, which have it by themselves"
    } else {
        return Ok(());
    };
    Err(Failure::Usage { what })
}

/// From flags, then settings, then defaults.
fn parameters(home: &Access, arguments: &Put) -> Result<Parameters, Failure> {
    let mut parameters = home.config.put.parameters(home.path())?;
    if let Some(shape) = arguments.parity {
        shape.apply(&mut parameters);
    }
    if parameters.code != Code::None && arguments.code == "novelpoly" {
        parameters.code = Code::Novelpoly;
    }
    parameters.algorithm = arguments.hash.unwrap_or(parameters.algorithm);
    parameters.tuple = arguments.tuple.unwrap_or(parameters.tuple);
    parameters.check()?;
    Ok(parameters)
}

fn put_one(
    home: &Access,
    arguments: &Put,
    options: &PutOptions,
    path: &Path,
    after: &mut AfterPut<'_>,
) -> Result<(), Failure> {
    // From the first block to the pin nothing of it may be evicted.
    let _hold = home.store.hold();
    let (stored, own_name, own_type) = if path == Path::new("-") {
        let stored = put_stream(home, options, &mut std::io::stdin().lock(), "standard input", None)?;
        (stored, None, arguments.name.as_deref().map(Path::new).and_then(type_by_ending))
    } else {
        let metadata = std::fs::metadata(path).map_err(|source| Failure::io("read", path, source))?;
        let name = name_of(path);
        if metadata.is_dir() {
            (tree::store(home, path, options)?, name, Some(ContentType::directory()))
        } else if metadata.is_file() {
            let mut file = SourceFile::open(path)?;
            let (label, length) = (path.display().to_string(), file.length());
            let stored = put_stream(home, options, &mut file, &label, Some(length));
            let stored = stored.map_err(|failure| match failure {
                Failure::File(offs::Error::Read(source)) => Failure::io("read", path, source),
                other => other,
            })?;
            file.end()?;
            (stored, name, type_by_ending(path))
        } else {
            return Err(Failure::Special { path: path.to_owned() });
        }
    };
    // A directory's type is what it is.
    let is_directory = own_type.as_ref().is_some_and(ContentType::is_directory);
    let content_type = if is_directory { own_type } else { arguments.content_type.clone().or(own_type) };
    let url = OffUrl {
        content_type: content_type.unwrap_or_else(ContentType::octet_stream),
        length: stored.length,
        reference: stored.reference.clone(),
        name: arguments.name.clone().or(own_name),
        path: Vec::new(),
    };
    // A URL that could not be opened again must not be printed.
    let url: OffUrl = url.to_string().parse().map_err(|source| Failure::Url { url: url.to_string(), source })?;
    home.store.sync()?;
    home.record(if arguments.no_pin { Operation::Keep } else { Operation::Put }, &url)?;
    if !arguments.json {
        // It is durable here, whatever becomes of it elsewhere.
        output::line(&url)?;
        let (copies, ended) = after(&url);
        if let Some(copies) = copies {
            remark(&format!("{copies} other {} hold it so far", if copies == 1 { "peer" } else { "peers" }));
        }
        return ended;
    }
    let (copies, ended) = after(&url);
    output::json(&json!({
        "url": url.to_string(),
        "length": stored.length,
        "type": url.content_type.as_str(),
        "name": url.name,
        "root": stored.reference.root.to_string(),
        "blake3": blake3::Hash::from_bytes(stored.content_hash).to_hex().as_str(),
        "pinned": !arguments.no_pin,
        "path": path.display().to_string(),
        "copies": copies,
    }))?;
    ended
}

fn put_stream(
    home: &Access,
    options: &PutOptions,
    source: &mut dyn Read,
    label: &str,
    total: Option<u64>,
) -> Result<Stored, Failure> {
    let progress = Progress::new(label, total);
    Ok(offs::put(home.store.as_ref(), source, options, Box::new(SystemDice::new()), &|bytes| progress.at(bytes))?)
}

/// A path's own name, if it can stand in a URL.
fn name_of(path: &Path) -> Option<String> {
    // `.` and `..` have no name of their own, but what they stand for has.
    let path: PathBuf = match path.file_name() {
        Some(name) => name.into(),
        None => path.canonicalize().ok()?.file_name()?.into(),
    };
    path.to_str().map(str::to_owned).filter(|name| name.len() <= 1024)
}
