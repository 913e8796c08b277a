//! Being told to stop.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells everything that has a copy of it to stop. Once asked, it stays asked.
#[derive(Clone)]
pub(crate) struct Stop {
    sender: Arc<watch::Sender<bool>>,
    receiver: watch::Receiver<bool>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = watch::channel(false);
        Self { sender: Arc::new(sender), receiver }
    }

    /// Tells everything to stop.
    pub(crate) fn ask(&self) {
        self.sender.send_replace(true);
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Returns when it is time to stop.
    pub(crate) async fn asked(&mut self) {
        // The sender lives as long as this does, so there is always an answer.
        let _asked = self.receiver.wait_for(|asked| *asked).await.is_ok();
    }
}
