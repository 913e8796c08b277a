//! Pack files that a stranger made: a store opens or refuses them, and what it lists it can read.
//!
//! The input is the bytes of a pack, or a recipe for one or two packs with records that are whole, damaged,
//! hidden, or named wrongly in a sealed table.
#![no_main]

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use cas::{Algorithm, BlockStore, Error, MemoryIndex, Options, PackStore, RecordHeader, Score, TableEntry, Trailer};
use libfuzzer_sys::fuzz_target;
use offs_fuzz::Recipe;

fuzz_target!(|input: &[u8]| {
    let mut recipe = Recipe::new(input);
    let directory = Directory::new();
    let mut made = Made::default();
    let how = recipe.byte();
    if how & 1 == 0 {
        directory.write(1, recipe.rest());
    } else {
        let numbers = [1, if how & 2 != 0 { u32::MAX } else { 2 }];
        // A store may leave a pack alone whose number has none after it.
        made.may_hide = numbers[1] == u32::MAX;
        for number in &numbers[..1 + usize::from(how >> 2 & 1)] {
            directory.write(*number, &made.pack(&mut recipe, *number));
        }
    }

    let index = Arc::new(MemoryIndex::default());
    let store = directory.open(&index);
    let listed = scores(&store);
    for score in &made.whole {
        // A stranger's table can say anything; without one, what is whole is found.
        if !made.has_table && !made.may_hide {
            assert!(read(&store, score).is_some(), "{score} is whole in a pack and was not found");
        }
    }
    for score in &listed {
        // The checksum alone is looked at here, which a stranger can match.
        let _ = read(&store, score);
    }

    // A store with foreign packs still takes blocks and gives them back, now and when it is opened again.
    let fresh = store.put(Algorithm::Sha256, b"a fresh block").expect("put");
    assert_eq!(read(&store, &fresh).as_deref(), Some(&b"a fresh block"[..]));
    store.sync().expect("sync");
    let before = scores(&store);
    drop(store);
    let store = directory.open(&index);
    assert_eq!(scores(&store), before, "another opening, other blocks");

    // A scrub looks at the hashes. Whatever it leaves is right.
    store.scrub(true, &mut |_| {}, &mut |_| {}).expect("scrub");
    for score in scores(&store) {
        let block = read(&store, &score).unwrap_or_else(|| panic!("{score} is damaged right after a scrub"));
        assert!(score.matches(&block), "{score} names other bytes after a scrub");
    }
    assert_eq!(read(&store, &fresh).as_deref(), Some(&b"a fresh block"[..]));
    let before = scores(&store);
    drop(store);

    // And from the packs alone, without the index.
    let store = directory.open(&Arc::default());
    assert_eq!(read(&store, &fresh).as_deref(), Some(&b"a fresh block"[..]));
    for score in before {
        assert!(read(&store, &score).is_some_and(|block| score.matches(&block)), "{score} was lost with the index");
    }
});

fn scores(store: &PackStore) -> Vec<Score> {
    let mut scores = Vec::new();
    let visited = store.scores(&mut |score| {
        scores.push(score);
        ControlFlow::Continue(())
    });
    visited.expect("scores");
    assert!(scores.is_sorted_by(|a, b| a < b));
    scores
}

/// A block that is here or was: anything but its bytes or its damage is a finding.
fn read(store: &PackStore, score: &Score) -> Option<Vec<u8>> {
    match store.get(score) {
        Ok(Some(block)) => {
            assert!((1..=cas::MAX_BLOCK).contains(&block.len()), "a block of {} bytes", block.len());
            Some(block)
        }
        Ok(None) | Err(Error::Damaged { .. }) => None,
        Err(error) => panic!("{score}: {error:?}"),
    }
}

