//! Settings of buckets, between the protocol's words and the catalogue's.

use std::time::{Duration, UNIX_EPOCH};

use s3s::{S3Error, S3ErrorCode, S3Result, dto};

use crate::s3::{
    fault::fault,
    object::{CorsRule, LifecycleRule, Website},
};

/// Most rules of a bucket's CORS settings and of its life cycle.
const MOST_RULES: usize = 100;

fn malformed(message: &'static str) -> S3Error {
    fault(S3ErrorCode::MalformedXML, message).into()
}

pub(crate) fn cors_rules(configuration: dto::CORSConfiguration) -> S3Result<Vec<CorsRule>> {
    if configuration.cors_rules.is_empty() || configuration.cors_rules.len() > MOST_RULES {
        return Err(malformed("there are no rules, or too many"));
    }
    let rules = configuration.cors_rules.into_iter().map(|rule| {
        if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
            return Err(malformed("a rule names no method or no origin"));
        }
        for method in &rule.allowed_methods {
            if !["GET", "PUT", "HEAD", "POST", "DELETE"].contains(&&**method) {
                return Err(fault(S3ErrorCode::InvalidRequest, "Found unsupported HTTP method in CORS config").into());
            }
        }
        Ok(CorsRule {
            id: rule.id,
            origins: rule.allowed_origins,
            methods: rule.allowed_methods,
            headers: rule.allowed_headers.unwrap_or_default(),
            exposed: rule.expose_headers.unwrap_or_default(),
            max_age: rule.max_age_seconds,
        })
    });
    rules.collect()
}

pub(crate) fn cors_words(rules: &[CorsRule]) -> Vec<dto::CORSRule> {
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    rules
        .iter()
        .map(|rule| dto::CORSRule {
            id: rule.id.clone(),
            allowed_origins: rule.origins.clone(),
            allowed_methods: rule.methods.clone(),
            allowed_headers: some(&rule.headers),
            expose_headers: some(&rule.exposed),
            max_age_seconds: rule.max_age,
        })
        .collect()
}

pub(crate) fn tag_pairs(tags: Vec<dto::Tag>) -> S3Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for tag in tags {
        let (Some(key), Some(value)) = (tag.key, tag.value) else { return Err(malformed("a tag has no key or value")) };
        pairs.push((key, value));
    }
    check_tags(&pairs, 50)?;
    Ok(pairs)
}

/// The limits of AWS: keys of 128, values of 256 characters, none twice.
pub(crate) fn check_tags(pairs: &[(String, String)], most: usize) -> S3Result<()> {
    if pairs.len() > most {
        return Err(fault(S3ErrorCode::Custom("BadRequest".into()), "there are too many tags").into());
    }
    for (at, (key, value)) in pairs.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(fault(S3ErrorCode::InvalidTag, "a tag's key or value is too long, or it has no key").into());
        }
        if pairs[..at].iter().any(|(other, _)| other == key) {
            return Err(fault(S3ErrorCode::InvalidTag, "Cannot provide multiple Tags with the same key").into());
        }
    }
    Ok(())
}

/// The header in which tags come with an object.
pub(crate) fn tags_of_header(text: &str) -> S3Result<Vec<(String, String)>> {
    let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    check_tags(&pairs, 10)?;
    Ok(pairs)
}

