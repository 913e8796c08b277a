//! What stands in front of the library: it refuses what the library would let in, and answers what it does not know.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::{Body as _, Incoming},
    header::{
        ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderValue,
        LOCATION, ORIGIN, SERVER,
    },
};
use percent_encoding::utf8_percent_encode;
use s3s::{Body, S3Error, S3ErrorCode, S3Result, service::S3Service};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument as _;

use crate::s3::{
    access::Access,
    body::{Verdict, Watched},
    cors,
    digest::Expected,
    fault::fault,
    form::{Form, LONGEST_FIELDS},
    object::Website,
    read_object::sum_header,
    service::{KEPT, KINDS, LONGEST, check_sums, md5_of},
    shelf::no_bucket,
    target::{Target, parameter},
};

/// The longest document that is read as a whole: a thousand long names to delete.
pub(crate) const LONGEST_DOCUMENT: u64 = 4 << 20;
/// The longest file in a form, which is held in memory.
pub(crate) const LONGEST_FORM: u64 = 16 << 20;
/// A presigned request is good for at most a week.
const LONGEST_SIGNED: u64 = 7 * 86_400;

/// Forms that are read at a time: each file is held in memory.
const FORMS: usize = 8;

pub(crate) struct Front {
    service: S3Service,
    access: Access,
    forms: Semaphore,
}

fn refused(code: S3ErrorCode, message: &'static str) -> S3Error {
    fault(code, message).into()
}

/// Headers that say one thing only.
const ONCE: [&str; 6] =
    ["host", "authorization", "x-amz-date", "x-amz-content-sha256", "content-length", "x-amz-decoded-content-length"];

impl Front {
    pub(crate) fn new(service: S3Service, access: Access) -> Self {
        Self { service, access, forms: Semaphore::new(FORMS) }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let method = request.method().clone();
        let target = self.access.domains.target(request.headers(), request.uri());
        // Whoever waits to be asked for an empty body is answered without being asked, and some clients take what comes
        // next on that connection for headers of that answer.
        let is_waiting = request.headers().contains_key(EXPECT) && request.body().is_end_stream();
        let origin = request.headers().get(ORIGIN).cloned();
        // Whatever goes wrong is told with what it was about.
        let (bucket, name) = target.as_ref().map_or(("", ""), |target| (target.bucket.as_str(), target.name.as_str()));
        let about = tracing::warn_span!("request", %method, bucket, name);
        let mut response = match self.try_answer(request).instrument(about).await {
            Ok(response) => response,
            Err(error) => in_words(error),
        };
        let headers = response.headers_mut();
        if let Some(held) = target.and_then(|target| self.access.shelf.find_bucket(&target.bucket)) {
            headers.extend(cors::actual(&held.settings().cors, &method, origin.as_ref()));
        }
        let id = format!("{:016X}", rand::random::<u64>());
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amz-request-id", id.clone());
            headers.insert("x-amz-id-2", id);
        }
        headers.insert(SERVER, HeaderValue::from_static("offs"));
        if is_waiting {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // What somebody stored here does not act on this address when a browser shows it.
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response
    }

    async fn try_answer(&self, request: Request<Incoming>) -> S3Result<Response<Body>> {
        check(&request)?;
        if *request.method() == Method::OPTIONS {
            return self.preflight(&request);
        }
        let signed =
            request.headers().contains_key(AUTHORIZATION) || parameter(request.uri(), "X-Amz-Signature").is_some();
        let verdict = Verdict::default();
        let is_form = is_form(&request);
        let form = if is_form { Some(self.begin_form(&request)?) } else { None };
        let is_object = self.access.domains.object(request.headers(), request.uri()).is_some();
        let request = watch(request, (is_form, is_object), &verdict).await?;
        if !signed
            && matches!(*request.method(), Method::GET | Method::HEAD)
            && let Some((target, website)) = self.website(request.headers(), request.uri())
        {
            return self.page(request, target, &website).await;
        }
        let answer = self.pass(request).await?;
        drop(form);
        match verdict.take() {
            // The library only knows that the body ended.
            Some(fault) if !answer.status().is_success() => Err(fault.into()),
            None if is_form => Ok(of_form(answer)),
            _ => Ok(answer),
        }
    }

