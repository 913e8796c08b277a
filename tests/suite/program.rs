//! Commands as a user gives them.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::Path,
};

use crate::world::{World, bytes, sorted};

#[test]
fn what_is_put_is_got() {
    let world = World::new();
    for (number, length) in [0, 1, 131_007, 131_008, 131_009, 131_072, 400_000, 3_000_001].into_iter().enumerate() {
        let content = bytes(number as u64, length);
        let path = world.write("a file.bin", &content);
        for extra in
            [&[][..], &["--bare"], &["--parity", "none"], &["--tuple", "5", "--parity", "3+2", "--hash", "blake3"]]
        {
            let url = world.put(&[extra, &[path.to_str().expect("text")]].concat());
            assert!(url.starts_with("off:v4/application/octet-stream/"), "{url}");
            assert!(url.ends_with("/a%20file.bin"), "{url}");
            assert!(world.get(&url).expect(0).out == content, "{length} {extra:?}");
        }
    }
    world.run(&["verify"]).expect(0);
}

#[test]
fn both_forms_of_a_url_open() {
    let world = World::new();
    let url = world.run_with(&["put", "-", "--name", "n.txt", "--type", "text/plain"], b"hello").expect(0).text();
    assert!(url.starts_with("off:v4/text/plain/5/"), "{url}");
    for start in ["http://example.org:1/offsystem/v4", "http://127.0.0.1:23402/off:v4", "https://example.org/off:v4"] {
        assert_eq!(world.get(&url.replace("off:v4", start)).expect(0).out, b"hello");
    }
    let top = world.path("top");
    fs::create_dir(&top).expect("create");
    fs::write(top.join("n.txt"), "hello").expect("write");
    let directory = world.put(&[top.to_str().expect("text")]);
    let out = world.path("out");
    let shown = format!("http://127.0.0.1:23402/{directory}/");
    world.run(&["get", &shown, "-o", out.to_str().expect("text")]).expect(0);
    world.run(&["get", &format!("{directory}/"), "-o", out.to_str().expect("text")]).expect(2);
    assert_eq!(fs::read(out.join("n.txt")).expect("read"), b"hello");
    // A small file shares blocks with others: only the whole is kept, and so only the whole is given up.
    let inside = format!("{directory}/n.txt");
    for command in ["pin", "unpin", "verify", "info"] {
        world.run(&[command, &inside]).expect(2);
    }
    assert!(world.run(&["ls", "-l"]).expect(0).text().lines().all(|line| line.starts_with("pinned")));
}

#[test]
fn output_files_are_whole_or_not_there() {
    let world = World::new();
    let content = bytes(1, 500_000);
    let path = world.write("x.bin", &content);
    let url = world.put(&["--no-pin", path.to_str().expect("text")]);
    // Its own name is taken, and was not the user's choice.
    let ran = world.run(&["get", &url]).expect(1);
    assert!(ran.err.contains("exists already"), "{}", ran.err);
    fs::remove_file(&path).expect("remove");
    world.run(&["get", &url]).expect(0);
    assert!(fs::read(&path).expect("read") == content);
    // With -o it is.
    world.write("y", b"old");
    world.run(&["get", &url, "-o", "y"]).expect(0);
    assert!(fs::read(world.path("y")).expect("read") == content);
    world.run(&["gc"]).expect(0);
    world.run(&["get", &url, "-o", "z"]).expect(4);
    let names: Vec<_> = sorted(&world.path("")).iter().map(|path| path.file_name().expect("name").to_owned()).collect();
    assert_eq!(names, ["x.bin", "y"], "a failed get leaves nothing behind");
}

