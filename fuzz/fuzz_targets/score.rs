//! Scores in binary and in text: both forms are canonical.
#![no_main]

use cas::Score;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(binary) = <&[u8; Score::BINARY]>::try_from(input)
        && let Ok(score) = Score::from_binary(binary)
    {
        assert_eq!(&score.to_binary(), binary);
        assert_eq!(score.to_string().parse(), Ok(score));
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(score) = text.parse::<Score>()
    {
        assert_eq!(score.to_string(), text);
        assert_eq!(Score::from_binary(&score.to_binary()), Ok(score));
    }
});
