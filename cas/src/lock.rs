//! One process owns a store.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
};

use crate::{Error, Result};

/// Takes the lock file of a store. It is held until the file is dropped, also by `kill -9`.
pub(crate) fn acquire(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let read = file.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
            let owner = read.then(|| owner.trim().to_owned());
            return Err(Error::InUse { path: directory.to_owned(), owner });
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    // The process id is for people; the lock is what counts, so a full disk must not matter here.
    let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    if let Err(error) = note {
        tracing::debug!(%error, "cannot note the owner in the lock file");
    }
    Ok(file)
}