/// A store's directory, in memory where the system has a place for that; removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("offs-fuzz-pack-{}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("packs")).expect("a directory for the packs");
        Self(path)
    }

    fn write(&self, number: u32, pack: &[u8]) {
        fs::write(self.0.join(format!("packs/{number:08x}.pack")), pack).expect("write a pack");
    }

    fn open(&self, index: &Arc<MemoryIndex>) -> PackStore {
        let index = Arc::clone(index);
        let options = Options { pack_size: 1 << 20, reserve: 0, ..Options::default() };
        PackStore::with_index(&self.0, options, |_| Ok(Box::new(Arc::clone(&index)))).expect("open")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What stands in the packs that were made.
#[derive(Default)]
struct Made {
    /// Blocks of records that are whole.
    whole: Vec<Score>,
    has_table: bool,
    /// Whether bytes that are no record may look like one, or a pack may not count as one of blocks.
    may_hide: bool,
}

impl Made {
    fn pack(&mut self, recipe: &mut Recipe, number: u32) -> Vec<u8> {
        let how = recipe.byte();
        let mut pack = vec![0; 64];
        pack[..8].copy_from_slice(b"OFFPACK1");
        pack[8..12].copy_from_slice(&number.to_be_bytes());
        pack[12] = how & 1;
        let checksum = crc32fast::hash(&pack[..60]);
        pack[60..].copy_from_slice(&checksum.to_be_bytes());
        self.may_hide |= how & 1 != 0;
        if how & 2 != 0 {
            flip(&mut pack, recipe);
        }
        let mut entries = Vec::new();
        for _ in 0..recipe.below(24) {
            self.record(recipe, &mut pack, &mut entries);
        }
        if how & 4 != 0 {
            self.has_table = true;
            seal(recipe, number, &mut pack, entries);
        } else if how & 8 != 0 {
            // The torn end of a write.
            let length = usize::from(recipe.byte());
            let torn = recipe.take(length);
            self.may_hide |= contains_record(torn);
            pack.extend_from_slice(torn);
        }
        pack
    }

    fn record(&mut self, recipe: &mut Recipe, pack: &mut Vec<u8>, entries: &mut Vec<TableEntry>) {
        let how = recipe.byte();
        let algorithm = if how & 1 != 0 { Algorithm::Blake3 } else { Algorithm::Sha256 };
        let block = match how >> 1 & 3 {
            0 => vec![recipe.byte(); 1 + usize::from(recipe.byte())],
            1 => vec![recipe.byte(); cas::MAX_BLOCK - usize::from(recipe.byte() & 1)],
            _ => {
                let length = 1 + usize::from(recipe.byte());
                let mut block = recipe.take(length).to_vec();
                block.resize(length, 0);
                block
            }
        };
        self.may_hide |= contains_record(&block);
        let mut score = Score::of(algorithm, &block);
        let mut length = u32::try_from(block.len()).expect("a block");
        let mut checksum = crc32fast::hash(&block);
        let mut whole = true;
        let damage = how >> 3;
        let header = {
            match damage {
                1 => score = Score::of(algorithm, b"another block"),
                2 => length = recipe.word() % (cas::MAX_BLOCK as u32 + 2),
                3 => checksum = recipe.word(),
                _ => {}
            }
            RecordHeader { score, length, checksum }
        };
        entries.push(TableEntry { offset: pack.len() as u64, length, checksum, score });
        let mut header = header.to_bytes().to_vec();
        if (1..=3).contains(&damage) {
            whole = false;
            // A length that is not the block's may hide what follows; and so may another header.
            self.may_hide |= damage == 2;
        }
        if damage == 4 {
            flip(&mut header, recipe);
            whole = false;
        }
        pack.extend_from_slice(&header);
        let at = pack.len();
        pack.extend_from_slice(&block);
        match damage {
            5 => {
                flip(&mut pack[at..], recipe);
                whole = false;
            }
            6 => pack.extend_from_slice(&[0; 9]),
            _ => {}
        }
        if whole {
            self.whole.push(score);
        }
    }
}

/// Appends table and trailer, right but for what the recipe says.
fn seal(recipe: &mut Recipe, number: u32, pack: &mut Vec<u8>, mut entries: Vec<TableEntry>) {
    for _ in 0..recipe.below(4) {
        if entries.is_empty() {
            break;
        }
        let at = recipe.below(entries.len());
        let entry = &mut entries[at];
        match recipe.byte() % 6 {
            0 => entry.offset = recipe.long(),
            1 => entry.offset = u64::from(recipe.short()),
            2 => entry.length = recipe.word(),
            3 => entry.checksum = recipe.word(),
            4 => entry.score = Score::of(Algorithm::Sha256, recipe.take(1)),
            _ => {
                entries.remove(at);
            }
        }
    }
    let mut table = Vec::new();
    for entry in &entries {
        table.extend_from_slice(&entry.offset.to_be_bytes());
        table.extend_from_slice(&entry.length.to_be_bytes());
        table.extend_from_slice(&entry.checksum.to_be_bytes());
        table.extend_from_slice(&entry.score.to_binary());
    }
    let mut trailer = Trailer {
        number,
        records: u32::try_from(entries.len()).expect("a few"),
        offset: pack.len() as u64,
        digest: *Score::of(Algorithm::Sha256, &table).digest(),
    };
    match recipe.byte() {
        1 => trailer.records = recipe.word(),
        2 => trailer.offset = recipe.long(),
        3 => trailer.number = recipe.word(),
        4 => flip(&mut table, recipe),
        _ => {}
    }
    pack.extend_from_slice(&table);
    pack.extend_from_slice(&trailer.to_bytes());
}

/// Changes one byte.
fn flip(bytes: &mut [u8], recipe: &mut Recipe) {
    let at = usize::from(recipe.short());
    let change = recipe.byte().max(1);
    if !bytes.is_empty() {
        let at = at % bytes.len();
        bytes[at] ^= change;
    }
}

fn contains_record(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|bytes| bytes == b"OREC")
}