pub(crate) fn tag_words(pairs: &[(String, String)]) -> Vec<dto::Tag> {
    pairs.iter().map(|(key, value)| dto::Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

pub(crate) fn website(configuration: dto::WebsiteConfiguration) -> S3Result<Website> {
    if configuration.redirect_all_requests_to.is_some() || configuration.routing_rules.is_some() {
        return Err(fault(S3ErrorCode::NotImplemented, "web sites that redirect are not supported").into());
    }
    let index = configuration.index_document.ok_or_else(|| malformed("a web site needs an index document"))?;
    if index.suffix.is_empty() || index.suffix.contains('/') {
        return Err(fault(S3ErrorCode::InvalidArgument, "The IndexDocument Suffix is not well formed").into());
    }
    Ok(Website { index: index.suffix, error: configuration.error_document.map(|document| document.key) })
}

fn seconds(time: dto::Timestamp) -> u64 {
    u64::try_from(time::OffsetDateTime::from(time).unix_timestamp()).unwrap_or(0)
}

fn positive(number: Option<i32>, message: &'static str) -> S3Result<Option<u32>> {
    let positive = number.map(|number| u32::try_from(number).ok().filter(|number| *number > 0).ok_or(()));
    positive.transpose().map_err(|()| fault(S3ErrorCode::InvalidArgument, message).into())
}

fn size(number: Option<i64>) -> S3Result<Option<u64>> {
    let size = number.map(u64::try_from).transpose();
    size.map_err(|_| fault(S3ErrorCode::InvalidArgument, "a size cannot be negative").into())
}

pub(crate) fn lifecycle_rules(rules: Vec<dto::LifecycleRule>) -> S3Result<Vec<LifecycleRule>> {
    if rules.is_empty() || rules.len() > MOST_RULES {
        return Err(malformed("there are no rules, or too many"));
    }
    let mut read: Vec<LifecycleRule> = Vec::new();
    for rule in rules {
        let rule = lifecycle_rule(rule)?;
        if rule.id.is_some() && read.iter().any(|other| other.id == rule.id) {
            return Err(fault(S3ErrorCode::InvalidArgument, "Rule ID must be unique").into());
        }
        read.push(rule);
    }
    Ok(read)
}

fn lifecycle_rule(rule: dto::LifecycleRule) -> S3Result<LifecycleRule> {
    let unsupported = |message| S3Error::from(fault(S3ErrorCode::NotImplemented, message));
    if rule.transitions.is_some_and(|list| !list.is_empty())
        || rule.noncurrent_version_transitions.is_some_and(|list| !list.is_empty())
    {
        return Err(unsupported("there is one storage class, so nothing moves to another"));
    }
    let enabled = match rule.status.as_str() {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(malformed("the status of a rule is Enabled or Disabled")),
    };
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > 255) {
        return Err(fault(S3ErrorCode::InvalidArgument, "ID length should not exceed allowed limit of 255").into());
    }
    let days = "'Days' for Expiration action must be a positive integer";
    let mut read = LifecycleRule { id: rule.id, enabled, filter: rule.filter.is_some(), ..LifecycleRule::default() };
    if let Some(filter) = rule.filter {
        let (mut tags, mut prefix) = (Vec::new(), filter.prefix);
        read.larger_than = size(filter.object_size_greater_than)?;
        read.smaller_than = size(filter.object_size_less_than)?;
        tags.extend(filter.tag);
        if let Some(and) = filter.and {
            prefix = and.prefix.or(prefix);
            tags.extend(and.tags.unwrap_or_default());
            read.larger_than = size(and.object_size_greater_than)?.or(read.larger_than);
            read.smaller_than = size(and.object_size_less_than)?.or(read.smaller_than);
        }
        read.prefix = prefix.unwrap_or_default();
        read.tags = tag_pairs(tags)?;
    } else {
        read.prefix = rule.prefix.unwrap_or_default();
    }
    if let Some(expiration) = rule.expiration {
        read.days = positive(expiration.days, days)?;
        read.date = expiration.date.map(seconds);
        read.marks = expiration.expired_object_delete_marker.unwrap_or(false);
    }
    if let Some(noncurrent) = rule.noncurrent_version_expiration {
        if noncurrent.newer_noncurrent_versions.is_some() {
            return Err(unsupported("NewerNoncurrentVersions is not supported"));
        }
        read.noncurrent_days = positive(noncurrent.noncurrent_days, days)?;
    }
    if let Some(abort) = rule.abort_incomplete_multipart_upload {
        read.abort_days = positive(abort.days_after_initiation, days)?;
    }
    if read.days.is_none()
        && read.date.is_none()
        && !read.marks
        && read.noncurrent_days.is_none()
        && read.abort_days.is_none()
    {
        return Err(fault(S3ErrorCode::InvalidRequest, "At least one action needs to be specified in a rule").into());
    }
    Ok(read)
}

pub(crate) fn lifecycle_words(rules: &[LifecycleRule]) -> Vec<dto::LifecycleRule> {
    let number = |days: Option<u32>| days.and_then(|days| i32::try_from(days).ok());
    let bytes = |size: Option<u64>| size.and_then(|size| i64::try_from(size).ok());
    rules
        .iter()
        .map(|rule| {
            let sizes = usize::from(rule.larger_than.is_some()) + usize::from(rule.smaller_than.is_some());
            let conditions = rule.tags.len() + sizes + usize::from(!rule.prefix.is_empty());
            let prefix = Some(rule.prefix.clone());
            let filter = if conditions > 1 {
                dto::LifecycleRuleFilter {
                    and: Some(dto::LifecycleRuleAndOperator {
                        prefix: prefix.clone().filter(|prefix| !prefix.is_empty()),
                        tags: (!rule.tags.is_empty()).then(|| tag_words(&rule.tags)),
                        object_size_greater_than: bytes(rule.larger_than),
                        object_size_less_than: bytes(rule.smaller_than),
                    }),
                    ..dto::LifecycleRuleFilter::default()
                }
            } else {
                dto::LifecycleRuleFilter {
                    and: None,
                    tag: tag_words(&rule.tags).pop(),
                    prefix: prefix.clone().filter(|_| rule.tags.is_empty() && sizes == 0),
                    object_size_greater_than: bytes(rule.larger_than),
                    object_size_less_than: bytes(rule.smaller_than),
                }
            };
            let expires = rule.days.is_some() || rule.date.is_some() || rule.marks;
            dto::LifecycleRule {
                id: rule.id.clone(),
                status: dto::ExpirationStatus::from_static(if rule.enabled { "Enabled" } else { "Disabled" }),
                prefix: prefix.filter(|_| !rule.filter),
                filter: rule.filter.then_some(filter),
                expiration: expires.then(|| dto::LifecycleExpiration {
                    days: number(rule.days),
                    date: rule.date.map(|date| (UNIX_EPOCH + Duration::from_secs(date)).into()),
                    expired_object_delete_marker: rule.marks.then_some(true),
                }),
                noncurrent_version_expiration: rule.noncurrent_days.map(|days| dto::NoncurrentVersionExpiration {
                    noncurrent_days: i32::try_from(days).ok(),
                    newer_noncurrent_versions: None,
                }),
                abort_incomplete_multipart_upload: rule.abort_days.map(|days| dto::AbortIncompleteMultipartUpload {
                    days_after_initiation: i32::try_from(days).ok(),
                }),
                transitions: None,
                noncurrent_version_transitions: None,
            }
        })
        .collect()
}
