//! The damage matrix: what is broken x where x the next command. Never wrong bytes, never a panic.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::world::{World, bytes, copy, sorted};

const SEEDS: [(u64, usize); 3] = [(1, 2_500_000), (2, 700), (3, 400_000)];

/// A store with sealed packs and three pinned files, to be broken in copies.
struct Original {
    world: World,
    urls: Vec<String>,
}

impl Original {
    fn new() -> Self {
        let world = World::new();
        let put = |(seed, length): (u64, usize)| {
            let path = world.write("file", &bytes(seed, length));
            world.put(&[path.to_str().expect("text")])
        };
        let mut urls: Vec<_> = SEEDS[..2].iter().copied().map(put).collect();
        // Collection seals the packs, so that there are tables too.
        world.run(&["gc"]).expect(0);
        urls.push(put(SEEDS[2]));
        Self { world, urls }
    }

    fn copy(&self) -> World {
        let world = World::new();
        copy(&self.world.home(), &world.home());
        world
    }

    /// Reads everything: right bytes, or an error with a code that says so.
    fn check_reads(&self, world: &World, what: &str) -> usize {
        let mut right = 0;
        for ((seed, length), url) in SEEDS.iter().zip(&self.urls) {
            let ran = world.get(url);
            assert!(!ran.err.contains("panicked"), "{what}: {}", ran.err);
            if ran.code == 0 {
                assert!(ran.out == bytes(*seed, *length), "{what}: wrong bytes of {url}");
                right += 1;
            } else {
                assert!([1, 3, 4].contains(&ran.code) && !ran.err.is_empty(), "{what}: exit {} {}", ran.code, ran.err);
            }
        }
        right
    }
}

pub(crate) fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x20], at).expect("write");
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).expect("metadata").len()
}

fn truncate(path: &Path, to: u64) {
    fs::File::options().write(true).open(path).expect("open").set_len(to).expect("cut");
}

const COMMANDS: [&[&str]; 7] =
    [&["ls"], &["stats"], &["verify"], &["verify", "--heal"], &["gc"], &["put", "-"], &["repair", "index"]];

/// Breaks a copy in one way, runs each command on a copy of that, and reads everything after it.
fn matrix(original: &Original, what: &str, damage: &dyn Fn(&World)) {
    for command in COMMANDS {
        let what = format!("{what}, then {command:?}");
        let world = original.copy();
        damage(&world);
        let ran = world.run_with(command, b"something new");
        assert!((0..=4).contains(&ran.code), "{what}: {} {}", ran.code, ran.err);
        assert!(!ran.err.contains("panicked"), "{what}: {}", ran.err);
        let right = original.check_reads(&world, &what);
        // The index can be made again, and the packs were not touched by what went before.
        if ran.code == 3 && ran.err.contains("repair index") {
            world.run(&["repair", "index"]).expect(0);
            assert!(original.check_reads(&world, &what) >= right, "{what}");
        }
    }
}

pub(crate) fn pack(world: &World, number: usize) -> PathBuf {
    world.packs()[number].clone()
}

#[test]
fn flipped_bits_in_packs() {
    let original = Original::new();
    let record = 64 + 64 + 131_072;
    for (name, at) in
        [("pack header", 10), ("record header", 64 + 20), ("payload", 64 + 64 + 5000), ("second record", record + 70)]
    {
        matrix(&original, &format!("flip in {name}"), &|world| flip(&pack(world, 0), at));
    }
    for (name, back) in [("trailer", 40), ("table", 64 + 49)] {
        matrix(&original, &format!("flip in {name}"), &|world| flip(&pack(world, 0), length(&pack(world, 0)) - back));
    }
}

