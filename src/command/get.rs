//! `offs get`

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use cas::StreamFile;
use offs::{FileReader, Kind, Node, OffUrl};

use crate::{
    arguments::{ByteRange, Get},
    command::parse_url,
    failure::Failure,
    home::Access,
    interrupt::Unfinished,
    output_file::{OutputFile, is_stream},
    progress::Progress,
    restore,
};

pub(crate) fn run(home: &Access, get: &Get) -> Result<(), Failure> {
    let url = parse_url(&get.url)?;
    let store = home.store.as_ref();
    let file = open(store, &url)?;
    if url.path.is_empty() {
        return if file.root().kind == Kind::Directory {
            get_directory(home, &url, b"", &file, get)
        } else {
            let whole = 0..file.length();
            get_file(&url, &file, whole, true, get)
        };
    }
    let (entry, head) = restore::find(&file, &url.path)?;
    let shown = || String::from_utf8_lossy(&entry.path).into_owned();
    match entry.node {
        Node::Directory => get_directory(home, &url, &entry.path, &file, get),
        Node::Link { target } => {
            Err(Failure::IsLink { path: shown(), target: String::from_utf8_lossy(&target).into_owned() })
        }
        Node::File { reference, size } => {
            let file = FileReader::open_kind(store, &reference, Kind::File)?;
            if file.length() != size {
                return Err(offs::Error::EntryLength { directory: size, root: file.length() }.into());
            }
            get_file(&url, &file, 0..size, true, get)
        }
        Node::Packed { at, size } => {
            let Some((reference, length)) = head.and_then(|head| head.packed) else {
                return Err(Failure::NoSuchPath { path: shown() });
            };
            let file = FileReader::open_kind(store, &reference, Kind::File)?;
            if file.length() != length {
                return Err(offs::Error::EntryLength { directory: length, root: file.length() }.into());
            }
            get_file(&url, &file, at..at + size, false, get)
        }
    }
}

/// Opens what a URL names, and checks that it is what the URL says.
pub(crate) fn open<'a>(store: &'a dyn cas::BlockStore, url: &OffUrl) -> Result<FileReader<'a>, Failure> {
    let file = FileReader::open(store, &url.reference)?;
    if file.length() != url.length {
        return Err(offs::Error::Length { url: url.length, root: file.length() }.into());
    }
    if (file.root().kind == Kind::Directory) != url.content_type.is_directory() {
        return Err(Failure::Kind);
    }
    Ok(file)
}

/// Writes the bytes `part` of a stored file; `whole` when they are all of it, so that its hash can be checked.
fn get_file(url: &OffUrl, file: &FileReader<'_>, part: Range<u64>, whole: bool, get: &Get) -> Result<(), Failure> {
    if get.range.is_some() && get.output.is_none() {
        return Err(Failure::Usage { what: "--range needs -o: a part must not stand under the name of the whole" });
    }
    let range = match get.range {
        Some(range) => within(range, &part)?,
        None => part.clone(),
    };
    let length = range.end - range.start;
    let target = target(url, get)?;
    let progress = Progress::new(&target.as_deref().map_or_else(|| "-".into(), Path::to_string_lossy), Some(length));
    let copy = |out: &mut dyn io::Write| {
        if whole && get.range.is_none() {
            file.copy(out, &|bytes| progress.at(bytes))
        } else {
            file.copy_range(range.clone(), out, &|bytes| progress.at(bytes))
        }
    };
    let Some(target) = target else {
        let mut out = io::stdout().lock();
        copy(&mut out)?;
        return out.flush().map_err(Failure::Output);
    };
    let failed = |source| Failure::io("write", &target, source);
    let copied = |copied: Result<(), offs::Error>| {
        copied.map_err(|error| match error {
            offs::Error::Write(source) => failed(source),
            other => other.into(),
        })
    };
    if get.output.is_some() && is_stream(&target) {
        let mut out = OpenOptions::new().write(true).open(&target).map_err(failed)?;
        return copied(copy(&mut out));
    }
    // It gets its name only when it is complete and verified.
    let output = OutputFile::create(&target).map_err(failed)?;
    let mut out = StreamFile::new(output.file().try_clone().map_err(failed)?, length);
    copied(copy(&mut out))?;
    out.finish().map_err(failed)?;
    output.finish(get.output.is_some()).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Exists { path: target.clone() },
        _ => failed(error),
    })
}

fn within(range: ByteRange, part: &Range<u64>) -> Result<Range<u64>, Failure> {
    let length = part.end - part.start;
    if range.first >= length {
        return Err(Failure::Range { first: range.first, length });
    }
    let end = range.last.map_or(length, |last| last.saturating_add(1).min(length));
    Ok(part.start + range.first..part.start + end)
}

/// Where to write to; `None` for standard output.
fn target(url: &OffUrl, get: &Get) -> Result<Option<PathBuf>, Failure> {
    if let Some(output) = &get.output {
        return Ok((output != Path::new("-")).then(|| output.clone()));
    }
    let last = url.path.last().map(|last| std::os::unix::ffi::OsStrExt::from_bytes(last));
    let name: Option<&std::ffi::OsStr> = last.or_else(|| url.name.as_deref().map(std::ffi::OsStr::new));
    let name = PathBuf::from(name.ok_or(Failure::NoName)?);
    // A name that comes with a URL is a stranger's choice: it must not replace anything.
    if name.symlink_metadata().is_ok() { Err(Failure::Exists { path: name }) } else { Ok(Some(name)) }
}

/// Restores a directory, or what is at a path in it.
fn get_directory(home: &Access, url: &OffUrl, from: &[u8], file: &FileReader<'_>, get: &Get) -> Result<(), Failure> {
    let what = || match from {
        b"" => url.name.clone().unwrap_or_else(|| "it".to_owned()),
        path => String::from_utf8_lossy(path).into_owned(),
    };
    let Some(target) = target(url, get)? else { return Err(Failure::IsDirectory { what: what() }) };
    if get.range.is_some() {
        return Err(Failure::IsDirectory { what: what() });
    }
    // An empty directory is as good as none; anything else is not touched.
    let failed = |source| Failure::io("write", &target, source);
    match fs::remove_dir(&target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return Err(Failure::NotEmpty { path: target }),
    }
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    let partial = builder.prefix(".offs-").suffix(".partial").tempdir_in(parent).map_err(failed)?;
    let _unfinished = Unfinished::new(partial.path());
    let progress = Progress::new(&target.to_string_lossy(), None);
    let inside = partial.path().join("tree");
    let restored = restore::restore(home.store.as_ref(), file, from, &inside, &progress);
    let finish = restored.inspect_err(|_| restore::make_removable(&inside))?;
    fs::rename(&inside, &target).map_err(failed)?;
    finish.apply(&target)
}
