//! Bytes on their way to the end of a file, laid out for unbuffered writes.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Unbuffered writes start and end at multiples of this, in the file and in memory.
const ALIGNMENT: u64 = 4096;

/// A chunk ends at a multiple of this many bytes of its file, so that writes are long.
pub(crate) const CHUNK: u64 = 4 << 20;

/// A run of bytes of a file that are not written yet, which grows until the next multiple of [`CHUNK`].
pub(crate) struct Chunk {
    buffer: Vec<u8>,
    /// Where in the buffer the page that holds the first byte starts.
    page: usize,
    /// Offset of the first byte in the file.
    start: u64,
    length: usize,
}

impl Chunk {
    /// An empty chunk that starts at offset `start`; `buffer` is one that an earlier chunk left, or empty.
    pub(crate) fn new(start: u64, mut buffer: Vec<u8>) -> Self {
        if buffer.is_empty() {
            // Zeroed by the system, page by page as it is used: a small put does not pay for 4 MiB.
            buffer = vec![0; as_size(CHUNK + ALIGNMENT)];
        }
        let page = buffer.as_ptr().align_offset(as_size(ALIGNMENT)).min(as_size(ALIGNMENT));
        Self { buffer, page, start, length: 0 }
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    /// Offset of the first byte after it.
    pub(crate) const fn end(&self) -> u64 {
        self.start + self.length as u64
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.length > 0 && self.end().is_multiple_of(CHUNK)
    }

    /// Takes as many bytes as fit and returns the others.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (here, rest) = bytes.split_at(bytes.len().min(as_size(CHUNK - self.end() % CHUNK)));
        let at = self.index(self.end());
        self.buffer[at..at + here.len()].copy_from_slice(here);
        self.length += here.len();
        rest
    }

    /// Copies what it has of the file from `offset` on into `into`.
    pub(crate) fn overlay(&self, offset: u64, into: &mut [u8]) {
        let from = self.start.max(offset);
        let to = self.end().min(offset + into.len() as u64);
        if from < to {
            into[as_size(from - offset)..as_size(to - offset)].copy_from_slice(self.bytes(from, to));
        }
    }

    fn index(&self, offset: u64) -> usize {
        self.page + as_size(offset - self.start / ALIGNMENT * ALIGNMENT)
    }

    fn bytes(&self, from: u64, to: u64) -> &[u8] {
        &self.buffer[self.index(from)..self.index(to)]
    }

    /// Writes it, whole pages to `direct`, which is the same file opened for unbuffered writes, if there is one.
    ///
    /// No byte before its start is written again, not even of the same page.
    pub(crate) fn write(&self, file: &File, direct: Option<&File>) -> io::Result<()> {
        let first = self.start.next_multiple_of(ALIGNMENT);
        let last = self.end() / ALIGNMENT * ALIGNMENT;
        if let Some(direct) = direct
            && first < last
        {
            // From front to back: what is at the end is to be the last that is there.
            file.write_all_at(self.bytes(self.start, first), self.start)?;
            match direct.write_all_at(self.bytes(first, last), first) {
                Ok(()) => return file.write_all_at(self.bytes(last, self.end()), last),
                // This file system wants another alignment, or has no unbuffered writes after all.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => return Err(error),
            }
        }
        file.write_all_at(self.bytes(self.start, self.end()), self.start)
    }
}

fn as_size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt as _};

    use super::*;

    #[test]
    fn chunks_of_any_start_make_one_file() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        let file = File::create_new(&path).expect("create");
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("small");
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(&path).ok();
        let wanted: Vec<u8> = (0..3 * CHUNK).map(|n| u8::try_from(n * 7 % 251).expect("small")).collect();
        let mut at = 0;
        let mut spare = Vec::new();
        for length in [1, 64, 4031, 4096, 5000, 131_136, CHUNK, 100, 2 * CHUNK] {
            let mut rest = &wanted[as_size(at)..as_size((at + length).min(3 * CHUNK))];
            while !rest.is_empty() {
                let mut chunk = Chunk::new(at, spare);
                rest = chunk.push(rest);
                assert!(rest.is_empty() || chunk.is_full());
                chunk.write(&file, direct.as_ref()).expect("write");
                at = chunk.end();
                spare = chunk.into_buffer();
            }
        }
        assert!(std::fs::read(&path).expect("read") == wanted);
    }
}
