//! A file that is written from its start to its end, past the page cache.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use crate::{
    chunk::Chunk,
    writer::{Output, Writer},
};

/// So many bytes ahead of what is written, room is set aside on the disk.
const AHEAD: u64 = 64 << 20;

/// Writes a long file in the background, in long unbuffered writes where the file system has such.
///
/// What is written need not pass through the page cache, where it would push out what is read often, and
/// whoever makes the bytes does not wait for the disk. At most 20 MiB wait to be written.
/// A file that turns out to be short is written at its end, like any other.
pub struct StreamFile {
    output: Output,
    /// How long it is said to become. It may be a lie.
    length: u64,
    /// Up to here there is room on the disk.
    room: u64,
    /// The first failure; nothing is taken after it.
    failed: Option<(io::ErrorKind, String)>,
    tail: Chunk,
    writer: Arc<Writer>,
    /// Started when the first chunk is full.
    thread: Option<JoinHandle<()>>,
}

impl Output {
    /// A file that is open for writing.
    pub(crate) fn new(file: File) -> Self {
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        // By its descriptor: whatever its name stands for by now, this is the same file.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(itself);
        if let Err(error) = &direct {
            tracing::debug!(%error, "no unbuffered writes");
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
    /// Writes to `file`, which is empty and is to have `length` bytes. Room is set aside a little ahead of what
    /// is written; if there is none, that write fails.
    pub fn new(file: File, length: u64) -> Self {
        Self {
            output: Output::new(file),
            length,
            room: 0,
            failed: None,
            tail: Chunk::new(0, Vec::new()),
            writer: Arc::default(),
            thread: None,
        }
    }

    /// Waits until everything is written. Not until it is on stable storage: that is for the file's owner to see to.
    pub fn finish(mut self) -> io::Result<()> {
        self.check()?;
        if self.thread.is_none() {
            return self.tail.write(&self.output.file, None);
        }
        self.hand_over(true)?;
        self.writer.drain()
    }

    fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |(kind, detail)| Err(io::Error::new(*kind, detail.clone())))
    }

    fn hand_over(&mut self, last: bool) -> io::Result<()> {
        if self.room < self.tail.end() {
            let ahead = self.length.min(self.tail.end() + AHEAD);
            if ahead > self.tail.end() {
                self.output.set_room_aside(self.room, ahead)?;
            }
            self.room = ahead.max(self.tail.end());
        }
        if self.thread.is_none() {
            let writer = Arc::clone(&self.writer);
            self.thread = Some(thread::Builder::new().name("write".into()).spawn(move || writer.run())?);
        }
        let next = self.writer.chunk(self.tail.end());
        let full = std::mem::replace(&mut self.tail, next);
        self.writer.hand_over(0, &self.output, full, last)
    }
}

impl Write for StreamFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        let rest = self.tail.push(bytes);
        if self.tail.is_full()
            && let Err(error) = self.hand_over(false)
        {
            self.failed = Some((error.kind(), error.to_string()));
            return Err(error);
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
            let mut file = StreamFile::new(File::create_new(&path).expect("create"), wanted.len() as u64);
            wanted.chunks(70_001).for_each(|piece| file.write_all(piece).expect("write"));
            file.finish().expect("finish");
            assert!(std::fs::read(&path).expect("read") == wanted, "{length}");
        }
    }

    #[test]
    fn a_failed_write_is_told() {
        for chunks in [0, 10] {
            let full = OpenOptions::new().write(true).open("/dev/full").expect("open");
            let mut file = StreamFile::new(full, 0);
            let written = (0..chunks).try_for_each(|_| file.write_all(&vec![0; 4 << 20]));
            let ended = written.and_then(|()| file.write_all(b"x")).and_then(|()| file.finish());
            assert_eq!(ended.expect_err("the device is full").kind(), io::ErrorKind::StorageFull, "{chunks}");
        }
        let mut file = StreamFile::new(File::open("/dev/null").expect("open"), 1 << 40);
        for _ in 0..3 {
            assert!(file.write_all(&vec![0; 5 << 20]).is_err(), "there is no room for it, now and later");
        }
    }
}
