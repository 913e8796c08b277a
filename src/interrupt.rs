//! Being told to end: what is half-made goes, and then the process does.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, Once, PoisonError},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::restore::remove_tree;

static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// While it lives, a directory is removed when the process is told to end.
pub(crate) struct Unfinished;

impl Unfinished {
    pub(crate) fn new(path: &Path) -> Self {
        static LISTENING: Once = Once::new();
        LISTENING.call_once(|| match Signals::new([SIGINT, SIGTERM, SIGHUP]) {
            Ok(signals) => drop(thread::spawn(move || listen(signals))),
            Err(error) => tracing::debug!(%error, "signals are not heard"),
        });
        *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_owned());
        Self
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn listen(mut signals: Signals) {
    for signal in signals.forever() {
        let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = unfinished.as_deref() {
            // The other threads go on until the process ends, so something may come in between. But what cannot
            // be removed must not keep the process from ending.
            for _ in 0..100 {
                if !path.exists() {
                    break;
                }
                remove_tree(path);
            }
        }
        if let Err(error) = emulate_default_handler(signal) {
            tracing::debug!(%error, "a signal is not passed on");
        }
    }
}
