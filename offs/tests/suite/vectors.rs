//! Golden vectors, which the Python twin wrote from docs/format.md.

use std::ops::ControlFlow;

use cas::{Algorithm, BlockStore, MemoryStore, Result, Sampler, Score};
use offs::{Code, FileReader, OffUrl, Parameters, PutOptions, put};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::dice::{VectorDice, expand};

fn vectors() -> Vec<Value> {
    let text = include_str!("../../../fixtures/vectors/files.json");
    serde_json::from_str(text).expect("JSON")
}

fn number(vector: &Value, field: &str) -> u64 {
    vector[field].as_u64().expect("a number")
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().expect("a text")
}

fn options(vector: &Value) -> PutOptions {
    let small = |field| u8::try_from(number(vector, field)).expect("small");
    let code = match text(vector, "code") {
        "none" => Code::None,
        "novelpoly" => Code::Novelpoly,
        "leopard" => Code::Leopard,
        other => panic!("{other}"),
    };
    PutOptions {
        parameters: Parameters {
            algorithm: text(vector, "hash").parse().expect("algorithm"),
            tuple: small("tuple"),
            code,
            data: small("k"),
            parity: small("m"),
        },
        sealed: vector["sealed"].as_bool().expect("bool"),
        workers: 1,
        ..PutOptions::default()
    }
}

/// Stores a vector's content; returns its URL.
fn store(vector: &Value, store: &MemoryStore) -> OffUrl {
    let seed = number(vector, "seed");
    let length = usize::try_from(number(vector, "length")).expect("small");
    let content = expand("content", seed, length);
    let options = options(vector);
    let stored = put(store, &mut &content[..], &options, Box::new(VectorDice::new(seed)), &|_| {}).expect("put");
    OffUrl {
        content_type: text(vector, "type").parse().expect("type"),
        length: stored.length,
        reference: stored.reference,
        name: Some(text(vector, "file_name").to_owned()),
        path: Vec::new(),
    }
}

/// The `o` blocks of a file, levels in order, positions in order.
fn own(file: &FileReader<'_>) -> Vec<Score> {
    let (layout, parameters) = (file.layout(), file.root().parameters);
    let mut own = Vec::new();
    for level in (0_u8..).take(layout.levels().len()) {
        for number in 0..layout.stripes(level) {
            let tuples = file.tuples(&layout.stripe(level, number)).expect("tuples");
            let digests = tuples
                .chunks_exact(32 * usize::from(parameters.tuple))
                .map(|tuple| *tuple.first_chunk().expect("a digest"));
            own.extend(digests.map(|digest| Score::from_digest(parameters.algorithm, digest)));
        }
    }
    own
}

#[test]
fn we_write_what_the_twin_writes() {
    for vector in vectors() {
        let name = text(&vector, "name");
        let memory = MemoryStore::new();
        let url = store(&vector, &memory);
        let file = FileReader::open(&memory, &url.reference).expect("open");
        let own = own(&file);
        assert_eq!(url.to_string(), text(&vector, "url"), "{name}");
        assert_eq!(url.reference.root.to_string(), text(&vector, "root"), "{name}");
        assert_eq!(own.len() as u64, number(&vector, "blocks_count"), "{name}");
        let all: Vec<u8> = own.iter().flat_map(|score| score.to_binary()).collect();
        assert_eq!(hex::encode(Sha256::digest(&all)), text(&vector, "blocks_sha256"), "{name}");
        if let Some(listed) = vector["blocks"].as_array() {
            let listed: Vec<Score> =
                listed.iter().map(|score| score.as_str().expect("text").parse().expect("score")).collect();
            assert_eq!(own, listed, "{name}");
        }
        assert_eq!(hex::encode(file.root().content_hash), text(&vector, "content_blake3"), "{name}");
        let mut read = blake3::Hasher::new();
        file.copy(&mut read, &|_| {}).expect("read");
    }
}

/// A store that breaks its contract: one byte of one block is wrong.
struct LyingStore {
    store: MemoryStore,
    score: Score,
    offset: usize,
}

impl BlockStore for LyingStore {
    fn put(&self, algorithm: Algorithm, block: &[u8]) -> Result<Score> {
        self.store.put(algorithm, block)
    }
    fn get_into(&self, score: &Score, buffer: &mut Vec<u8>) -> Result<bool> {
        let found = self.store.get_into(score, buffer)?;
        if found && *score == self.score {
            buffer[self.offset] ^= 1;
        }
        Ok(found)
    }
    fn contains(&self, score: &Score) -> Result<bool> {
        self.store.contains(score)
    }
    fn remove(&self, score: &Score) -> Result<bool> {
        self.store.remove(score)
    }
    fn scores(&self, visit: &mut dyn FnMut(Score) -> ControlFlow<()>) -> Result<()> {
        self.store.scores(visit)
    }
    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
    fn sampler(&self, algorithm: Algorithm, seed: u64) -> Box<dyn Sampler + '_> {
        self.store.sampler(algorithm, seed)
    }
}

#[test]
fn a_flipped_byte_is_refused_even_if_the_store_lies() {
    let mut refused = 0;
    for vector in vectors().iter().filter(|vector| number(vector, "length") < 3_000_000) {
        let memory = MemoryStore::new();
        let url = store(vector, &memory);
        let own = own(&FileReader::open(&memory, &url.reference).expect("open"));
        for corrupt in vector["corrupt"].as_array().expect("corrupt") {
            let score = match corrupt["block"].as_u64() {
                Some(at) => own[usize::try_from(at).expect("small")],
                None => url.reference.root,
            };
            let offset = usize::try_from(number(corrupt, "offset")).expect("small");
            let copy = MemoryStore::new();
            memory
                .scores(&mut |score| {
                    let block = memory.get(&score).expect("get").expect("here");
                    copy.put(score.algorithm(), &block).expect("put");
                    ControlFlow::Continue(())
                })
                .expect("scores");
            let lying = LyingStore { store: copy, score, offset };
            let mut read = Vec::new();
            let opened = FileReader::open(&lying, &url.reference).and_then(|file| file.copy(&mut read, &|_| {}));
            // Padding is nobody's content, and parity is not looked at when all data is here.
            let content = expand("content", number(vector, "seed"), usize::try_from(url.length).expect("small"));
            assert!(opened.is_err() || read == content, "{} {corrupt}", text(vector, "name"));
            refused += usize::from(opened.is_err());
        }
    }
    assert!(refused > 60, "{refused}");
}
