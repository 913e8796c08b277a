//! The golden vectors that the Python twin made from docs/membership.md.

use std::net::SocketAddr;

use replication::{Entry, EntryId, Invitation, InvitationError, Membership, PeerId, PoolId};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../fixtures/membership/vectors.json")).expect("the vectors")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hex")
}

fn in_hex<'a>(peers: impl Iterator<Item = &'a PeerId>) -> Value {
    peers.map(|peer| hex::encode(peer.as_bytes())).collect()
}

#[test]
fn logs_say_what_they_say_to_the_twin() {
    for log in list(&vectors()["logs"]) {
        let name = text(&log["name"]);
        let entries: Vec<_> = list(&log["entries"]).iter().collect();
        let first = Entry::from_bytes(&bytes(&entries[0]["bytes"])).expect("an entry");
        let mut membership = Membership::open(first).expect("a log");
        for vector in &entries {
            let entry = Entry::from_bytes(&bytes(&vector["bytes"])).expect("an entry");
            assert_eq!(entry.id().to_string(), text(&vector["id"]), "{name}");
            assert_eq!(entry.to_bytes(), bytes(&vector["bytes"]), "{name}");
            // The first is known already, and belongs to no pool before it makes one.
            let added = membership.add(entry);
            assert_eq!(added.is_ok(), vector["accepted"] == true, "{name}: {added:?}");
        }
        assert_eq!(membership.pool().to_string(), text(&log["pool"]));
        assert_eq!(membership.pool().rendezvous().to_string(), text(&log["rendezvous"]));
        assert_eq!(membership.heads().iter().map(EntryId::to_string).collect::<Value>(), log["heads"]);
        let state = membership.state();
        assert_eq!(in_hex(state.members()), log["members"], "{name}");
        assert_eq!(in_hex(state.admins()), log["admins"], "{name}");
        assert_eq!(in_hex(state.expelled()), log["expelled"], "{name}");
    }
}

#[test]
fn bad_entries_are_refused() {
    for bad in list(&vectors()["bad_entries"]) {
        assert!(Entry::from_bytes(&bytes(&bad["bytes"])).is_err(), "{}", bad["name"]);
    }
}

#[test]
fn open_pools_are_where_the_twin_has_them() {
    for open in list(&vectors()["open"]) {
        let pool = PoolId::open(text(&open["name"]));
        assert_eq!(pool.to_string(), text(&open["pool"]));
        assert_eq!(pool.rendezvous().to_string(), text(&open["rendezvous"]));
    }
}

#[test]
fn invitations_are_those_of_the_twin() {
    let vectors = vectors();
    for vector in list(&vectors["invitations"]) {
        let invitation: Invitation = text(&vector["text"]).parse().expect("an invitation");
        assert_eq!(invitation.to_string(), text(&vector["text"]));
        assert_eq!(invitation.pool().to_string(), text(&vector["pool"]));
        assert_eq!(hex::encode(invitation.inviter().as_bytes()), text(&vector["inviter"]));
        assert_eq!(hex::encode(invitation.key().id().as_bytes()), text(&vector["key"]));
        assert_eq!(invitation.addresses().iter().map(SocketAddr::to_string).collect::<Value>(), vector["addresses"]);
    }
    for bad in list(&vectors["bad_invitations"]) {
        let reason = match text(&bad["text"]).parse::<Invitation>().expect_err("a bad one") {
            InvitationError::Prefix => "prefix",
            InvitationError::Letter { .. } => "letter",
            InvitationError::Checksum => "checksum",
            InvitationError::Version(_) => "version",
            InvitationError::Addresses => "addresses",
            InvitationError::Long => "long",
        };
        assert_eq!(reason, text(&bad["reason"]), "{bad}");
    }
}
