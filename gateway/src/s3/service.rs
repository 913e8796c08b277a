//! The operations of S3, in the library's words.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hyper::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};
use tokio::task::spawn_blocking;

use crate::s3::{
    access::{Access, Who},
    digest::{Digests, Expected},
    fault::{Fault, Result, fault},
    list::{Entry, Page},
    object::{About, Bucket, Sum, SumKind, Version, Versioning},
    read_object::sum_header,
    settings,
    shelf::{Content, New, Shelf, Wish},
};

/// The longest object, in bytes.
pub(crate) const LONGEST: u64 = 5 << 40;
/// The longest name of an object. The library looks at it in paths, not in forms.
const LONGEST_NAME: usize = 1024;
/// Most bytes of names and values that a client may say of an object.
pub(crate) const MOST_METADATA: usize = 2048;
/// Whose everything is: there is one owner.
pub(crate) const OWNER: &str = "offs";

/// All kinds of checksums, with what clients call them.
pub(crate) const KINDS: [(SumKind, &str); 5] = [
    (SumKind::Crc32, dto::ChecksumAlgorithm::CRC32),
    (SumKind::Crc32c, dto::ChecksumAlgorithm::CRC32C),
    (SumKind::Crc64nvme, dto::ChecksumAlgorithm::CRC64NVME),
    (SumKind::Sha1, dto::ChecksumAlgorithm::SHA1),
    (SumKind::Sha256, dto::ChecksumAlgorithm::SHA256),
];

pub(crate) struct Service {
    pub(crate) access: Access,
}

pub(crate) type Answer<T> = S3Result<S3Response<T>>;

#[expect(clippy::unnecessary_wraps, reason = "it is what operations return")]
pub(crate) fn answer<T>(output: T) -> Answer<T> {
    Ok(S3Response::new(output))
}

pub(crate) fn bad(code: S3ErrorCode, message: &'static str) -> S3Error {
    fault(code, message).into()
}

pub(crate) fn timestamp(milliseconds: u64) -> dto::Timestamp {
    (UNIX_EPOCH + Duration::from_millis(milliseconds)).into()
}

pub(crate) fn etag(version: &Version) -> dto::ETag {
    dto::ETag::Strong(version.etag.clone())
}

pub(crate) fn owner() -> dto::Owner {
    dto::Owner { id: Some(OWNER.to_owned()), display_name: Some(OWNER.to_owned()) }
}

pub(crate) fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(crate) fn kind_of(name: &str) -> S3Result<SumKind> {
    let known = KINDS.iter().find(|(_, known)| name.eq_ignore_ascii_case(known));
    known.map(|(kind, _)| *kind).ok_or_else(|| bad(S3ErrorCode::InvalidRequest, "that checksum algorithm is not known"))
}

pub(crate) fn kind_name(kind: SumKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name)
}

/// Characters that stand for themselves in a list with `encoding-type=url`.
pub(crate) const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// How names are written in a list.
#[derive(Clone, Copy)]
pub(crate) struct Encoding {
    url: bool,
}

impl Encoding {
    pub(crate) fn new(asked: Option<&dto::EncodingType>) -> S3Result<Self> {
        match asked.map(dto::EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some("url") => Ok(Self { url: true }),
            Some(_) => Err(bad(S3ErrorCode::InvalidArgument, "Invalid Encoding Method specified in Request")),
        }
    }

    pub(crate) fn write(self, name: &str) -> String {
        if self.url { utf8_percent_encode(name, &KEPT).to_string() } else { name.to_owned() }
    }

    pub(crate) fn maybe(self, name: Option<&String>) -> Option<String> {
        name.map(|name| self.write(name))
    }

    pub(crate) fn word(self) -> Option<dto::EncodingType> {
        self.url.then(|| dto::EncodingType::from_static("url"))
    }
}

