//! A home directory, a folder of the user's, and the program run in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

pub(crate) struct World {
    directory: tempfile::TempDir,
}

/// What a run of the program came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as text without its last newline.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end().to_owned()
    }

    /// Panics with everything that is known unless the exit code is as expected.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nout: {}\nerr: {}", self.text(), self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

impl World {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: what is tested here does not depend on the disk, and the
        // many syncs of the matrix would wait for it.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("temporary directory");
        fs::create_dir(directory.path().join("user")).expect("create");
        Self { directory }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// A path in the user's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("user").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write");
        path
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut child = Command::new(env!("CARGO_BIN_EXE_offs"))
            .args(arguments)
            .current_dir(self.path(""))
            .env("OFFS_HOME", self.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut pipe = child.stdin.take().expect("piped");
        let Output { status, stdout, stderr } = std::thread::scope(|scope| {
            // The program may end without reading its input.
            scope.spawn(move || drop(std::io::Write::write_all(&mut pipe, input)));
            child.wait_with_output().expect("the program ends")
        });
        Ran { code: status.code().unwrap_or(-1), out: stdout, err: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Stores a path and returns its URL.
    #[track_caller]
    pub(crate) fn put(&self, arguments: &[&str]) -> String {
        self.run(&[&["put"], arguments].concat()).expect(0).text()
    }

    /// Reads a URL through standard output.
    pub(crate) fn get(&self, url: &str) -> Ran {
        self.run(&["get", url, "-o", "-"])
    }

    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        sorted(&self.home().join("store/packs"))
    }
}

pub(crate) fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory).expect("read").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
}

/// Bytes that do not compress and can be made again.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut content = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut content);
    content
}

/// Copies a folder and everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for path in sorted(from) {
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copy");
        }
    }
}
