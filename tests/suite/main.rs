//! The real binary, end to end, and the rules of the house.

mod damage;
mod dht;
mod gateway;
mod pool;
mod program;
mod tidy;
mod world;
