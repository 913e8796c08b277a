//! The operations of S3, one by one.

use std::ops::Range;

use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, dto};

use crate::s3::{
    access::Who,
    committer::Plan,
    digest::Expected,
    fault::Fault,
    list::{Asked, Entry, most},
    object::{Part, SumKind, Upload, Version, Versioning},
    policy::Policy,
    read_object::TRIES,
    receive::SMALL,
    service::{
        Answer, Encoding, MOST_METADATA, OWNER, Service, about, answer, bad, check_acl, check_grants, class_of,
        class_said, etag, expected, full_control, kind_name, kind_of, length, not_set, owner, read_token, refuse_sse,
        said_sums, sum_of, sum_type, tell_sum, timestamp, token_of, version_id, wishes, without_chunks,
    },
    settings,
    shelf::{Content, Deleted, Doomed, New, Shelf, Wish},
    uploads::{Named, Whole},
};

/// Most objects that one request deletes.
const MOST_DELETED: usize = 1000;

fn initiator() -> dto::Initiator {
    dto::Initiator { id: Some(OWNER.to_owned()), display_name: Some(OWNER.to_owned()) }
}

#[async_trait::async_trait]
impl S3 for Service {
    // Buckets

    async fn list_buckets(&self, request: S3Request<dto::ListBucketsInput>) -> Answer<dto::ListBucketsOutput> {
        let only = request.extensions.get::<Who>().and_then(|who| who.0.as_ref()?.bucket.clone());
        let prefix = request.input.prefix.clone().unwrap_or_default();
        let after = request.input.continuation_token.clone();
        let most = most(request.input.max_buckets)?.max(1);
        let mut buckets: Vec<_> = self
            .shelf()
            .buckets()
            .into_iter()
            .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name) && name.starts_with(&prefix))
            .filter(|(name, _)| after.as_ref().is_none_or(|after| name > after))
            .map(|(name, bucket)| dto::Bucket {
                name: Some(name),
                creation_date: Some(timestamp(bucket.created)),
                bucket_region: None,
            })
            .collect();
        let more = request.input.max_buckets.is_some() && buckets.len() > most;
        if more {
            buckets.truncate(most);
        }
        answer(dto::ListBucketsOutput {
            continuation_token: buckets.last().filter(|_| more).and_then(|last| last.name.clone()),
            buckets: Some(buckets),
            owner: Some(owner()),
            prefix: request.input.prefix,
        })
    }

    async fn create_bucket(&self, request: S3Request<dto::CreateBucketInput>) -> Answer<dto::CreateBucketOutput> {
        let input = request.input;
        check_acl(input.acl.as_ref().map(dto::BucketCannedACL::as_str))?;
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(bad(S3ErrorCode::NotImplemented, "objects cannot be locked"));
        }
        let name = input.bucket.clone();
        if !self.do_blocking(move |shelf| shelf.create_bucket(&name)).await? {
            let message = "Your previous request to create the named bucket succeeded and you already own it.";
            return Err(bad(S3ErrorCode::BucketAlreadyOwnedByYou, message));
        }
        answer(dto::CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
    }

    async fn head_bucket(&self, request: S3Request<dto::HeadBucketInput>) -> Answer<dto::HeadBucketOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::HeadBucketOutput::default())
    }

    async fn delete_bucket(&self, request: S3Request<dto::DeleteBucketInput>) -> Answer<dto::DeleteBucketOutput> {
        let name = request.input.bucket;
        self.do_blocking(move |shelf| shelf.delete_bucket(&name)).await?;
        Ok(S3Response::with_status(dto::DeleteBucketOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> Answer<dto::GetBucketLocationOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::GetBucketLocationOutput::default())
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<dto::GetBucketVersioningInput>,
    ) -> Answer<dto::GetBucketVersioningOutput> {
        let status = match self.settings(&request.input.bucket)?.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(dto::BucketVersioningStatus::from_static("Enabled")),
            Versioning::Suspended => Some(dto::BucketVersioningStatus::from_static("Suspended")),
        };
        answer(dto::GetBucketVersioningOutput { mfa_delete: None, status })
    }

    async fn put_bucket_versioning(
        &self,
        request: S3Request<dto::PutBucketVersioningInput>,
    ) -> Answer<dto::PutBucketVersioningOutput> {
        let configuration = request.input.versioning_configuration;
        if configuration.mfa_delete.as_ref().is_some_and(|mfa| mfa.as_str() == "Enabled") {
            return Err(bad(S3ErrorCode::NotImplemented, "deleting with a second factor is not supported"));
        }
        let versioning = match configuration.status.as_ref().map(dto::BucketVersioningStatus::as_str) {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => {
                let code = S3ErrorCode::IllegalVersioningConfigurationException;
                return Err(bad(code, "The versioning status is Enabled or Suspended"));
            }
        };
        self.configure(request.input.bucket, move |bucket| bucket.versioning = versioning).await?;
        answer(dto::PutBucketVersioningOutput::default())
    }

    async fn get_bucket_policy(
        &self,
        request: S3Request<dto::GetBucketPolicyInput>,
    ) -> Answer<dto::GetBucketPolicyOutput> {
        match self.settings(&request.input.bucket)?.policy.clone() {
            Some(policy) => answer(dto::GetBucketPolicyOutput { policy: Some(policy) }),
            None => Err(bad(S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist")),
        }
    }

    async fn put_bucket_policy(
        &self,
        request: S3Request<dto::PutBucketPolicyInput>,
    ) -> Answer<dto::PutBucketPolicyOutput> {
        let input = request.input;
        self.settings(&input.bucket)?;
        if input.policy.len() > 20 << 10 {
            return Err(bad(
                S3ErrorCode::MalformedPolicy,
                "Normalized policy document exceeds the maximum allowed size",
            ));
        }
        if let Err(detail) = Policy::parse(&input.policy, &input.bucket) {
            return Err(S3Error::with_message(S3ErrorCode::MalformedPolicy, detail));
        }
        self.configure(input.bucket, move |bucket| bucket.policy = Some(input.policy)).await?;
        Ok(S3Response::with_status(dto::PutBucketPolicyOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_bucket_policy(
        &self,
        request: S3Request<dto::DeleteBucketPolicyInput>,
    ) -> Answer<dto::DeleteBucketPolicyOutput> {
        self.configure(request.input.bucket, |bucket| bucket.policy = None).await?;
        answer(dto::DeleteBucketPolicyOutput::default())
    }

    async fn get_bucket_policy_status(
        &self,
        request: S3Request<dto::GetBucketPolicyStatusInput>,
    ) -> Answer<dto::GetBucketPolicyStatusOutput> {
        let bucket = request.input.bucket;
        let Some(text) = self.settings(&bucket)?.policy.clone() else {
            return Err(bad(S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist"));
        };
        let is_public = Policy::parse(&text, &bucket).is_ok_and(|policy| policy.is_public());
        answer(dto::GetBucketPolicyStatusOutput {
            policy_status: Some(dto::PolicyStatus { is_public: Some(is_public) }),
        })
    }

    async fn get_bucket_cors(&self, request: S3Request<dto::GetBucketCorsInput>) -> Answer<dto::GetBucketCorsOutput> {
        let settings = self.settings(&request.input.bucket)?;
        if settings.cors.is_empty() {
            return Err(bad(S3ErrorCode::NoSuchCORSConfiguration, "The CORS configuration does not exist"));
        }
        answer(dto::GetBucketCorsOutput { cors_rules: Some(settings::cors_words(&settings.cors)) })
    }

    async fn put_bucket_cors(&self, request: S3Request<dto::PutBucketCorsInput>) -> Answer<dto::PutBucketCorsOutput> {
        let rules = settings::cors_rules(request.input.cors_configuration)?;
        self.configure(request.input.bucket, move |bucket| bucket.cors = rules).await?;
        answer(dto::PutBucketCorsOutput::default())
    }

    async fn delete_bucket_cors(
        &self,
        request: S3Request<dto::DeleteBucketCorsInput>,
    ) -> Answer<dto::DeleteBucketCorsOutput> {
        self.configure(request.input.bucket, |bucket| bucket.cors.clear()).await?;
        Ok(S3Response::with_status(dto::DeleteBucketCorsOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<dto::GetBucketLifecycleConfigurationInput>,
    ) -> Answer<dto::GetBucketLifecycleConfigurationOutput> {
        let settings = self.settings(&request.input.bucket)?;
        if settings.lifecycle.is_empty() {
            let message = "The lifecycle configuration does not exist";
            return Err(bad(S3ErrorCode::NoSuchLifecycleConfiguration, message));
        }
        answer(dto::GetBucketLifecycleConfigurationOutput {
            rules: Some(settings::lifecycle_words(&settings.lifecycle)),
            transition_default_minimum_object_size: None,
        })
    }

    async fn put_bucket_lifecycle_configuration(
        &self,
        request: S3Request<dto::PutBucketLifecycleConfigurationInput>,
    ) -> Answer<dto::PutBucketLifecycleConfigurationOutput> {
        let configuration = request.input.lifecycle_configuration;
        let rules = settings::lifecycle_rules(configuration.map(|one| one.rules).unwrap_or_default())?;
        self.configure(request.input.bucket, move |bucket| bucket.lifecycle = rules).await?;
        answer(dto::PutBucketLifecycleConfigurationOutput::default())
    }

    async fn delete_bucket_lifecycle(
        &self,
        request: S3Request<dto::DeleteBucketLifecycleInput>,
    ) -> Answer<dto::DeleteBucketLifecycleOutput> {
        self.configure(request.input.bucket, |bucket| bucket.lifecycle.clear()).await?;
        Ok(S3Response::with_status(dto::DeleteBucketLifecycleOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn get_bucket_website(
        &self,
        request: S3Request<dto::GetBucketWebsiteInput>,
    ) -> Answer<dto::GetBucketWebsiteOutput> {
        let Some(website) = self.settings(&request.input.bucket)?.website.clone() else {
            let message = "The specified bucket does not have a website configuration";
            return Err(bad(S3ErrorCode::NoSuchWebsiteConfiguration, message));
        };
        answer(dto::GetBucketWebsiteOutput {
            index_document: Some(dto::IndexDocument { suffix: website.index }),
            error_document: website.error.map(|key| dto::ErrorDocument { key }),
            ..dto::GetBucketWebsiteOutput::default()
        })
    }

    async fn put_bucket_website(
        &self,
        request: S3Request<dto::PutBucketWebsiteInput>,
    ) -> Answer<dto::PutBucketWebsiteOutput> {
        let website = settings::website(request.input.website_configuration)?;
        self.configure(request.input.bucket, move |bucket| bucket.website = Some(website)).await?;
        answer(dto::PutBucketWebsiteOutput::default())
    }

    async fn delete_bucket_website(
        &self,
        request: S3Request<dto::DeleteBucketWebsiteInput>,
    ) -> Answer<dto::DeleteBucketWebsiteOutput> {
        self.configure(request.input.bucket, |bucket| bucket.website = None).await?;
        Ok(S3Response::with_status(dto::DeleteBucketWebsiteOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn get_bucket_tagging(
        &self,
        request: S3Request<dto::GetBucketTaggingInput>,
    ) -> Answer<dto::GetBucketTaggingOutput> {
        match &self.settings(&request.input.bucket)?.tags {
            Some(tags) => answer(dto::GetBucketTaggingOutput { tag_set: settings::tag_words(tags) }),
            None => Err(bad(S3ErrorCode::NoSuchTagSet, "The TagSet does not exist")),
        }
    }

    async fn put_bucket_tagging(
        &self,
        request: S3Request<dto::PutBucketTaggingInput>,
    ) -> Answer<dto::PutBucketTaggingOutput> {
        let tags = settings::tag_pairs(request.input.tagging.tag_set)?;
        self.configure(request.input.bucket, move |bucket| bucket.tags = Some(tags)).await?;
        Ok(S3Response::with_status(dto::PutBucketTaggingOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_bucket_tagging(
        &self,
        request: S3Request<dto::DeleteBucketTaggingInput>,
    ) -> Answer<dto::DeleteBucketTaggingOutput> {
        self.configure(request.input.bucket, |bucket| bucket.tags = None).await?;
        Ok(S3Response::with_status(dto::DeleteBucketTaggingOutput::default(), hyper::StatusCode::NO_CONTENT))
    }

    async fn get_bucket_acl(&self, request: S3Request<dto::GetBucketAclInput>) -> Answer<dto::GetBucketAclOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::GetBucketAclOutput { grants: Some(full_control()), owner: Some(owner()) })
    }

    async fn put_bucket_acl(&self, request: S3Request<dto::PutBucketAclInput>) -> Answer<dto::PutBucketAclOutput> {
        self.settings(&request.input.bucket)?;
        refuse_sse(&request.headers)?;
        check_acl(request.input.acl.as_ref().map(dto::BucketCannedACL::as_str))?;
        check_grants(request.input.access_control_policy.as_ref())?;
        answer(dto::PutBucketAclOutput::default())
    }

    async fn get_bucket_encryption(
        &self,
        request: S3Request<dto::GetBucketEncryptionInput>,
    ) -> Answer<dto::GetBucketEncryptionOutput> {
        self.settings(&request.input.bucket)?;
        let code = "ServerSideEncryptionConfigurationNotFoundError";
        not_set(code, "The server side encryption configuration was not found")
    }

    async fn get_bucket_ownership_controls(
        &self,
        request: S3Request<dto::GetBucketOwnershipControlsInput>,
    ) -> Answer<dto::GetBucketOwnershipControlsOutput> {
        self.settings(&request.input.bucket)?;
        not_set("OwnershipControlsNotFoundError", "The bucket ownership controls were not found")
    }

    async fn get_public_access_block(
        &self,
        request: S3Request<dto::GetPublicAccessBlockInput>,
    ) -> Answer<dto::GetPublicAccessBlockOutput> {
        self.settings(&request.input.bucket)?;
        not_set("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")
    }

    async fn get_bucket_replication(
        &self,
        request: S3Request<dto::GetBucketReplicationInput>,
    ) -> Answer<dto::GetBucketReplicationOutput> {
        self.settings(&request.input.bucket)?;
        not_set("ReplicationConfigurationNotFoundError", "The replication configuration was not found")
    }

    async fn get_object_lock_configuration(
        &self,
        request: S3Request<dto::GetObjectLockConfigurationInput>,
    ) -> Answer<dto::GetObjectLockConfigurationOutput> {
        self.settings(&request.input.bucket)?;
        let code = "ObjectLockConfigurationNotFoundError";
        not_set(code, "Object Lock configuration does not exist for this bucket")
    }

    async fn get_bucket_request_payment(
        &self,
        request: S3Request<dto::GetBucketRequestPaymentInput>,
    ) -> Answer<dto::GetBucketRequestPaymentOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::GetBucketRequestPaymentOutput { payer: Some(dto::Payer::from_static("BucketOwner")) })
    }

    async fn get_bucket_accelerate_configuration(
        &self,
        request: S3Request<dto::GetBucketAccelerateConfigurationInput>,
    ) -> Answer<dto::GetBucketAccelerateConfigurationOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::GetBucketAccelerateConfigurationOutput::default())
    }

    async fn get_bucket_logging(
        &self,
        request: S3Request<dto::GetBucketLoggingInput>,
    ) -> Answer<dto::GetBucketLoggingOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::GetBucketLoggingOutput::default())
    }

    async fn get_bucket_notification_configuration(
        &self,
        request: S3Request<dto::GetBucketNotificationConfigurationInput>,
    ) -> Answer<dto::GetBucketNotificationConfigurationOutput> {
        self.settings(&request.input.bucket)?;
        answer(dto::GetBucketNotificationConfigurationOutput::default())
    }

    // Objects. GET and HEAD are answered in `read_object`; a form is put like any other object.

    async fn put_object(&self, request: S3Request<dto::PutObjectInput>) -> Answer<dto::PutObjectOutput> {
        check_acl(request.input.acl.as_ref().map(dto::ObjectCannedACL::as_str))?;
        let (version, settings) = self.store(request).await?;
        let mut output = dto::PutObjectOutput {
            e_tag: Some(etag(&version)),
            version_id: version_id(&settings, &version),
            ..dto::PutObjectOutput::default()
        };
        tell_sum!(output, &version.sum);
        output.checksum_type = version.sum.as_ref().map(sum_type);
        answer(output)
    }

    async fn copy_object(&self, request: S3Request<dto::CopyObjectInput>) -> Answer<dto::CopyObjectOutput> {
        let S3Request { input, headers, extensions, .. } = request;
        check_acl(input.acl.as_ref().map(dto::ObjectCannedACL::as_str))?;
        let settings = self.settings(&input.bucket)?;
        let directive = |word: Option<&str>| match word {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(bad(S3ErrorCode::InvalidArgument, "Unknown metadata directive.")),
        };
        let replace = directive(input.metadata_directive.as_ref().map(dto::MetadataDirective::as_str))?;
        let replace_tags = directive(input.tagging_directive.as_ref().map(dto::TaggingDirective::as_str))?;
        let same = match &input.copy_source {
            dto::CopySource::Bucket { bucket, key, version_id } => {
                **bucket == *input.bucket && **key == *input.key && version_id.is_none()
            }
            _ => false,
        };
        if same
            && !replace
            && !replace_tags
            && input.storage_class.is_none()
            && input.website_redirect_location.is_none()
        {
            let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.";
            return Err(bad(S3ErrorCode::InvalidRequest, message));
        }
        let kind = input.checksum_algorithm.as_ref().map(|algorithm| kind_of(algorithm.as_str())).transpose()?;
        let wish = wishes(&headers);
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let said = about!(input, headers);
        let mut tries = 0;
        let copied = loop {
            let source = self.source(&input.copy_source, &headers, &extensions).await?;
            let mut about = if replace { said.clone() } else { source.about.clone() };
            about.tags = if replace_tags { said.tags.clone() } else { source.about.tags.clone() };
            about.storage_class = said.storage_class.clone().or(about.storage_class);
            about.redirect.clone_from(&said.redirect);
            let (bucket, key, wish) = (bucket.clone(), key.clone(), wish.clone());
            let (from, of) = match &input.copy_source {
                dto::CopySource::Bucket { bucket, key, .. } => (bucket.to_string(), key.to_string()),
                _ => return Err(bad(S3ErrorCode::InvalidArgument, "only buckets can be copied from")),
            };
            tries += 1;
            let made = self.do_blocking(move |shelf| {
                match copy(shelf, (&from, &of, &source), (&bucket, &key), about, kind, &wish) {
                    // It was overwritten or packed meanwhile.
                    Err(Fault::Lost(_)) if tries < TRIES => Ok(None),
                    made => made.map(Some),
                }
            });
            if let Some(copied) = made.await? {
                break copied;
            }
        };
        let mut result = dto::CopyObjectResult {
            e_tag: Some(etag(&copied)),
            last_modified: Some(timestamp(copied.modified)),
            checksum_type: copied.sum.as_ref().map(sum_type),
            ..dto::CopyObjectResult::default()
        };
        tell_sum!(result, &copied.sum);
        let source_version = match input.copy_source {
            dto::CopySource::Bucket { version_id, .. } => version_id.map(String::from),
            _ => None,
        };
        answer(dto::CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: source_version,
            version_id: version_id(&settings, &copied),
            ..dto::CopyObjectOutput::default()
        })
    }

    async fn delete_object(&self, request: S3Request<dto::DeleteObjectInput>) -> Answer<dto::DeleteObjectOutput> {
        let wish = wishes(&request.headers);
        let input = request.input;
        let Deleted { mark, version } = self
            .do_blocking(move |shelf| shelf.delete(&input.bucket, &input.key, input.version_id.as_deref(), &wish))
            .await?;
        let output = dto::DeleteObjectOutput {
            delete_marker: mark.then_some(true),
            version_id: version,
            ..dto::DeleteObjectOutput::default()
        };
        Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(&self, request: S3Request<dto::DeleteObjectsInput>) -> Answer<dto::DeleteObjectsOutput> {
        let who = request.extensions.get::<Who>().and_then(|who| who.0.clone());
        let input = request.input;
        self.settings(&input.bucket)?;
        if input.delete.objects.is_empty() || input.delete.objects.len() > MOST_DELETED {
            return Err(bad(S3ErrorCode::MalformedXML, "between 1 and 1000 objects are deleted at once"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let (access, bucket, objects) = (self.access.clone(), input.bucket, input.delete.objects);
        let (mut deleted, mut errors, mut doomed) = (Vec::new(), Vec::new(), Vec::new());
        let mut fail = |error: S3Error, key: String, version_id: Option<String>| {
            errors.push(dto::Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(str::to_owned),
                key: Some(key),
                version_id,
            });
        };
        for object in objects {
            let which = (Some(&*object.key), object.version_id.is_some());
            match access.check(who.as_ref(), "DeleteObject", Some(&bucket), which) {
                Err(error) => fail(error, object.key, object.version_id),
                Ok(()) => doomed.push(Doomed {
                    name: object.key,
                    version: object.version_id,
                    wish: Wish { is: object.e_tag.map(|tag| vec![tag.into_value()]), ..Wish::default() },
                }),
            }
        }
        let (done, doomed) = self
            .do_blocking(move |shelf| {
                let done = shelf.delete_all(&bucket, &doomed)?;
                Ok((done, doomed))
            })
            .await?;
        for (Doomed { name, version, .. }, done) in doomed.into_iter().zip(done) {
            match done {
                Ok(done) => deleted.push(dto::DeletedObject {
                    key: Some(name),
                    delete_marker: done.mark.then_some(true),
                    delete_marker_version_id: done.version.filter(|_| done.mark),
                    version_id: version,
                }),
                Err(error) => fail(error.into(), name, version),
            }
        }
        answer(dto::DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            request_charged: None,
        })
    }

    async fn get_object_acl(&self, request: S3Request<dto::GetObjectAclInput>) -> Answer<dto::GetObjectAclOutput> {
        let input = request.input;
        self.do_blocking(move |shelf| shelf.version(&input.bucket, &input.key, input.version_id.as_deref())).await?;
        answer(dto::GetObjectAclOutput { grants: Some(full_control()), owner: Some(owner()), request_charged: None })
    }

    async fn put_object_acl(&self, request: S3Request<dto::PutObjectAclInput>) -> Answer<dto::PutObjectAclOutput> {
        refuse_sse(&request.headers)?;
        let input = request.input;
        check_acl(input.acl.as_ref().map(dto::ObjectCannedACL::as_str))?;
        check_grants(input.access_control_policy.as_ref())?;
        self.do_blocking(move |shelf| shelf.version(&input.bucket, &input.key, input.version_id.as_deref())).await?;
        answer(dto::PutObjectAclOutput::default())
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<dto::GetObjectTaggingInput>,
    ) -> Answer<dto::GetObjectTaggingOutput> {
        let input = request.input;
        let settings = self.settings(&input.bucket)?;
        let version = self
            .do_blocking(move |shelf| shelf.version(&input.bucket, &input.key, input.version_id.as_deref()))
            .await?;
        answer(dto::GetObjectTaggingOutput {
            tag_set: settings::tag_words(&version.about.tags),
            version_id: version_id(&settings, &version),
        })
    }

    async fn put_object_tagging(
        &self,
        request: S3Request<dto::PutObjectTaggingInput>,
    ) -> Answer<dto::PutObjectTaggingOutput> {
        let input = request.input;
        let settings = self.settings(&input.bucket)?;
        let tags = settings::tag_pairs(input.tagging.tag_set)?;
        settings::check_tags(&tags, 10)?;
        let version = self
            .do_blocking(move |shelf| {
                shelf.annotate(&input.bucket, &input.key, input.version_id.as_deref(), |about| about.tags = tags)
            })
            .await?;
        answer(dto::PutObjectTaggingOutput { version_id: version_id(&settings, &version) })
    }

    async fn delete_object_tagging(
        &self,
        request: S3Request<dto::DeleteObjectTaggingInput>,
    ) -> Answer<dto::DeleteObjectTaggingOutput> {
        let input = request.input;
        let settings = self.settings(&input.bucket)?;
        let version = self
            .do_blocking(move |shelf| {
                shelf.annotate(&input.bucket, &input.key, input.version_id.as_deref(), |about| about.tags.clear())
            })
            .await?;
        let output = dto::DeleteObjectTaggingOutput { version_id: version_id(&settings, &version) };
        Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
    }

    async fn get_object_attributes(
        &self,
        request: S3Request<dto::GetObjectAttributesInput>,
    ) -> Answer<dto::GetObjectAttributesOutput> {
        let input = request.input;
        let settings = self.settings(&input.bucket)?;
        let (bucket, key, id) = (input.bucket, input.key, input.version_id);
        let version = self.do_blocking(move |shelf| shelf.version(&bucket, &key, id.as_deref())).await?;
        if version.deleted {
            return Err(bad(S3ErrorCode::MethodNotAllowed, "that version is the mark of a deletion"));
        }
        // They come in one header or in several.
        let wanted = |name: &str| {
            input.object_attributes.iter().any(|list| list.as_str().split(',').any(|one| one.trim() == name))
        };
        let mut output = dto::GetObjectAttributesOutput {
            last_modified: Some(timestamp(version.modified)),
            version_id: version_id(&settings, &version),
            e_tag: wanted("ETag").then(|| etag(&version)),
            object_size: wanted("ObjectSize").then(|| length(version.length)),
            storage_class: wanted("StorageClass").then(|| dto::StorageClass::from(class_of(&version.about))),
            ..dto::GetObjectAttributesOutput::default()
        };
        if wanted("Checksum")
            && let Some(sum) = &version.sum
        {
            let mut told = dto::Checksum { checksum_type: Some(sum_type(sum)), ..dto::Checksum::default() };
            tell_sum!(told, Some(sum));
            output.checksum = Some(told);
        }
        if wanted("ObjectParts") && !version.parts.is_empty() {
            let most = most(input.max_parts)?;
            let after = input.part_number_marker.unwrap_or(0);
            let mut parts: Vec<_> =
                version.parts.iter().filter(|part| i32::from(part.number) > after).take(most + 1).collect();
            let more = parts.len() > most;
            parts.truncate(most);
            let kind = version.sum.as_ref().map(|sum| sum.kind);
            output.object_parts = Some(dto::GetObjectAttributesParts {
                is_truncated: Some(more),
                max_parts: i32::try_from(most).ok(),
                next_part_number_marker: parts.last().map(|part| i32::from(part.number)),
                part_number_marker: Some(after),
                total_parts_count: i32::try_from(version.parts.len()).ok(),
                // AWS names them only when they have checksums.
                parts: Some(parts.into_iter().map(|part| object_part(part, kind)).collect()),
            });
        }
        answer(output)
    }

    // Lists

    async fn list_objects(&self, request: S3Request<dto::ListObjectsInput>) -> Answer<dto::ListObjectsOutput> {
        let input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let most = most(input.max_keys)?;
        let asked = Asked::marked(input.prefix.as_ref(), input.delimiter.as_ref(), input.marker.as_ref(), most);
        let delimiter = asked.delimiter.clone();
        let bucket = input.bucket.clone();
        let page = self.do_blocking(move |shelf| shelf.list(&bucket, &asked)).await?;
        let next = page.entries.last().filter(|_| page.more).map(|last| encoding.write(last.name()));
        let output = Self::page_of_objects(&page, encoding, true, |objects, prefixes| dto::ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.as_deref().unwrap_or_default())),
            marker: Some(encoding.write(input.marker.as_deref().unwrap_or_default())),
            max_keys: i32::try_from(most).ok(),
            is_truncated: Some(page.more),
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            next_marker: next.filter(|_| delimiter.is_some()),
            delimiter: encoding.maybe(delimiter.as_ref()),
            encoding_type: encoding.word(),
            request_charged: None,
        });
        answer(output)
    }

    async fn list_objects_v2(&self, request: S3Request<dto::ListObjectsV2Input>) -> Answer<dto::ListObjectsV2Output> {
        let input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let (after_all_of, after) = match &input.continuation_token {
            Some(token) => {
                let (all_of, after) = read_token(token)?;
                (all_of, Some(after))
            }
            None => (false, input.start_after.clone().filter(|after| !after.is_empty())),
        };
        let asked = Asked {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone(),
            after,
            after_all_of,
            most: most(input.max_keys)?,
        };
        let most = asked.most;
        let bucket = input.bucket.clone();
        let page = self.do_blocking(move |shelf| shelf.list(&bucket, &asked)).await?;
        let with_owner = input.fetch_owner.unwrap_or(false);
        let output = Self::page_of_objects(&page, encoding, with_owner, |objects, prefixes| dto::ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.as_deref().unwrap_or_default())),
            max_keys: i32::try_from(most).ok(),
            key_count: i32::try_from(page.entries.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.more),
            next_continuation_token: page.entries.last().filter(|_| page.more).map(token_of),
            contents: Some(objects),
            common_prefixes: Some(prefixes),
            delimiter: encoding.maybe(delimiter.as_ref()),
            encoding_type: encoding.word(),
            start_after: encoding.maybe(input.start_after.as_ref()),
            request_charged: None,
        });
        answer(output)
    }

    async fn list_object_versions(
        &self,
        request: S3Request<dto::ListObjectVersionsInput>,
    ) -> Answer<dto::ListObjectVersionsOutput> {
        let input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let most = most(input.max_keys)?;
        let asked = Asked::marked(input.prefix.as_ref(), input.delimiter.as_ref(), input.key_marker.as_ref(), most);
        let delimiter = asked.delimiter.clone();
        let id = input.version_id_marker.clone().filter(|id| !id.is_empty());
        if id.is_some() && asked.after.is_none() {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(bad(S3ErrorCode::InvalidArgument, message));
        }
        let bucket = input.bucket.clone();
        let page = self.do_blocking(move |shelf| shelf.list_versions(&bucket, &asked, id.as_deref())).await?;
        let (mut versions, mut marks, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &page.entries {
            match entry {
                Entry::Together(prefix) => {
                    prefixes.push(dto::CommonPrefix { prefix: Some(encoding.write(prefix)) });
                }
                Entry::One(name, (version, latest)) if version.deleted => marks.push(dto::DeleteMarkerEntry {
                    is_latest: Some(*latest),
                    key: Some(encoding.write(name)),
                    last_modified: Some(timestamp(version.modified)),
                    owner: Some(owner()),
                    version_id: Some(version.id()),
                }),
                Entry::One(name, (version, latest)) => versions.push(dto::ObjectVersion {
                    e_tag: Some(etag(version)),
                    is_latest: Some(*latest),
                    key: Some(encoding.write(name)),
                    last_modified: Some(timestamp(version.modified)),
                    owner: Some(owner()),
                    size: Some(length(version.length)),
                    storage_class: Some(dto::ObjectVersionStorageClass::from(class_of(&version.about))),
                    version_id: Some(version.id()),
                    ..dto::ObjectVersion::default()
                }),
            }
        }
        let last = page.entries.last().filter(|_| page.more);
        answer(dto::ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.as_deref().unwrap_or_default())),
            key_marker: Some(encoding.write(input.key_marker.as_deref().unwrap_or_default())),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            next_key_marker: last.map(|last| encoding.write(last.name())),
            next_version_id_marker: last.and_then(|last| match last {
                Entry::One(_, (version, _)) => Some(version.id()),
                Entry::Together(_) => None,
            }),
            max_keys: i32::try_from(most).ok(),
            is_truncated: Some(page.more),
            versions: Some(versions),
            delete_markers: Some(marks),
            common_prefixes: Some(prefixes),
            delimiter: encoding.maybe(delimiter.as_ref()),
            encoding_type: encoding.word(),
            request_charged: None,
        })
    }

    // Uploads in parts

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> Answer<dto::CreateMultipartUploadOutput> {
        let S3Request { input, headers, .. } = request;
        check_acl(input.acl.as_ref().map(dto::ObjectCannedACL::as_str))?;
        self.settings(&input.bucket)?;
        let sum = input.checksum_algorithm.as_ref().map(|one| kind_of(one.as_str())).transpose()?;
        let composite = match (sum, input.checksum_type.as_ref().map(dto::ChecksumType::as_str)) {
            (Some(SumKind::Sha1 | SumKind::Sha256), Some("FULL_OBJECT"))
            | (Some(SumKind::Crc64nvme), Some("COMPOSITE")) => {
                let message = "The checksum type cannot be used with the specified checksum algorithm.";
                return Err(bad(S3ErrorCode::InvalidRequest, message));
            }
            (_, Some(kind)) => kind == "COMPOSITE",
            (kind, None) => kind != Some(SumKind::Crc64nvme),
        };
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let said = input.checksum_algorithm.clone();
        let about = about!(input, headers);
        let upload = Upload { initiated: crate::s3::shelf::now(), about, sum, composite };
        let (in_bucket, name) = (bucket.clone(), key.clone());
        let id = self.do_blocking(move |shelf| shelf.begin_upload(&in_bucket, &name, &upload)).await?;
        answer(dto::CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            checksum_algorithm: said,
            checksum_type: sum
                .map(|_| dto::ChecksumType::from_static(if composite { "COMPOSITE" } else { "FULL_OBJECT" })),
            ..dto::CreateMultipartUploadOutput::default()
        })
    }

    async fn upload_part(&self, request: S3Request<dto::UploadPartInput>) -> Answer<dto::UploadPartOutput> {
        let S3Request { input, headers, trailing_headers: trailers, .. } = request;
        refuse_sse(&headers)?;
        Shelf::check_part_number(input.part_number)?;
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let upload = self.do_blocking(move |shelf| shelf.upload(&bucket, &key, &id)).await?;
        let sums = said_sums!(input);
        let algorithm = input.checksum_algorithm.as_ref().map(dto::ChecksumAlgorithm::as_str);
        let mut expected = expected(&headers, input.content_md5.as_ref(), sums, algorithm)?;
        expected.kinds.extend(upload.sum);
        let (content, digests) =
            self.receive(input.body, expected, input.content_length, (&headers, trailers), true).await?;
        let etag = hex::encode(digests.md5);
        let sum = match upload.sum {
            Some(kind) => digests.sums.iter().find(|sum| sum.kind == kind).cloned(),
            None => sum_of(&digests),
        };
        let mut output =
            dto::UploadPartOutput { e_tag: Some(dto::ETag::Strong(etag.clone())), ..dto::UploadPartOutput::default() };
        tell_sum!(output, &sum);
        let (bucket, key, id, number) = (input.bucket, input.key, input.upload_id, input.part_number);
        self.do_blocking(move |shelf| shelf.put_part((&bucket, &key, &id), number, content, etag, sum)).await?;
        answer(output)
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> Answer<dto::UploadPartCopyOutput> {
        let S3Request { input, headers, extensions, .. } = request;
        refuse_sse(&headers)?;
        Shelf::check_part_number(input.part_number)?;
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let upload = self.do_blocking(move |shelf| shelf.upload(&bucket, &key, &id)).await?;
        let kinds: Vec<_> = upload.sum.into_iter().collect();
        let mut tries = 0;
        let _slot = self.shelf().begin_storing().await?;
        let (etag, sum) = loop {
            let source = self.source(&input.copy_source, &headers, &extensions).await?;
            let range = source_range(input.copy_source_range.as_deref(), source.length)?;
            let expected = Expected { kinds: kinds.clone(), ..Expected::default() };
            let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
            let number = input.part_number;
            tries += 1;
            let made = self.do_blocking(move |shelf| {
                let stored = if source.length <= SMALL as u64 {
                    match shelf.bytes(&source, &range) {
                        // It was overwritten or packed meanwhile.
                        Err(Fault::Lost(_)) if tries < TRIES => return Ok(None),
                        bytes => shelf.store(&mut &bytes?[..], &expected)?,
                    }
                } else {
                    shelf.store(&mut shelf.reader(&source, range), &expected)?
                };
                let (content, digests) = stored;
                let (etag, sum) = (hex::encode(digests.md5), sum_of(&digests));
                shelf.put_part((&bucket, &key, &id), number, content, etag.clone(), sum.clone())?;
                Ok(Some((etag, sum)))
            });
            if let Some(made) = made.await? {
                break made;
            }
        };
        let mut result = dto::CopyPartResult {
            e_tag: Some(dto::ETag::Strong(etag)),
            last_modified: Some(timestamp(crate::s3::shelf::now())),
            ..dto::CopyPartResult::default()
        };
        tell_sum!(result, &sum);
        answer(dto::UploadPartCopyOutput { copy_part_result: Some(result), ..dto::UploadPartCopyOutput::default() })
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> Answer<dto::CompleteMultipartUploadOutput> {
        let S3Request { input, headers, .. } = request;
        let settings = self.settings(&input.bucket)?;
        let wish = wishes(&headers);
        let composite = input.checksum_type.as_ref().map(|kind| kind.as_str() == "COMPOSITE");
        let whole = Whole { sums: said_sums!(input), composite, length: input.mpu_object_size };
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let named: Vec<_> = parts
            .into_iter()
            .map(|part| Named {
                number: part.part_number.unwrap_or(0),
                sums: said_sums!(part),
                etag: part.e_tag.map(dto::ETag::into_value),
            })
            .collect();
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let id = input.upload_id;
        let version =
            self.do_blocking(move |shelf| shelf.complete_upload((&bucket, &key, &id), &named, &whole, &wish)).await?;
        let host = headers.get(hyper::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let encoded = percent_encoding::utf8_percent_encode(&input.key, &crate::s3::service::KEPT);
        let mut output = dto::CompleteMultipartUploadOutput {
            location: Some(format!("http://{host}/{}/{encoded}", input.bucket)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&version)),
            version_id: version_id(&settings, &version),
            ..dto::CompleteMultipartUploadOutput::default()
        };
        tell_sum!(output, &version.sum);
        output.checksum_type = version.sum.as_ref().map(sum_type);
        answer(output)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> Answer<dto::AbortMultipartUploadOutput> {
        let input = request.input;
        self.do_blocking(move |shelf| shelf.abort_upload(&input.bucket, &input.key, &input.upload_id)).await?;
        let output = dto::AbortMultipartUploadOutput::default();
        Ok(S3Response::with_status(output, hyper::StatusCode::NO_CONTENT))
    }

    async fn list_parts(&self, request: S3Request<dto::ListPartsInput>) -> Answer<dto::ListPartsOutput> {
        let input = request.input;
        let most = most(input.max_parts)?;
        let after = input.part_number_marker.unwrap_or(0);
        let (bucket, key, id) = (input.bucket.clone(), input.key.clone(), input.upload_id.clone());
        let (upload, parts) = self
            .do_blocking(move |shelf| {
                let upload = shelf.upload(&bucket, &key, &id)?;
                Ok((upload, shelf.parts(&id)?))
            })
            .await?;
        let mut told: Vec<_> =
            parts.into_iter().filter(|(number, _)| i32::from(*number) > after).take(most + 1).collect();
        let more = told.len() > most;
        told.truncate(most);
        let next = told.last().map(|(number, _)| i32::from(*number));
        answer(dto::ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            initiator: Some(initiator()),
            owner: Some(owner()),
            storage_class: Some(dto::StorageClass::from(class_of(&upload.about))),
            checksum_algorithm: upload.sum.map(|kind| dto::ChecksumAlgorithm::from_static(kind_name(kind))),
            is_truncated: Some(more),
            max_parts: i32::try_from(most).ok(),
            part_number_marker: Some(after),
            next_part_number_marker: next.filter(|_| more),
            parts: Some(told.into_iter().map(part_words).collect()),
            ..dto::ListPartsOutput::default()
        })
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> Answer<dto::ListMultipartUploadsOutput> {
        let input = request.input;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let most = most(input.max_uploads)?;
        let asked = Asked::marked(input.prefix.as_ref(), input.delimiter.as_ref(), input.key_marker.as_ref(), most);
        let delimiter = asked.delimiter.clone();
        let id = input.upload_id_marker.clone().filter(|id| !id.is_empty());
        let bucket = input.bucket.clone();
        let page = self.do_blocking(move |shelf| shelf.list_uploads(&bucket, &asked, id.as_deref())).await?;
        let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
        for entry in &page.entries {
            match entry {
                Entry::Together(prefix) => {
                    prefixes.push(dto::CommonPrefix { prefix: Some(encoding.write(prefix)) });
                }
                Entry::One(name, (id, upload)) => uploads.push(dto::MultipartUpload {
                    key: Some(encoding.write(name)),
                    upload_id: Some(id.clone()),
                    initiated: Some(timestamp(upload.initiated)),
                    initiator: Some(initiator()),
                    owner: Some(owner()),
                    storage_class: Some(dto::StorageClass::from(class_of(&upload.about))),
                    checksum_algorithm: upload.sum.map(|kind| dto::ChecksumAlgorithm::from_static(kind_name(kind))),
                    checksum_type: None,
                }),
            }
        }
        let last = page.entries.last().filter(|_| page.more);
        answer(dto::ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encoding.write(input.prefix.as_deref().unwrap_or_default())),
            key_marker: Some(encoding.write(input.key_marker.as_deref().unwrap_or_default())),
            upload_id_marker: input.upload_id_marker,
            next_key_marker: last.map(|last| encoding.write(last.name())),
            next_upload_id_marker: last.and_then(|last| match last {
                Entry::One(_, (id, _)) => Some(id.clone()),
                Entry::Together(_) => None,
            }),
            max_uploads: i32::try_from(most).ok(),
            is_truncated: Some(page.more),
            uploads: Some(uploads),
            common_prefixes: Some(prefixes),
            delimiter: encoding.maybe(delimiter.as_ref()),
            encoding_type: encoding.word(),
            request_charged: None,
        })
    }
}

fn part_words((number, part): (u16, Part)) -> dto::Part {
    let mut told = dto::Part {
        part_number: Some(i32::from(number)),
        e_tag: Some(dto::ETag::Strong(part.etag)),
        size: Some(length(part.piece.length)),
        last_modified: Some(timestamp(part.modified)),
        ..dto::Part::default()
    };
    tell_sum!(told, &part.sum);
    told
}

fn object_part(part: &crate::s3::object::PartOf, kind: Option<SumKind>) -> dto::ObjectPart {
    let mut told = dto::ObjectPart {
        part_number: Some(i32::from(part.number)),
        size: Some(length(part.length)),
        ..dto::ObjectPart::default()
    };
    let sum = kind.zip(part.sum.clone()).map(|(kind, value)| crate::s3::object::Sum { kind, value, composite: false });
    tell_sum!(told, &sum);
    told
}

/// The part of a source that is copied.
fn source_range(asked: Option<&str>, length: u64) -> Result<Range<u64>, S3Error> {
    let Some(text) = asked else { return Ok(0..length) };
    let Ok(dto::Range::Int { first, last: Some(last) }) = dto::Range::parse(text) else {
        let message = "The x-amz-copy-source-range value must be of the form bytes=first-last";
        return Err(bad(S3ErrorCode::InvalidArgument, message));
    };
    if last >= length {
        return Err(bad(S3ErrorCode::InvalidRange, "Range specified is not valid for source object"));
    }
    Ok(first..last + 1)
}

/// Makes a copy. Files are shared; what is in the catalogue or packed is copied.
fn copy(
    shelf: &Shelf,
    (from, of, source): (&str, &str, &Version),
    (bucket, name): (&str, &str),
    about: crate::s3::object::About,
    kind: Option<SumKind>,
    wish: &Wish,
) -> Result<Version, Fault> {
    let shared = source.pieces.iter().all(|piece| matches!(piece.place, crate::s3::object::Place::File(_)));
    let content = if shared && !source.pieces.is_empty() {
        Content::of_pieces(source.pieces.clone(), None)
    } else {
        Content::small(shelf.bytes(source, &(0..source.length))?)
    };
    let mut sum = source.sum.clone();
    if let Some(kind) = kind
        && sum.as_ref().is_none_or(|sum| sum.kind != kind || sum.composite)
    {
        let mut digest = crate::s3::digest::Digest::new(&Expected { kinds: vec![kind], ..Expected::default() });
        let mut reading = shelf.reader(source, 0..source.length);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = std::io::Read::read(&mut reading, &mut buffer)
                .map_err(|error| Fault::File(offs::Error::Read(error)))?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
        }
        sum = sum_of(&digest.finish());
    }
    let new = New { content, etag: source.etag.clone(), sum, about, parts: source.parts.clone(), upload: None };
    let held = shelf.bucket(bucket)?;
    let _gate = held.enter()?;
    let _both = shelf.lock_all([Shelf::lock_of(from, of), Shelf::lock_of(bucket, name)].into_iter());
    // While it is there, collection keeps what both have from now on.
    if shelf.of_number(from, of, source.seq)?.is_none() {
        return Err(Fault::Lost("the source of a copy"));
    }
    shelf.put_locked(bucket, name, new, wish, &held.settings(), Plan::default())
}
