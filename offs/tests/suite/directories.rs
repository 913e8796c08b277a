//! Directory objects of the golden vectors, read as a stored directory is.

use cas::MemoryStore;
use offs::{
    DirectoryReader, DirectoryWriter, Entry, Error, FileReader, Head, Kind, Node, PutOptions, Result, SystemDice, put,
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../fixtures/vectors/directories.json")).expect("JSON")
}

fn object(vector: &Value) -> Vec<u8> {
    let mut object = hex::decode(vector["object"].as_str().expect("hex")).expect("hex");
    if let Some(insert) = vector["insert"].as_object() {
        let number = |field: &str| usize::try_from(insert[field].as_u64().expect("number")).expect("small");
        let at = number("offset");
        let byte = hex::decode(insert["byte"].as_str().expect("hex")).expect("hex")[0];
        object.splice(at..at, std::iter::repeat_n(byte, number("count")));
    }
    object
}

fn read(object: &[u8]) -> Result<(Head, Vec<Entry>)> {
    let store = MemoryStore::new();
    let options = PutOptions { kind: Kind::Directory, workers: 1, ..PutOptions::default() };
    let stored = put(&store, &mut &object[..], &options, Box::new(SystemDice::new()), &|_| {})?;
    let file = FileReader::open_kind(&store, &stored.reference, Kind::Directory)?;
    let mut head = None;
    let mut entries = Vec::new();
    DirectoryReader::entries::<Error>(
        &file,
        &mut |is| {
            head = Some(is);
            Ok(())
        },
        &mut |entry| {
            entries.push(entry);
            Ok(())
        },
    )?;
    Ok((head.expect("a head"), entries))
}

#[test]
fn good_objects_are_read_and_written_alike() {
    for vector in vectors()["good"].as_array().expect("list") {
        let name = &vector["name"];
        let object = object(vector);
        let (head, entries) = read(&object).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let mut written = DirectoryWriter::head(&head);
        for entry in &entries {
            DirectoryWriter::entry(entry, &mut written).expect("write");
        }
        assert!(written == object, "{name}: we write it differently");
        let listed = vector["entries"].as_array().expect("list");
        assert_eq!(listed.len(), entries.len(), "{name}");
        for (listed, entry) in listed.iter().zip(&entries) {
            assert_eq!(hex::encode(&entry.path), listed["path"].as_str().expect("hex"), "{name}");
            assert_eq!(Some(u64::from(entry.mode)), listed["mode"].as_u64(), "{name}");
            assert_eq!(Some(entry.mtime), listed["mtime"].as_i64(), "{name}");
            let (kind, size) = match &entry.node {
                Node::Directory => ("d", None),
                Node::File { size, .. } | Node::Packed { size, .. } => ("f", Some(*size)),
                Node::Link { target } => {
                    assert_eq!(hex::encode(target), listed["target"].as_str().expect("hex"), "{name}");
                    ("l", None)
                }
            };
            assert_eq!(kind, listed["kind"].as_str().expect("text"), "{name}");
            assert_eq!(size, listed["size"].as_u64(), "{name}");
        }
    }
}

#[test]
fn hostile_objects_are_refused() {
    for vector in vectors()["bad"].as_array().expect("list") {
        let answer = read(&object(vector));
        assert!(matches!(answer, Err(Error::Directory(_))), "{} ({}): {answer:?}", vector["name"], vector["reason"]);
    }
}

#[test]
fn every_prefix_is_refused() {
    let vectors = vectors();
    for vector in vectors["good"].as_array().expect("list") {
        let object = object(vector);
        let step = (object.len() / 50).max(1);
        for length in (0..object.len()).step_by(step) {
            assert!(read(&object[..length]).is_err(), "{} cut at {length}", vector["name"]);
        }
    }
}
