//! Progress on standard error, only at a terminal, and only when something takes a while.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{self, Stream};

/// A bar that shows itself after a second.
pub(crate) struct Progress {
    state: Option<Mutex<State>>,
}

struct State {
    started: Instant,
    total: Option<u64>,
    label: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress towards `total` bytes, if that is known.
    pub(crate) fn new(label: &str, total: Option<u64>) -> Self {
        let state = output::can_draw().then(|| {
            let label = output::plain(label);
            Mutex::new(State { started: Instant::now(), total, label, bar: None })
        });
        Self { state }
    }

    /// Says how far it is.
    pub(crate) fn at(&self, bytes: u64) {
        let Some(state) = &self.state else { return };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.bar.is_none() {
            if state.started.elapsed() < Duration::from_secs(1) {
                return;
            }
            let style = match state.total {
                Some(_) => "{msg} {bytes}/{total_bytes} {bar:30} {bytes_per_sec} {eta}",
                None => "{msg} {bytes} {bytes_per_sec} {elapsed}",
            };
            let bar = ProgressBar::new(state.total.unwrap_or(0)).with_message(state.label.clone());
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            state.bar = Some(bar.with_elapsed(state.started.elapsed()));
        }
        if let Some(bar) = &state.bar {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(state) = &self.state
            && let Some(bar) = state.lock().unwrap_or_else(PoisonError::into_inner).bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to standard error. When nobody can hear it, the exit code still says how it ended.
pub(crate) fn say(line: std::fmt::Arguments<'_>) {
    if let Err(error) = output::write(Stream::Err, &line.to_string()) {
        tracing::debug!(%error, "standard error cannot be written to");
    }
}

/// A warning on standard error, for people and logs.
pub(crate) fn warn(text: &str) {
    say(format_args!("offs: {}", output::plain(text)));
}

/// A remark on standard error, for people at a terminal.
pub(crate) fn remark(text: &str) {
    if output::is_heard() {
        say(format_args!("offs: {text}"));
    }
}
