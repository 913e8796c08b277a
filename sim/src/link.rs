//! What happens to a packet on its way.

use std::time::Duration;

use rand::{Rng as _, RngExt as _, rngs::SmallRng};

/// Delay and loss of a link.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Shortest delay of a packet.
    pub least: Duration,
    /// Longest delay.
    pub most: Duration,
    /// Which part of the packets is lost, 0 to 1.
    pub loss: f64,
}

impl Link {
    /// A perfect link, 20 ms long.
    pub const PERFECT: Self = Self { least: Duration::from_millis(20), most: Duration::from_millis(20), loss: 0.0 };

    /// The delay of the next packet; `None` when it is lost.
    pub(crate) fn next(&self, dice: &mut SmallRng) -> Option<Duration> {
        if dice.random_bool(self.loss) {
            return None;
        }
        let part = f64::from(dice.next_u32()) / f64::from(u32::MAX);
        Some(self.least + (self.most.saturating_sub(self.least)).mul_f64(part))
    }
}
