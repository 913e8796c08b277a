//! The real binary, end to end, and the rules of the house.

mod damage;
mod dht;
mod door;
mod gateway;
mod pool;
mod program;
mod s3;
mod tidy;
mod world;