    /// The right to read a form, which anybody may send.
    fn begin_form(&self, request: &Request<Incoming>) -> S3Result<SemaphorePermit<'_>> {
        let target = self.access.domains.target(request.headers(), request.uri());
        if target.is_none_or(|target| self.access.shelf.find_bucket(&target.bucket).is_none()) {
            return Err(no_bucket().into());
        }
        self.forms
            .try_acquire()
            .map_err(|_| refused(S3ErrorCode::SlowDown, "too many forms at once; try again in a moment"))
    }

    async fn pass(&self, request: Request<Body>) -> S3Result<Response<Body>> {
        // Whatever a request makes the library do ends with that request.
        match AssertUnwindSafe(self.service.call(request)).catch_unwind().await {
            Ok(Ok(answer)) if answer.status().is_client_error() => Ok(explained(answer)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(refused(S3ErrorCode::InternalError, "the request failed")),
        }
    }

    fn preflight(&self, request: &Request<Incoming>) -> S3Result<Response<Body>> {
        let forbidden = || {
            let mut error = refused(
                S3ErrorCode::Custom("AccessForbidden".into()),
                "CORSResponse: This CORS request is not allowed.",
            );
            error.set_status_code(StatusCode::FORBIDDEN);
            error
        };
        let target = self.access.domains.target(request.headers(), request.uri()).ok_or_else(forbidden)?;
        let held = self.access.shelf.find_bucket(&target.bucket).ok_or_else(forbidden)?;
        let headers = cors::preflight(&held.settings().cors, request.headers()).ok_or_else(forbidden)?;
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// What a request for a page is about, if the bucket is a web site.
    fn website(&self, headers: &HeaderMap, uri: &Uri) -> Option<(Target, Website)> {
        let target = self.access.domains.target(headers, uri)?;
        let website = self.access.shelf.find_bucket(&target.bucket)?.settings().website.clone()?;
        uri.query().is_none().then_some((target, website))
    }

    /// A page of a bucket that is a web site, for a reader who has no key. Policies say whether he may.
    async fn page(&self, request: Request<Body>, target: Target, website: &Website) -> S3Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        if target.name.is_empty() && !path.ends_with('/') {
            return moved(&format!("{path}/"));
        }
        let Target { bucket, mut name, hosted } = target;
        let mut request = request;
        if path.ends_with('/') {
            *request.uri_mut() = uri(&format!("{path}{}", utf8_percent_encode(&website.index, &KEPT)))?;
            name.push_str(&website.index);
        }
        let (method, host) = (request.method().clone(), request.headers().get(HOST).cloned());
        let mut response = self.pass(request).await?;
        if response.status().is_success()
            && let Some(elsewhere) = response.headers().get("x-amz-website-redirect-location").cloned()
        {
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            response.headers_mut().clear();
            // A path is one of the site.
            let elsewhere = match elsewhere.to_str() {
                Ok(path) if path.starts_with('/') && !hosted => HeaderValue::from_str(&format!("/{bucket}{path}")),
                _ => Ok(elsewhere),
            };
            let elsewhere = elsewhere.map_err(|_| refused(S3ErrorCode::InvalidURI, "the path cannot be understood"))?;
            response.headers_mut().insert(LOCATION, elsewhere);
            *response.body_mut() = Body::empty();
        }
        if response.status() != StatusCode::NOT_FOUND {
            return Ok(response);
        }
        let index = format!("{name}/{}", website.index);
        let shelf = Arc::clone(&self.access.shelf);
        let owner = bucket.clone();
        let is_folder = tokio::task::spawn_blocking(move || shelf.current(&owner, &index));
        let is_folder = is_folder.await.map_err(|_| refused(S3ErrorCode::InternalError, "the request failed"))??;
        if !path.ends_with('/') && is_folder.is_some_and(|version| !version.deleted) {
            return moved(&format!("{path}/"));
        }
        let Some(error) = &website.error else { return Ok(response) };
        let error = utf8_percent_encode(error, &KEPT);
        let mut other = Request::new(Body::empty());
        *other.uri_mut() = uri(&if hosted { format!("/{error}") } else { format!("/{bucket}/{error}") })?;
        *other.method_mut() = method;
        if let Some(host) = host {
            other.headers_mut().insert(HOST, host);
        }
        let mut page = self.pass(other).await?;
        if !page.status().is_success() {
            return Ok(response);
        }
        *page.status_mut() = StatusCode::NOT_FOUND;
        Ok(page)
    }
}

