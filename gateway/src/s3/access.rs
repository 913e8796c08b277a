//! Who may do what: signatures, rights of keys, policies of buckets.

use std::sync::Arc;

use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    dto::PostObjectInput,
};

use crate::s3::{
    keys::{AccessKey, Keys, Rights},
    policy::Says,
    shelf::Shelf,
    target::Domains,
    target::parameter,
};

/// Looks at keys and policies.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) keys: Arc<Keys>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) domains: Domains,
}

/// What an action needs of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Reading,
    Writing,
    /// Either will do: whoever puts in parts asks for the parts.
    Either,
    Everything,
}

/// What AWS calls the right to an operation, and what it needs here. `versioned` is whether it names a version.
fn action(operation: &str, versioned: bool) -> (String, Needs) {
    use Needs::{Either, Everything, Reading, Writing};
    let (name, needs) = match operation {
        "HeadObject" | "GetObject" | "GetObjectAttributes" => ("GetObject", Reading),
        "GetObjectTagging" | "GetObjectAcl" => (operation, Reading),
        "ListObjects" | "ListObjectsV2" => ("ListBucket", Reading),
        "ListObjectVersions" => ("ListBucketVersions", Reading),
        "HeadBucket" => ("ListBucket", Either),
        "ListMultipartUploads" => ("ListBucketMultipartUploads", Either),
        "ListParts" => ("ListMultipartUploadParts", Either),
        "GetBucketLocation" | "GetBucketVersioning" | "GetObjectLockConfiguration" => (operation, Either),
        "PutObject"
        | "PostObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => ("PutObject", Writing),
        "AbortMultipartUpload" | "PutObjectTagging" | "DeleteObjectTagging" | "PutObjectAcl" => (operation, Writing),
        "DeleteObject" | "DeleteObjects" => ("DeleteObject", Writing),
        "ListBuckets" => ("ListAllMyBuckets", Either),
        "GetBucketLifecycleConfiguration" => ("GetLifecycleConfiguration", Reading),
        "PutBucketLifecycleConfiguration" | "DeleteBucketLifecycle" => ("PutLifecycleConfiguration", Everything),
        "GetBucketEncryption" => ("GetEncryptionConfiguration", Reading),
        "DeleteBucketCors" => ("PutBucketCors", Everything),
        "DeleteBucketTagging" => ("PutBucketTagging", Everything),
        "GetPublicAccessBlock" => ("GetBucketPublicAccessBlock", Reading),
        other if other.starts_with("Get") || other.starts_with("List") => (other, Reading),
        other => (other, Everything),
    };
    let name = match name {
        "GetObject" | "DeleteObject" if versioned => format!("{name}Version"),
        "GetObjectTagging" | "PutObjectTagging" | "DeleteObjectTagging" | "GetObjectAcl" | "PutObjectAcl"
            if versioned =>
        {
            name.replace("Object", "ObjectVersion")
        }
        name => name.to_owned(),
    };
    (format!("s3:{name}"), needs)
}

pub(crate) fn denied() -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied")
}

fn allows(rights: Rights, needs: Needs) -> bool {
    match (rights, needs) {
        (Rights::All, _) | (_, Needs::Either) => true,
        (Rights::Read, needs) => needs == Needs::Reading,
        (Rights::Write, needs) => needs == Needs::Writing,
        (Rights::ReadWrite, needs) => needs != Needs::Everything,
    }
}

impl Access {
    /// The key of a request, if it was signed.
    pub(crate) fn who(&self, access: Option<&str>) -> S3Result<Option<AccessKey>> {
        access.map(|access| self.key(access)).transpose()
    }

    fn key(&self, access: &str) -> S3Result<AccessKey> {
        let key = self.keys.find(access).map_err(failed)?.ok_or_else(|| unknown("there is no such access key"))?;
        if key.is_expired() { Err(unknown("the access key has expired")) } else { Ok(key) }
    }

    /// Whether an operation on a bucket, or on an object, is allowed.
    pub(crate) fn check(
        &self,
        who: Option<&AccessKey>,
        operation: &str,
        bucket: Option<&str>,
        (key, versioned): (Option<&str>, bool),
    ) -> S3Result<()> {
        let (action, needs) = action(operation, versioned);
        let held = bucket.and_then(|bucket| self.shelf.find_bucket(bucket));
        let policy = held.as_ref().and_then(|held| held.policy());
        let says = match (&policy, bucket) {
            (Some(policy), Some(bucket)) => {
                let names = who.map(|key| [&*key.name, &*key.access]);
                policy.says(names.as_ref().map_or(&[], |names| names), &action, bucket, key)
            }
            _ => Says::Nothing,
        };
        let allowed = match who {
            None => says == Says::Allow,
            // Else who locks himself out could never come in again.
            Some(key) if key.rights == Rights::All && key.bucket.is_none() => {
                says != Says::Deny || action.ends_with("BucketPolicy")
            }
            Some(_) if says == Says::Deny => false,
            Some(key) => {
                let own = key.bucket.as_deref().is_none_or(|own| bucket.is_none_or(|bucket| bucket == own));
                // Some clients make their bucket before each use; that it is theirs already is an answer to them.
                let again = operation == "CreateBucket" && held.is_some();
                let rightful = allows(key.rights, needs) || again;
                own && rightful && (bucket.is_some() || operation == "ListBuckets") || says == Says::Allow
            }
        };
        if allowed { Ok(()) } else { Err(denied()) }
    }
}

fn failed(error: crate::KeysError) -> S3Error {
    tracing::warn!(%error, "the access keys cannot be read");
    S3Error::internal_error(error)
}

fn unknown(message: &'static str) -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, message)
}

#[async_trait::async_trait]
impl S3Auth for Access {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        Ok(SecretKey::from(self.key(access_key)?.secret))
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let who = self.who(context.credentials().map(|credentials| &*credentials.access_key))?;
        let path = context.s3_path();
        let (bucket, key) = (path.get_bucket_name(), path.get_object_key());
        let versioned = parameter(context.uri(), "versionId").is_some();
        match context.s3_op().name() {
            // Its name comes in the form.
            "PostObject" => {}
            // Each is looked at by itself later.
            "DeleteObjects" => Self::check(self, who.as_ref(), "DeleteObjects", bucket, (Some("*"), false))?,
            name => Self::check(self, who.as_ref(), name, bucket, (key, versioned))?,
        }
        context.extensions_mut().insert(Who(who));
        Ok(())
    }

    async fn post_object(&self, request: &mut S3Request<PostObjectInput>) -> S3Result<()> {
        let who = request.extensions.get::<Who>().and_then(|who| who.0.clone());
        let (bucket, key) = (request.input.bucket.as_str(), request.input.key.as_str());
        Self::check(self, who.as_ref(), "PostObject", Some(bucket), (Some(key), false))
    }
}

/// Whose request it is, in its extensions.
#[derive(Clone)]
pub(crate) struct Who(pub(crate) Option<AccessKey>);