/// Sets the checksum that an answer tells.
macro_rules! tell_sum {
    ($output:expr, $sum:expr) => {
        if let Some(sum) = $sum {
            let value = Some(sum.value.clone());
            match sum.kind {
                SumKind::Crc32 => $output.checksum_crc32 = value,
                SumKind::Crc32c => $output.checksum_crc32c = value,
                SumKind::Crc64nvme => $output.checksum_crc64nvme = value,
                SumKind::Sha1 => $output.checksum_sha1 = value,
                SumKind::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}

/// The checksums that a client sends.
macro_rules! said_sums {
    ($input:expr) => {{
        let mut sums: Vec<(SumKind, String)> = Vec::new();
        for (kind, value) in [
            (SumKind::Crc32, &$input.checksum_crc32),
            (SumKind::Crc32c, &$input.checksum_crc32c),
            (SumKind::Crc64nvme, &$input.checksum_crc64nvme),
            (SumKind::Sha1, &$input.checksum_sha1),
            (SumKind::Sha256, &$input.checksum_sha256),
        ] {
            sums.extend(value.clone().map(|value| (kind, value)));
        }
        sums
    }};
}

/// What a client says of an object.
macro_rules! about {
    ($input:expr, $headers:expr) => {{
        refuse_sse(&$headers)?;
        for field in
            [&$input.content_type, &$input.cache_control, &$input.content_disposition, &$input.content_language]
        {
            if field.as_ref().is_some_and(|value| hyper::header::HeaderValue::from_str(value).is_err()) {
                return Err(bad(S3ErrorCode::InvalidArgument, "a field of the object cannot have that value"));
            }
        }
        let metadata: std::collections::BTreeMap<String, String> =
            $input.metadata.unwrap_or_default().into_iter().collect();
        if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_METADATA {
            return Err(bad(
                S3ErrorCode::MetadataTooLarge,
                "Your metadata headers exceed the maximum allowed metadata size",
            ));
        }
        $crate::s3::object::About {
            content_type: $input.content_type,
            cache_control: $input.cache_control,
            content_disposition: $input.content_disposition,
            content_encoding: $input.content_encoding.and_then(|encoding| without_chunks(&encoding)),
            content_language: $input.content_language,
            expires: $headers.get(hyper::header::EXPIRES).and_then(|value| value.to_str().ok()).map(str::to_owned),
            redirect: $input.website_redirect_location,
            storage_class: class_said($input.storage_class.as_ref().map(|class| class.as_str()))?,
            metadata,
            tags: $input.tagging.as_deref().map(settings::tags_of_header).transpose()?.unwrap_or_default(),
        }
    }};
}

/// Storage classes of AWS that an object can be put in. Here they are a label.
const CLASSES: [&str; 9] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
];

/// A storage class that is said, if it is one and not the usual one.
pub(crate) fn class_said(class: Option<&str>) -> S3Result<Option<String>> {
    match class {
        None | Some("STANDARD") => Ok(None),
        Some(class) if CLASSES.contains(&class) => Ok(Some(class.to_owned())),
        Some(_) => Err(bad(S3ErrorCode::InvalidStorageClass, "there is no such storage class")),
    }
}

/// `aws-chunked` is how the content came, not what it is.
pub(crate) fn without_chunks(encoding: &str) -> Option<String> {
    let kept: Vec<_> =
        encoding.split(',').map(str::trim).filter(|part| !part.is_empty() && *part != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// Keys of the client's own would be an illusion: everything is enciphered with a key of its own anyway.
pub(crate) fn refuse_sse(headers: &HeaderMap) -> S3Result<()> {
    let kms = headers.get("x-amz-server-side-encryption").is_some_and(|value| value != "AES256");
    if kms || headers.keys().any(|name| name.as_str().starts_with("x-amz-server-side-encryption-customer-")) {
        return Err(bad(
            S3ErrorCode::NotImplemented,
            "every object is enciphered with a key of its own; others cannot be given",
        ));
    }
    if headers.keys().any(|name| name.as_str().starts_with("x-amz-grant-")) {
        return check_acl(Some("grants"));
    }
    if headers.keys().any(|name| name.as_str().starts_with("x-amz-object-lock-")) {
        return Err(bad(S3ErrorCode::NotImplemented, "objects cannot be locked"));
    }
    Ok(())
}

pub(crate) fn md5_of(text: Option<&String>) -> S3Result<Option<[u8; 16]>> {
    let Some(text) = text else { return Ok(None) };
    let bytes = base64_simd::STANDARD.decode_to_vec(text.trim()).ok();
    let md5 = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    md5.map(Some).ok_or_else(|| bad(S3ErrorCode::InvalidDigest, "The Content-MD5 you specified is not valid."))
}

/// Length in bytes of a checksum.
pub(crate) const fn sum_length(kind: SumKind) -> usize {
    match kind {
        SumKind::Crc32 | SumKind::Crc32c => 4,
        SumKind::Crc64nvme => 8,
        SumKind::Sha1 => 20,
        SumKind::Sha256 => 32,
    }
}

pub(crate) fn check_sums(sums: &[(SumKind, String)]) -> S3Result<()> {
    if sums.len() > 1 {
        return Err(bad(
            S3ErrorCode::InvalidRequest,
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ));
    }
    for (kind, value) in sums {
        let decoded = base64_simd::STANDARD.decode_to_vec(value);
        if decoded.is_ok_and(|bytes| bytes.len() != sum_length(*kind))
            || base64_simd::STANDARD.check(value.as_bytes()).is_err()
        {
            return Err(bad(S3ErrorCode::InvalidRequest, "Value for a x-amz-checksum- header is invalid."));
        }
    }
    Ok(())
}

/// What is expected of a body: digests in headers, and those that a trailer will tell.
pub(crate) fn expected(
    headers: &HeaderMap,
    md5: Option<&String>,
    sums: Vec<(SumKind, String)>,
    algorithm: Option<&str>,
) -> S3Result<Expected> {
    check_sums(&sums)?;
    let mut kinds = Vec::new();
    if let Some(name) = algorithm {
        kinds.push(kind_of(name)?);
    }
    kinds.extend(announced(headers));
    Ok(Expected { md5: md5_of(md5)?, sums, kinds })
}

/// The checksums that a trailer is to tell.
fn announced(headers: &HeaderMap) -> Vec<SumKind> {
    let lines = headers.get_all("x-amz-trailer").iter().filter_map(|value| value.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    let known = |name: &str| KINDS.iter().find(|(kind, _)| sum_header(*kind).eq_ignore_ascii_case(name));
    names.filter_map(|name| known(name).map(|(kind, _)| *kind)).collect()
}

/// A condition on entity tags, as a list without quotes.
pub(crate) fn wish(headers: &HeaderMap, field: &str) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    for line in headers.get_all(field) {
        let line = line.to_str().unwrap_or_default();
        tags.extend(line.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned()));
    }
    (!tags.is_empty()).then_some(tags)
}

pub(crate) fn wishes(headers: &HeaderMap) -> Wish {
    Wish { is: wish(headers, "if-match"), is_not: wish(headers, "if-none-match"), seq: None }
}

pub(crate) fn sum_of(digests: &Digests) -> Option<Sum> {
    digests.sums.first().cloned()
}

/// What a version is called in an answer; nothing in a bucket that never had versions.
pub(crate) fn version_id(settings: &Bucket, version: &Version) -> Option<String> {
    (settings.versioning != Versioning::Off).then(|| version.id())
}

impl Service {
    pub(crate) fn shelf(&self) -> &Arc<Shelf> {
        &self.access.shelf
    }

    /// Does what may wait for the disk.
    pub(crate) async fn do_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shelf>) -> Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let shelf = Arc::clone(self.shelf());
        match spawn_blocking(move || work(&shelf)).await {
            Ok(done) => done.map_err(S3Error::from),
            Err(_) => Err(Fault::Worker.into()),
        }
    }

    pub(crate) fn settings(&self, bucket: &str) -> S3Result<Arc<Bucket>> {
        Ok(self.shelf().bucket(bucket)?.settings())
    }

    pub(crate) async fn configure(
        &self,
        bucket: String,
        change: impl FnOnce(&mut Bucket) + Send + 'static,
    ) -> S3Result<()> {
        self.do_blocking(move |shelf| shelf.configure(&bucket, change)).await
    }

    /// Receives the content of an object or a part, and checks it against everything that was said of it.
    pub(crate) async fn receive(
        &self,
        body: Option<dto::StreamingBlob>,
        mut expected: Expected,
        said: Option<i64>,
        (headers, trailers): (&HeaderMap, Option<s3s::TrailingHeaders>),
        always: bool,
    ) -> S3Result<(Content, Digests)> {
        // Of a body in chunks without a length this is the only one that is told.
        let decoded = headers.get("x-amz-decoded-content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        let said = said.or(decoded);
        if said.is_some_and(|said| u64::try_from(said).is_ok_and(|said| said > LONGEST)) {
            return Err(bad(
                S3ErrorCode::EntityTooLarge,
                "Your proposed upload exceeds the maximum allowed object size.",
            ));
        }
        let body = body.unwrap_or_else(|| dto::StreamingBlob::from(s3s::Body::empty()));
        let (content, digests) = self.shelf().receive(body, &expected, always).await?;
        if said.is_some_and(|said| u64::try_from(said) != Ok(content.length)) {
            return Err(bad(S3ErrorCode::IncompleteBody, "The request body does not have the announced length."));
        }
        let trailers = trailers.as_ref().and_then(s3s::TrailingHeaders::take).unwrap_or_default();
        let announced = announced(headers);
        for (kind, _) in KINDS {
            match (trailers.get(sum_header(kind)).and_then(|value| value.to_str().ok()), announced.contains(&kind)) {
                (Some(value), true) => expected.sums.push((kind, value.to_owned())),
                (None, false) => {}
                _ => return Err(bad(S3ErrorCode::InvalidRequest, "the trailer is not the one that was announced")),
            }
        }
        check_sums(&expected.sums)?;
        digests.check(&expected)?;
        Ok((content, digests))
    }

    pub(crate) async fn store(&self, request: S3Request<dto::PutObjectInput>) -> S3Result<(Version, Arc<Bucket>)> {
        let S3Request { input, headers, trailing_headers: trailers, .. } = request;
        let settings = self.settings(&input.bucket)?;
        if input.key.is_empty() {
            return Err(bad(S3ErrorCode::InvalidArgument, "an object needs a name"));
        }
        if input.key.len() > LONGEST_NAME {
            return Err(bad(S3ErrorCode::KeyTooLongError, "Your key is too long"));
        }
        if input.write_offset_bytes.is_some() {
            return Err(bad(S3ErrorCode::NotImplemented, "objects cannot be appended to"));
        }
        let wish = wishes(&headers);
        let sums = said_sums!(input);
        let algorithm = input.checksum_algorithm.as_ref().map(dto::ChecksumAlgorithm::as_str);
        let expected = expected(&headers, input.content_md5.as_ref(), sums, algorithm)?;
        let (bucket, key) = (input.bucket, input.key);
        let (body, said) = (input.body, input.content_length);
        let about = about!(input, headers);
        let (content, digests) = self.receive(body, expected, said, (&headers, trailers), false).await?;
        let new = New {
            etag: hex::encode(digests.md5),
            sum: sum_of(&digests),
            content,
            about,
            parts: Vec::new(),
            upload: None,
        };
        let version = self.do_blocking(move |shelf| shelf.put(&bucket, &key, new, &wish)).await?;
        Ok((version, settings))
    }

    /// The source of a copy, if it may be read and is as the client wants it.
    pub(crate) async fn source(
        &self,
        source: &dto::CopySource,
        headers: &HeaderMap,
        extensions: &hyper::http::Extensions,
    ) -> S3Result<Version> {
        let dto::CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(bad(S3ErrorCode::InvalidArgument, "only buckets can be copied from"));
        };
        let who = extensions.get::<Who>().and_then(|who| who.0.as_ref());
        self.access.check(who, "GetObject", Some(bucket), (Some(key), version_id.is_some()))?;
        let (bucket, key, id) = (bucket.to_string(), key.to_string(), version_id.as_ref().map(ToString::to_string));
        let version = self.do_blocking(move |shelf| shelf.version(&bucket, &key, id.as_deref())).await?;
        if version.deleted {
            return Err(bad(
                S3ErrorCode::InvalidRequest,
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            ));
        }
        let mut conditions = HeaderMap::new();
        for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
            if let Some(value) = headers.get(format!("x-amz-copy-source-{name}")) {
                conditions.insert(name, value.clone());
            }
        }
        let validators = crate::conditions::Validators {
            etag: format!("\"{}\"", version.etag),
            modified: Some(version.modified / 1000),
        };
        match validators.weigh(&conditions) {
            crate::conditions::Verdict::Go => Ok(version),
            _ => Err(crate::s3::shelf::unmet().into()),
        }
    }

    pub(crate) fn page_of_objects<T>(
        page: &Page<Version>,
        encoding: Encoding,
        with_owner: bool,
        make: impl FnOnce(Vec<dto::Object>, Vec<dto::CommonPrefix>) -> T,
    ) -> T {
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for entry in &page.entries {
            match entry {
                Entry::One(name, version) => objects.push(dto::Object {
                    key: Some(encoding.write(name)),
                    e_tag: Some(etag(version)),
                    last_modified: Some(timestamp(version.modified)),
                    size: Some(length(version.length)),
                    storage_class: Some(dto::ObjectStorageClass::from(class_of(&version.about))),
                    owner: with_owner.then(owner),
                    checksum_algorithm: version
                        .sum
                        .as_ref()
                        .map(|sum| vec![dto::ChecksumAlgorithm::from_static(kind_name(sum.kind))]),
                    checksum_type: version.sum.as_ref().map(sum_type),
                    restore_status: None,
                }),
                Entry::Together(prefix) => {
                    prefixes.push(dto::CommonPrefix { prefix: Some(encoding.write(prefix)) });
                }
            }
        }
        make(objects, prefixes)
    }
}