#[test]
fn packs_that_are_cut_gone_or_swapped() {
    let original = Original::new();
    for number in 0..original.world.packs().len() {
        matrix(&original, &format!("pack {number} cut in half"), &|world| {
            truncate(&pack(world, number), length(&pack(world, number)) / 2);
        });
        matrix(&original, &format!("pack {number} empty"), &|world| truncate(&pack(world, number), 0));
        matrix(&original, &format!("pack {number} gone"), &|world| {
            fs::remove_file(pack(world, number)).expect("remove");
        });
    }
    matrix(&original, "two packs swapped", &|world| {
        let (a, b, c) = (pack(world, 0), pack(world, 1), world.path("between"));
        fs::rename(&a, &c).and_then(|()| fs::rename(&b, &a)).and_then(|()| fs::rename(&c, &b)).expect("rename");
    });
}

#[test]
fn damaged_index_files() {
    let original = Original::new();
    let files = sorted(&original.world.home().join("store/index"));
    for file in files.iter().filter(|file| length(file) > 0) {
        let name = file.file_name().expect("name");
        let there = |world: &World| world.home().join("store/index").join(name);
        matrix(&original, &format!("flip in index {name:?}"), &|world| {
            let path = there(world);
            flip(&path, length(&path) / 2);
        });
        matrix(&original, &format!("index {name:?} cut"), &|world| {
            let path = there(world);
            truncate(&path, length(&path) / 2);
        });
        matrix(&original, &format!("index {name:?} gone"), &|world| fs::remove_file(there(world)).expect("remove"));
    }
    let world = original.copy();
    fs::remove_dir_all(world.home().join("store/index")).expect("remove");
    assert_eq!(original.check_reads(&world, "whole index gone"), SEEDS.len(), "it is made again by itself");
}

#[test]
fn damaged_settings_and_urls() {
    let original = Original::new();
    fs::write(original.world.home().join("config.toml"), "capacity = \"1GiB\"\n").expect("write");
    matrix(&original, "flip in config.toml", &|world| flip(&world.home().join("config.toml"), 3));
    for name in ["urls", "urls.copy"] {
        matrix(&original, &format!("flip in {name}"), &|world| flip(&world.home().join(name), 40));
        matrix(&original, &format!("{name} cut"), &|world| {
            let path = world.home().join(name);
            truncate(&path, length(&path) / 2);
        });
        matrix(&original, &format!("{name} gone"), &|world| fs::remove_file(world.home().join(name)).expect("remove"));
    }
    for name in ["urls", "urls.copy"] {
        let world = original.copy();
        fs::remove_file(world.home().join("config.toml")).expect("remove");
        flip(&world.home().join(name), 40);
        let listed = world.run(&["ls"]).expect(0).text();
        assert_eq!(listed.lines().count(), SEEDS.len(), "the other copy has it all");
        world.run(&["gc"]).expect(0);
        assert_eq!(original.check_reads(&world, name), SEEDS.len());
    }
    let world = original.copy();
    fs::remove_file(world.home().join("config.toml")).expect("remove");
    for name in ["urls", "urls.copy"] {
        fs::remove_file(world.home().join(name)).expect("remove");
    }
    let refused = world.run(&["gc"]).expect(3);
    assert!(refused.err.contains("URL database"), "{}", refused.err);
    assert_eq!(original.check_reads(&world, "no URLs"), SEEDS.len(), "nothing was dropped");
}

#[test]
fn verify_names_damage_and_heals_it() {
    let original = Original::new();
    let world = original.copy();
    flip(&pack(&world, 0), 64 + 64 + 5000);
    let found = world.run(&["verify"]).expect(3).text();
    assert!(found.contains("block sha256:") && found.contains("is damaged"), "{found}");
    let named = found.lines().next().and_then(|line| line.split_whitespace().nth(1)).expect("a score").to_owned();
    let healed = world.run(&["verify", "--heal"]).expect(0).text();
    assert!(healed.contains("healed 1 block of"), "{healed}");
    world.run(&["verify"]).expect(0);
    assert_eq!(original.check_reads(&world, "healed"), SEEDS.len());
    assert!(named.len() == 71, "{named}");
    // The same for one URL alone.
    let world = original.copy();
    flip(&pack(&world, 0), 64 + 64 + 5000);
    world.run(&["verify", &original.urls[0]]).expect(3);
    world.run(&["verify", "--heal", &original.urls[0]]).expect(0);
    world.run(&["verify", &original.urls[0]]).expect(0);
}
