//! Whether the store's size matters: choosing randomizers, put and read at 10^4 and at 10^7 blocks.
//!
//! The blocks are synthetic. A pack of them is a sparse file: headers and zeros are holes, and only the table
//! and the trailer are written; the index has a real entry for each block, with the checksum of a block of
//! zeros, so that a read of one takes the way of any other read.
//!
//! `cargo bench --bench scale`, with `SCALE_BLOCKS` for another number than 10^7.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use cas::{Algorithm, BlockStore as _, MAX_BLOCK, Options, PackStore, RECORD_HEADER, Score, TableEntry, Trailer};
use offs::{Parameters, PutOptions, SystemDice};
use sha2::{Digest as _, Sha256};

/// Records of a pack of 256 MiB.
const RECORDS: u32 = 2046;

/// Bytes that are put in each round.
const PUT: usize = 64 << 20;

fn main() {
    if let Some((directory, blocks)) = std::env::var_os("SCALE_FILL").zip(std::env::var("SCALE_BLOCKS").ok()) {
        return fill(Path::new(&directory), blocks.parse().expect("a number"));
    }
    let most: u64 = std::env::var("SCALE_BLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000_000);
    let base = std::env::var_os("SCALE_DIR").map_or_else(std::env::temp_dir, Into::into);
    let work = tempfile::tempdir_in(base).expect("a directory to work in");
    let small = Measured::of(&work.path().join("small"), 10_000);
    let large = Measured::of(&work.path().join("large"), most);
    println!("{:34} {:>12} {:>12} {:>7}", "", "10000 blocks", format!("{most} blocks"), "ratio");
    // First what somebody waits for, then parts of it alone.
    let rows = [
        ("choose a randomizer", small.choose, large.choose),
        ("look up a block and read it", small.read, large.read),
        ("put 64 MiB, no parity", small.put, large.put),
        ("open the store", small.open, large.open),
        ("  draw a randomizer, not read", small.draw, large.draw),
        ("  look up a present block", small.present, large.present),
        ("  look up an absent block", small.absent, large.absent),
    ];
    for (name, small, large) in rows {
        println!("{name:34} {small:>12.2?} {large:>12.2?} {:>7.2}", large.as_secs_f64() / small.as_secs_f64());
    }
    println!("{:34} {:>9} MiB {:>9} MiB", "resident size after the round", small.resident, large.resident);
}

struct Measured {
    open: Duration,
    draw: Duration,
    /// To draw a randomizer and to read it.
    choose: Duration,
    read: Duration,
    present: Duration,
    absent: Duration,
    put: Duration,
    resident: u64,
}

impl Measured {
    fn of(directory: &Path, blocks: u64) -> Self {
        let started = Instant::now();
        // In a process of its own, so that its memory is not counted.
        let mut filling = Command::new(std::env::current_exe().expect("this program"));
        filling.env("SCALE_FILL", directory).env("SCALE_BLOCKS", blocks.to_string());
        assert!(filling.status().expect("start").success(), "the packs cannot be made");
        println!("made {blocks} synthetic blocks in {:.1?}", started.elapsed());
        let started = Instant::now();
        let store = PackStore::open(directory, Options::default()).expect("open");
        let open = started.elapsed();
        let drawn = draw(&store, 4000);
        let draw = best(3, || drop(draw(&store, 4000))) / 4000;
        let choose = (0..3).map(|_| {
            forget_cached(&directory.join("packs"));
            best(1, || {
                let mut block = Vec::new();
                for drawn in self::draw(&store, 4000) {
                    assert!(store.get_drawn(&drawn, &mut block).expect("get"), "a drawn block is there");
                }
            })
        });
        let choose = choose.min().unwrap_or_default() / 4000;
        let read = best(3, || {
            let mut block = Vec::new();
            for drawn in &drawn {
                assert!(store.get_into(&drawn.score, &mut block).expect("get"), "a drawn block is there");
            }
        }) / 4000;
        let present = best(3, || {
            for drawn in &drawn {
                assert!(store.contains(&drawn.score).expect("contains"));
            }
        }) / 4000;
        let absent = best(3, || {
            for n in 0..100_000_u32 {
                assert!(!store.contains(&Score::of(Algorithm::Sha256, &n.to_le_bytes())).expect("contains"));
            }
        }) / 100_000;
        let mut content = vec![0; PUT];
        offs::Dice::randomizer(&mut SystemDice::new(), &mut content);
        let options = PutOptions { parameters: Parameters::default().without_parity(), ..PutOptions::default() };
        let put = (0..5)
            .map(|_| {
                // A small store lies in the page cache and a large one does not, which is about memory and not
                // about size: so neither may.
                forget_cached(&directory.join("packs"));
                best(1, || {
                    offs::put(&store, &mut &content[..], &options, Box::new(SystemDice::new()), &|_| {}).expect("put");
                    store.sync().expect("sync");
                })
            })
            .min()
            .unwrap_or_default();
        Self { open, draw, choose, read, present, absent, put, resident: resident() }
    }
}

/// Drops what the kernel has cached of the packs.
fn forget_cached(packs: &Path) {
    for entry in fs::read_dir(packs).expect("read") {
        let file = File::open(entry.expect("entry").path()).expect("open");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
    }
}

fn best(rounds: usize, mut run: impl FnMut()) -> Duration {
    let round = |_| {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    (0..rounds).map(round).min().unwrap_or_default()
}

fn draw(store: &PackStore, count: usize) -> Vec<cas::Drawn> {
    let mut sampler = store.sampler(Algorithm::Sha256, rand::random());
    (0..count).map(|_| sampler.next().expect("next").expect("enough blocks")).collect()
}

/// Writes sealed packs whose blocks are holes; opening the store puts them into its index.
fn fill(directory: &Path, blocks: u64) {
    let packs = directory.join("packs");
    fs::create_dir_all(&packs).expect("create");
    let checksum = crc32fast::hash(&vec![0; MAX_BLOCK]);
    let record = (RECORD_HEADER + MAX_BLOCK) as u64;
    let mut left = blocks;
    let mut number = 0_u32;
    while left > 0 {
        number += 1;
        let here = left.min(u64::from(RECORDS));
        left -= here;
        let mut table = Vec::with_capacity(RECORDS as usize * TableEntry::SIZE);
        for at in 0..here {
            let digest = Sha256::digest([u64::from(number).to_be_bytes(), at.to_be_bytes()].concat());
            let score = Score::from_digest(Algorithm::Sha256, digest.into());
            table.extend_from_slice(&(RECORD_HEADER as u64 + at * record).to_be_bytes());
            table.extend_from_slice(&u32::try_from(MAX_BLOCK).expect("small").to_be_bytes());
            table.extend_from_slice(&checksum.to_be_bytes());
            table.extend_from_slice(&score.to_binary());
        }
        let offset = RECORD_HEADER as u64 + here * record;
        let records = u32::try_from(here).expect("small");
        let trailer = Trailer { number, records, offset, digest: Sha256::digest(&table).into() };
        let file = File::create(packs.join(format!("{number:08x}.pack"))).expect("create");
        file.write_all_at(&table, offset).expect("write");
        file.write_all_at(&trailer.to_bytes(), offset + table.len() as u64).expect("write");
    }
    // Opening reads the tables into the index; the measured opening comes after that.
    drop(PackStore::open(directory, Options::default()).expect("open"));
}

/// Resident size of this process in MiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