pub(crate) fn class_of(about: &About) -> String {
    about.storage_class.clone().unwrap_or_else(|| "STANDARD".to_owned())
}

pub(crate) fn sum_type(sum: &Sum) -> dto::ChecksumType {
    dto::ChecksumType::from_static(if sum.composite { "COMPOSITE" } else { "FULL_OBJECT" })
}

/// A mark in a list, which clients give back as it is.
pub(crate) fn token_of(entry: &Entry<Version>) -> String {
    let text = match entry {
        Entry::One(name, _) => format!("n{name}"),
        Entry::Together(prefix) => format!("p{prefix}"),
    };
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(text)
}

pub(crate) fn read_token(token: &str) -> S3Result<(bool, String)> {
    let wrong = || bad(S3ErrorCode::InvalidArgument, "The continuation token provided is incorrect");
    let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(token).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    if let Some(name) = text.strip_prefix('n') {
        return Ok((false, name.to_owned()));
    }
    text.strip_prefix('p').map(|name| (true, name.to_owned())).ok_or_else(wrong)
}

pub(crate) fn not_set<T>(code: &'static str, message: &'static str) -> Answer<T> {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(hyper::StatusCode::NOT_FOUND);
    Err(error)
}

pub(crate) fn full_control() -> Vec<dto::Grant> {
    vec![dto::Grant {
        grantee: Some(dto::Grantee {
            id: Some(OWNER.to_owned()),
            display_name: Some(OWNER.to_owned()),
            email_address: None,
            type_: dto::Type::from_static("CanonicalUser"),
            uri: None,
        }),
        permission: Some(dto::Permission::from_static(dto::Permission::FULL_CONTROL)),
    }]
}

/// The one list of rights that every bucket and object has may be given again.
pub(crate) fn check_grants(policy: Option<&dto::AccessControlPolicy>) -> S3Result<()> {
    let grants = policy.and_then(|policy| policy.grants.as_deref()).unwrap_or_default();
    let own = |grant: &dto::Grant| {
        grant.permission.as_ref().is_some_and(|permission| permission.as_str() == dto::Permission::FULL_CONTROL)
            && grant.grantee.as_ref().is_some_and(|grantee| grantee.id.as_deref() == Some(OWNER))
    };
    if grants.iter().all(own) { Ok(()) } else { check_acl(Some("grants")) }
}

/// Lists of rights per object are not kept; policies say who may read.
pub(crate) fn check_acl(canned: Option<&str>) -> S3Result<()> {
    match canned {
        None | Some("private" | "bucket-owner-full-control" | "bucket-owner-read") => Ok(()),
        Some(_) => Err(bad(
            S3ErrorCode::AccessControlListNotSupported,
            "access control lists are not kept; use a bucket policy",
        )),
    }
}

pub(crate) use {about, said_sums, tell_sum};