#[test]
fn ranges() {
    let world = World::new();
    let content = bytes(2, 1_000_000);
    let path = world.write("r", &content);
    let url = world.put(&[path.to_str().expect("text")]);
    for (range, expected) in
        [("0-0", 0..1), ("100-299999", 100..300_000), ("999990-2000000", 999_990..1_000_000), ("7-", 7..1_000_000)]
    {
        assert!(world.run(&["get", &url, "-o", "-", "--range", range]).expect(0).out == content[expected], "{range}");
    }
    world.run(&["get", &url, "-o", "-", "--range", "1000000-"]).expect(1);
    world.run(&["get", &url, "-o", "-", "--range", "9-3"]).expect(2);
}

#[test]
fn exit_codes_are_honest() {
    let world = World::new();
    world.run(&[]).expect(2);
    world.run(&["put"]).expect(2);
    world.run(&["put", "not here"]).expect(1);
    world.run(&["put", "x", "--parity", "300+1"]).expect(2);
    world.run(&["get", "off:v4/text/plain"]).expect(2);
    let old = world.run(&["get", "http://localhost:23402/offsystem/v3/text/plain/1/a/b/n"]).expect(2);
    assert!(old.err.contains("version 3"), "{}", old.err);
    let url = world.run_with(&["put", "-"], b"x").expect(0).text();
    let elsewhere = World::new();
    elsewhere.run(&["get", &url, "-o", "-"]).expect(4);
    elsewhere.run(&["info", &url]).expect(4);
    elsewhere.run(&["pin", &url]).expect(4);
    elsewhere.run(&["unpin", &url]).expect(4);
    // One of two fails: the other is stored.
    let path = world.write("good", b"good");
    let ran = world.run(&["put", "not here", path.to_str().expect("text")]).expect(1);
    assert_eq!(ran.text().lines().count(), 1);
    fs::write(world.home().join("config.toml"), "capacty = \"1GiB\"").expect("write");
    assert!(world.run(&["ls"]).expect(1).err.contains("capacty"));
}

#[test]
fn wrong_lengths_and_kinds_are_refused() {
    let world = World::new();
    let url = world.run_with(&["put", "-", "--name", "n"], b"hello").expect(0).text();
    assert!(world.get(&url.replace("/5/", "/6/")).expect(1).err.contains("says 6 bytes"));
    world.get(&url.replace("application/octet-stream", "offsystem/directory")).expect(1);
}

fn make_tree(top: &Path) {
    fs::create_dir(top).expect("create");
    fs::create_dir_all(top.join("deep/er/and/deeper")).expect("create");
    fs::create_dir(top.join("empty")).expect("create");
    fs::write(top.join("empty file"), b"").expect("write");
    fs::write(top.join("deep/er/x"), b"x").expect("write");
    fs::write(top.join("deep.txt"), b"sorts between deep and deep/er").expect("write");
    fs::write(top.join(OsStr::from_bytes(b"odd \n \xff name")), b"odd").expect("write");
    fs::write(top.join("large"), bytes(3, 1_500_000)).expect("write");
    for number in 0..300 {
        fs::write(top.join(format!("deep/er/and/{number}")), bytes(number, 1000)).expect("write");
    }
    symlink("../outside", top.join("deep/link")).expect("link");
    symlink("/etc/passwd", top.join("absolute link")).expect("link");
    fs::set_permissions(top.join("deep/er/x"), fs::Permissions::from_mode(0o400)).expect("mode");
    fs::set_permissions(top.join("deep/er/and"), fs::Permissions::from_mode(0o555)).expect("mode");
}

/// Paths with everything about them that a directory keeps.
fn describe(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let inside = path.strip_prefix(top).expect("inside").to_owned();
        let (mode, time) = (metadata.mode(), (metadata.mtime(), metadata.mtime_nsec()));
        let content = if metadata.is_file() {
            blake3::hash(&fs::read(&path).expect("read")).to_string()
        } else if metadata.is_symlink() {
            fs::read_link(&path).expect("link").display().to_string()
        } else {
            todo.extend(sorted(&path));
            String::new()
        };
        lines.push(format!("{} {mode:o} {time:?} {content}", inside.display()));
    }
    lines.sort();
    lines
}

