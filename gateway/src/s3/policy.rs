//! Policies of buckets: the part of AWS's policy language that says who may do what.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::s3::keys::is_key_name;

/// A policy that was understood wholly.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    #[serde(rename = "Version", default)]
    _version: Option<String>,
    #[serde(rename = "Id", default)]
    _id: Option<String>,
    #[serde(rename = "Statement", deserialize_with = "statements")]
    statements: Vec<Statement>,
}

/// One statement or several, read in a way that says what is wrong with one.
fn statements<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Statement>, D::Error> {
    struct Statements;
    impl<'de> Visitor<'de> for Statements {
        type Value = Vec<Statement>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a statement or a list of statements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut statements = Vec::new();
            while let Some(statement) = list.next_element()? {
                statements.push(statement);
            }
            Ok(statements)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![Statement::deserialize(MapAccessDeserializer::new(map))?])
        }
    }
    from.deserialize_any(Statements)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "Sid", default)]
    _sid: Option<String>,
    #[serde(rename = "Effect")]
    effect: Effect,
    #[serde(rename = "Principal")]
    principal: Principal,
    #[serde(rename = "Action")]
    actions: OneOrMany<String>,
    #[serde(rename = "Resource")]
    resources: OneOrMany<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a principal is \"*\" or {\"AWS\": a name or a list of names}")]
enum Principal {
    All(String),
    Named(Named),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(rename = "AWS")]
    aws: OneOrMany<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Allow,
    Deny,
    Nothing,
}

/// What a policy may speak of. A name that is not here would never be asked for, and a denial of it be none.
const ACTIONS: [&str; 43] = [
    "AbortMultipartUpload",
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketPolicy",
    "DeleteBucketWebsite",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetBucketAcl",
    "GetBucketCors",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetEncryptionConfiguration",
    "GetLifecycleConfiguration",
    "GetObject",
    "GetObjectAcl",
    "GetObjectTagging",
    "GetObjectVersion",
    "GetObjectVersionAcl",
    "GetObjectVersionTagging",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListMultipartUploadParts",
    "PutBucketAcl",
    "PutBucketCors",
    "PutBucketPolicy",
    "PutBucketTagging",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutLifecycleConfiguration",
    "PutObject",
    "PutObjectTagging",
    "PutObjectVersionTagging",
];

const ARN: &str = "arn:aws:s3:::";

