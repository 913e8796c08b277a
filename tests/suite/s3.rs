//! The door for S3 clients, by requests that are signed by hand. What clients make of it is in tests/interop/s3.py.

use std::{
    os::unix::fs::PermissionsExt as _,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest as _, Sha256};

use crate::{
    door::{Answer, Door},
    world::{World, bytes},
};

/// HMAC (RFC 2104) with SHA-256; keys here are at most a block long.
fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// The time as signatures have it: civil from days, by Howard Hinnant.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// An access key, and the door that it is for.
struct Client<'a> {
    door: &'a Door,
    access: String,
    secret: String,
    host: String,
}

impl<'a> Client<'a> {
    fn new(door: &'a Door, words: &str) -> Self {
        let (access, secret) = words.trim().split_once(' ').expect("two words");
        Self { door, access: access.to_owned(), secret: secret.to_owned(), host: door.address.to_string() }
    }

    /// A signed request (Signature Version 4, as AWS describes it). The query has to be in order.
    fn ask(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Answer {
        let (when, host) = (now(), &*self.host);
        let payload = hex::encode(Sha256::digest(body));
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{when}\n\n{names}\n{payload}"
        );
        let scope = format!("{}/us-east-1/s3/aws4_request", &when[..8]);
        let text = format!("AWS4-HMAC-SHA256\n{when}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), &when[..8]);
        for part in ["us-east-1", "s3", "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex::encode(hmac(&key, &text));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access
        );
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let fields = [
            ("x-amz-date", &*when),
            ("x-amz-content-sha256", &payload),
            ("Authorization", &authorization),
            ("Host", host),
        ];
        self.door.ask(method, &target, &fields, body)
    }

    fn put(&self, path: &str, body: &[u8]) {
        let answer = self.ask("PUT", path, "", body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let answer = self.ask("GET", path, "", b"");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.body
    }
}

fn open(world: World) -> Door {
    Door::open(world, &["--no-http", "--s3", "127.0.0.1:0"], "offs: S3 at http://")
}

fn code(answer: &Answer) -> String {
    let text = answer.text();
    let code = text.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
    format!("{} {}", answer.status, code.unwrap_or_default())
}

#[test]
fn keys_are_made_listed_and_taken_back() {
    let world = World::new();
    let all = world.run(&["key", "create", "all"]).expect(0).text();
    let read = world.run(&["key", "create", "reader", "--bucket", "photos", "--read"]).expect(0).text();
    world.run(&["key", "create", "all"]).expect(2);
    let listed = world.run(&["key", "list"]).expect(0).text();
    assert!(listed.contains("reader read photos") && !listed.contains(all.trim().split(' ').nth(1).expect("a secret")));
    let mode = std::fs::metadata(world.home().join("keys.json")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let door = open(world);
    let (all, read) = (Client::new(&door, &all), Client::new(&door, &read));
    assert_eq!(all.ask("PUT", "/photos", "", b"").status, 200);
    all.put("/photos/k", b"content");
    assert_eq!(read.get("/photos/k"), b"content");
    assert_eq!(code(&read.ask("PUT", "/photos/k", "", b"x")), "403 AccessDenied");
    assert_eq!(code(&read.ask("GET", "/others", "", b"")), "403 AccessDenied");
    assert_eq!(code(&door.get("/photos/k", &[])), "403 AccessDenied");
    // A daemon that runs sees that a key is gone.
    door.world.run(&["key", "revoke", "reader"]).expect(0);
    door.world.run(&["key", "revoke", "reader"]).expect(4);
    assert_eq!(code(&read.ask("GET", "/photos/k", "", b"")), "403 InvalidAccessKeyId");
    assert_eq!(all.get("/photos/k"), b"content");
}

#[test]
fn objects_outlive_the_daemon_and_collections() {
    let world = World::new();
    let key = world.run(&["key", "create", "k"]).expect(0).text();
    let (small, long) = (bytes(1, 5000), bytes(2, 3_000_000));
    let door = open(world);
    let client = Client::new(&door, &key);
    assert_eq!(client.ask("PUT", "/bucket", "", b"").status, 200);
    client.put("/bucket/dir/small", &small);
    client.put("/bucket/long", &long);
    client.put("/bucket/gone", &bytes(3, 3_000_000));
    assert_eq!(client.ask("DELETE", "/bucket/gone", "", b"").status, 204);
    door.world.run(&["gc"]).expect(0);
    assert_eq!(client.get("/bucket/long"), long);
    let listed = door.world.run(&["bucket", "list", "--json"]).expect(0).text();
    assert!(listed.contains("\"objects\":2") && listed.contains("\"bytes\":3005000"), "{listed}");

    // Without the daemon, too.
    let world = door.close();
    world.run(&["gc"]).expect(0);
    world.run(&["verify"]).expect(0);
    let url = world.run(&["bucket", "snapshot", "bucket"]).expect(0).text().trim().to_owned();
    world.run(&["bucket", "snapshot", "no-bucket"]).expect(4);
    assert_eq!(world.get(&format!("{url}/dir/small")).expect(0).out, small);

    let door = open(world);
    let client = Client::new(&door, &key);
    assert_eq!((client.get("/bucket/dir/small"), client.get("/bucket/long")), (small.clone(), long.clone()));
    // A snapshot is a file like others: what it has is there although the objects are not.
    for name in ["dir/small", "long"] {
        assert_eq!(client.ask("DELETE", &format!("/bucket/{name}"), "", b"").status, 204);
    }
    door.world.run(&["gc"]).expect(0);
    assert_eq!(door.world.get(&format!("{url}/long")).expect(0).out, long);
    door.world.run(&["unpin", &url]).expect(0);
    door.world.run(&["gc"]).expect(0);
    door.world.run(&["get", &url, "-o", "nowhere"]).expect(4);
}

#[test]
fn buckets_are_brought_back_when_the_index_is_lost() {
    let world = World::new();
    let key = world.run(&["key", "create", "k"]).expect(0).text();
    let (small, long) = (bytes(1, 5000), bytes(2, 1_000_000));
    world.run(&["bucket", "save"]).expect(1);
    let door = open(world);
    let client = Client::new(&door, &key);
    assert_eq!(client.ask("PUT", "/bucket", "", b"").status, 200);
    client.put("/bucket/small", &small);
    client.put("/bucket/long", &long);
    door.world.run(&["bucket", "restore"]).expect(2);
    // It is saved when the daemon ends.
    let world = door.close();
    std::fs::remove_dir_all(world.home().join("store/index")).expect("lost");
    // Until they are back nothing may be dropped, and no other bucket be made.
    let commands: [&[&str]; 6] = [
        &["repair", "index"],
        &["bucket", "list"],
        &["bucket", "save"],
        &["gc"],
        &["verify", "--heal"],
        &["serve", "--s3"],
    ];
    for command in commands {
        let refused = world.run(command).expect(3);
        assert!(refused.err.contains("offs bucket restore"), "{command:?}: {}", refused.err);
    }
    world.run_with(&["put", "-"], b"files are stored as ever").expect(0);
    let back = world.run(&["bucket", "restore"]).expect(0).text();
    assert!(back.starts_with("brought back as of 20") && back.ends_with(": buckets 1, objects 2"), "{back}");
    world.run(&["bucket", "restore"]).expect(1);
    world.run(&["bucket", "restore", "--give-up"]).expect(4);
    world.run(&["gc"]).expect(0);
    world.run(&["verify"]).expect(0);
    let door = open(world);
    let client = Client::new(&door, &key);
    assert_eq!((client.get("/bucket/small"), client.get("/bucket/long")), (small, long));
    // Or they are given up, and what they held goes.
    let world = door.close();
    std::fs::remove_dir_all(world.home().join("store/index")).expect("lost");
    world.run(&["gc"]).expect(3);
    world.run(&["bucket", "restore", "--give-up"]).expect(0);
    assert_eq!(world.run(&["bucket", "list"]).expect(0).text(), "");
    assert!(!world.run(&["gc"]).expect(0).text().starts_with("dropped 0 blocks"));
    drop(open(world));
}

#[test]
fn damage_to_objects_is_named_and_healed() {
    let world = World::new();
    let key = world.run(&["key", "create", "k"]).expect(0).text();
    let door = open(world);
    let client = Client::new(&door, &key);
    assert_eq!(client.ask("PUT", "/bucket", "", b"").status, 200);
    client.put("/bucket/one", &bytes(1, 3_000_000));
    client.put("/bucket/other", &bytes(2, 2_000_000));
    let world = door.close();
    // So that the list of buckets has no part in it.
    for list in world.run(&["ls"]).expect(0).text().lines() {
        world.run(&["unpin", list]).expect(0);
    }
    let record = 64 + (128 << 10);
    let flip = |world: &World, blocks: u64| {
        for block in 0..blocks {
            crate::damage::flip(&crate::damage::pack(world, 0), 64 + record * block + 5000);
        }
    };
    flip(&world, 1);
    // It is said as long as it is so.
    for _ in 0..2 {
        let found = world.run(&["verify"]).expect(3).text();
        assert!(found.contains("can still be read, thanks to parity: s3://bucket/one"), "{found}");
    }
    let healed = world.run(&["verify", "--heal"]).expect(0).text();
    assert!(healed.contains("healed 1 block of s3://bucket/one"), "{healed}");
    world.run(&["verify"]).expect(0);
    // More than parity can make up for.
    flip(&world, 60);
    for command in [&["verify"][..], &["verify", "--heal"], &["verify", "--heal"], &["verify"]] {
        let found = world.run(command).expect(3).text();
        assert!(found.contains("cannot be read: s3://bucket/one: "), "{command:?}: {found}");
    }
    let json = world.run(&["verify", "--json"]).expect(3).text();
    assert!(json.contains("\"object\":\"s3://bucket/one\""), "{json}");
    let door = open(world);
    let client = Client::new(&door, &key);
    let answer = client.ask("GET", "/bucket/one", "", b"");
    assert!(answer.status != 200 || answer.body != bytes(1, 3_000_000));
    door.says("request{method=GET bucket=\"bucket\" name=\"one\"}");
    // Who deletes what is damaged is rid of it.
    assert_eq!(client.ask("DELETE", "/bucket/one", "", b"").status, 204);
    assert_eq!(client.ask("DELETE", "/bucket/other", "", b"").status, 204);
    door.world.run(&["verify", "--heal"]).expect(0);
    door.world.run(&["verify"]).expect(0);
}

#[test]
fn a_bucket_has_limits_and_figures() {
    let world = World::new();
    let key = world.run(&["key", "create", "k"]).expect(0).text();
    let door = open(world);
    let client = Client::new(&door, &key);
    assert_eq!(client.ask("PUT", "/bucket", "", b"").status, 200);
    door.world.run(&["bucket", "quota", "bucket", "--bytes", "10KiB", "--objects", "2"]).expect(0);
    client.put("/bucket/one", &bytes(1, 10_000));
    assert_eq!(code(&client.ask("PUT", "/bucket/two", "", &bytes(2, 1000))), "403 QuotaExceeded");
    client.put("/bucket/two", b"");
    assert_eq!(code(&client.ask("PUT", "/bucket/three", "", b"")), "403 QuotaExceeded");
    let said = door.world.run(&["bucket", "quota", "bucket"]).expect(0).text();
    assert_eq!(said, "bucket 2 objects of at most 2, 9.7 KiB of at most 10.0 KiB");
    assert_eq!(door.world.run(&["bucket", "list"]).expect(0).text(), said);
    door.world.run(&["bucket", "quota", "bucket", "--objects", "3"]).expect(0);
    assert_eq!(code(&client.ask("PUT", "/bucket/three", "", &bytes(2, 1000))), "403 QuotaExceeded");
    door.world.run(&["bucket", "quota", "bucket", "--none"]).expect(0);
    client.put("/bucket/three", &bytes(2, 100_000));
    let status = door.world.run(&["status", "--json"]).expect(0).text();
    assert!(status.contains("\"buckets\":{\"bucket\":{\"bytes\":110000,\"objects\":3}}"), "{status}");
}

#[test]
fn buckets_are_hosts_and_sites_too() {
    let world = World::new();
    let key = world.run(&["key", "create", "k"]).expect(0).text();
    std::fs::write(world.home().join("config.toml"), "[s3]\ndomains = [\"s3.example\"]\n").expect("written");
    let door = open(world);
    let plain = Client::new(&door, &key);
    let hosted = Client { host: "bucket.s3.example".to_owned(), ..Client::new(&door, &key) };
    assert_eq!(hosted.ask("PUT", "/", "", b"").status, 200);
    hosted.put("/dir/index.html", b"index");
    hosted.put("/error.html", b"error");
    assert_eq!(
        (hosted.get("/dir/index.html"), plain.get("/bucket/dir/index.html")),
        (b"index".to_vec(), b"index".to_vec())
    );
    let named = Client { host: format!("localhost:{}", door.address.port()), ..Client::new(&door, &key) };
    assert_eq!(named.get("/bucket/error.html"), b"error");

    let site = b"<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><ErrorDocument>\
        <Key>error.html</Key></ErrorDocument></WebsiteConfiguration>";
    assert_eq!(hosted.ask("PUT", "/", "website=", site).status, 200);
    for host in ["bucket.s3.example", "127.0.0.1"] {
        let path = if host == "127.0.0.1" { "/bucket" } else { "" };
        let page = |below: &str| door.get(&format!("{path}{below}"), &[("Host", host)]);
        assert_eq!(code(&page("/dir/")), "403 AccessDenied", "no policy lets everybody read");
        let policy =
            br#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]}]}"#;
        assert_eq!(plain.ask("PUT", "/bucket", "policy=", policy).status, 204);
        assert_eq!((page("/dir/").status, page("/dir/").body), (200, b"index".to_vec()), "{host}");
        let moved = page("/dir");
        assert_eq!((moved.status, moved.field("Location")), (302, Some(&*format!("{path}/dir/"))));
        assert_eq!((page("/none").status, page("/none").body), (404, b"error".to_vec()));
        assert_eq!(plain.ask("DELETE", "/bucket", "policy=", b"").status, 204);
    }
}