#[test]
fn directories_come_back_as_they_were() {
    let world = World::new();
    make_tree(&world.path("tree"));
    let url = world.put(&["tree"]);
    assert!(url.starts_with("off:v4/offsystem/directory/"), "{url}");
    world.run(&["get", &url]).expect(1);
    world.run(&["get", &url, "-o", "back"]).expect(0);
    assert_eq!(describe(&world.path("back")), describe(&world.path("tree")));
    assert_eq!(world.get(&format!("{url}/deep/er/x")).expect(0).out, b"x");
    assert!(world.get(&format!("{url}/large")).expect(0).out == bytes(3, 1_500_000));
    assert_eq!(world.get(&format!("{url}/odd%20%0A%20%FF%20name")).expect(0).out, b"odd");
    assert_eq!(
        world.run(&["get", &format!("{url}/deep.txt"), "-o", "-", "--range", "6-12"]).expect(0).text(),
        "between"
    );
    world.get(&format!("{url}/not/there")).expect(4);
    world.get(&format!("{url}/deep")).expect(2);
    world.get(&format!("{url}/deep/..")).expect(2);
    world.get(&url).expect(2);
    let info = world.run(&["info", &url]).expect(0).text();
    assert!(info.contains("305 files, 6 directories, 2 links"), "{info}");
    // A part of it.
    let deep = format!("{url}/deep");
    world.run(&["get", &deep]).expect(0);
    assert_eq!(describe(&world.path("deep")), describe(&world.path("tree/deep")));
    world.run(&["get", &deep]).expect(1);
    world.run(&["get", &format!("{url}/empty"), "-o", "nothing"]).expect(0);
    assert_eq!(describe(&world.path("nothing")), describe(&world.path("tree/empty")));
    world.run(&["get", &deep, "-o", "x", "--range", "0-1"]).expect(2);
    // So that the temporary directory can be removed by those who are not root.
    for and in ["tree/deep/er/and", "back/deep/er/and", "deep/er/and"] {
        fs::set_permissions(world.path(and), fs::Permissions::from_mode(0o755)).expect("mode");
    }
}

#[test]
fn what_is_in_a_directory_is_listed() {
    let world = World::new();
    make_tree(&world.path("tree"));
    let url = world.put(&["tree"]);
    let list = |arguments: &[&str]| world.run(&[&["ls"], arguments].concat()).expect(0).text();
    let all = list(&[&url]);
    assert_eq!(all.lines().count(), 312, "{all}");
    assert_eq!(all.lines().filter(|line| line.starts_with("deep/er/and/")).count(), 301, "{all}");
    for line in
        ["absolute link", "deep.txt", "deep", "deep/er/and/deeper", "empty", "empty file", "odd ? \u{fffd} name"]
    {
        assert!(all.lines().any(|other| other == line), "{line} is not in\n{all}");
    }
    let below = list(&["-l", &format!("{url}/deep/er")]);
    assert_eq!(below.lines().count(), 303, "{below}");
    assert!(
        below.lines().any(|line| line.starts_with("-r--------        1 B ") && line.ends_with(" deep/er/x")),
        "{below}"
    );
    assert!(below.lines().any(|line| line.starts_with("dr-xr-xr-x ") && line.ends_with(" deep/er/and")), "{below}");
    let links = list(&["-l", &format!("{url}/deep/link")]);
    assert!(links.starts_with('l') && links.ends_with(" deep/link -> ../outside"), "{links}");
    // Each line has a URL that opens, whatever the name.
    for line in list(&["--json", &url]).lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let path = entry["path"].as_str().expect("text");
        if path.starts_with("odd") || path == "large" {
            let got = world.get(entry["url"].as_str().expect("text")).expect(0);
            assert_eq!(
                got.out.len(),
                usize::try_from(entry["length"].as_u64().expect("number")).expect("small"),
                "{path}"
            );
        }
    }
    world.run(&["ls", &format!("{url}/not")]).expect(4);
    world.run(&["ls", &format!("{url}/dee")]).expect(4);
    let file = world.run_with(&["put", "-"], b"x").expect(0).text();
    assert!(world.run(&["ls", &file]).expect(2).err.contains("not a directory"));
    world.run(&["ls", "nothing"]).expect(2);
    fs::set_permissions(world.path("tree/deep/er/and"), fs::Permissions::from_mode(0o755)).expect("mode");
}

