//! A file that is written from its start to its end, past the page cache.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::{
    chunk::{CHUNK, Chunk},
    writer::{Output, Writer},
};

/// Writes a long file in the background, in long unbuffered writes where the file system has such.
///
/// What is written need not pass through the page cache, where it would push out what is read often, and
/// whoever makes the bytes does not wait for the disk. At most 20 MiB wait to be written.
pub struct StreamFile {
    output: Output,
    /// How long it is said to become.
    length: u64,
    tail: Chunk,
    writer: Arc<Writer>,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    /// A file that is open for writing and has this path.
    pub(crate) fn new(path: &Path, file: File) -> Self {
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(path);
        if let Err(error) = &direct {
            tracing::debug!(path = %path.display(), %error, "no unbuffered writes");
        }
        Self { file: Arc::new(file), direct: direct.ok().map(Arc::new) }
    }

    /// Sets room aside on the disk. `false` when the file system cannot do that.
    pub(crate) fn set_room_aside(&self, from: u64, to: u64) -> io::Result<bool> {
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, to - from) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl StreamFile {
    /// Writes to `file`, which is empty and has the path `path`. Room for `length` bytes is set aside when the
    /// first of them are written; if there is none, that write fails.
    pub fn new(path: &Path, file: File, length: u64) -> io::Result<Self> {
        let output = Output::new(path, file);
        let writer = Arc::<Writer>::default();
        let for_thread = Arc::clone(&writer);
        let thread = thread::Builder::new().name("write".into()).spawn(move || for_thread.run())?;
        Ok(Self { output, length, tail: Chunk::new(0, Vec::new()), writer, thread: Some(thread) })
    }

    /// Waits until everything is written. Not until it is on stable storage: that is for the file's owner to see to.
    pub fn finish(mut self) -> io::Result<()> {
        self.hand_over(true)?;
        self.writer.drain()
    }

    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        if self.tail.start() == 0 && self.length > CHUNK {
            self.output.set_room_aside(0, self.length)?;
        }
        let next = self.writer.chunk(self.tail.end());
        let full = std::mem::replace(&mut self.tail, next);
        self.writer.hand_over(0, &self.output, full, last)
    }
}

impl Write for StreamFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rest = self.tail.push(bytes);
        if self.tail.is_full() {
            self.hand_over(false)?;
        }
        Ok(bytes.len() - rest.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StreamFile {
    fn drop(&mut self) {
        self.writer.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a writing thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_in_the_file() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for length in [0, 1, 4096, 100_000, 4 << 20, (9 << 20) + 5] {
            let path = directory.path().join(length.to_string());
            let wanted: Vec<u8> = (0..length).map(|n: u32| n.to_be_bytes()[3] ^ n.to_be_bytes()[1]).collect();
            let mut file =
                StreamFile::new(&path, File::create_new(&path).expect("create"), wanted.len() as u64).expect("start");
            wanted.chunks(70_001).for_each(|piece| file.write_all(piece).expect("write"));
            file.finish().expect("finish");
            assert!(std::fs::read(&path).expect("read") == wanted, "{length}");
        }
    }

    #[test]
    fn a_failed_write_is_told() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        File::create_new(&path).expect("create");
        let read_only = File::open(&path).expect("open");
        std::fs::remove_file(&path).expect("remove");
        let mut file = StreamFile::new(&path, read_only, 0).expect("start");
        file.write_all(b"x").expect("it is not written yet");
        assert!(file.finish().is_err());
    }
}
