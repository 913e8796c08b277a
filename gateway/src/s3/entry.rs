//! Keys of the catalogue (docs/s3.md, section 7). The first byte says what an entry is.

/// Ends the name of a bucket, in which it cannot be.
const END: u8 = 0;

fn key(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = vec![tag];
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// All buckets.
pub(crate) const BUCKETS: &[u8] = b"b";
/// All packed files.
pub(crate) const PACKS: &[u8] = b"k";
/// The bytes of all small objects.
pub(crate) const SMALL: &[u8] = b"i";
/// Is there while a saved catalogue is being written.
pub(crate) const RESTORING: &[u8] = b"a";
/// The URL of the catalogue as it was saved last.
pub(crate) const SAVED: &[u8] = b"c";
/// The last number that was given to a version.
pub(crate) const LAST: &[u8] = b"s";

/// The settings of a bucket.
pub(crate) fn bucket(name: &str) -> Vec<u8> {
    key(b'b', &[name.as_bytes()])
}

/// What a bucket holds.
pub(crate) fn usage(bucket: &str) -> Vec<u8> {
    key(b'n', &[bucket.as_bytes()])
}

/// The current version of an object; with an empty name, or the beginning of one, the prefix of those.
pub(crate) fn object(bucket: &str, name: &[u8]) -> Vec<u8> {
    key(b'o', &[bucket.as_bytes(), &[END], name])
}

/// The name in the key of a current version.
pub(crate) fn object_name<'a>(bucket: &str, key: &'a [u8]) -> &'a [u8] {
    &key[bucket.len() + 2..]
}

/// The prefix of the other versions of an object, the newest first. Keys below it are eight bytes longer.
pub(crate) fn versions(bucket: &str, name: &str) -> Vec<u8> {
    key(b'v', &[bucket.as_bytes(), &[END], name.as_bytes(), &[END]])
}

/// Another version of an object.
pub(crate) fn version(bucket: &str, name: &str, seq: u64) -> Vec<u8> {
    [versions(bucket, name), (!seq).to_be_bytes().to_vec()].concat()
}

/// The bytes of a small object.
pub(crate) fn small(seq: u64) -> Vec<u8> {
    key(b'i', &[&seq.to_be_bytes()])
}

/// A packed file.
pub(crate) fn pack(number: u64) -> Vec<u8> {
    key(b'k', &[&number.to_be_bytes()])
}

/// The objects in a packed file.
pub(crate) fn residents(pack: u64) -> Vec<u8> {
    key(b'r', &[&pack.to_be_bytes()])
}

/// An object in a packed file.
pub(crate) fn resident(pack: u64, seq: u64) -> Vec<u8> {
    [residents(pack), seq.to_be_bytes().to_vec()].concat()
}

/// The number at the end of a key.
pub(crate) fn number(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// An upload; with an empty name and id the prefix of a bucket's.
pub(crate) fn upload(bucket: &str, name: &str, id: &str) -> Vec<u8> {
    key(b'u', &[bucket.as_bytes(), &[END], name.as_bytes(), &[END], id.as_bytes()])
}

/// The uploads of a bucket to names that begin so.
pub(crate) fn uploads(bucket: &str, prefix: &[u8]) -> Vec<u8> {
    key(b'u', &[bucket.as_bytes(), &[END], prefix])
}

/// The parts of an upload.
pub(crate) fn parts(upload: &str) -> Vec<u8> {
    key(b'p', &[upload.as_bytes(), &[END]])
}

/// A part of an upload.
pub(crate) fn part(upload: &str, number: u16) -> Vec<u8> {
    [parts(upload), number.to_be_bytes().to_vec()].concat()
}

/// Who has a small object's bytes: its bucket and name, in front of the bytes.
pub(crate) fn owned(bucket: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bucket.len() + 1 + name.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), bucket.as_bytes(), &[END], name.as_bytes(), bytes].concat()
}

/// The owner's bucket and name, and the bytes.
pub(crate) fn split_owned(value: &[u8]) -> Option<(&str, &str, &[u8])> {
    let (length, rest) = value.split_first_chunk()?;
    let (owner, bytes) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let (bucket, name) = std::str::from_utf8(owner).ok()?.split_once(char::from(END))?;
    Some((bucket, name, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        for (bucket, name, bytes) in [("abc", "k", &b""[..]), ("abc", "a\0b", b"bytes"), ("a.b", "", b"\0\0")] {
            let value = owned(bucket, name, bytes);
            assert_eq!(split_owned(&value), Some((bucket, name, bytes)));
        }
        assert_eq!(split_owned(b"\0\x09abc"), None);
    }

    #[test]
    fn newer_versions_come_first() {
        assert!(version("abc", "k", 9) < version("abc", "k", 8));
        assert_eq!(!number(&version("abc", "k", 9)), 9);
        assert_eq!(object_name("abc", &object("abc", b"k\0l")), b"k\0l");
    }
}