#[test]
fn a_file_in_a_directory_has_a_url_of_its_own() {
    let world = World::new();
    make_tree(&world.path("tree"));
    fs::write(world.path("tree/deep/film.mp4"), bytes(5, 2_000_000)).expect("write");
    let directory = world.put(&["--no-pin", "tree"]);
    let entries = world.run(&["ls", "--json", &directory]).expect(0).text();
    let own = |wanted: &str| {
        let entries = entries.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let entry = entries.into_iter().find(|entry| entry["path"] == wanted).expect("it is there");
        entry["own"].as_str().map(str::to_owned)
    };
    for small in ["deep/er/x", "deep/er", "deep/link", "empty file"] {
        assert_eq!(own(small), None, "{small}");
        world.run(&["pin", &format!("{directory}/{small}")]).expect(2);
    }
    let film = own("deep/film.mp4").expect("it is large");
    assert!(film.starts_with("off:v4/video/mp4/2000000/") && film.ends_with("/film.mp4"), "{film}");
    assert!(own("large").expect("it is large").starts_with("off:v4/application/octet-stream/1500000/"));
    assert!(world.get(&film).expect(0).out == bytes(5, 2_000_000));

    // Where only it can be meant, the path stands for it.
    let path = format!("{directory}/deep/film.mp4");
    assert!(world.run(&["info", &path]).expect(0).text().starts_with(&film));
    world.run(&["unpin", &path]).expect(4);
    world.run(&["pin", &path]).expect(0);
    world.run(&["verify", &path]).expect(0);
    world.run(&["gc"]).expect(0);
    assert!(world.get(&film).expect(0).out == bytes(5, 2_000_000));
    world.get(&directory).expect(4);
    world.run(&["unpin", &path]).expect(4);
    world.run(&["unpin", &film]).expect(0);
    world.run(&["info", &format!("{directory}/not")]).expect(4);
    fs::set_permissions(world.path("tree/deep/er/and"), fs::Permissions::from_mode(0o755)).expect("mode");
}

