//! Digests of the plain content, taken while it streams by.

use s3s::{
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Md5},
    dto::Checksum,
};

use crate::s3::{
    fault::{Fault, Result, fault},
    object::{Sum, SumKind},
};

/// What a client says of the content that it sends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// In binary.
    pub(crate) md5: Option<[u8; 16]>,
    pub(crate) sums: Vec<(SumKind, String)>,
    /// Kinds that are to be kept although no value is known yet: it comes in a trailer, or not at all.
    pub(crate) kinds: Vec<SumKind>,
}

/// All digests that an upload needs.
pub(crate) struct Digest {
    md5: Md5,
    sums: ChecksumHasher,
    kinds: Vec<SumKind>,
}

/// What they came to.
#[derive(Clone, Debug)]
pub(crate) struct Digests {
    pub(crate) md5: [u8; 16],
    pub(crate) sums: Vec<Sum>,
}

/// Another digest with the same bytes.
pub(crate) fn hasher(kinds: &[SumKind]) -> ChecksumHasher {
    let mut hasher = ChecksumHasher::default();
    for kind in kinds {
        match kind {
            SumKind::Crc32 => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
            SumKind::Crc32c => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
            SumKind::Crc64nvme => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
            SumKind::Sha1 => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
            SumKind::Sha256 => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
        }
    }
    hasher
}

/// One of the values.
pub(crate) fn value(sums: &Checksum, kind: SumKind) -> Option<String> {
    match kind {
        SumKind::Crc32 => sums.checksum_crc32.clone(),
        SumKind::Crc32c => sums.checksum_crc32c.clone(),
        SumKind::Crc64nvme => sums.checksum_crc64nvme.clone(),
        SumKind::Sha1 => sums.checksum_sha1.clone(),
        SumKind::Sha256 => sums.checksum_sha256.clone(),
    }
}

impl Digest {
    pub(crate) fn new(expected: &Expected) -> Self {
        let mut kinds: Vec<_> = expected.sums.iter().map(|(kind, _)| *kind).collect();
        for kind in &expected.kinds {
            if !kinds.contains(kind) {
                kinds.push(*kind);
            }
        }
        Self { md5: Md5::new(), sums: hasher(&kinds), kinds }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.sums.update(bytes);
    }

    pub(crate) fn finish(self) -> Digests {
        let values = self.sums.finalize();
        let sums = self
            .kinds
            .iter()
            .filter_map(|kind| Some(Sum { kind: *kind, value: value(&values, *kind)?, composite: false }))
            .collect();
        Digests { md5: self.md5.finalize(), sums }
    }
}

impl Digests {
    /// Whether the content is what the client says.
    pub(crate) fn check(&self, expected: &Expected) -> Result<()> {
        if expected.md5.is_some_and(|md5| md5 != self.md5) {
            return Err(fault(s3s::S3ErrorCode::BadDigest, "the content does not have the MD5 that was sent with it"));
        }
        for (kind, value) in &expected.sums {
            let own = self.sums.iter().find(|sum| sum.kind == *kind).ok_or(Fault::Worker)?;
            if own.value != *value {
                let message = "the content does not have the checksum that was sent with it";
                return Err(fault(s3s::S3ErrorCode::BadDigest, message));
            }
        }
        Ok(())
    }
}