/// Whether a text is of a pattern with `*` and `?`.
pub(crate) fn like(pattern: &[u8], text: &[u8]) -> bool {
    // The last `*` may always take one byte more.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((from, taken)) = star else { return false };
                star = Some((from, taken + 1));
                p = from + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether an action is one on objects, and not on buckets.
fn is_of_object(action: &str) -> bool {
    action.contains("Object") || ["AbortMultipartUpload", "ListMultipartUploadParts"].contains(&action)
}

/// The name of a key in a principal.
fn name_in(principal: &str) -> &str {
    match principal.strip_prefix("arn:aws:iam::") {
        Some(rest) => rest.split_once(":user/").map_or("", |(_, name)| name),
        None => principal,
    }
}

/// Whether somebody can be who a principal names.
fn may_be_meant(principal: &str) -> bool {
    principal == "*" || is_key_name(name_in(principal))
}

impl Policy {
    /// Reads a policy of a bucket.
    ///
    /// # Errors
    /// In words for people: what is not understood could be what takes a right away.
    pub(crate) fn parse(text: &str, bucket: &str) -> Result<Self, String> {
        let policy: Self =
            serde_json::from_str(text).map_err(|error| format!("the policy is not understood: {error}"))?;
        if policy.statements.is_empty() {
            return Err("the policy has no statement".to_owned());
        }
        for statement in &policy.statements {
            let wrong = match &statement.principal {
                Principal::All(who) => Some(who).filter(|who| *who != "*"),
                Principal::Named(named) => named.aws.as_slice().iter().find(|who| !may_be_meant(who)),
            };
            if let Some(who) = wrong {
                return Err(format!("Invalid principal in policy: {who}"));
            }
            for resource in statement.resources.as_slice() {
                let own = resource.strip_prefix(ARN).unwrap_or_default();
                if own != bucket && own.strip_prefix(bucket).is_none_or(|rest| !rest.starts_with('/')) {
                    return Err(format!("Policy has invalid resource: {resource}"));
                }
            }
            for action in statement.actions.as_slice() {
                let name = action.to_ascii_lowercase();
                let known = |name: &str| {
                    name.contains(['*', '?']) || ACTIONS.iter().any(|known| known.eq_ignore_ascii_case(name))
                };
                if name != "*" && !name.strip_prefix("s3:").is_some_and(known) {
                    return Err(format!("Policy has invalid action: {action}"));
                }
            }
            let of_objects = |resource: &String| resource.contains('/');
            let resources = statement.resources.as_slice();
            for action in statement.actions.as_slice() {
                let name = action.to_ascii_lowercase();
                let name = name.strip_prefix("s3:").unwrap_or("*");
                let meant = ACTIONS.iter().filter(|known| like(name.as_bytes(), known.to_ascii_lowercase().as_bytes()));
                let mut kinds = meant.map(|known| is_of_object(known));
                if !kinds.any(|kind| resources.iter().any(|resource| of_objects(resource) == kind)) {
                    return Err(format!("Action does not apply to any resource(s) in statement: {action}"));
                }
            }
            if statement.actions.as_slice().is_empty() || statement.resources.as_slice().is_empty() {
                return Err("Policy statement must contain actions and resources".to_owned());
            }
        }
        Ok(policy)
    }

    /// What stands in for a policy that cannot be read any more: nobody may do anything.
    pub(crate) fn closed() -> Self {
        let all = || OneOrMany::One("*".to_owned());
        let principal = Principal::All("*".to_owned());
        let statement = Statement { _sid: None, effect: Effect::Deny, principal, actions: all(), resources: all() };
        Self { _version: None, _id: None, statements: vec![statement] }
    }

    /// What it says of an action on a bucket or, with a key, an object. `who` is what the access key is called.
    pub(crate) fn says(&self, who: &[&str], action: &str, bucket: &str, key: Option<&str>) -> Says {
        let resource = key.map_or_else(|| format!("{ARN}{bucket}"), |key| format!("{ARN}{bucket}/{key}"));
        let mut says = Says::Nothing;
        for statement in &self.statements {
            let meant = match &statement.principal {
                Principal::All(_) => true,
                Principal::Named(named) => {
                    named.aws.as_slice().iter().any(|name| name == "*" || who.contains(&name_in(name)))
                }
            };
            let any = |patterns: &OneOrMany<String>, text: &str| {
                patterns.as_slice().iter().any(|pattern| like(pattern.as_bytes(), text.as_bytes()))
            };
            let action = action.to_ascii_lowercase();
            let called = statement.actions.as_slice().iter();
            let mut called = called.map(|pattern| pattern.to_ascii_lowercase());
            let called = called.any(|pattern| like(pattern.as_bytes(), action.as_bytes()));
            if meant && called && any(&statement.resources, &resource) {
                match statement.effect {
                    Effect::Deny => return Says::Deny,
                    Effect::Allow => says = Says::Allow,
                }
            }
        }
        says
    }

    /// Whether it lets anybody do anything.
    pub(crate) fn is_public(&self) -> bool {
        self.statements.iter().any(|statement| {
            statement.effect == Effect::Allow
                && match &statement.principal {
                    Principal::All(_) => true,
                    Principal::Named(named) => named.aws.as_slice().iter().any(|name| name == "*"),
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("a*b*c", "aXbYbc"), ("s3:Get*", "s3:GetObject"), ("a?c", "abc")]
        {
            assert!(like(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a*c", "ab"), ("s3:Get*", "s3:PutObject"), ("a?c", "ac"), ("abc", "ab")] {
            assert!(!like(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }

    #[test]
    fn public_reading_with_an_exception() {
        let text = r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"},
            {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": ["s3:*"], "Resource": ["arn:aws:s3:::b/closed/*"]},
            {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/ann"]}, "Action": "s3:ListBucket",
             "Resource": "arn:aws:s3:::b"}]}"#;
        let policy = Policy::parse(text, "b").expect("a policy");
        assert!(policy.is_public());
        assert_eq!(policy.says(&[], "s3:GetObjectVersion", "b", Some("k")), Says::Nothing);
        assert_eq!(policy.says(&[], "s3:GetObject", "b", Some("k")), Says::Allow);
        assert_eq!(policy.says(&[], "s3:GetObject", "b", Some("closed/k")), Says::Deny);
        assert_eq!(policy.says(&[], "s3:PutObject", "b", Some("k")), Says::Nothing);
        assert_eq!(policy.says(&[], "s3:ListBucket", "b", None), Says::Nothing);
        assert_eq!(policy.says(&["ann"], "s3:ListBucket", "b", None), Says::Allow);
        assert_eq!(policy.says(&["ann"], "s3:GetObject", "b", Some("closed/k")), Says::Deny);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let statement = |text: &str| format!(r#"{{"Statement": [{{"Effect": "Deny", "Principal": "*", {text}}}]}}"#);
        for (text, said) in [
            (r#""Action": "s3:*""#, "missing field `Resource`"),
            (r#""Action": "s3:*", "Resource": "arn:aws:s3:::bucket", "Condition": {}"#, "unknown field `Condition`"),
            (
                r#""Action": "s3:Get*", "Action": "s3:Put*", "Resource": "arn:aws:s3:::bucket""#,
                "duplicate field `Action`",
            ),
            (r#""Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket""#, "does not apply to any resource"),
            (r#""Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bucket/*""#, "does not apply to any resource"),
            (r#""Action": 7, "Resource": "arn:aws:s3:::bucket""#, "a text or a list of texts"),
        ] {
            let error = Policy::parse(&statement(text), "bucket").expect_err(text);
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(Policy::closed().says(&["ann"], "s3:GetObject", "bucket", Some("k")), Says::Deny);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "{}",
            r#"{"Statement": []"#,
            r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::other/*"}]}"#,
            r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
                "Condition": {"IpAddress": {"aws:SourceIp": "1.2.3.4"}}}]}"#,
            r#"{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:ReadObject", "Resource": "arn:aws:s3:::b"}]}"#,
            r#"{"Statement": [{"Effect": "Deny", "Principal": {"AWS": "ann", "Federated": "x"}, "Action": "s3:*", "Resource": "arn:aws:s3:::b"}]}"#,
            r#"{"Statement": []}"#,
            r#"{"Statement": [{"Effect": "Deny", "Principal": {"AWS": "an*"}, "Action": "s3:*", "Resource": "arn:aws:s3:::b"}]}"#,
            r#"{"Statement": [{"Effect": "Maybe", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b"}]}"#,
            r#"{"Statement": [{"Effect": "Allow", "Principal": "ann", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b"}]}"#,
        ] {
            assert!(Policy::parse(text, "b").is_err(), "{text}");
        }
    }
}
