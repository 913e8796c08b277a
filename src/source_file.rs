//! A file that is being stored.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, progress::warn};

/// A file that is being read, and how it was when that began.
pub(crate) struct SourceFile {
    file: File,
    path: PathBuf,
    before: State,
}

/// What is another one when somebody has written: length, and time of the last change in seconds and nanoseconds.
type State = (u64, i64, i64);

fn state(metadata: &Metadata) -> State {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

impl SourceFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |source| Failure::io("read", path, source);
        let file = File::open(path).map_err(failed)?;
        let before = state(&file.metadata().map_err(failed)?);
        Ok(Self { file, path: path.to_owned(), before })
    }

    /// One that had this length when it was listed.
    pub(crate) fn listed(path: &Path, length: u64) -> Result<Self, Failure> {
        let mut file = Self::open(path)?;
        file.before.0 = length;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length when the reading began.
    pub(crate) const fn length(&self) -> u64 {
        self.before.0
    }

    /// Says so when somebody has written to it meanwhile: then what was read need never have been in it at one time.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        let after = self.file.metadata().map_err(|source| Failure::io("read", &self.path, source))?;
        if state(&after) != self.before {
            let path = self.path.display();
            warn(&format!("{path} changed while it was read; what is stored may be partly old and partly new"));
        }
        Ok(())
    }
}

impl Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}
