//! A file of saved nodes: what is accepted is read back the same.
#![no_main]

use krpc::Saved;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(saved) = Saved::from_bytes(bytes) else { return };
    assert_eq!(Saved::from_bytes(&saved.to_bytes()), Ok(saved));
});
