//! An entry of a pool's log, or an invitation: what is accepted is written back to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use replication::{Entry, Invitation, MAX_ENTRY, MAX_PARENTS, Membership};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(invitation) = text.parse::<Invitation>()
    {
        assert_eq!(invitation.to_string(), text, "not canonical");
    }
    let Ok(entry) = Entry::from_bytes(bytes) else { return };
    assert_eq!(entry.to_bytes(), bytes, "not canonical");
    assert!(bytes.len() <= MAX_ENTRY && entry.parents.len() <= MAX_PARENTS);
    let signed = entry.is_signed();
    if let Ok(mut log) = Membership::open(entry.clone()) {
        assert!(signed && log.state().admins().eq([&entry.author]));
        assert_eq!(log.add(entry), Ok(false));
    }
});
