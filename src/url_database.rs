//! The URL database: what was stored and what is pinned (docs/format.md, section 9).
//!
//! It holds keys and pins, which nothing can rebuild, so it is kept twice, each line with a checksum.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use offs::OffUrl;

use crate::failure::Failure;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Stored and pinned.
    Put,
    /// Stored, not pinned.
    Keep,
    Pin,
    Unpin,
    Forget,
    /// The first line, which only says that the database was made.
    New,
}

const OPERATIONS: [(&str, Operation); 6] = [
    ("put", Operation::Put),
    ("keep", Operation::Keep),
    ("pin", Operation::Pin),
    ("unpin", Operation::Unpin),
    ("forget", Operation::Forget),
    ("new", Operation::New),
];

impl Operation {
    /// What it is called in a line.
    pub(crate) fn name(self) -> &'static str {
        OPERATIONS.iter().find(|(_, operation)| *operation == self).map_or("", |(name, _)| name)
    }

    /// The operation that is called so.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        OPERATIONS.iter().find(|(known, _)| *known == name).map(|(_, operation)| *operation)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    time: u64,
    operation: Operation,
    url: String,
}

/// A URL of the database.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) url: OffUrl,
    /// When it was first stored or pinned, seconds since 1970.
    pub(crate) time: u64,
    pub(crate) pinned: bool,
}

/// The database, in memory and in its two files.
pub(crate) struct UrlDatabase {
    paths: [PathBuf; 2],
    lines: BTreeMap<u64, Line>,
    /// Whether records are missing from both files.
    lost: bool,
}

impl UrlDatabase {
    /// Reads both files. `expected` says that there must be one, because there is a store.
    pub(crate) fn open(home: &Path, expected: bool) -> Result<Self, Failure> {
        let paths = ["urls", "urls.copy"].map(|name| home.join(name));
        let mut lines = BTreeMap::new();
        let mut sound = true;
        let mut found = 0;
        // Each file has every line, so the longer one says how many there must be.
        let mut written = 0;
        // A killed append tears one file at most: the other is written after it.
        let mut torn = 0;
        for path in &paths {
            let Some(text) = read(path)? else {
                sound = false;
                continue;
            };
            found += 1;
            torn += usize::from(text.last().is_some_and(|byte| *byte != b'\n'));
            written =
                written.max(text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count());
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                match parse(line) {
                    Some((number, line)) => {
                        lines.entry(number).or_insert(line);
                    }
                    None => sound = false,
                }
            }
        }
        let gaps = !lines.keys().copied().eq(1..=lines.len() as u64);
        let unreadable =
            lines.values().any(|line| line.operation != Operation::New && line.url.parse::<OffUrl>().is_err());
        let lost = gaps || unreadable || torn == paths.len() || lines.len() < written || (lines.is_empty() && expected);
        if lines.is_empty() && !expected {
            lines.insert(1, Line { time: now(), operation: Operation::New, url: "-".to_owned() });
        }
        let database = Self { paths, lines, lost };
        if !expected && database.lines.len() == 1 {
            database.rewrite()?;
        } else if !sound && found > 0 && !database.lost {
            tracing::warn!("one copy of the URL database was damaged; it is made again from the other");
            database.rewrite()?;
        }
        Ok(database)
    }

    /// Whether records, and so perhaps pins, are missing.
    pub(crate) const fn lost(&self) -> bool {
        self.lost
    }

    pub(crate) fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// Accepts that records are gone: from now on what is left is all there is.
    pub(crate) fn accept_lost(&mut self) -> Result<(), Failure> {
        let lines = std::mem::take(&mut self.lines);
        let readable = |line: &Line| line.operation != Operation::New && line.url.parse::<OffUrl>().is_ok();
        let first = Line { time: now(), operation: Operation::New, url: "-".to_owned() };
        let kept = lines.into_values().filter(readable);
        self.lines = (1..).zip(std::iter::once(first).chain(kept)).collect();
        self.lost = false;
        self.rewrite()
    }

    /// Adds records; they are on stable storage, twice, when this returns.
    pub(crate) fn append(&mut self, operation: Operation, urls: &[OffUrl]) -> Result<(), Failure> {
        let mut number = self.lines.keys().next_back().copied().unwrap_or(0);
        let time = now();
        // A torn line that is kept as evidence must not swallow what comes after it.
        let mut text = String::from(if self.lost { "\n" } else { "" });
        let mut added = Vec::new();
        for url in urls {
            number += 1;
            let line = Line { time, operation, url: url.to_string() };
            text.push_str(&render(number, &line));
            added.push((number, line));
        }
        let mut appended = Vec::new();
        for path in &self.paths {
            let mut append = || -> io::Result<()> {
                let mut file = private(OpenOptions::new().append(true).create(true)).open(path)?;
                appended.push((file.try_clone()?, file.metadata()?.len()));
                file.write_all(text.as_bytes())?;
                file.sync_all()
            };
            let result = append();
            if let Err(source) = result {
                // The numbers will be used again, so neither file may keep these lines, not even half of one.
                for (file, before) in appended {
                    if let Err(error) = file.set_len(before) {
                        tracing::warn!(%error, "cannot take back what was appended to the URL database");
                    }
                }
                return Err(Failure::io("write", path, source));
            }
        }
        self.lines.extend(added);
        Ok(())
    }

    /// The URLs, in the order in which they came.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        let mut places = BTreeMap::new();
        for line in self.lines.values() {
            let Ok(url) = line.url.parse::<OffUrl>() else { continue };
            let reference = url.reference.to_bytes();
            match line.operation {
                Operation::New => {}
                Operation::Forget => {
                    places.remove(&reference);
                    listed.retain(|known| known.url.reference != url.reference);
                    places = (0..listed.len()).map(|at| (listed[at].url.reference.to_bytes(), at)).collect();
                }
                operation => {
                    let at = *places.entry(reference).or_insert_with(|| {
                        listed.push(Listed { url: url.clone(), time: line.time, pinned: false });
                        listed.len() - 1
                    });
                    listed[at].pinned = match operation {
                        Operation::Put | Operation::Pin => true,
                        Operation::Unpin => false,
                        Operation::Keep | Operation::Forget | Operation::New => listed[at].pinned,
                    };
                }
            }
        }
        listed
    }

    fn rewrite(&self) -> Result<(), Failure> {
        let text: String = self.lines.iter().map(|(number, line)| render(*number, line)).collect();
        for path in &self.paths {
            let fresh = path.with_extension("new");
            let write = || -> io::Result<()> {
                let mut file = private(OpenOptions::new().write(true).create(true).truncate(true)).open(&fresh)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&fresh, path)?;
                path.parent().map_or(Ok(()), |home| File::open(home)?.sync_all())
            };
            write().map_err(|source| Failure::io("write", path, source))?;
        }
        Ok(())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Only for its owner: a URL is all that is needed to read a file.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::io("read", path, source)),
    }
}

