//! The door for people, as clients and strangers see it.

use std::{
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    door::Door,
    world::{World, bytes},
};

fn open() -> Door {
    Door::open(World::new(), &["--http", "127.0.0.1:0"], "offs: http://")
}

impl Door {
    fn put(&self, path: &str, body: &[u8]) -> String {
        let answer = self.ask("PUT", path, &[], body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.text()
    }

    /// How many URLs are known.
    fn known(&self) -> usize {
        self.world.run(&["ls"]).expect(0).text().lines().filter(|line| line.starts_with("off:")).count()
    }
}

#[test]
fn a_file_comes_whole_in_parts_and_on_conditions() {
    let door = open();
    let content = bytes(1, 5_000_000);
    let url = door.put("/film%20one.mp4", &content);
    assert!(url.starts_with("off:v4/video/mp4/5000000/") && url.ends_with("/film%20one.mp4"), "{url}");
    assert_eq!(door.world.get(&url).expect(0).out, content);
    let path = format!("/{url}");
    let whole = door.get(&path, &[]);
    assert_eq!((whole.status, whole.body.len()), (200, content.len()));
    assert!(whole.body == content);
    assert_eq!(whole.field("content-type"), Some("video/mp4"));
    assert_eq!(whole.field("accept-ranges"), Some("bytes"));
    assert_eq!(whole.field("content-disposition"), Some("inline; filename=\"film one.mp4\""));
    let etag = whole.field("etag").expect("a tag").to_owned();
    let other = door.get(&path.replacen("/off:", "/offsystem/", 1), &[("Range", "bytes=2000000-2000009")]);
    assert_eq!((other.status, &other.body[..]), (206, &content[2_000_000..2_000_010]));
    assert_eq!(other.field("content-range"), Some("bytes 2000000-2000009/5000000"));
    let tail = door.get(&path, &[("Range", "bytes=-10"), ("If-Range", &etag)]);
    assert_eq!((tail.status, &tail.body[..]), (206, &content[4_999_990..]));
    assert_eq!(door.get(&path, &[("Range", "bytes=0-9"), ("If-Range", "\"else\"")]).status, 200);
    assert_eq!(door.get(&path, &[("Range", "bytes=0-1,5-6")]).status, 200);
    let beyond = door.get(&path, &[("Range", "bytes=5000000-")]);
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */5000000")));
    assert_eq!(door.get(&path, &[("If-None-Match", &etag)]).status, 304);
    assert_eq!(door.get(&path, &[("If-Match", "\"else\"")]).status, 412);
    let head = door.ask("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("5000000"), 0));
    let saved = door.get(&format!("{path}?download"), &[("Range", "bytes=0-0")]);
    assert_eq!(saved.field("content-disposition"), Some("attachment; filename=\"film one.mp4\""));
    assert_eq!(door.ask("DELETE", &path, &[], b"").status, 405);
}

#[test]
fn a_directory_is_a_site() {
    let door = open();
    let site = door.world.path("site");
    for (name, content) in [("index.html", "<h1>first</h1>"), ("sub/a (1) ü.txt", "text"), ("sub/big", "x")] {
        let path = site.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    std::os::unix::fs::symlink("sub/a (1) ü.txt", site.join("link.txt")).expect("linked");
    std::os::unix::fs::symlink("../../etc/passwd", site.join("out.txt")).expect("linked");
    std::os::unix::fs::symlink("round.txt", site.join("round.txt")).expect("linked");
    let url = door.world.put(&[site.to_str().expect("a path")]);
    let moved = door.get(&format!("/{url}"), &[]);
    assert_eq!((moved.status, moved.field("location")), (301, Some(&format!("/{url}/")[..])));
    let index = door.get(&format!("/{url}/"), &[]);
    assert_eq!((index.status, index.text()), (200, "<h1>first</h1>".to_owned()));
    assert!(index.field("content-security-policy").is_some_and(|policy| policy.starts_with("sandbox ")));
    assert!(index.field("last-modified").is_some());
    let listing = door.get(&format!("/{url}/sub/"), &[]);
    assert!(listing.text().contains("href=\"a%20%281%29%20%C3%BC%2Etxt\">a (1) ü.txt</a>"), "{}", listing.text());
    assert_eq!(door.get(&format!("/{url}/sub/a%20(1)%20%C3%BC.txt"), &[]).text(), "text");
    assert_eq!(door.get(&format!("/{url}/link.txt"), &[]).text(), "text");
    for gone in ["out.txt", "round.txt", "nothing", "index.html/x", "sub/../index.html/"] {
        let answer = door.get(&format!("/{url}/{gone}"), &[]);
        assert!(matches!(answer.status, 400 | 404), "{gone}: {}", answer.status);
    }
    // Without a name it has a path below which its entries are, all the same.
    let nameless = url.rsplit_once('/').expect("a name").0;
    let moved = door.get(&format!("/{nameless}"), &[]);
    let path = moved.field("location").expect("elsewhere").to_owned();
    assert_eq!(path, format!("/{nameless}//"));
    assert_eq!(door.get(&path, &[]).text(), "<h1>first</h1>");
    assert_eq!(door.get(&format!("{path}link.txt"), &[]).text(), "text");
}

#[test]
fn an_archive_becomes_a_directory() {
    let door = open();
    let top = door.world.path("top");
    std::fs::create_dir_all(top.join("a/b")).expect("made");
    std::fs::write(top.join("a/b/small"), "small").expect("written");
    std::fs::write(top.join("a/large"), bytes(3, 3 << 20)).expect("written");
    std::os::unix::fs::symlink("large", top.join("a/link")).expect("linked");
    let tar = Command::new("tar").args(["-C", top.to_str().expect("a path"), "-c", "."]).output().expect("tar runs");
    let url = door.put("/top?directory", &tar.stdout);
    assert!(url.starts_with("off:v4/offsystem/directory/"), "{url}");
    let again = door.world.path("again");
    door.world.run(&["get", &url, "-o", again.to_str().expect("a path")]).expect(0);
    let same = Command::new("diff").args(["-r"]).arg(&top).arg(&again).status().expect("diff runs");
    assert!(same.success());
    let known = door.known();
    let cut = door.ask("PUT", "/top?directory", &[], &tar.stdout[..tar.stdout.len() / 2]);
    assert!(matches!(cut.status, 400 | 408), "{}", cut.status);
    for wrong in [&b"no archive at all, and long enough to be looked at"[..], &bytes(4, 5000), b""] {
        assert_eq!(door.ask("PUT", "/top?directory", &[], wrong).status, 400);
    }
    assert_eq!(door.known(), known, "nothing was kept of what failed");
}

#[test]
fn strangers_are_refused_and_store_nothing() {
    let door = open();
    let url = door.put("/page.html", b"<script>alert(1)</script>");
    let host = door.address.to_string();
    let evil = [("Origin", "http://evil.example")];
    // What a page elsewhere can make a browser send, and what is stored here and shown.
    for fields in
        [&evil[..], &[("Origin", "null")], &[("Sec-Fetch-Site", "cross-site")], &[("Sec-Fetch-Site", "same-site")]]
    {
        assert_eq!(door.ask("PUT", "/x", fields, b"x").status, 403);
        assert_eq!(door.ask("POST", "/x", fields, b"x").status, 403);
        assert_eq!(door.ask("POST", "/api/unpin", fields, url.as_bytes()).status, 403);
        assert_eq!(door.get("/api/urls", fields).status, 403);
    }
    // A name that was made to lead here.
    for path in ["/", "/api/urls", "/metrics", &format!("/{url}")[..]] {
        assert_eq!(door.get(path, &[("Host", "evil.example")]).status, 403, "{path}");
    }
    assert_eq!(door.ask("PUT", "/x", &[("Host", "evil.example"), ("Origin", "http://evil.example")], b"x").status, 403);
    // No answer may be read by another site.
    let read = door.get("/api/urls", &[]);
    assert_eq!((read.status, read.field("access-control-allow-origin")), (200, None));
    let page = door.get(&format!("/{url}"), &[]);
    assert!(page.field("content-security-policy").is_some_and(|policy| !policy.contains("allow-same-origin")));
    assert_eq!(page.field("x-content-type-options"), Some("nosniff"));
    for path in ["/%2e%2e/etc/passwd", "/assets/../../etc/passwd", "/api/../../etc/passwd", "/nothing"] {
        assert!(matches!(door.get(path, &[]).status, 400 | 404), "{path}");
    }
    for name in ["/..", "/%2e%2e", "/a%00b", "/a%2fb", "/%ff"] {
        assert_eq!(door.ask("PUT", name, &[], b"x").status, 400, "{name}");
    }
    let own = format!("http://{host}");
    assert_eq!(door.known(), 1);
    assert_eq!(door.ask("PUT", "/x", &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")], b"x").status, 201);
    let elsewhere = World::new();
    let unknown = elsewhere.put(&[elsewhere.write("f", b"else").to_str().expect("a name")]);
    assert_eq!(door.ask("POST", "/api/unpin", &[], unknown.as_bytes()).status, 404);
    assert_eq!(door.known(), 2);
}

#[test]
fn other_users_of_the_machine_see_no_urls() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can take another user's place; gateway/src/user.rs has the tests of how he is told apart.
        return;
    }
    let door = open();
    let url = door.put("/page.txt", b"text");
    let ask = |door: &Door, method: &str, path: &str, body: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; printf '{method} {path} HTTP/1.1\\r\\nHost: localhost\\r\\n\
             Connection: close\\r\\nContent-Length: {}\\r\\n\\r\\n%s' \"$1\" >&3; head -n 1 <&3",
            body.len(),
            port = door.address.port(),
        );
        let ran = Command::new("bash").args(["-c", &script, "bash", body]).uid(65_534).output().expect("bash runs");
        String::from_utf8_lossy(&ran.stdout).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(ask(&door, "GET", "/api/urls", ""), "403");
    assert_eq!(ask(&door, "PUT", "/x", "x"), "403");
    assert_eq!(ask(&door, "POST", "/api/unpin", &url), "403");
    assert_eq!(ask(&door, "GET", &format!("/{url}"), ""), "200", "who has a URL can read what it names");
    assert_eq!(door.known(), 1);
    let world = door.close();
    std::fs::write(world.home().join("config.toml"), "[http]\nusers = \"everybody\"\n").expect("written");
    let door = Door::open(world, &["--http", "127.0.0.1:0"], "offs: http://");
    assert_eq!(ask(&door, "GET", "/api/urls", ""), "200");
    assert_eq!(ask(&door, "PUT", "/x", "x"), "201");
}

#[test]
fn floods_and_torn_requests_leave_the_others_alone() {
    let door = open();
    let url = door.put("/a.txt", b"text");
    let long = "x".repeat(1 << 20);
    for request in [
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(10_000)),
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
    ] {
        let answer = door.raw(request.as_bytes());
        let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
        assert!(answer.is_empty() || status.starts_with("HTTP/1.1 4"), "{status}");
    }
    // Clients that say little and leave, or stay.
    let mut slow: Vec<_> = (0..200).map(|_| door.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"PUT /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc").expect("sent");
    }
    let began = Instant::now();
    assert_eq!(door.get(&format!("/{url}"), &[]).text(), "text");
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(slow);
    // A body that is cut off.
    let mut torn = door.connect();
    torn.write_all(b"PUT /torn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nabc").expect("sent");
    torn.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = Vec::new();
    let _cut = torn.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
    assert_eq!(door.known(), 1, "nothing was kept of what did not come wholly");
}

