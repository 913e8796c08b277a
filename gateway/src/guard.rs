//! Who may do what at the door for people.
//!
//! A browser is a stranger's tool as well as the owner's: any page that it shows can send requests here. What such a
//! request cannot change is where it comes from, so that is what is looked at (docs/gateway.md, section 4).

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap, Method,
    header::{HOST, HeaderName, HeaderValue, ORIGIN},
};

use crate::trouble::Trouble;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Names that the gateway answers to, besides addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    pub(crate) names: Vec<String>,
    /// Whether every user of this machine may do what the owner may.
    pub(crate) everybody: bool,
}

impl Guard {
    /// Looks at the name that the request was sent to. A page whose own name was made to lead here (DNS rebinding)
    /// sends its own name, and is refused.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), Trouble> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
        let name = host.map(without_port).ok_or(Trouble::Request("a request has one Host"))?;
        let lower = name.to_ascii_lowercase();
        let known = lower == "localhost"
            || lower.ends_with(".localhost")
            || lower.parse::<IpAddr>().is_ok()
            || self.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        if known { Ok(()) } else { Err(Trouble::Forbidden("this gateway does not answer to that name")) }
    }

    /// Whether a request may come from the owner: it comes from this machine, and from no page but our own.
    pub(crate) fn check_owner(headers: &HeaderMap, from: SocketAddr) -> Result<(), Trouble> {
        if !from.ip().to_canonical().is_loopback() {
            return Err(Trouble::Forbidden("only from this machine"));
        }
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
            return Err(Trouble::Forbidden("not from another site"));
        }
        let own = |origin: &str| {
            let host = headers.get(HOST).and_then(|host| host.to_str().ok());
            origin.strip_prefix("http://").is_some_and(|origin| Some(origin) == host)
        };
        let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null"));
        if origin.is_some_and(|origin| !own(origin)) {
            return Err(Trouble::Forbidden("not from another site"));
        }
        Ok(())
    }
}

/// Whether a method only reads.
pub(crate) fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The name in a Host field.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn names() {
        let guard = Guard { names: vec!["store.example".into()], everybody: false };
        let may = |host| guard.check_host(&headers(&[("host", host)])).is_ok();
        for host in [
            "127.0.0.1:23402",
            "localhost:23402",
            "LOCALHOST",
            "[::1]:23402",
            "[::1]",
            "a.localhost:1",
            "store.example:80",
        ] {
            assert!(may(host), "{host}");
        }
        for host in ["evil.example:23402", "localhost.evil.example", "127.0.0.1.evil.example", "", "[evil]"] {
            assert!(!may(host), "{host}");
        }
        assert!(guard.check_host(&headers(&[])).is_err());
        assert!(guard.check_host(&headers(&[("host", "localhost"), ("host", "evil.example")])).is_err());
    }

    #[test]
    fn owners() {
        let here: SocketAddr = "127.0.0.1:5".parse().expect("an address");
        let may = |fields: &[(&'static str, &'static str)]| Guard::check_owner(&headers(fields), here).is_ok();
        let host = ("host", "127.0.0.1:23402");
        assert!(may(&[host]));
        assert!(may(&[host, ("origin", "http://127.0.0.1:23402"), ("sec-fetch-site", "same-origin")]));
        assert!(!may(&[host, ("origin", "http://evil.example")]));
        assert!(!may(&[host, ("origin", "http://127.0.0.1:80")]));
        // What is stored here and shown without an origin of its own.
        assert!(!may(&[host, ("origin", "null")]));
        assert!(!may(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!may(&[host, ("sec-fetch-site", "same-site")]));
        let away = "192.0.2.1:5".parse().expect("an address");
        assert!(Guard::check_owner(&headers(&[host]), away).is_err());
        assert!(Guard::check_owner(&headers(&[host]), "[::ffff:127.0.0.1]:5".parse().expect("an address")).is_ok());
    }
}
