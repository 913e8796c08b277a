//! Conditions of a request (RFC 9110, section 13): whether what the client has is still what is here.

use hyper::{
    HeaderMap,
    header::{HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE},
};

/// What conditions are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    /// The entity tag, with its quotes. Always a strong one.
    pub(crate) etag: String,
    /// Seconds since 1970 of the last change, where it is known.
    pub(crate) modified: Option<u64>,
}

/// What the conditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Go,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client thinks.
    Failed,
}

impl Validators {
    /// Weighs the conditions of a GET or HEAD, in the order of RFC 9110, section 13.2.2.
    pub(crate) fn weigh(&self, headers: &HeaderMap) -> Verdict {
        if let Some(tags) = field(headers, &IF_MATCH) {
            if !self.is_among(&tags, false) {
                return Verdict::Failed;
            }
        } else if let (Some(then), Some(modified)) = (time(headers, &IF_UNMODIFIED_SINCE), self.modified)
            && modified > then
        {
            return Verdict::Failed;
        }
        if let Some(tags) = field(headers, &IF_NONE_MATCH) {
            if self.is_among(&tags, true) {
                return Verdict::NotModified;
            }
        } else if let (Some(then), Some(modified)) = (time(headers, &IF_MODIFIED_SINCE), self.modified)
            && modified <= then
        {
            return Verdict::NotModified;
        }
        Verdict::Go
    }

    /// Whether a range may be served: without `If-Range`, or when it names just this.
    pub(crate) fn allow_range(&self, headers: &HeaderMap) -> bool {
        match field(headers, &IF_RANGE) {
            None => true,
            Some(condition) if condition.trim().starts_with(['"', 'W']) => condition.trim() == self.etag,
            Some(condition) => {
                let then = seconds(condition.trim());
                then.is_some() && then == self.modified
            }
        }
    }

    fn is_among(&self, tags: &str, weakly: bool) -> bool {
        // S3 clients often leave the quotes out.
        let bare = self.etag.trim_matches('"');
        tags.split(',').map(str::trim).any(|tag| {
            tag == "*"
                || tag == self.etag
                || tag == bare
                || weakly && tag.strip_prefix("W/").is_some_and(|tag| tag == self.etag)
        })
    }
}

/// All lines of a field as one.
fn field(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("")).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

fn time(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    seconds(headers.get(name)?.to_str().ok()?)
}

fn seconds(date: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(date).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn conditions_are_weighed_in_order() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let here = Validators { etag: "\"a\"".into(), modified: Some(784_111_777) };
        let weigh = |fields: &[(HeaderName, &'static str)]| here.weigh(&with(fields));
        assert_eq!(weigh(&[]), Verdict::Go);
        assert_eq!(weigh(&[(IF_NONE_MATCH, "\"b\", \"a\"")]), Verdict::NotModified);
        assert_eq!(weigh(&[(IF_NONE_MATCH, "W/\"a\"")]), Verdict::NotModified);
        assert_eq!(weigh(&[(IF_NONE_MATCH, "*")]), Verdict::NotModified);
        assert_eq!(weigh(&[(IF_NONE_MATCH, "\"b\"")]), Verdict::Go);
        assert_eq!(weigh(&[(IF_MATCH, "\"a\"")]), Verdict::Go);
        assert_eq!(weigh(&[(IF_MATCH, "\"b\"")]), Verdict::Failed);
        assert_eq!(weigh(&[(IF_MATCH, "W/\"a\"")]), Verdict::Failed);
        assert_eq!(weigh(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")]), Verdict::NotModified);
        assert_eq!(weigh(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]), Verdict::Go);
        assert_eq!(weigh(&[(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]), Verdict::Failed);
        // A tag says more than a time.
        let both = [(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert_eq!(weigh(&both), Verdict::Go);
    }

    #[test]
    fn a_range_is_only_of_what_the_client_has() {
        let here = Validators { etag: "\"a\"".into(), modified: Some(784_111_777) };
        let allow = |value| here.allow_range(&with(&[(IF_RANGE, value)]));
        assert!(here.allow_range(&HeaderMap::new()) && allow("\"a\"") && allow("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert!(!allow("\"b\"") && !allow("W/\"a\"") && !allow("Sun, 06 Nov 1994 08:49:38 GMT") && !allow("nonsense"));
    }
}
