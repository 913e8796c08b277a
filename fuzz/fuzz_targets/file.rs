//! A file whose root, descriptors and blocks a stranger made: reading it ends, with the bytes or with an error.
//!
//! The input is a recipe for a few blocks, in which later ones name earlier ones, and for a root.
#![no_main]

use std::io::{self, Write};

use cas::{Algorithm, BlockStore, MemoryStore, Score};
use libfuzzer_sys::fuzz_target;
use offs::{BLOCK, Code, Error, FileReader, Key, Kind, Reference};
use offs_fuzz::{KEY, LimitedStore, Recipe, encipher_root};

/// Most tuples of a file that is healed, listed or read as a whole here.
const SMALL: u64 = 64;
/// Most blocks that are read in one run.
const LIMIT: u64 = 4000;
/// A reading may heal the whole file, but no file with more tuples than this (2 TiB).
const HEALABLE: u64 = 1 << 24;

fuzz_target!(|input: &[u8]| {
    let mut recipe = Recipe::new(input);
    let mut header = Header::read(&mut recipe);
    let store = MemoryStore::new();
    let pool = Pool::read(&mut recipe, &header, &store);
    let start = recipe.long();
    let length = u64::from(recipe.short()) << (recipe.byte() % 5);
    let body = pool.body(&mut recipe);

    let reference = header.store(&body, &store);
    let limited = LimitedStore::new(&store, LIMIT);
    let Ok(file) = FileReader::open(&limited, &reference) else { return };
    let levels = file.layout().levels();
    let tuples = levels.iter().map(|level| level.tuples).fold(0, u64::saturating_add);

    let end = file.length();
    let start = if end == 0 { start } else { start % end };
    let range = start..start.saturating_add(length);
    let mut piece = Vec::new();
    let read = file.copy_range(range.clone(), &mut piece, &|_| {});
    if read.is_ok() {
        assert_eq!(piece.len() as u64, range.end.min(end).saturating_sub(range.start));
    }
    if let Ok(piece) = file.read_piece(range.clone()) {
        assert_eq!(piece.len() as u64, range.end.min(end).saturating_sub(range.start));
    }
    assert!(
        tuples <= HEALABLE || !limited.is_exhausted(),
        "{tuples} tuples were gone over to read {length} bytes: {read:?}"
    );
    if tuples > SMALL {
        return;
    }

    let mut visited = 0;
    let listed = offs::list(&limited, &reference, &mut |_| visited += 1);
    if listed.is_ok() && file.root().kind == Kind::File {
        assert_eq!(visited, 1 + tuples * u64::from(file.root().parameters.tuple));
    }
    if let Ok(report) = offs::heal(&limited, &reference) {
        assert!(report.lost_stripes > 0 || report.lost.is_empty());
    }
    if end > SMALL * BLOCK as u64 {
        return;
    }

    // With the right hash in its root the file must come whole, or not at all.
    let mut whole = Vec::new();
    if file.copy_range(0..end, &mut whole, &|_| {}).is_err() {
        return;
    }
    assert_eq!(whole.len() as u64, end);
    assert!(matches!(file.copy(&mut io::sink(), &|_| {}), Err(Error::ContentHash { .. })));
    header.content_hash = *Score::of(Algorithm::Blake3, &whole).digest();
    let reference = header.store(&body, &store);
    let limited = LimitedStore::new(&store, LIMIT);
    let file = FileReader::open(&limited, &reference).expect("as before");
    let mut checked = Checked { left: &whole };
    match file.copy(&mut checked, &|_| {}) {
        Ok(()) => assert!(checked.left.is_empty()),
        Err(_) => assert!(limited.is_exhausted()),
    }
    // If it is a directory, what it names is followed from here.
    let _ = offs::list(&limited, &reference, &mut |_| {});
    let _ = offs::heal(&limited, &reference);
});

/// Compares what is written with what was read before.
struct Checked<'a> {
    left: &'a [u8],
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.strip_prefix(bytes).expect("other bytes than at the first reading");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The fields of the root.
struct Header {
    sealed: bool,
    directory: bool,
    algorithm: Algorithm,
    tuple: u8,
    code: u8,
    data: u8,
    parity: u8,
    length: u64,
    content_hash: [u8; 32],
}

impl Header {
    fn read(recipe: &mut Recipe) -> Self {
        let how = recipe.byte();
        let code = match recipe.byte() {
            // Few of the older code, which is slow.
            1 => Code::Novelpoly,
            other if other % 2 == 0 && other > 0 => Code::Leopard,
            _ => Code::None,
        };
        let tuple = 2 + recipe.byte() % 7;
        let (data, parity) = (recipe.byte(), recipe.byte());
        let block = BLOCK as u64;
        // Wide stripes are slow to rebuild, and the more so with the older code.
        let is_wide = how & 8 != 0;
        let (widest, longest) = match (code, is_wide) {
            (Code::Novelpoly, false) => (3, 4 * block),
            (Code::Novelpoly, true) => (9, 9 * block),
            (_, true) => (128, 128 * block),
            (_, false) => (20, u64::MAX),
        };
        let length = match recipe.byte() % 6 {
            0 => u64::from(recipe.byte()),
            1 => u64::from(recipe.short()),
            2 => u64::from(recipe.word()) % (64 * block),
            3 => u64::from(recipe.short()) * block,
            4 => recipe.long() >> (recipe.byte() % 64),
            _ => 1 << 60,
        };
        Self {
            sealed: how & 1 != 0,
            directory: how & 2 != 0,
            algorithm: if how & 4 != 0 { Algorithm::Sha256 } else { Algorithm::Blake3 },
            tuple,
            code: code.id(),
            data: 1 + data % widest,
            parity: if code == Code::None { 0 } else { 1 + parity % widest },
            length: if length > longest { length % longest } else { length },
            content_hash: [0; 32],
        }
    }

