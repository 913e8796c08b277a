//! A network in one process, in its own time: real nodes, simulated links; and a pool of peers that keep each other's
//! blocks.
//!
//! Everything that happens follows from the seed, so a run can be repeated.

mod adversary;
mod agenda;
mod course;
mod durability;
mod library;
mod link;
mod network;
mod peer;
mod peers;
mod population;
mod ranking;

pub use adversary::{Adversary, Malice};
pub use course::{Course, Moment};
pub use durability::{Outcome, Shape, Trial, tables};
pub use link::Link;
pub use network::{Machine, Network};
pub use peers::Peers;
pub use population::{Measure, Population, Report};
