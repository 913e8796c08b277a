//! A file of the user's that appears under its name only when it is complete.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

/// Gives a file of ours new bytes: it has the old ones or the new ones, whatever happens.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory(path))?;
    io::Write::write_all(&mut file, bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A file that is being written. Until it is complete it has no name, so that nothing is left of it however the
/// process ends; where the file system has no files without a name, it has one that says what it is.
pub(crate) struct OutputFile {
    target: PathBuf,
    file: File,
    /// Its name until it has its own.
    partial: Option<PathBuf>,
}

impl OutputFile {
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        // What stands at the end of a link is what is meant, not the link.
        let is_link = target.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        let target = if is_link { fs::canonicalize(target)? } else { target.to_owned() };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::open(directory(&target), flags, Mode::from_raw_mode(0o666)) {
            return Ok(Self { target, file: file.into(), partial: None });
        }
        let partial = partial_name(&target);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&partial)?;
        Ok(Self { target, file, partial: Some(partial) })
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Puts it on stable storage and gives it its name. A file that has that name is replaced, and its mode kept,
    /// or it stays and this is an error.
    pub(crate) fn finish(mut self, replace: bool) -> io::Result<()> {
        if replace && let Ok(metadata) = fs::metadata(&self.target) {
            self.file.set_permissions(metadata.permissions())?;
        }
        self.file.sync_data()?;
        if self.partial.is_none() {
            match self.link(&self.target) {
                Err(error) if replace && error.kind() == io::ErrorKind::AlreadyExists => {
                    let partial = partial_name(&self.target);
                    self.link(&partial)?;
                    self.partial = Some(partial);
                }
                linked => return linked,
            }
        }
        if let Some(partial) = &self.partial {
            let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
            rustix::fs::renameat_with(CWD, partial, CWD, &self.target, flags)?;
            self.partial = None;
        }
        Ok(())
    }

    fn link(&self, name: &Path) -> io::Result<()> {
        let itself = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, itself, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial
            && let Err(error) = fs::remove_file(partial)
        {
            tracing::debug!(%error, "a half-written file stays");
        }
    }
}

/// Whether a path names something that is written to as it is: a device, a pipe, a stream of the process.
pub(crate) fn is_stream(path: &Path) -> bool {
    let is_special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
    is_special || ((path.starts_with("/dev") || path.starts_with("/proc")) && path.exists())
}

fn directory(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn partial_name(target: &Path) -> PathBuf {
    directory(target).join(format!(".offs-{:08x}.partial", rand::random::<u32>()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn a_name_is_given_last_and_only_once() {
        let home = tempfile::tempdir().expect("temporary directory");
        let target = home.path().join("file");
        let names = || fs::read_dir(home.path()).expect("read").count();
        for named in [false, true] {
            let make = |text: &str| {
                let mut output = OutputFile::create(&target).expect("create");
                if named && output.partial.is_none() {
                    let partial = partial_name(&target);
                    output.link(&partial).expect("link");
                    output.partial = Some(partial);
                }
                output.file().write_all(text.as_bytes()).expect("write");
                output
            };
            drop(make("given up"));
            assert_eq!(names(), 0, "nothing is left");
            make("one").finish(false).expect("finish");
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("set");
            let error = make("two").finish(false).expect_err("it is there");
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&target).expect("read"), "one");
            make("three").finish(true).expect("finish");
            assert_eq!(fs::read_to_string(&target).expect("read"), "three");
            assert_eq!(fs::metadata(&target).expect("metadata").permissions().mode() & 0o777, 0o600);
            assert_eq!(names(), 1);
            fs::remove_file(&target).expect("remove");
        }
        symlink("real", &target).expect("link");
        fs::write(home.path().join("real"), "old").expect("write");
        let output = OutputFile::create(&target).expect("create");
        output.file().write_all(b"new").expect("write");
        output.finish(true).expect("finish");
        assert!(target.symlink_metadata().expect("metadata").is_symlink());
        assert_eq!(fs::read_to_string(home.path().join("real")).expect("read"), "new");
    }
}
