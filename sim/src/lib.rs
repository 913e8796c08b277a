//! A network in one process, in its own time: real nodes, simulated links.
//!
//! Everything that happens follows from the seed, so a run can be repeated.

mod adversary;
mod link;
mod network;
mod population;

pub use adversary::{Adversary, Malice};
pub use link::Link;
pub use network::{Machine, Network};
pub use population::{Measure, Population, Report};
