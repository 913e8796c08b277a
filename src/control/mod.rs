//! The control socket: how commands reach the daemon that owns the store.
//!
//! `control` in the home directory is a Unix socket that only its owner can open. A command that reads or writes
//! the user's files does so itself and talks to the daemon as to a [`cas::BlockStore`]; any other command is run
//! by the daemon, which sends back what it prints.

pub(crate) mod door;
pub(crate) mod frame;
pub(crate) mod remote_command;
pub(crate) mod remote_store;
