//! GET and HEAD of objects. They are answered here and not by the library, which knows no lists of entity tags, makes
//! an error of a range that is to be ignored, and looks each header up by name.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
        CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, HeaderName, HeaderValue, LAST_MODIFIED, RANGE,
    },
    http::Extensions,
};
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, route::S3Route};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{
    conditions::{Validators, Verdict},
    s3::{
        access::Access,
        contents::Bodied,
        fault::{Fault, fault},
        object::{SumKind, Version, Versioning},
        shelf::unmet,
        target::parameter,
    },
};

/// Parameters that ask for something else than the object.
const OTHER: [&str; 8] = ["acl", "tagging", "attributes", "uploadId", "torrent", "retention", "legal-hold", "select"];

/// So often an object is looked up again when it was overwritten or packed while it was read.
pub(crate) const TRIES: usize = 4;

/// The route of GET and HEAD of objects.
pub(crate) struct ReadObject {
    pub(crate) access: Access,
}

/// The parameters of a query.
pub(crate) fn parameters(uri: &Uri) -> Vec<(String, String)> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

#[async_trait::async_trait]
impl S3Route for ReadObject {
    fn is_match(&self, method: &Method, uri: &Uri, headers: &HeaderMap, _: &mut Extensions) -> bool {
        matches!(*method, Method::GET | Method::HEAD)
            && self.access.domains.object(headers, uri).is_some_and(|(_, name)| name.len() <= 1024)
            && !parameters(uri).iter().any(|(name, _)| OTHER.contains(&&**name))
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let who = self.access.who(request.credentials.as_ref().map(|credentials| &*credentials.access_key))?;
        let target = self.access.domains.object(&request.headers, &request.uri);
        let (bucket, name) = target.ok_or(S3ErrorCode::InvalidURI)?;
        let versioned = parameter(&request.uri, "versionId").is_some();
        self.access.check(who.as_ref(), "GetObject", Some(&bucket), (Some(&name), versioned))
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let target = self.access.domains.object(&request.headers, &request.uri);
        let (bucket, name) = target.ok_or(S3ErrorCode::InvalidURI)?;
        let shelf = Arc::clone(&self.access.shelf);
        let runtime = Handle::current();
        let reading = move || {
            let asked = Asked::new(&request)?;
            let mut tries = 0;
            loop {
                let version = match (shelf.version(&bucket, &name, asked.version.as_deref()), &asked.version) {
                    (Err(missing), None) => return Err(deleted(missing.into(), shelf.current(&bucket, &name)?)),
                    (version, _) => version?,
                };
                let versioned = shelf.bucket(&bucket)?.settings().versioning != Versioning::Off;
                let range = match asked.weigh(&version, versioned)? {
                    Ready::Answer(answer) => return Ok(*answer),
                    Ready::Range(range) => range,
                };
                let body =
                    if asked.head { Ok(None) } else { shelf.body(&version, range.part.clone(), &runtime).map(Some) };
                tries += 1;
                match body {
                    // It was overwritten or packed meanwhile.
                    Err(Fault::Lost(_)) if tries < TRIES => {}
                    body => return asked.answer(&version, versioned, &range, body?),
                }
            }
        };
        let request = tracing::Span::current();
        spawn_blocking(move || request.in_scope(reading)).await.map_err(|_| S3Error::from(Fault::Worker))?
    }
}

/// An object that is not there, because its current version is the mark of a deletion.
fn deleted(mut missing: S3Error, mark: Option<Version>) -> S3Error {
    if let Some(id) = mark.and_then(|mark| HeaderValue::from_str(&mark.id()).ok()) {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
        headers.insert("x-amz-version-id", id);
        missing.set_headers(headers);
    }
    missing
}

/// What a request asks for.
struct Asked {
    head: bool,
    version: Option<String>,
    part: Option<u16>,
    headers: HeaderMap,
    /// What the answer is to say instead of what the object says.
    instead: Vec<(HeaderName, HeaderValue)>,
    /// Whether checksums are wanted.
    sums: bool,
}

/// Which part of an object is sent.
struct Sent {
    part: Range<u64>,
    partial: bool,
}

enum Ready {
    /// There is nothing to send.
    Answer(Box<S3Response<Body>>),
    Range(Sent),
}

