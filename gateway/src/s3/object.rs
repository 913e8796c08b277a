//! What the catalogue says of buckets, objects and uploads (docs/s3.md, section 7).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the catalogue itself, under the number of the version.
    #[serde(rename = "s")]
    Small,
    /// In a packed file, from here on.
    #[serde(rename = "k")]
    Packed { pack: u64, at: u64 },
    /// A file of its own: its reference.
    #[serde(rename = "f")]
    File(String),
}

/// Bytes of an object, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) length: u64,
    pub(crate) place: Place,
}

/// A checksum that S3 clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SumKind {
    Crc32,
    Crc32c,
    Crc64nvme,
    Sha1,
    Sha256,
}

/// A checksum of the plain content, in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) kind: SumKind,
    pub(crate) value: String,
    /// Of the parts' checksums instead of the content.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) composite: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// What a client says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_class: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<(String, String)>,
}

/// A part of an object that was put in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartOf {
    pub(crate) number: u16,
    pub(crate) length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sum: Option<String>,
}

/// A version of an object, or the mark that it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Its number; a later version of whatever object has a higher one.
    pub(crate) seq: u64,
    /// Whether clients know it as `null`, as all those of a bucket without versioning.
    pub(crate) null: bool,
    /// Milliseconds since 1970.
    pub(crate) modified: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) deleted: bool,
    pub(crate) length: u64,
    /// Without its quotes.
    pub(crate) etag: String,
    pub(crate) pieces: Vec<Piece>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<PartOf>,
    /// The upload that it was put by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sum: Option<Sum>,
    #[serde(default)]
    pub(crate) about: About,
}

/// What clients call a version.
pub(crate) fn version_id(seq: u64, null: bool) -> String {
    if null { "null".to_owned() } else { format!("{seq:016x}") }
}

impl Version {
    /// What clients call it.
    pub(crate) fn id(&self) -> String {
        version_id(self.seq, self.null)
    }
}

/// Whether a bucket keeps what is overwritten and deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Versioning {
    /// It never did.
    #[default]
    Off,
    Enabled,
    /// It did once.
    Suspended,
}

/// A bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Bucket {
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) versioning: Versioning,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cors: Vec<CorsRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) lifecycle: Vec<LifecycleRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) website: Option<Website>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) most_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) most_objects: Option<u64>,
}

/// Which pages of other sites may read and change a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CorsRule {
    pub(crate) id: Option<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) exposed: Vec<String>,
    pub(crate) max_age: Option<i32>,
}

/// What becomes of objects with time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LifecycleRule {
    pub(crate) id: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) prefix: String,
    /// Whether the prefix is said in a filter, as new clients do.
    pub(crate) filter: bool,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) larger_than: Option<u64>,
    pub(crate) smaller_than: Option<u64>,
    pub(crate) days: Option<u32>,
    /// Seconds since 1970.
    pub(crate) date: Option<u64>,
    pub(crate) marks: bool,
    pub(crate) noncurrent_days: Option<u32>,
    pub(crate) abort_days: Option<u32>,
}

/// A bucket as a web site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Website {
    pub(crate) index: String,
    pub(crate) error: Option<String>,
}

/// What a bucket holds, old versions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Versions of objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Objects that are packed in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pack {
    pub(crate) reference: String,
    pub(crate) length: u64,
    /// Bytes of it that belong to objects.
    pub(crate) live: u64,
}

/// An object that is being put in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upload {
    /// Milliseconds since 1970.
    pub(crate) initiated: u64,
    pub(crate) about: About,
    pub(crate) sum: Option<SumKind>,
    /// Whether the checksum is to be that of the parts' checksums.
    pub(crate) composite: bool,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) piece: Piece,
    pub(crate) etag: String,
    pub(crate) sum: Option<Sum>,
    pub(crate) modified: u64,
}
