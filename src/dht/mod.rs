//! The node of the DHT in the real world: sockets, time, dice, files.

pub(crate) mod arguments;
pub(crate) mod client;
pub(crate) mod driver;
pub(crate) mod key_file;
pub(crate) mod names;
pub(crate) mod state;
pub(crate) mod udp;
