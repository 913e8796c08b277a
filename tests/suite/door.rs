//! A daemon, and requests to one of its doors.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::world::World;

/// A daemon with a door.
pub(crate) struct Door {
    pub(crate) world: World,
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _code = self.child.wait();
    }
}

/// An answer, taken apart.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

impl Door {
    /// A daemon of a world, the door of which it tells in a line that begins so.
    pub(crate) fn open(world: World, arguments: &[&str], told: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_offs"))
            .args(["serve", "--no-lan", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("OFFS_HOME", world.home())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it ended");
            if let Some(address) = line.trim().strip_prefix(told) {
                break address.trim_end_matches('/').parse().expect("an address");
            }
        };
        let log = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                writeln!(lines.lock().expect("whole"), "{line}").expect("kept");
            }
        });
        Self { world, child, address, log }
    }

    /// Tells it to end, waits until it has, and gives its world back.
    pub(crate) fn close(mut self) -> World {
        let ended = Command::new("kill").arg(self.child.id().to_string()).status().expect("told");
        assert!(ended.success());
        assert!(self.child.wait().expect("ended").success(), "it ends in an orderly way");
        std::mem::replace(&mut self.world, World::new())
    }

    /// Waits until it has said something.
    pub(crate) fn says(&self, what: &str) {
        let says = || self.log.lock().expect("whole").contains(what);
        let heard = (0..100).any(|_| {
            says() || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }
        });
        assert!(heard, "{what}: {}", self.log.lock().expect("whole"));
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream
    }

    /// Sends bytes as they are and reads until the other end closes.
    pub(crate) fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // Whoever is refused early may be cut off while it still sends.
        let _cut = stream.write_all(request);
        let mut answer = Vec::new();
        let _cut = stream.read_to_end(&mut answer);
        answer
    }

    pub(crate) fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = format!("Content-Length: {}", body.len());
        let mut lines = vec![format!("{method} {path} HTTP/1.1"), "Connection: close".to_owned(), length];
        if !fields.iter().any(|(name, _)| *name == "Host") {
            lines.push(format!("Host: {}", self.address));
        }
        lines.extend(fields.iter().map(|(name, value)| format!("{name}: {value}")));
        let answer = self.raw(&[lines.join("\r\n").as_bytes(), b"\r\n\r\n", body].concat());
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head, body: answer[end + 4..].to_vec() }
    }

    pub(crate) fn get(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, fields, b"")
    }
}