    fn tuple_bytes(&self) -> usize {
        32 * usize::from(self.tuple)
    }

    fn key(&self) -> Option<Key> {
        self.sealed.then(|| Key::from_bytes(KEY))
    }

    fn store(&self, body: &[u8], store: &dyn BlockStore) -> Reference {
        let mut block = vec![0; BLOCK];
        block[..4].copy_from_slice(b"OFF4");
        block[4] = 1;
        block[5] = u8::from(self.directory);
        block[6] = self.algorithm.code();
        block[7] = self.tuple;
        block[8] = self.code;
        block[9] = self.data;
        block[10] = self.parity;
        block[11] = u8::from(self.sealed && self.length <= (BLOCK - 64) as u64);
        block[16..24].copy_from_slice(&self.length.to_be_bytes());
        block[24..56].copy_from_slice(&self.content_hash);
        block[64..].copy_from_slice(&body[..BLOCK - 64]);
        if self.sealed {
            encipher_root(&mut block);
        }
        let root = store.put(self.algorithm, &block).expect("a memory store takes all");
        Reference { root, key: self.key() }
    }
}

/// Blocks that tuples can name. The first is all zeros, and stored.
struct Pool {
    tuple_bytes: usize,
    blocks: Vec<Vec<u8>>,
    digests: Vec<[u8; 32]>,
}

const MISSING: u8 = 0x80;

impl Pool {
    fn read(recipe: &mut Recipe, header: &Header, store: &dyn BlockStore) -> Self {
        let mut pool = Self { tuple_bytes: header.tuple_bytes(), blocks: Vec::new(), digests: Vec::new() };
        pool.add(header, vec![0; BLOCK], Some(store));
        for _ in 0..recipe.below(9) {
            let how = recipe.byte();
            let block = match how % 6 {
                0 => fill(&[recipe.byte()], BLOCK),
                1 => {
                    let length = usize::from(recipe.short());
                    let mut block = recipe.take(length).to_vec();
                    block.resize(BLOCK, 0);
                    block
                }
                2 => fill(&[1], 1 + usize::from(recipe.short())),
                // Sources that are descriptors.
                3 | 4 => pool.body(recipe),
                _ => pool.xor(recipe),
            };
            pool.add(header, block, (how & MISSING == 0).then_some(store));
        }
        pool
    }

    fn add(&mut self, header: &Header, block: Vec<u8>, store: Option<&dyn BlockStore>) {
        self.digests.push(*Score::of(header.algorithm, &block).digest());
        if let Some(store) = store {
            store.put(header.algorithm, &block).expect("a memory store takes all");
        }
        self.blocks.push(block);
    }

    /// Tuples end to end, which repeat: each names a block and zeros, or any blocks, or what does not exist.
    fn body(&self, recipe: &mut Recipe) -> Vec<u8> {
        let mut tuples = Vec::new();
        for _ in 0..=recipe.below(32) {
            let how = recipe.byte();
            let mut tuple = Vec::with_capacity(self.tuple_bytes);
            match how {
                0xff => tuple.extend_from_slice(recipe.take(self.tuple_bytes)),
                0xc0..0xff => {
                    for _ in 0..self.tuple_bytes / 32 {
                        tuple.extend_from_slice(&self.digest(recipe.byte()));
                    }
                }
                _ => tuple.extend_from_slice(&self.digest(how)),
            }
            while tuple.len() < self.tuple_bytes {
                tuple.extend_from_slice(&self.digests[0][..32.min(self.tuple_bytes - tuple.len())]);
            }
            tuples.extend_from_slice(&tuple);
        }
        fill(&tuples, BLOCK)
    }

    fn digest(&self, pick: u8) -> [u8; 32] {
        let pick = usize::from(pick) % (self.digests.len() + 1);
        self.digests.get(pick).copied().unwrap_or([0xee; 32])
    }

    /// The XOR of earlier blocks: with it in a tuple, a source is zero again.
    fn xor(&self, recipe: &mut Recipe) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        for _ in 0..2 {
            for (into, from) in block.iter_mut().zip(&self.blocks[recipe.below(self.blocks.len())]) {
                *into ^= from;
            }
        }
        block
    }
}

/// A pattern, repeated.
fn fill(pattern: &[u8], length: usize) -> Vec<u8> {
    let mut filled = pattern.repeat(length.div_ceil(pattern.len()));
    filled.truncate(length);
    filled
}
