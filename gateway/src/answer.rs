//! Answers: their status, their fields, their bodies.

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, RANGE,
        REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    },
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{
    ops::Range,
    time::{Duration, UNIX_EPOCH},
};

use crate::{
    body::Body,
    byte_range::{self, Asked},
    conditions::{Validators, Verdict},
    trouble::Trouble,
};

pub(crate) type Answer = Response<Body>;

/// What a browser may do with a page that somebody stored: it has no origin, so that it is a stranger here.
const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads";
/// What our own pages need, and nothing from elsewhere.
pub(crate) const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; \
    connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `attr-char` of RFC 8187, section 3.2.1.
const ATTRIBUTE: AsciiSet = NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// An answer with a body that is here.
pub(crate) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::from(body.into()));
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, content_type);
    for_all(&mut answer);
    answer
}

/// What every answer says.
fn for_all(answer: &mut Answer) {
    set(answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    // The path of a page may have a key in it.
    set(answer, REFERRER_POLICY, "no-referrer");
}

/// Sets a field; a value that cannot stand in one is left out.
pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        answer.headers_mut().insert(name, value);
    }
}

/// What went wrong, in words.
pub(crate) fn trouble(trouble: &Trouble) -> Answer {
    let mut text = trouble.to_string();
    let mut source = std::error::Error::source(trouble);
    while let Some(error) = source {
        // A transparent error says what its source says.
        let said = error.to_string();
        if !text.ends_with(&said) {
            text += ": ";
            text += &said;
        }
        source = error.source();
    }
    let mut answer = whole(trouble.status(), "text/plain; charset=utf-8", text + "\n");
    set(&mut answer, CACHE_CONTROL, "no-store");
    match trouble {
        Trouble::Method(allowed) => set(&mut answer, ALLOW, *allowed),
        Trouble::Busy => set(&mut answer, RETRY_AFTER, "1"),
        _ => {}
    }
    answer
}

/// It is found elsewhere, for good.
pub(crate) fn elsewhere(path: &str) -> Answer {
    let mut answer = whole(StatusCode::MOVED_PERMANENTLY, "text/plain; charset=utf-8", format!("{path}\n"));
    set(&mut answer, LOCATION, path);
    answer
}

/// What is known of a file before it is sent.
pub(crate) struct About {
    pub(crate) length: u64,
    pub(crate) content_type: String,
    pub(crate) name: Option<String>,
    pub(crate) validators: Validators,
}

/// What a request for a file comes to.
pub(crate) struct Plan {
    pub(crate) answer: Answer,
    /// The bytes that are to be sent.
    pub(crate) send: Option<Range<u64>>,
}

/// Decides what a request for a file is answered with.
pub(crate) fn plan(about: &About, method: &Method, request: &HeaderMap, download: bool) -> Plan {
    let mut answer = Response::new(Body::empty());
    describe(&mut answer, about, download);
    let nothing = |mut answer: Answer, status| {
        *answer.status_mut() = status;
        Plan { answer, send: None }
    };
    match about.validators.weigh(request) {
        Verdict::NotModified => return nothing(answer, StatusCode::NOT_MODIFIED),
        Verdict::Failed => return nothing(answer, StatusCode::PRECONDITION_FAILED),
        Verdict::Go => {}
    }
    let field = request.get(RANGE).and_then(|field| field.to_str().ok());
    // For HEAD a range means nothing (RFC 9110, section 14.2).
    let field = field.filter(|_| *method == Method::GET && about.validators.allow_range(request));
    let range = match byte_range::asked(field, about.length) {
        Asked::Beyond => {
            set(&mut answer, CONTENT_RANGE, format!("bytes */{}", about.length));
            return nothing(answer, StatusCode::RANGE_NOT_SATISFIABLE);
        }
        Asked::Part(range) => {
            set(&mut answer, CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, about.length));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            range
        }
        Asked::Whole => 0..about.length,
    };
    set(&mut answer, CONTENT_LENGTH, range.end - range.start);
    Plan { answer, send: Some(range).filter(|range| *method == Method::GET && !range.is_empty()) }
}

fn describe(answer: &mut Answer, about: &About, download: bool) {
    for_all(answer);
    set(answer, ACCEPT_RANGES, "bytes");
    set(answer, ETAG, about.validators.etag.as_str());
    // What a URL names never changes.
    set(answer, CACHE_CONTROL, "private, max-age=31536000, immutable");
    set(answer, CONTENT_TYPE, about.content_type.as_str());
    if let Some(modified) = about.validators.modified
        && let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(modified))
        // Beyond the year 9999 there is no such date.
        && modified < 253_402_300_800
    {
        set(answer, LAST_MODIFIED, httpdate::fmt_http_date(time));
    }
    if acts(&about.content_type) {
        set(answer, CONTENT_SECURITY_POLICY, SANDBOX);
    }
    let how = if download { "attachment" } else { "inline" };
    let named = about.name.as_deref().map(|name| disposition(how, name));
    set(answer, CONTENT_DISPOSITION, named.unwrap_or_else(|| how.to_owned()));
}

/// Whether a browser runs what is in a document of a type.
fn acts(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "text/html" || kind.ends_with("xml") || kind == "text/xsl"
}

/// `Content-Disposition` with a name (RFC 6266; RFC 8187 for what is not plain).
fn disposition(how: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|letter| {
            if letter.is_ascii_graphic() && !matches!(letter, '"' | '\\' | '%') || letter == ' ' { letter } else { '_' }
        })
        .collect();
    if plain == name {
        return format!("{how}; filename=\"{plain}\"");
    }
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, &ATTRIBUTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        let validators = Validators { etag: "\"e\"".into(), modified: None };
        About { length: 10, content_type: "text/html".into(), name: Some("naïve \"x\".html".into()), validators }
    }

    #[test]
    fn a_plan_for_each_request() {
        let asked = |method: Method, range: Option<&'static str>| {
            let mut request = HeaderMap::new();
            request.extend(range.map(|range| (RANGE, HeaderValue::from_static(range))));
            let plan = plan(&about(), &method, &request, false);
            (plan.answer.status().as_u16(), plan.send, plan.answer.headers().get(CONTENT_LENGTH).cloned())
        };
        let length = |length: u64| Some(HeaderValue::from(length));
        assert_eq!(asked(Method::GET, None), (200, Some(0..10), length(10)));
        assert_eq!(asked(Method::HEAD, None), (200, None, length(10)));
        assert_eq!(asked(Method::GET, Some("bytes=2-3")), (206, Some(2..4), length(2)));
        assert_eq!(asked(Method::HEAD, Some("bytes=2-3")), (200, None, length(10)));
        assert_eq!(asked(Method::GET, Some("bytes=10-")), (416, None, None));
        assert_eq!(asked(Method::GET, Some("bytes=0-1,4-5")), (200, Some(0..10), length(10)));
    }

    #[test]
    fn what_is_stored_is_a_stranger() {
        let plan = plan(&about(), &Method::GET, &HeaderMap::new(), false);
        let headers = plan.answer.headers();
        assert_eq!(headers[CONTENT_SECURITY_POLICY], SANDBOX);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
        let named = "inline; filename=\"na_ve _x_.html\"; filename*=UTF-8''na%C3%AFve%20%22x%22.html";
        assert_eq!(headers[CONTENT_DISPOSITION], named);
        for kind in ["image/svg+xml", "application/xhtml+xml", "TEXT/HTML; charset=x", "text/xml"] {
            assert!(acts(kind), "{kind}");
        }
        assert!(!acts("application/pdf") && !acts("text/plain"));
    }
}
