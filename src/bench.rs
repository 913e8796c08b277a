//! `offs bench`: what this machine can do, and how near we come.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cas::{Algorithm, BlockStore as _, Options, PackStore, Score, StreamFile};
use offs::{BLOCK, Code, Dice as _, FileReader, Parameters, PutOptions, SystemDice};
use serde_json::{Map, Value, json};

use crate::{
    arguments::{Arguments, Bench},
    failure::Failure,
    home, output,
    peers::speed::{self, Speed},
};

/// One measurement.
struct Row {
    name: &'static str,
    bytes: u64,
    took: Duration,
    /// What a put or get cannot but write, in quarters of `bytes`.
    quarters: Option<u32>,
}

impl Row {
    /// The row of something that writes.
    fn writing(self, quarters: u32) -> Self {
        Self { quarters: Some(quarters), ..self }
    }

    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let bytes = self.bytes as f64;
        bytes / self.took.as_secs_f64() / 1e6
    }
}

pub(crate) fn run(arguments: &Arguments, bench: &Bench) -> Result<(), Failure> {
    let size = bench.size.0.max(16 << 20).next_multiple_of(1 << 20);
    let home = home::locate(arguments)?;
    fs::create_dir_all(&home).map_err(|source| Failure::io("create", &home, source))?;
    let work = tempfile::Builder::new().prefix("bench-").tempdir_in(&home);
    let work = work.map_err(|source| Failure::io("write", &home, source))?;
    let mut rows = measure(work.path(), size)?;
    rows.extend(link(work.path(), size)?);
    let of = |name: &str| rows.iter().find(|row| row.name == name);
    let limit =
        ["disk write and sync", "sha256, all cores"].iter().filter_map(|name| of(name)).map(|row| row.took).max();
    if bench.json {
        let rates: Map<String, Value> = rows
            .iter()
            .map(|row| (row.name.to_owned(), json!({"seconds": row.took.as_secs_f64(), "MB/s": row.rate()})))
            .collect();
        return output::json(&json!({"bytes": size, "measurements": rates}));
    }
    for row in &rows {
        let ratio = limit.zip(row.quarters).map_or_else(String::new, |(limit, quarters)| {
            let least = limit.as_secs_f64() * f64::from(quarters) / 4.0;
            format!("  {:.2} times the slower of disk and hash for as many bytes", row.took.as_secs_f64() / least)
        });
        output::line(format!("{:28} {:8.3} s {:8.0} MB/s{ratio}", row.name, row.took.as_secs_f64(), row.rate()))?;
    }
    Ok(())
}

fn timed<T>(name: &'static str, bytes: u64, run: impl FnOnce() -> Result<T, Failure>) -> Result<(Row, T), Failure> {
    let started = Instant::now();
    let result = run()?;
    Ok((Row { name, bytes, took: started.elapsed(), quarters: None }, result))
}

fn measure(work: &Path, size: u64) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    let source_path = work.join("source");
    let written = write_random(&source_path, size)?;
    let _ = fs::remove_file(work.join("again"));
    rows.push(timed("disk write and sync", size, || write_again(&written, &work.join("again"), size))?.0);
    rows.extend(pure(size)?);
    let open = |name: &str| PackStore::open(&work.join(name), Options::default());
    let store = open("store")?;
    let none = PutOptions { parameters: Parameters::default().without_parity(), ..PutOptions::default() };
    let with = PutOptions::default();
    let put = |options: &PutOptions| -> Result<_, Failure> {
        let mut source = File::open(&source_path).map_err(|error| Failure::io("read", &source_path, error))?;
        let stored = offs::put(&store, &mut source, options, Box::new(SystemDice::new()), &|_| {})?;
        store.sync()?;
        Ok(stored)
    };
    rows.push(timed("put, empty store, no parity", size, || put(&none))?.0.writing(8));
    // Randomizers enough for all that follows.
    put(&none)?;
    put(&none)?;
    let (row, stored) = timed("put, warm, no parity", size, || put(&none))?;
    rows.push(row.writing(4));
    let (row, parity) = timed("put, warm, parity 16+4", size, || put(&with))?;
    rows.push(row.writing(5));
    for (name, stored) in [("get, no parity", stored), ("get, parity 16+4", parity)] {
        let get = || -> Result<(), Failure> {
            let path = work.join("got");
            let file = File::create(&path).map_err(|error| Failure::io("create", &path, error))?;
            let again = file.try_clone().map_err(|error| Failure::io("create", &path, error))?;
            let mut out = StreamFile::new(again, size);
            FileReader::open(&store, &stored.reference)?.copy(&mut out, &|_| {})?;
            out.finish().and_then(|()| file.sync_data()).map_err(|error| Failure::io("sync", &path, error))
        };
        rows.push(timed(name, size, get)?.0.writing(4));
    }
    Ok(rows)
}

