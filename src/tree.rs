//! Storing a directory of the file system.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufReader, BufWriter, Read, Seek as _, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::Path,
};

use offs::{DirectoryWriter, Entry, Head, Kind, Node, PutOptions, Reference, Stored, SystemDice, put};

use crate::{
    failure::Failure,
    home::Access,
    progress::{Progress, warn},
    source_file::SourceFile,
};

/// Files below this size are packed into one.
const PACKED_BELOW: u64 = 1 << 20;

/// A directory that is being stored. Entries go to a file without a name, so that a directory of millions
/// does not fill the memory.
struct Tree<'a> {
    home: &'a Access,
    options: &'a PutOptions,
    top: &'a Path,
    spool: BufWriter<File>,
    entries: u64,
    packed: u64,
    /// Small files in the order of their bytes in the packed file: path below `top` and size.
    small: BufWriter<File>,
    progress: &'a Progress,
    done: u64,
    /// Device and number of the home directory.
    own: (u64, u64),
}

/// Stores a directory and returns the reference of its directory object.
pub(crate) fn store(home: &Access, top: &Path, options: &PutOptions) -> Result<Stored, Failure> {
    let temporary = || {
        let file = tempfile::tempfile_in(home.path());
        file.map(BufWriter::new).map_err(|source| Failure::io("create a temporary file in", home.path(), source))
    };
    let own = fs::metadata(home.path()).map_err(|source| Failure::io("read", home.path(), source))?;
    if fs::metadata(top).is_ok_and(|top| (top.dev(), top.ino()) == (own.dev(), own.ino())) {
        return Err(Failure::Usage { what: "the home of a store cannot be put into itself" });
    }
    let progress = Progress::new(&top.display().to_string(), None);
    let mut tree = Tree {
        home,
        options,
        top,
        spool: temporary()?,
        entries: 0,
        packed: 0,
        small: temporary()?,
        progress: &progress,
        done: 0,
        own: (own.dev(), own.ino()),
    };
    tree.directory(top, &[])?;
    let packed = tree.pack()?;
    tree.object(packed)
}