#[test]
fn what_is_missing_is_named() {
    let door = open();
    let url = door.put("/a.bin", &bytes(5, 1_000_000));
    let other = World::new();
    let foreign = other.put(&[other.write("b.bin", &bytes(6, 100_000)).to_str().expect("a path")]);
    let missing = door.get(&format!("/{foreign}"), &[]);
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("is not here"), "{}", missing.text());
    assert_eq!(door.get(&format!("/{}", url.replacen("1000000", "1000001", 1)), &[]).status, 400);
    assert_eq!(door.get("/off:v3/text/plain/1/a/b/c/d", &[]).status, 501);
    assert_eq!(door.get("/off:v4/text", &[]).status, 400);
}

#[test]
fn what_is_missing_is_asked_of_a_pool_that_was_entered_later() {
    let (one, other) = (open(), open());
    one.world.run(&["pool", "create", "home"]).expect(0);
    let invitation = one.world.run(&["pool", "invite"]).expect(0).text();
    other.world.run(&["pool", "join", &invitation]).expect(0);
    for (from, to) in [(&one, &other), (&other, &one)] {
        let content = bytes(from.address.port().into(), 3_000_000);
        let url = from.put("/film.mp4", &content);
        let read = to.get(&format!("/{url}"), &[]);
        assert_eq!((read.status, read.body.len()), (200, content.len()));
        assert!(read.body == content);
    }
}

#[test]
fn health_and_figures() {
    let door = open();
    assert_eq!(door.get("/health", &[]).text(), "ok");
    assert_eq!(door.get("/ready", &[]).status, 200);
    let figures = door.get("/metrics", &[]);
    assert!(figures.text().contains("offs_service_up{service=\"http\"} 1.0"), "{}", figures.text());
    let status = door.get("/api/status", &[]);
    assert_eq!(status.field("content-type"), Some("application/json"));
    assert!(status.text().starts_with('{'));
    for (path, kind) in
        [("/", "text/html"), ("/assets/page.js", "text/javascript"), ("/api/qr?text=off%3Ax", "image/svg")]
    {
        let answer = door.get(path, &[]);
        assert!(answer.status == 200 && answer.field("content-type").is_some_and(|is| is.starts_with(kind)), "{path}");
        assert!(answer.field("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    }
}