fn uri(path: &str) -> S3Result<Uri> {
    path.parse().map_err(|_| refused(S3ErrorCode::InvalidURI, "the path cannot be understood"))
}

fn moved(to: &str) -> S3Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let to =
        HeaderValue::from_str(to).map_err(|_| refused(S3ErrorCode::InvalidURI, "the path cannot be understood"))?;
    response.headers_mut().insert(LOCATION, to);
    Ok(response)
}

/// Whether a request is a form that a browser sends.
fn is_form(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let form = b"multipart/form-data";
    *request.method() == Method::POST && kind.len() >= form.len() && kind[..form.len()].eq_ignore_ascii_case(form)
}

/// Says that a body comes in chunks without signatures.
const UNSIGNED_CHUNKS: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// Whether a body comes in chunks with lengths and signatures of their own.
fn is_chunked(headers: &HeaderMap) -> bool {
    headers.get("x-amz-content-sha256").is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"))
}

/// What a policy of a form forbids is told as a denial.
fn of_form(answer: Response<Body>) -> Response<Body> {
    if answer.status() != StatusCode::BAD_REQUEST {
        return answer;
    }
    let text = answer.body().bytes().unwrap_or_default();
    let has = |part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
    if has("<Code>InvalidPolicyDocument</Code>") && has("<Message>Policy condition") {
        return in_words(refused(S3ErrorCode::AccessDenied, "Invalid according to Policy: Policy Condition failed"));
    }
    answer
}

/// What the library's errors mean, where it does not say so.
const EXPLAINED: [(&str, &str); 9] = [
    ("BadDigest", "What was received is not what was announced: the digests differ."),
    ("InvalidBucketName", "A bucket's name has 3 to 63 small letters, digits, dots and hyphens."),
    ("InvalidRequest", "The request cannot be understood."),
    ("InvalidURI", "The path cannot be understood."),
    ("KeyTooLongError", "An object's name has at most 1024 bytes."),
    ("MalformedXML", "The document is not what it should be."),
    ("MethodNotAllowed", "The specified method is not allowed against this resource."),
    ("RequestTimeTooSkewed", "The request's time and the server's differ by more than 15 minutes; set the clock."),
    (
        "SignatureDoesNotMatch",
        "The signature is not the one that this request should have; check the secret of the access key.",
    ),
];

/// An error of the library with a message, if it has none.
fn explained(answer: Response<Body>) -> Response<Body> {
    let text = answer.body().bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
    let message = EXPLAINED.iter().find(|(code, _)| text.contains(&format!("<Code>{code}</Code>")));
    let (Some((_, message)), false, Some((head, tail))) =
        (message, text.contains("<Message>"), text.rsplit_once("</Error>"))
    else {
        return answer;
    };
    let text = format!("{head}<Message>{message}</Message></Error>{tail}");
    let (mut head, _) = answer.into_parts();
    if head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, text.len().into());
    }
    Response::from_parts(head, Body::from(text))
}

