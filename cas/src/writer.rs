//! Writing chunks in the background, so that whoever makes the bytes does not wait for the disk.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    sync::{Arc, Condvar, Mutex},
};

use crate::{chunk::Chunk, pack_store::lock};

/// Most chunks that wait to be written: 16 MiB.
const MOST: usize = 4;

/// A file that chunks are written to.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) file: Arc<File>,
    /// The same file, opened for unbuffered writes; `None` where the file system has none.
    pub(crate) direct: Option<Arc<File>>,
}

/// A chunk that was handed over.
pub(crate) struct Unwritten {
    number: u64,
    pub(crate) pack: u32,
    output: Output,
    pub(crate) chunk: Chunk,
    /// Whether the file ends here for good, so that room that was set aside behind it goes.
    last: bool,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they were handed over; the first is being written.
    unwritten: VecDeque<Arc<Unwritten>>,
    /// How many were handed over so far.
    handed_over: u64,
    /// The first write that failed. Nothing is written after it.
    failed: Option<(io::ErrorKind, String)>,
    spare: Vec<Vec<u8>>,
    stop: bool,
}

/// The queue of chunks, and the thread that empties it.
#[derive(Default)]
pub(crate) struct Writer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Writer {
    /// Writes what is handed over until [`Writer::stop`].
    pub(crate) fn run(&self) {
        let _end = End(self);
        let mut queue = lock(&self.queue);
        loop {
            let Some(next) = queue.unwritten.front().filter(|_| queue.failed.is_none()).cloned() else {
                if queue.stop {
                    return;
                }
                queue = self.wait(queue);
                continue;
            };
            drop(queue);
            let written = next.write();
            queue = lock(&self.queue);
            match written {
                Ok(()) => {
                    queue.unwritten.pop_front();
                    // Whoever reads it just now keeps it.
                    if let Some(written) = Arc::into_inner(next) {
                        queue.spare.push(written.chunk.into_buffer());
                    }
                }
                Err(error) => queue.failed = Some((error.kind(), error.to_string())),
            }
            self.changed.notify_all();
        }
    }

    fn wait<'a>(&self, queue: std::sync::MutexGuard<'a, Queue>) -> std::sync::MutexGuard<'a, Queue> {
        self.changed.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Ends [`Writer::run`] when everything is written.
    pub(crate) fn stop(&self) {
        lock(&self.queue).stop = true;
        self.changed.notify_all();
    }

    /// An empty chunk that starts at an offset.
    pub(crate) fn chunk(&self, start: u64) -> Chunk {
        let spare = lock(&self.queue).spare.pop().unwrap_or_default();
        Chunk::new(start, spare)
    }

    /// Takes a chunk to write it soon. Waits while too many wait already.
    pub(crate) fn hand_over(&self, pack: u32, output: &Output, chunk: Chunk, last: bool) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        while queue.unwritten.len() >= MOST && queue.failed.is_none() {
            queue = self.wait(queue);
        }
        queue.handed_over += 1;
        let number = queue.handed_over;
        // After a failure too, so that what was put can be read as long as the store is open.
        queue.unwritten.push_back(Arc::new(Unwritten { number, pack, output: output.clone(), chunk, last }));
        self.changed.notify_all();
        queue.check()
    }

    /// Whether a write has failed, so that nothing more is written.
    pub(crate) fn check(&self) -> io::Result<()> {
        lock(&self.queue).check()
    }

    /// Waits until everything that was handed over so far is written.
    pub(crate) fn drain(&self) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        let until = queue.handed_over;
        while queue.failed.is_none() && queue.unwritten.front().is_some_and(|first| first.number <= until) {
            queue = self.wait(queue);
        }
        queue.check()
    }

    /// The chunks of a pack that may not be written yet.
    pub(crate) fn unwritten(&self, pack: u32) -> Vec<Arc<Unwritten>> {
        lock(&self.queue).unwritten.iter().filter(|unwritten| unwritten.pack == pack).cloned().collect()
    }
}

/// Nobody waits for a thread that has ended, even if it panicked.
struct End<'a>(&'a Writer);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let ended = || (io::ErrorKind::Other, "the writing thread has ended".to_owned());
        lock(&self.0.queue).failed.get_or_insert_with(ended);
        self.0.changed.notify_all();
    }
}

impl Queue {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some((kind, detail)) => Err(io::Error::new(*kind, detail.clone())),
            None => Ok(()),
        }
    }
}

impl Unwritten {
    fn write(&self) -> io::Result<()> {
        self.chunk.write(&self.output.file, self.output.direct.as_deref())?;
        if self.last {
            self.output.file.set_len(self.chunk.end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_is_not_forgotten() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        File::create_new(&path).expect("create");
        let output = Output { file: Arc::new(File::open(&path).expect("open for reading only")), direct: None };
        let writer = Writer::default();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.run());
            for (number, wanted) in [(0, true), (1, false)] {
                let mut chunk = writer.chunk(number);
                chunk.push(&[7]);
                assert_eq!(writer.hand_over(1, &output, chunk, false).is_ok(), wanted);
                assert!(writer.drain().is_err() && writer.check().is_err());
            }
            writer.stop();
        });
        let mut bytes = [0; 2];
        writer.unwritten(1).iter().for_each(|unwritten| unwritten.chunk.overlay(0, &mut bytes));
        assert_eq!(bytes, [7, 7]);
    }
}