#[test]
fn pins_decide_what_stays() {
    let world = World::new();
    let keep = world.write("keep", &bytes(1, 4_000_000));
    let drop = world.write("drop", &bytes(2, 4_000_000));
    let kept = world.put(&[keep.to_str().expect("text")]);
    let dropped = world.put(&["--no-pin", drop.to_str().expect("text")]);
    let unpinned = world.put(&[drop.to_str().expect("text")]);
    world.run(&["unpin", &unpinned]).expect(0);
    let list = world.run(&["ls", "-l"]).expect(0).text();
    assert_eq!(list.lines().filter(|line| line.starts_with("pinned")).count(), 1, "{list}");
    let size = || -> u64 { world.packs().iter().map(|path| fs::metadata(path).expect("metadata").len()).sum() };
    let before = size();
    world.run(&["gc"]).expect(0);
    assert!(size() < before, "room is given back");
    assert!(world.get(&kept).expect(0).out == bytes(1, 4_000_000));
    world.get(&dropped).expect(4);
    world.get(&unpinned).expect(4);
    world.run(&["pin", &dropped]).expect(4);
    world.run(&["verify"]).expect(0);
    // What has lost a part is not said to be kept.
    let part = world.put(&["--no-pin", "--parity", "none", drop.to_str().expect("text")]);
    world.run(&["pin", &part]).expect(0);
    world.run(&["unpin", &part]).expect(0);
    let record = 64 + (128 << 10);
    for pack in world.packs() {
        let length = fs::metadata(&pack).expect("metadata").len();
        // But for the second copies of roots, which are few.
        for number in 0..if length > 1 << 20 { length / record } else { 0 } {
            crate::damage::flip(&pack, 64 + record * number + 5000);
        }
    }
    world.run(&["verify"]).expect(3);
    let missing = serde_json::from_slice::<serde_json::Value>(&world.run(&["info", &part, "--json"]).expect(0).out)
        .expect("JSON");
    assert!(missing["missing"].as_u64().is_some_and(|missing| missing > 0), "{missing}");
    world.run(&["pin", &part]).expect(4);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let world = World::new();
    let top = world.path("top");
    fs::create_dir(&top).expect("create");
    for (name, length) in [("large", 20_000_000), ("small", 1000)] {
        fs::write(top.join(name), bytes(1, length)).expect("write");
    }
    let top = top.to_str().expect("text");
    let put = |path: &str| world.run(&["put", path]).expect(0).err;
    assert_eq!(put(top), "", "nothing changes");
    let file = format!("{top}/large");
    for path in [top, &file] {
        let ended = std::sync::atomic::AtomicBool::new(false);
        let said = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut log = fs::OpenOptions::new().append(true).open(&file).expect("open");
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    std::io::Write::write_all(&mut log, b"line\n").expect("written");
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            let put = world.run(&["put", path]);
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
            put.expect(0).err
        });
        assert!(said.contains("large changed while it was read"), "{said}");
    }
}

#[test]
fn a_small_file_is_cheap() {
    let world = World::new();
    world.run_with(&["put", "-"], b"x").expect(0);
    let size: u64 = world.packs().iter().map(|path| fs::metadata(path).expect("metadata").len()).sum();
    assert!(size < 2 * 131_072 + 1000, "{size}: a block, twice");
}

#[test]
fn json_is_json() {
    let world = World::new();
    let ran = world.run_with(&["put", "-", "--json"], b"x").expect(0).text();
    let put: serde_json::Value = serde_json::from_str(&ran).expect("JSON");
    let url = put["url"].as_str().expect("url");
    for arguments in [
        &["info", url, "--json"][..],
        &["ls", "--json"],
        &["verify", "--json"],
        &["gc", "--json"],
        &["stats", "--json"],
    ] {
        let ran = world.run(arguments).expect(0).text();
        serde_json::from_str::<serde_json::Value>(&ran).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {ran}"));
    }
}

#[test]
fn only_results_go_to_standard_output() {
    let world = World::new();
    let path = world.write("f", &bytes(5, 300_000));
    let ran = world.run(&["put", path.to_str().expect("text")]).expect(0);
    assert_eq!((ran.text().lines().count(), ran.err.as_str()), (1, ""), "no terminal, no progress");
    world.run(&["repair", "index"]).expect(0);
    assert!(world.get(&ran.text()).expect(0).out == bytes(5, 300_000));
}

#[test]
fn completions_and_manual() {
    let world = World::new();
    assert!(world.run(&["completions", "bash"]).expect(0).text().contains("_offs"));
    fs::create_dir(world.path("man")).expect("create");
    world.run(&["man", "man"]).expect(0);
    let pages = sorted(&world.path("man"));
    assert!(pages.iter().any(|page| page.ends_with("offs-put.1")), "{pages:?}");
}

#[test]
fn the_url_database_is_private() {
    let world = World::new();
    world.run_with(&["put", "-"], b"x").expect(0);
    for name in ["urls", "urls.copy"] {
        let mode = fs::metadata(world.home().join(name)).expect("metadata").mode();
        assert_eq!(mode & 0o077, 0, "{name} holds keys");
    }
}