fn render(number: u64, line: &Line) -> String {
    let name = OPERATIONS.iter().find(|(_, operation)| *operation == line.operation).map_or("", |(name, _)| name);
    let rest = format!("{number} {} {name} {}", line.time, line.url);
    format!("{:08x} {rest}\n", crc32fast::hash(rest.as_bytes()))
}

fn parse(line: &[u8]) -> Option<(u64, Line)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (checksum, rest) = line.split_once(' ')?;
    if checksum != format!("{:08x}", crc32fast::hash(rest.as_bytes())) {
        return None;
    }
    let mut fields = rest.splitn(4, ' ');
    let number = fields.next()?.parse().ok()?;
    let time = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    let operation = OPERATIONS.iter().find(|(known, _)| *known == name)?.1;
    Some((number, Line { time, operation, url: fields.next()?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: u8) -> OffUrl {
        let reference = offs::Reference { root: cas::Score::from_digest(cas::Algorithm::Sha256, [n; 32]), key: None };
        OffUrl { content_type: offs::ContentType::octet_stream(), length: 1, reference, name: None, path: Vec::new() }
    }

    #[test]
    fn survives_the_damage_of_either_file_and_tells_that_of_both() {
        let home = tempfile::tempdir().expect("temporary directory");
        let mut database = UrlDatabase::open(home.path(), false).expect("open");
        assert!(!UrlDatabase::open(home.path(), true).expect("open").lost(), "empty is not lost");
        for n in 0..5 {
            database.append(Operation::Put, &[url(n)]).expect("append");
        }
        database.append(Operation::Unpin, &[url(2)]).expect("append");
        let check = || {
            let database = UrlDatabase::open(home.path(), true).expect("open");
            let pinned: Vec<_> = database.list().iter().map(|listed| listed.pinned).collect();
            (pinned, database.lost())
        };
        let whole = (vec![true, true, false, true, true], false);
        assert_eq!(check(), whole);
        for name in ["urls", "urls.copy"] {
            let path = home.path().join(name);
            let mut text = std::fs::read(&path).expect("read");
            text[100] ^= 1;
            std::fs::write(&path, &text).expect("write");
            assert_eq!(check(), whole, "{name} flipped");
            std::fs::write(&path, &text[..150]).expect("write");
            assert_eq!(check(), whole, "{name} cut");
            std::fs::remove_file(&path).expect("remove");
            assert_eq!(check(), whole, "{name} gone");
        }
        for name in ["urls", "urls.copy"] {
            let path = home.path().join(name);
            let mut text = std::fs::read(&path).expect("read");
            text[100] ^= 1;
            std::fs::write(&path, &text).expect("write");
        }
        assert!(check().1, "both damaged in the same line");
        for name in ["urls", "urls.copy"] {
            std::fs::write(home.path().join(name), b"").expect("write");
        }
        assert!(check().1, "both emptied");
        for name in ["urls", "urls.copy"] {
            std::fs::remove_file(home.path().join(name)).expect("remove");
        }
        assert!(check().1, "both gone");
    }
}
