//! Which bytes of a thing are asked for (RFC 9110, section 14).

use std::ops::Range;

/// What a `Range` field comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it: there is no such field, or it is one that may be ignored.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Beyond,
}

/// Reads a `Range` field for something of `length` bytes.
///
/// One range is served. A field with several is ignored, which RFC 9110 allows (section 14.2): who asks gets all of it
/// with 200, and no client may depend on more. So are other units, and what is no range at all.
pub(crate) fn asked(field: Option<&str>, length: u64) -> Asked {
    let Some(spec) = field.and_then(|field| field.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else { return Asked::Whole };
    match (number(first), number(last)) {
        (Some(first), None) if last.trim().is_empty() => part(first..length, length),
        (Some(first), Some(last)) if first <= last => part(first..last.saturating_add(1).min(length), length),
        // The last so many bytes.
        (None, Some(0)) if first.trim().is_empty() => Asked::Beyond,
        (None, Some(count)) if first.trim().is_empty() => part(length.saturating_sub(count)..length, length),
        _ => Asked::Whole,
    }
}

fn part(range: Range<u64>, length: u64) -> Asked {
    if range.start < length { Asked::Part(range) } else { Asked::Beyond }
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More than any length is as good as the most.
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges() {
        let of = |field| asked(Some(field), 100);
        assert_eq!(asked(None, 100), Asked::Whole);
        assert_eq!(of("bytes=0-0"), Asked::Part(0..1));
        assert_eq!(of("bytes=10-"), Asked::Part(10..100));
        assert_eq!(of("bytes=90-1000"), Asked::Part(90..100));
        assert_eq!(of("bytes=-5"), Asked::Part(95..100));
        assert_eq!(of("bytes=-500"), Asked::Part(0..100));
        assert_eq!(of("bytes=0-99999999999999999999999"), Asked::Part(0..100));
        for beyond in ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of(beyond), Asked::Beyond, "{beyond}");
        }
        for ignored in ["bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=a-b", "bytes=-", "bytes", "bytes=1", ""] {
            assert_eq!(of(ignored), Asked::Whole, "{ignored}");
        }
        // Of nothing there is no first byte.
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Beyond);
        assert_eq!(asked(Some("bytes=-1"), 0), Asked::Beyond);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_too_long(field in "bytes=[0-9,-]{0,30}|\\PC*", length: u64) {
            if let Asked::Part(range) = asked(Some(&field), length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