fn bad(message: &'static str) -> Fault {
    fault(S3ErrorCode::InvalidArgument, message)
}

impl Asked {
    fn new(request: &S3Request<Body>) -> S3Result<Self> {
        let part = parameter(&request.uri, "partNumber").map(|number| {
            let number = number.parse().ok().filter(|number| (1..=10_000).contains(number));
            number.ok_or_else(|| bad("Part number must be an integer between 1 and 10000, inclusive"))
        });
        let part = part.transpose()?;
        if part.is_some() && request.headers.contains_key(RANGE) {
            return Err(fault(
                S3ErrorCode::InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter",
            )
            .into());
        }
        let mut instead = Vec::new();
        for (name, header) in [
            ("response-content-type", CONTENT_TYPE),
            ("response-content-language", CONTENT_LANGUAGE),
            ("response-expires", EXPIRES),
            ("response-cache-control", CACHE_CONTROL),
            ("response-content-disposition", CONTENT_DISPOSITION),
            ("response-content-encoding", CONTENT_ENCODING),
        ] {
            if let Some(value) = parameter(&request.uri, name) {
                let value = HeaderValue::from_bytes(value.as_bytes())
                    .map_err(|_| bad("a header of the answer cannot have that value"))?;
                instead.push((header, value));
            }
        }
        if !instead.is_empty() && request.credentials.is_none() {
            return Err(fault(
                S3ErrorCode::InvalidRequest,
                "Request specific response headers cannot be used for anonymous GET requests.",
            )
            .into());
        }
        let sums = request
            .headers
            .get("x-amz-checksum-mode")
            .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"));
        Ok(Self {
            head: request.method == Method::HEAD,
            version: parameter(&request.uri, "versionId"),
            part,
            headers: request.headers.clone(),
            instead,
            sums,
        })
    }

    fn weigh(&self, version: &Version, versioned: bool) -> S3Result<Ready> {
        if version.deleted {
            let mut error =
                S3Error::with_message(S3ErrorCode::MethodNotAllowed, "that version is the mark of a deletion");
            error = deleted(error, Some(version.clone()));
            return Err(error);
        }
        let validators = Validators { etag: format!("\"{}\"", version.etag), modified: Some(version.modified / 1000) };
        match validators.weigh(&self.headers) {
            Verdict::Go => {}
            Verdict::Failed => return Err(unmet().into()),
            Verdict::NotModified => {
                let mut headers = HeaderMap::new();
                validator_headers(&mut headers, version, versioned)?;
                if let Some(value) = &version.about.cache_control {
                    insert(&mut headers, CACHE_CONTROL, value)?;
                }
                let mut response = S3Response::with_headers(Body::empty(), headers);
                response.status = Some(StatusCode::NOT_MODIFIED);
                return Ok(Ready::Answer(Box::new(response)));
            }
        }
        let whole = Sent { part: 0..version.length, partial: false };
        if let Some(number) = self.part {
            return Ok(Ready::Range(part_of(version, number)?));
        }
        let Some(text) = self.headers.get(RANGE).and_then(|range| range.to_str().ok()) else {
            return Ok(Ready::Range(whole));
        };
        // What cannot be understood is as if it were not there (RFC 9110, section 14.2).
        let Ok(range) = s3s::dto::Range::parse(text) else { return Ok(Ready::Range(whole)) };
        if !validators.allow_range(&self.headers) {
            return Ok(Ready::Range(whole));
        }
        match range.check(version.length) {
            Ok(part) if !part.is_empty() => Ok(Ready::Range(Sent { part, partial: true })),
            _ => {
                let mut error =
                    S3Error::with_message(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
                let mut headers = HeaderMap::new();
                insert(&mut headers, CONTENT_RANGE, &format!("bytes */{}", version.length))?;
                error.set_headers(headers);
                Err(error)
            }
        }
    }

    fn answer(
        &self,
        version: &Version,
        versioned: bool,
        sent: &Sent,
        body: Option<Bodied>,
    ) -> S3Result<S3Response<Body>> {
        let mut headers = HeaderMap::with_capacity(16);
        validator_headers(&mut headers, version, versioned)?;
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_LENGTH, (sent.part.end - sent.part.start).into());
        let about = &version.about;
        let content_type = about.content_type.as_deref().unwrap_or("binary/octet-stream");
        for (name, value) in [
            (CONTENT_TYPE, Some(content_type)),
            (CACHE_CONTROL, about.cache_control.as_deref()),
            (CONTENT_DISPOSITION, about.content_disposition.as_deref()),
            (CONTENT_ENCODING, about.content_encoding.as_deref()),
            (CONTENT_LANGUAGE, about.content_language.as_deref()),
            (EXPIRES, about.expires.as_deref()),
            (HeaderName::from_static("x-amz-website-redirect-location"), about.redirect.as_deref()),
            (
                HeaderName::from_static("x-amz-storage-class"),
                about.storage_class.as_deref().filter(|class| *class != "STANDARD"),
            ),
        ] {
            if let Some(value) = value {
                insert(&mut headers, name, value)?;
            }
        }
        for (name, value) in &about.metadata {
            let name = HeaderName::from_bytes(format!("x-amz-meta-{name}").as_bytes());
            if let Ok(name) = name {
                // What is not plain text is told as it may come (RFC 2047).
                let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                let word = || format!("=?UTF-8?B?{}?=", base64_simd::STANDARD.encode_to_string(value));
                insert(&mut headers, name, &if plain { value.clone() } else { word() })?;
            }
        }
        if !about.tags.is_empty() {
            headers.insert("x-amz-tagging-count", about.tags.len().into());
        }
        if self.part.is_some() && !version.parts.is_empty() {
            headers.insert("x-amz-mp-parts-count", version.parts.len().into());
        }
        if self.sums
            && !sent.partial
            && let Some(sum) = &version.sum
        {
            insert(&mut headers, HeaderName::from_static(sum_header(sum.kind)), &sum.value)?;
            let kind = if sum.composite { "COMPOSITE" } else { "FULL_OBJECT" };
            headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
        }
        for (name, value) in &self.instead {
            headers.insert(name, value.clone());
        }
        let mut status = StatusCode::OK;
        if sent.partial {
            status = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{}", sent.part.start, sent.part.end.saturating_sub(1), version.length);
            insert(&mut headers, CONTENT_RANGE, &range)?;
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.into_blob()));
        let mut response = S3Response::with_headers(body, headers);
        response.status = Some(status);
        Ok(response)
    }
}

