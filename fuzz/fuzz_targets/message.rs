//! A packet as a message of the DHT: what is accepted is written back to the same message, canonically.
#![no_main]

use krpc::{Body, Item, ItemReply, Message, MessageError, Method, Query, Target};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| {
    let message = match Message::from_bytes(packet) {
        Ok(message) => message,
        Err(MessageError::Query { transaction, .. }) => {
            assert!((1..=32).contains(&transaction.as_bytes().len()));
            return;
        }
        Err(MessageError::NotAMessage) => return,
    };
    check(&message);
    // A name that we do not know is not written again.
    if matches!(&message.body, Body::Query(Query { method: Method::Unknown { .. }, .. })) {
        return;
    }
    let bytes = message.to_bytes();
    assert_eq!(Message::from_bytes(&bytes), Ok(message.clone()));
    assert_eq!(Message::from_bytes(&bytes).map(|again| again.to_bytes()), Ok(bytes), "not canonical");
});

/// Bounds that hold of every message.
fn check(message: &Message) {
    match &message.body {
        Body::Query(Query { method: Method::Put { item, .. }, .. }) => {
            assert!(item.value().as_bencode().len() <= krpc::MAX_VALUE);
            if let Item::Mutable(item) = item {
                assert!(item.salt.len() <= krpc::MAX_SALT && item.sequence >= 0);
            }
        }
        Body::Response(response) => {
            assert!(response.nodes.iter().chain(&response.nodes6).all(|nodes| nodes.len() <= 32));
            assert!(response.values.len() <= 256);
            let forged = Target::from_bytes([0; 20]);
            assert_eq!(ItemReply::item(&response.item, &forged, b""), None, "nobody finds a value for this target");
        }
        Body::Query(_) | Body::Error(_) => {}
    }
}
