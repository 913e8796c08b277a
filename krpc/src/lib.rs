//! The words of `BitTorrent`'s DHT: messages, ids, tokens, items.
//!
//! KRPC as BEPs 5, 32, 33, 42, 43, 44 and 51 have it, without a socket, a clock or dice: bytes, time and
//! randomness are arguments. What is sent is canonical bencode; docs/protocol.md has it byte by byte.
//!
//! ```
//! use krpc::{Body, Message, Method, NodeId, Query, TransactionId};
//!
//! let query = Query { id: NodeId::from_bytes(*b"abcdefghij0123456789"), want: None, method: Method::Ping, padding: 0 };
//! let message = Message::new(TransactionId::ours(7), Body::Query(query));
//! let bytes = message.to_bytes();
//! assert_eq!(bytes, b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t4:\0\0\0\x071:y1:qe");
//! assert_eq!(Message::from_bytes(&bytes)?, message);
//! # Ok::<(), krpc::MessageError>(())
//! ```

pub mod bencode;
mod bucket;
mod contact;
mod counters;
mod dice;
mod item;
mod item_store;
mod limiter;
mod lookup;
mod maintenance;
mod message;
mod node;
mod node_id;
#[cfg(test)]
mod node_tests;
mod peer_store;
mod proof;
mod publisher;
mod query;
mod response;
mod routing_table;
mod run;
mod saved;
mod scrape_filter;
mod secure_id;
mod server;
mod settings;
mod signing_key;
mod task;
mod token;
mod transaction_id;
mod transactions;
mod votes;

pub use contact::{Contact, Family, compact_nodes, parse_address, parse_nodes, push_address};
pub use counters::Counters;
pub use item::{Item, ItemError, MAX_SALT, MAX_VALUE, MutableItem, Value, mutable_target};
pub use item_store::{ITEM_COST, ITEM_LIFE, MOST_BYTES_OF_AN_IP, MOST_ITEMS};
pub use message::{Body, ErrorCode, ErrorReply, Message, MessageError};
pub use node::{Node, Poll, Transmit};
pub use node_id::{Distance, NodeId, NotHex, Target};
pub use peer_store::{MOST_PEERS, MOST_SWARMS, PEER_LIFE};
pub use publisher::Publication;
pub use query::{Method, Query, Want};
pub use response::{ItemReply, Response, Samples};
pub use saved::{Saved, SavedError};
pub use scrape_filter::ScrapeFilter;
pub use secure_id::{is_bogon, is_local, is_secure, secure_id};
pub use server::MOST_ANSWER;
pub use settings::Settings;
pub use signing_key::SigningKey;
pub use task::{Event, Outcome, Step, Task, TaskId};
pub use token::{SECRET_LIFE, Tokens};
pub use transaction_id::TransactionId;
