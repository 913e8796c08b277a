//! Standard output: results only. In the daemon a command's output goes to who asked for it.

use std::{
    cell::RefCell,
    io::{self, IsTerminal as _, Write as _},
};

use crate::failure::Failure;

/// One of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Takes a line for a stream.
type Sink = Box<dyn FnMut(Stream, &str) -> io::Result<()>>;

thread_local! {
    /// Where this thread's output goes instead of the process's own, and whether a person reads it.
    static SINK: RefCell<Option<(bool, Sink)>> = const { RefCell::new(None) };
}

/// From now on what this thread prints goes to `sink`; `terminal` when a person reads it.
pub(crate) fn redirect(terminal: bool, sink: Sink) {
    SINK.set(Some((terminal, sink)));
}

/// Writes a line to one of the streams.
pub(crate) fn write(stream: Stream, text: &str) -> io::Result<()> {
    SINK.with_borrow_mut(|sink| match (sink, stream) {
        (Some((_, sink)), _) => sink(stream, text),
        (None, Stream::Out) => writeln!(io::stdout().lock(), "{text}"),
        (None, Stream::Err) => writeln!(io::stderr().lock(), "{text}"),
    })
}

/// A text on one line, of which nothing acts on a terminal: whoever names a file or an object does not write to it, and
/// does not turn the direction of what is behind it.
pub(crate) fn plain(text: &str) -> String {
    text.replace(acts, "?")
}

/// The same on several lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.replace(|c| c != '\n' && acts(c), "?")
}

/// Whether a character does something to a terminal or to what stands beside it.
fn acts(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

/// Whether a person reads remarks.
pub(crate) fn is_heard() -> bool {
    SINK.with_borrow(|sink| sink.as_ref().map_or_else(|| io::stderr().is_terminal(), |(terminal, _)| *terminal))
}

/// Whether progress can be drawn.
pub(crate) fn can_draw() -> bool {
    SINK.with_borrow(Option::is_none) && io::stderr().is_terminal()
}

/// Prints one line of a result.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    write(Stream::Out, &text.to_string()).map_err(Failure::Output)
}

/// Prints one JSON value as a line.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(value)
}
