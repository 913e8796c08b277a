//! Rules of the house, as tests. Each says why when it fails.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of the checkout with one of these endings.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![top().to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("read") {
            let path = entry.expect("entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with(".git") && !["target", "__pycache__", "corpus", "artifacts"].contains(&name) {
                    todo.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no {endings:?} found: this test looks in the wrong place");
    found
}

#[test]
fn dependencies_point_one_way() {
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(top().join("Cargo.toml")).no_deps().exec();
    let metadata = metadata.expect("cargo metadata");
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("cas", &[][..]),
        ("krpc", &[]),
        ("offs", &["cas"]),
        ("gateway", &["cas", "offs"]),
        ("offsystem", &["cas", "gateway", "krpc", "offs", "replication"]),
        ("replication", &["cas", "krpc"]),
        ("sim", &["cas", "krpc", "replication"]),
    ]);
    for package in metadata.packages {
        let name = package.name.to_string();
        let allowed =
            allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no place in ARCHITECTURE.md yet"));
        for dependency in package.dependencies {
            let ours = ["cas", "gateway", "krpc", "offs", "offsystem", "replication", "sim"]
                .contains(&dependency.name.as_str());
            assert!(
                !ours || allowed.contains(&dependency.name.as_str()),
                "{name} must not depend on {}: the store knows no tuples, and nothing below knows the program",
                dependency.name
            );
            let forbidden: &[&str] = match name.as_str() {
                "cas" => &["tokio", "hyper", "offs", "clap"],
                "krpc" => &["tokio", "hyper", "rand", "clap", "rustix"],
                "replication" => &["tokio", "hyper", "rand", "rocksdb", "clap", "rustix"],
                "gateway" => &["rocksdb", "clap"],
                "offs" => &["tokio", "hyper", "rocksdb", "clap", "rustix"],
                _ => &[],
            };
            assert!(
                !forbidden.contains(&dependency.name.as_str()),
                "{name} must not see {}: its decisions are to be tested without a disk, a socket or a runtime",
                dependency.name
            );
        }
    }
}

#[test]
fn rocksdb_is_behind_one_feature_of_cas() {
    let manifest = fs::read_to_string(top().join("offs/Cargo.toml")).expect("read");
    assert!(!manifest.contains("rocksdb"), "the tests of `offs` must build without RocksDB's C++");
    let manifest = fs::read_to_string(top().join("cas/Cargo.toml")).expect("read");
    assert!(manifest.contains("default = []"), "the tests of `cas` must build without RocksDB's C++");
}

#[test]
fn names_say_what_a_thing_is() {
    const DRAWERS: [&str; 9] = ["util", "utils", "helper", "helpers", "common", "misc", "shared", "manager", "types"];
    for path in files(&[".rs", ".py", ".sh"]) {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let drawer = stem.split(['_', '-']).any(|word| DRAWERS.contains(&word));
        assert!(!drawer, "{} is a drawer: say what is in it", path.display());
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for path in files(&[".md"]) {
        let text = fs::read_to_string(&path).expect("read");
        let directory = path.parent().expect("a parent");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(directory.join(target).exists(), "{}: {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn every_source_file_is_in_the_map() {
    let map = fs::read_to_string(top().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for directory in [
        "cas/src",
        "krpc/src",
        "offs/src",
        "gateway/src",
        "replication/src",
        "sim/src",
        "src",
        "src/command",
        "src/command/dht",
        "src/control",
        "src/daemon",
        "src/dht",
        "src/peers",
    ] {
        for entry in fs::read_dir(top().join(directory)).expect("read") {
            let name = entry.expect("entry").file_name().into_string().expect("text");
            let stem = name.trim_end_matches(".rs");
            let known = ["lib", "main", "mod"].contains(&stem) || map.contains(stem);
            assert!(known, "{directory}/{name} is not in ARCHITECTURE.md: a newcomer would not find it");
        }
    }
}

#[test]
fn every_test_file_runs() {
    for suite in ["tests/suite", "offs/tests/suite"] {
        let main = fs::read_to_string(top().join(suite).join("main.rs")).expect("read");
        for entry in fs::read_dir(top().join(suite)).expect("read") {
            let name = entry.expect("entry").file_name().into_string().expect("text");
            let stem = name.trim_end_matches(".rs");
            assert!(stem == "main" || main.contains(&format!("mod {stem};")), "{suite}/{name} is never run");
        }
    }
}
