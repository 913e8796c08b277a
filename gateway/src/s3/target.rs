//! What a request is about: a bucket, and perhaps an object in it, named in the path or in the host.

use std::{net::IpAddr, sync::Arc};

use hyper::{
    HeaderMap, Uri,
    header::{HOST, HeaderValue},
};
use percent_encoding::percent_decode_str;
use s3s::{
    S3Result,
    host::{S3Host, VirtualHost},
};

/// Domains below which a bucket's name may stand in front.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains(Arc<[String]>);

/// A bucket, and what the path says of an object in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) bucket: String,
    /// Empty when the request is about the bucket.
    pub(crate) name: String,
    /// Whether the bucket is in the host.
    pub(crate) hosted: bool,
}

/// The host without its port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The names of domains that settings list: in small letters, and without ports.
pub fn domain_names(domains: &[String]) -> Vec<String> {
    domains.iter().map(|domain| without_port(domain).to_ascii_lowercase()).collect()
}

impl Domains {
    pub(crate) fn new(domains: &[String]) -> Self {
        let mut domains = domain_names(domains);
        // The longest that fits is meant.
        domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
        Self(domains.into())
    }

    /// The bucket that a host names.
    fn hosted(&self, host: &str) -> Option<String> {
        let host = without_port(host).to_ascii_lowercase();
        if host.parse::<IpAddr>().is_ok() || self.0.contains(&host) {
            return None;
        }
        let bucket = |domain: &String| Some(host.strip_suffix(domain.as_str())?.strip_suffix('.')?.to_owned());
        self.0.iter().find_map(bucket).filter(|bucket| !bucket.is_empty())
    }

    /// What a request is about, if it names a bucket.
    pub(crate) fn target(&self, headers: &HeaderMap, uri: &Uri) -> Option<Target> {
        let path = percent_decode_str(uri.path().strip_prefix('/')?).decode_utf8().ok()?;
        let host = headers.get(HOST).map(HeaderValue::to_str).and_then(Result::ok);
        if let Some(bucket) = host.and_then(|host| self.hosted(host)) {
            return Some(Target { bucket, name: path.into_owned(), hosted: true });
        }
        let (bucket, name) = path.split_once('/').unwrap_or((&path, ""));
        if bucket.is_empty() {
            return None;
        }
        Some(Target { bucket: bucket.to_owned(), name: name.to_owned(), hosted: false })
    }

    /// The same, if it names an object.
    pub(crate) fn object(&self, headers: &HeaderMap, uri: &Uri) -> Option<(String, String)> {
        let target = self.target(headers, uri)?;
        (!target.name.is_empty()).then_some((target.bucket, target.name))
    }
}

/// The library asks it for hosts that are no addresses. One that is of none of the domains names no bucket.
impl S3Host for Domains {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let named = VirtualHost::new(host);
        Ok(match self.hosted(host) {
            Some(bucket) => named.with_bucket(bucket),
            None => named,
        })
    }
}

/// A parameter of a query, decoded.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, path: &str) -> Option<(String, String, bool)> {
        let domains = Domains::new(&["s3.example".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).expect("a host"));
        let target = domains.target(&headers, &path.parse().expect("a path"))?;
        Some((target.bucket, target.name, target.hosted))
    }

    #[test]
    fn buckets_in_paths_and_hosts() {
        let is = |bucket: &str, name: &str, hosted| Some((bucket.to_owned(), name.to_owned(), hosted));
        for host in ["s3.example", "s3.example:80", "127.0.0.1:1", "[::1]:1", "localhost:1", "other.example"] {
            assert_eq!(target(host, "/bucket/a%20b/c"), is("bucket", "a b/c", false), "{host}");
            assert_eq!(target(host, "/bucket"), is("bucket", "", false));
            assert_eq!(target(host, "/"), None);
        }
        for host in ["bucket.s3.example", "Bucket.S3.example:8080"] {
            assert_eq!(target(host, "/other/a"), is("bucket", "other/a", true), "{host}");
            assert_eq!(target(host, "/"), is("bucket", "", true));
        }
        assert_eq!(target("a.b.s3.example", "/k"), is("a.b", "k", true));
        let nested = Domains::new(&["example.com:80".to_owned(), "s3.example.com".to_owned()]);
        assert_eq!(nested.hosted("s3.example.com:80"), None);
        assert_eq!(nested.hosted("b.s3.example.com").as_deref(), Some("b"));
        assert_eq!(nested.hosted("b.example.com").as_deref(), Some("b"));
        assert_eq!(target("evils3.example", "/bucket/k"), is("bucket", "k", false));
    }
}
