//! A directory object, stored and read back: every entry that is given out obeys the rules of the format.
#![no_main]

use std::collections::HashMap;

use cas::{Algorithm, MemoryStore};
use libfuzzer_sys::fuzz_target;
use offs::{
    Code, DirectoryReader, DirectoryWriter, Entry, Error, FileReader, Head, Kind, Node, Parameters, PutOptions, put,
};
use offs_fuzz::{LoadedDice, Recipe};

fuzz_target!(|input: &[u8]| {
    let mut recipe = Recipe::new(input);
    // Small sealed objects stand in the root, bare ones in blocks.
    let sealed = recipe.byte() & 1 == 0;
    let object = recipe.rest();
    let store = MemoryStore::new();
    let parameters = Parameters { algorithm: Algorithm::Blake3, tuple: 2, code: Code::None, data: 1, parity: 0 };
    let options = PutOptions { parameters, sealed, kind: Kind::Directory, workers: 1 };
    let stored = put(&store, &mut &object[..], &options, Box::new(LoadedDice::default()), &|_| {}).expect("put");
    let file = FileReader::open_kind(&store, &stored.reference, Kind::Directory).expect("open");

    let seen = std::cell::RefCell::new(Seen::default());
    let read = DirectoryReader::entries::<Error>(
        &file,
        &mut |head| {
            seen.borrow_mut().head(head);
            Ok(())
        },
        &mut |entry| {
            seen.borrow_mut().entry(&entry);
            Ok(())
        },
    );
    let seen = seen.into_inner();
    let references = DirectoryReader::read(&file, &mut |_| {});
    assert_eq!(references.is_ok(), read.is_ok());
    if read.is_ok() {
        let head = seen.head.expect("a head");
        assert_eq!(head.entries, seen.entries);
        // Records are canonical, so writing them again gives the same bytes.
        assert_eq!(seen.written, object, "not the canonical form");
    } else {
        assert!(object.starts_with(&seen.written), "a record was given out that is not canonical");
    }
});

/// What was given out so far.
#[derive(Default)]
struct Seen {
    head: Option<Head>,
    entries: u64,
    written: Vec<u8>,
    last: Vec<Vec<u8>>,
    /// Every path, and whether it is a directory.
    paths: HashMap<Vec<u8>, bool>,
}

impl Seen {
    fn head(&mut self, head: Head) {
        assert!(self.head.is_none() && self.entries == 0, "a second head");
        assert!(head.packed.as_ref().is_none_or(|(_, length)| *length <= 1 << 60));
        self.written = DirectoryWriter::head(&head);
        self.head = Some(head);
    }

    fn entry(&mut self, entry: &Entry) {
        let head = self.head.as_ref().expect("the head comes first");
        assert!(self.entries < head.entries, "more entries than the head says");
        assert!(entry.mode <= 4095 && entry.nsec <= 999_999_999);
        match &entry.node {
            Node::Directory => {}
            Node::File { size, .. } => assert!(*size <= 1 << 60),
            Node::Packed { at, size } => {
                let (_, packed) = head.packed.as_ref().expect("a packed file");
                assert!(*size <= 1 << 60 && u128::from(*at) + u128::from(*size) <= u128::from(*packed));
            }
            Node::Link { target } => assert!((1..=4095).contains(&target.len()) && !target.contains(&0)),
        }
        if self.entries == 0 {
            assert!(entry.path.is_empty() && entry.node == Node::Directory, "the first is not the directory itself");
        } else {
            self.path(&entry.path);
        }
        self.paths.insert(entry.path.clone(), entry.node == Node::Directory);
        self.entries += 1;
        DirectoryWriter::entry(entry, &mut self.written).expect("a vector takes all");
    }

    fn path(&mut self, path: &[u8]) {
        assert!((1..=4096).contains(&path.len()) && !path.contains(&0));
        let components: Vec<Vec<u8>> = path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        for component in &components {
            assert!((1..=255).contains(&component.len()) && component != b"." && component != b"..");
        }
        assert!(self.last < components, "not ascending");
        let parent = components[..components.len() - 1].join(&b'/');
        assert_eq!(self.paths.get(&parent), Some(&true), "the parent is no directory");
        self.last = components;
    }
}
