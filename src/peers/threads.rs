//! Threads that read and write the store for links.

use std::{
    io,
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::oneshot;

use crate::peers::lock;

/// Enough that a disk can put reads in a good order, and so few that they are seldom woken when there is much to do:
/// being woken costs as much as finding a block.
const LEAST: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// A few threads that run what may wait for the disk.
pub(crate) struct Threads(mpsc::Sender<Job>);

/// What was to be run panicked.
#[derive(Debug, thiserror::Error)]
#[error("it panicked")]
pub(crate) struct Panicked;

impl Threads {
    /// Starts them. They end when this is dropped and everything is done.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(std::sync::Mutex::new(jobs));
        for _ in 0..thread::available_parallelism().map_or(LEAST, NonZeroUsize::get).max(LEAST) {
            let jobs = Arc::clone(&jobs);
            thread::Builder::new().name("blocks".into()).spawn(move || {
                loop {
                    let next = lock(&jobs).recv();
                    let Ok(job) = next else { return };
                    // Whoever waits for it learns that nothing comes.
                    let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self(sender))
    }

    /// Begins to run something on one of the threads.
    pub(crate) fn begin(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Panicked> {
        self.0.send(Box::new(job)).map_err(|_| Panicked)
    }

    /// Runs something on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(&self, run: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        let (done, result) = oneshot::channel();
        self.begin(move || {
            // Whoever asked may have gone.
            let _gone = done.send(run());
        })?;
        result.await.map_err(|_| Panicked)
    }
}