/// The body of a request, watched by what the request is.
async fn watch(
    request: Request<Incoming>,
    (is_form, is_object): (bool, bool),
    verdict: &Verdict,
) -> S3Result<Request<Body>> {
    let has = |names: &[&str]| {
        let query = request.uri().query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| names.contains(&&*name))
    };
    let other = has(&["tagging", "acl", "retention", "legal-hold", "restore", "select"]);
    let is_content = *request.method() == Method::PUT && is_object && !other;
    let (head, body) = request.into_parts();
    let most = match (is_form, is_content) {
        (true, _) => LONGEST_FORM + LONGEST_FIELDS as u64 + (64 << 10),
        // Chunks have signatures beside the content.
        (_, true) => LONGEST + LONGEST / 16,
        _ => LONGEST_DOCUMENT,
    };
    let told = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > most) {
        let code =
            if is_content || is_form { S3ErrorCode::EntityTooLarge } else { S3ErrorCode::MaxMessageLengthExceeded };
        return Err(refused(code, "Your request was too big."));
    }
    let mut body = Watched::new(body, most, verdict);
    let chunked = is_chunked(&head.headers);
    if chunked {
        let signed = head.headers.get("x-amz-content-sha256").is_some_and(|value| value != UNSIGNED_CHUNKS);
        body = body.in_chunks(signed);
    } else if !is_content && !is_form && !matches!(head.method, Method::GET | Method::HEAD | Method::DELETE) {
        let mut expected = expected(&head.headers)?;
        if head.uri.query().is_some_and(|query| query.contains("uploadId=")) {
            // There these are of the object.
            expected.sums.clear();
        }
        let is_deletion =
            head.method == Method::POST && head.uri.query().is_some_and(|query| query.starts_with("delete"));
        let is_signed = head.headers.contains_key(AUTHORIZATION);
        if is_deletion && is_signed && expected.md5.is_none() && expected.sums.is_empty() {
            let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
            return Err(refused(S3ErrorCode::InvalidRequest, message));
        }
        body = body.checked(expected);
    }
    let body = if is_form { Body::http_body_unsync(Form::read(body).await?) } else { Body::http_body_unsync(body) };
    Ok(Request::from_parts(head, body))
}

/// What is said of a document.
fn expected(headers: &HeaderMap) -> S3Result<Expected> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let sums: Vec<_> = KINDS.iter().filter_map(|(kind, _)| Some((*kind, text(sum_header(*kind))?))).collect();
    check_sums(&sums)?;
    Ok(Expected { md5: md5_of(text("content-md5").as_ref())?, sums, kinds: Vec::new() })
}

/// An error as the protocol says it.
fn in_words(error: S3Error) -> Response<Body> {
    if *error.code() == S3ErrorCode::AuthorizationHeaderMalformed {
        let message = error.message().unwrap_or_default();
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>AuthorizationHeaderMalformed</Code>\
             <Message>{message}</Message><Region>us-east-1</Region></Error>"
        );
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        return response;
    }
    error.to_http_response().unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// Refuses what the library would take, or not understand.
fn check(request: &Request<Incoming>) -> S3Result<()> {
    let headers = request.headers();
    for name in ONCE {
        if headers.get_all(name).iter().count() > 1 {
            return Err(refused(S3ErrorCode::InvalidRequest, "a header that says one thing was sent twice"));
        }
    }
    if !headers.contains_key(HOST) {
        return Err(refused(S3ErrorCode::InvalidRequest, "a request names its host"));
    }
    if matches!(*request.method(), Method::TRACE | Method::CONNECT | Method::PATCH) || request.uri().path() == "*" {
        let mut error =
            refused(S3ErrorCode::MethodNotAllowed, "The specified method is not allowed against this resource.");
        let mut allow = HeaderMap::new();
        allow.insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE, OPTIONS"));
        error.set_headers(allow);
        return Err(error);
    }
    let long = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if long.is_some_and(|length| length > LONGEST + (1 << 30)) {
        return Err(refused(
            S3ErrorCode::EntityTooLarge,
            "Your proposed upload exceeds the maximum allowed object size.",
        ));
    }
    check_signature(request)
}

/// A date as signatures have it.
fn is_date(text: &str) -> bool {
    let pattern = b"00000000T000000Z";
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern)
            .all(|(byte, like)| if *like == b'0' { byte.is_ascii_digit() } else { byte == *like })
}

/// A key's public half has no slash, by which the library would take the rest of it for something else.
fn check_credential(credential: &str) -> S3Result<()> {
    let key = credential.rsplitn(5, '/').nth(4).unwrap_or_default();
    if key.contains('/') {
        return Err(refused(S3ErrorCode::InvalidAccessKeyId, "there is no such access key"));
    }
    let region = credential.rsplit('/').nth(2).unwrap_or_default();
    if region.bytes().any(|byte| byte.is_ascii_uppercase()) {
        // Some clients begin with one that there is not, and take the one that they are told.
        return Err(refused(
            S3ErrorCode::AuthorizationHeaderMalformed,
            "The authorization header is malformed; the region is wrong; expecting 'us-east-1'",
        ));
    }
    Ok(())
}