/// A part of an object that was put in parts; another object is one part.
fn part_of(version: &Version, number: u16) -> S3Result<Sent> {
    let none = || {
        let mut error =
            S3Error::with_message(S3ErrorCode::Custom("InvalidPartNumber".into()), "the object has no such part");
        error.set_status_code(StatusCode::RANGE_NOT_SATISFIABLE);
        error
    };
    if version.parts.is_empty() {
        return if number == 1 {
            Ok(Sent { part: 0..version.length, partial: version.length > 0 })
        } else {
            Err(none())
        };
    }
    let mut start = 0;
    // Clients count the parts that there are, whatever their numbers were.
    for (at, part) in (1..).zip(&version.parts) {
        if at == number {
            return Ok(Sent { part: start..start + part.length, partial: true });
        }
        start += part.length;
    }
    Err(none())
}

fn validator_headers(headers: &mut HeaderMap, version: &Version, versioned: bool) -> S3Result<()> {
    insert(headers, ETAG, &format!("\"{}\"", version.etag))?;
    let modified = UNIX_EPOCH + Duration::from_secs(version.modified / 1000);
    insert(headers, LAST_MODIFIED, &httpdate::fmt_http_date(modified))?;
    if versioned {
        insert(headers, HeaderName::from_static("x-amz-version-id"), &version.id())?;
    }
    Ok(())
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> S3Result<()> {
    let value = HeaderValue::from_bytes(value.as_bytes()).map_err(S3Error::internal_error)?;
    headers.insert(name, value);
    Ok(())
}

/// The header that a checksum is told in.
pub(crate) const fn sum_header(kind: SumKind) -> &'static str {
    match kind {
        SumKind::Crc32 => "x-amz-checksum-crc32",
        SumKind::Crc32c => "x-amz-checksum-crc32c",
        SumKind::Crc64nvme => "x-amz-checksum-crc64nvme",
        SumKind::Sha1 => "x-amz-checksum-sha1",
        SumKind::Sha256 => "x-amz-checksum-sha256",
    }
}
