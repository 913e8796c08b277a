//! A command that the daemon runs for us.

use std::{
    io::{self, IsTerminal as _},
    os::unix::net::UnixStream,
};

use serde_json::json;

use crate::{
    control::frame::{self, Kind},
    failure::Failure,
    output,
    progress::say,
};

/// Has the daemon run this process's own command line, and prints what it prints.
pub(crate) fn run(stream: &mut UnixStream) -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args_os().map(|one| one.to_string_lossy().into_owned()).collect();
    run_line(stream, &arguments, false, &mut |text| output::line(text))
}

/// Has the daemon run a command line; `print` gets what it prints. When it is to be `quiet`, what it has to say besides
/// is dropped.
pub(crate) fn run_line<S: AsRef<str>>(
    stream: &mut UnixStream,
    arguments: &[S],
    quiet: bool,
    print: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let line = json!({"arguments": arguments, "terminal": io::stderr().is_terminal()});
    frame::write(stream, Kind::Command, &[line.to_string().as_bytes()]).map_err(Failure::Daemon)?;
    let mut payload = Vec::new();
    loop {
        let kind = frame::read(stream, &mut payload).map_err(Failure::Daemon)?;
        let text = || String::from_utf8_lossy(&payload);
        match kind {
            Some(Kind::Out) => print(&text())?,
            Some(Kind::Err) if quiet => {}
            Some(Kind::Err) => say(format_args!("{}", text())),
            Some(Kind::Exit) => {
                return match payload.first() {
                    Some(0) => Ok(()),
                    // It has said why.
                    code => Err(Failure::Said { code: code.copied().unwrap_or(1) }),
                };
            }
            _ => return Err(Failure::Daemon(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
