//! Which pages of other sites may use a bucket (the Fetch standard, section 3.2).

use hyper::{
    HeaderMap, Method,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
    },
};

use crate::s3::{object::CorsRule, policy::like};

fn text<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl CorsRule {
    fn covers(&self, origin: &str, method: &str) -> bool {
        self.methods.iter().any(|known| known == method)
            && self.origins.iter().any(|known| like(known.as_bytes(), origin.as_bytes()))
    }

    fn allows_headers(&self, asked: &str) -> bool {
        asked
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .all(|name| self.headers.iter().any(|known| like(known.to_ascii_lowercase().as_bytes(), name.as_bytes())))
    }
}

/// What a preflight request is answered with, if a rule allows what it asks for.
pub(crate) fn preflight(rules: &[CorsRule], headers: &HeaderMap) -> Option<HeaderMap> {
    let origin = text(headers, &ORIGIN)?;
    let method = text(headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked = text(headers, &ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let rule = rules.iter().find(|rule| rule.covers(origin, method) && rule.allows_headers(asked))?;
    let mut answer = allowed(rule, origin)?;
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(&rule.methods.join(", ")).ok()?);
    if !asked.is_empty() {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_str(&asked.to_ascii_lowercase()).ok()?);
    }
    if let Some(seconds) = rule.max_age {
        answer.insert(ACCESS_CONTROL_MAX_AGE, seconds.into());
    }
    Some(answer)
}

/// What is added to the answer to a request, which may be from another site's page. Where there are rules, others may be
/// answered otherwise.
pub(crate) fn actual(rules: &[CorsRule], method: &Method, origin: Option<&HeaderValue>) -> HeaderMap {
    let allowed = origin
        .and_then(|origin| origin.to_str().ok())
        .and_then(|origin| allowed(rules.iter().find(|rule| rule.covers(origin, method.as_str()))?, origin));
    allowed.unwrap_or_else(|| {
        let vary = (!rules.is_empty()).then_some((VARY, VARIES));
        vary.into_iter().collect()
    })
}

/// What an answer depends on.
const VARIES: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Headers, Access-Control-Request-Method");

fn allowed(rule: &CorsRule, origin: &str) -> Option<HeaderMap> {
    let mut answer = HeaderMap::new();
    if rule.origins.iter().any(|known| known == "*") {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_str(origin).ok()?);
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    answer.insert(VARY, VARIES);
    if !rule.exposed.is_empty() {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_str(&rule.exposed.join(", ")).ok()?);
    }
    Some(answer)
}
