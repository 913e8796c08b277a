//! Tests of the owner-free layer over stores in memory.

mod dice;
mod directories;
mod files;
mod hostile;
mod losses;
mod urls;
mod vectors;