impl Tree<'_> {
    fn spool_failed(&self) -> impl Fn(io::Error) -> Failure + use<> {
        let path = self.home.path().to_owned();
        move |source| Failure::io("write a temporary file in", &path, source)
    }

    fn directory(&mut self, path: &Path, inside: &[u8]) -> Result<(), Failure> {
        let failed = |source| Failure::io("read", path, source);
        let metadata = fs::metadata(path).map_err(failed)?;
        if (metadata.dev(), metadata.ino()) == self.own {
            // It has the keys of everything, and grows by what is put.
            warn(&format!("{} is the home of this store, and was left out", path.display()));
            return Ok(());
        }
        self.entry(&metadata, inside.to_vec(), Node::Directory, path)?;
        let mut names: Vec<_> = fs::read_dir(path)
            .map_err(failed)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()
            .map_err(failed)?;
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        for name in names {
            let mut below = inside.to_vec();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.as_bytes());
            self.node(&path.join(&name), below)?;
        }
        Ok(())
    }

    fn node(&mut self, path: &Path, inside: Vec<u8>) -> Result<(), Failure> {
        let failed = |source| Failure::io("read", path, source);
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return self.directory(path, &inside);
        }
        let node = if kind.is_symlink() {
            Node::Link { target: fs::read_link(path).map_err(failed)?.as_os_str().as_bytes().to_vec() }
        } else if !kind.is_file() {
            // It has no content to keep. That it is left out must be known, at a terminal or not.
            warn(&format!("{} is neither a file nor a directory nor a link, and was left out", path.display()));
            return Ok(());
        } else if metadata.len() < PACKED_BELOW {
            self.small_file(&inside, metadata.len())?
        } else {
            let mut file = SourceFile::open(path)?;
            let before = self.done;
            let stored =
                put(self.home.store.as_ref(), &mut file, self.options, Box::new(SystemDice::new()), &|bytes| {
                    self.progress.at(before + bytes);
                })?;
            file.end()?;
            self.done += stored.length;
            Node::File { reference: stored.reference, size: stored.length }
        };
        self.entry(&metadata, inside, node, path)
    }

    fn small_file(&mut self, inside: &[u8], size: u64) -> Result<Node, Failure> {
        let failed = self.spool_failed();
        let length = u32::try_from(inside.len()).unwrap_or(u32::MAX);
        let mut write = |bytes: &[u8]| self.small.write_all(bytes).map_err(&failed);
        write(&length.to_be_bytes())?;
        write(inside)?;
        write(&size.to_be_bytes())?;
        let at = self.packed;
        self.packed += size;
        Ok(Node::Packed { at, size })
    }

    fn entry(&mut self, metadata: &Metadata, path: Vec<u8>, node: Node, source: &Path) -> Result<(), Failure> {
        if path.len() > 4096 || matches!(&node, Node::Link { target } if target.len() > 4095) {
            return Err(Failure::PathTooLong { path: source.to_owned() });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        let nsec = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
        let entry = Entry { path, mode, mtime: metadata.mtime(), nsec, node };
        self.entries += 1;
        let failed = self.spool_failed();
        DirectoryWriter::entry(&entry, &mut self.spool).map_err(failed)
    }

    /// Stores the small files as one.
    fn pack(&mut self) -> Result<Option<(Reference, u64)>, Failure> {
        self.small.flush().map_err(self.spool_failed())?;
        let list = self.small.get_mut();
        list.rewind().map_err(self.spool_failed())?;
        let list = BufReader::new(self.small.get_ref().try_clone().map_err(self.spool_failed())?);
        let mut files = SmallFiles { top: self.top, list, current: None, failure: None };
        let options = PutOptions { kind: Kind::File, ..self.options.clone() };
        let before = self.done;
        let stored = put(self.home.store.as_ref(), &mut files, &options, Box::new(SystemDice::new()), &|bytes| {
            self.progress.at(before + bytes);
        });
        if let Some(failure) = files.failure {
            return Err(failure);
        }
        let stored = stored?;
        self.done += stored.length;
        // There always is one: an entry without bytes needs one to point into too.
        Ok(Some((stored.reference, stored.length)))
    }

    fn object(mut self, packed: Option<(Reference, u64)>) -> Result<Stored, Failure> {
        let failed = self.spool_failed();
        self.spool.flush().map_err(&failed)?;
        let mut spool = self.spool.into_inner().map_err(|error| failed(error.into_error()))?;
        spool.rewind().map_err(&failed)?;
        let head = DirectoryWriter::head(&Head { entries: self.entries, packed });
        let options = PutOptions { kind: Kind::Directory, ..self.options.clone() };
        let mut object = head.chain(BufReader::new(spool));
        Ok(put(self.home.store.as_ref(), &mut object, &options, Box::new(SystemDice::new()), &|_| {})?)
    }
}

/// The small files' contents, end to end.
struct SmallFiles<'a> {
    top: &'a Path,
    list: BufReader<File>,
    /// The file being read, and how much of it is to come.
    current: Option<(SourceFile, u64)>,
    failure: Option<Failure>,
}

impl SmallFiles<'_> {
    fn next_file(&mut self) -> Result<bool, Failure> {
        let failed = |source| Failure::io("read the list of", self.top, source);
        let mut length = [0; 4];
        match self.list.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.map_err(failed)?,
        }
        let mut inside = vec![0; u32::from_be_bytes(length) as usize];
        self.list.read_exact(&mut inside).map_err(failed)?;
        let mut size = [0; 8];
        self.list.read_exact(&mut size).map_err(failed)?;
        let size = u64::from_be_bytes(size);
        let path = self.top.join(std::ffi::OsStr::from_bytes(&inside));
        self.current = Some((SourceFile::listed(&path, size)?, size));
        Ok(true)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            if let Some((file, left)) = &mut self.current {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read(&mut buffer[..most]).map_err(|source| Failure::io("read", file.path(), source))?;
                if read == 0 && *left > 0 {
                    return Err(Failure::Changed { path: file.path().to_owned() });
                }
                *left -= read as u64;
                if read > 0 {
                    return Ok(read);
                }
                file.end()?;
                self.current = None;
            }
            if !self.next_file()? {
                return Ok(0);
            }
        }
    }
}

impl Read for SmallFiles<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("a file of the directory could not be read")
        })
    }
}