/// A bare link and two peers, with the blocks that are in the store by now.
fn link(work: &Path, size: u64) -> Result<[Row; 2], Failure> {
    let store = PackStore::open(&work.join("store"), Options::default())?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().map_err(Failure::Socket)?;
    let Speed { bytes, bare, fetched } =
        runtime.block_on(speed::measure(Arc::new(store), size / BLOCK as u64, work))?;
    Ok([
        Row { name: "bare link (HTTP/2, TLS)", bytes, took: bare, quarters: None },
        Row { name: "peer to peer, synced", bytes, took: fetched, quarters: None },
    ])
}

fn write_random(path: &Path, size: u64) -> Result<File, Failure> {
    let write = || -> std::io::Result<File> {
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let mut dice = SystemDice::new();
        let mut chunk = vec![0; 1 << 20];
        for _ in 0..size >> 20 {
            dice.randomizer(&mut chunk);
            file.write_all(&chunk)?;
        }
        file.sync_data()?;
        Ok(file)
    };
    write().map_err(|source| Failure::io("write", path, source))
}

/// The least that storing costs: writing as many bytes, and one sync.
fn write_again(mut from: &File, path: &Path, size: u64) -> Result<(), Failure> {
    let mut write = || -> std::io::Result<()> {
        let mut chunk = vec![0; 1 << 20];
        from.rewind()?;
        let mut to = File::create(path)?;
        for _ in 0..size >> 20 {
            from.read_exact(&mut chunk)?;
            to.write_all(&chunk)?;
        }
        to.sync_data()
    };
    write().map_err(|source| Failure::io("write", path, source))
}

/// Hashes, XOR, cipher and codes, without a disk.
fn pure(size: u64) -> Result<Vec<Row>, Failure> {
    let mut block = vec![0; BLOCK];
    SystemDice::new().randomizer(&mut block);
    let blocks = size / BLOCK as u64;
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
    let mut rows = Vec::new();
    for (name, algorithm) in [("sha256, all cores", Algorithm::Sha256), ("blake3, all cores", Algorithm::Blake3)] {
        let hash_all = || {
            std::thread::scope(|scope| {
                for _ in 0..cores {
                    scope.spawn(|| {
                        for _ in 0..blocks / cores {
                            std::hint::black_box(Score::of(algorithm, std::hint::black_box(&block)));
                        }
                    });
                }
            });
            Ok(())
        };
        rows.push(timed(name, size, hash_all)?.0);
    }
    let other = block.clone();
    let xor = || {
        for _ in 0..blocks {
            block.iter_mut().zip(&other).for_each(|(a, b)| *a ^= b);
            std::hint::black_box(&mut block);
        }
        Ok(())
    };
    rows.push(timed("XOR, one core", size, xor)?.0);
    let mut dice = SystemDice::new();
    let cipher = || {
        (0..blocks).for_each(|_| dice.randomizer(&mut block));
        Ok(())
    };
    rows.push(timed("AES-256-CTR, one core", size, cipher)?.0);
    for (name, code, share) in
        [("leopard 16+4, one core", Code::Leopard, 1), ("novelpoly 16+4, one core", Code::Novelpoly, 16)]
    {
        let Some(mut coder) = code.coder() else { continue };
        let data = block.repeat(16);
        let mut parity = vec![0; 4 * BLOCK];
        let stripes = (blocks / 16 / share).max(1);
        let encode = || {
            for _ in 0..stripes {
                coder.encode(&data, &mut parity).map_err(offs::Error::from)?;
            }
            Ok(())
        };
        rows.push(timed(name, stripes * 16 * BLOCK as u64, encode)?.0);
    }
    Ok(rows)
}