/// The list of signed headers, of which there is one, and which is nothing but names.
fn signed_headers(authorization: &str) -> S3Result<&str> {
    let wrong = || {
        refused(S3ErrorCode::AuthorizationHeaderMalformed, "The authorization header that you provided is not valid.")
    };
    let mut lists = authorization.split("SignedHeaders=").skip(1);
    let list = lists.next().and_then(|list| list.split(',').next()).map(str::trim_end).ok_or_else(wrong)?;
    let plain =
        list.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b';'));
    if plain && lists.next().is_none() { Ok(list) } else { Err(wrong()) }
}

fn check_signature(request: &Request<Incoming>) -> S3Result<()> {
    let (headers, uri) = (request.headers(), request.uri());
    let old = "signatures of version 2 are not taken; use AWS4-HMAC-SHA256";
    let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    for date in [
        headers.get("x-amz-date").map(|value| value.to_str().unwrap_or_default().to_owned()),
        parameter(uri, "X-Amz-Date"),
    ]
    .into_iter()
    .flatten()
    {
        if !is_date(&date) {
            return Err(refused(S3ErrorCode::AccessDenied, "a signature needs a date of the form 20260131T235959Z"));
        }
    }
    let decoded = headers.get("x-amz-decoded-content-length").map(HeaderValue::as_bytes);
    if decoded.is_some_and(|text| text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit)) {
        return Err(refused(S3ErrorCode::InvalidArgument, "x-amz-decoded-content-length is a number"));
    }
    let presigned = parameter(uri, "X-Amz-Signature").is_some();
    if ["AWSAccessKeyId", "Signature"].iter().any(|name| parameter(uri, name).is_some()) {
        return Err(refused(S3ErrorCode::InvalidRequest, old));
    }
    if presigned && authorization.is_some() {
        // One would be looked at here, and the other by the library.
        let message = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
                       string parameter or the Authorization header should be specified";
        return Err(refused(S3ErrorCode::InvalidArgument, message));
    }
    let chunked = is_chunked(headers);
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|value| value.as_bytes().starts_with(b"aws-chunked"));
    if (chunked || encoded) && !(chunked && authorization.is_some()) {
        let message = "a body in chunks needs a signed header x-amz-content-sha256 that says so";
        return Err(refused(S3ErrorCode::InvalidRequest, message));
    }
    let signed = match authorization {
        Some(value) if value.starts_with("AWS ") => return Err(refused(S3ErrorCode::InvalidRequest, old)),
        Some(value) if !value.starts_with("AWS4-HMAC-SHA256 ") => {
            return Err(refused(S3ErrorCode::InvalidArgument, "Unsupported Authorization Type"));
        }
        Some(value) => {
            let credential = value.split([',', ' ']).find_map(|part| part.trim().strip_prefix("Credential="));
            check_credential(credential.unwrap_or_default())?;
            Some(signed_headers(value)?.to_owned())
        }
        None if presigned => {
            check_credential(&parameter(uri, "X-Amz-Credential").unwrap_or_default())?;
            let expires = parameter(uri, "X-Amz-Expires").and_then(|seconds| seconds.parse::<u64>().ok());
            if expires.is_none_or(|seconds| seconds > LONGEST_SIGNED) {
                let message = "X-Amz-Expires must be a number of seconds, at most a week";
                return Err(refused(S3ErrorCode::AuthorizationQueryParametersError, message));
            }
            Some(parameter(uri, "X-Amz-SignedHeaders").unwrap_or_default())
        }
        None => None,
    };
    let Some(signed) = signed else { return Ok(()) };
    // The library leaves out of what is signed what is no text.
    let is_text = |value: &HeaderValue| std::str::from_utf8(value.as_bytes()).is_ok();
    if headers.iter().any(|(name, value)| name.as_str().starts_with("x-amz-") && !is_text(value)) {
        return Err(refused(S3ErrorCode::InvalidArgument, "headers that are signed are text in UTF-8"));
    }
    let is_signed = |name: &str| signed.split(';').any(|known| known == name);
    if !is_signed("host") || headers.keys().any(|name| name.as_str().starts_with("x-amz-") && !is_signed(name.as_str()))
    {
        let message = "There were headers present in the request which were not signed";
        return Err(refused(S3ErrorCode::AccessDenied, message));
    }
    Ok(())
}
