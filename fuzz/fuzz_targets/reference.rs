//! References in binary and in base58: both forms are canonical.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offs::Reference;

fuzz_target!(|input: &[u8]| {
    if let Ok(reference) = Reference::from_bytes(input) {
        assert_eq!(reference.to_bytes(), input);
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(reference) = text.parse::<Reference>()
    {
        assert_eq!(reference.to_string(), text);
        assert_eq!(Reference::from_bytes(&reference.to_bytes()), Ok(reference));
    }
});
