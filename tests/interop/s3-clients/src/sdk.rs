//! Cells of `aws-sdk-s3`.

use std::time::Duration;

use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::ProvideErrorMetadata,
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{
        BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart, Delete,
        MetadataDirective, ObjectIdentifier, VersioningConfiguration,
    },
};
use aws_smithy_http_client::{Builder, tls};

use crate::{LISTED, MIB, Outcome, bytes_of, cells, same, setting};

cells![
    round,
    from_file,
    multipart,
    names,
    pages,
    conditions,
    copies,
    checksums,
    delete_thousand,
    versions,
    presigned,
    errors
];

fn client_of(secret: &str) -> Client {
    let http =
        Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc)).build_https();
    Client::from_conf(
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(setting("S3_ENDPOINT"))
            .region(Region::new(setting("S3_REGION")))
            .credentials_provider(Credentials::new(setting("S3_ACCESS_KEY"), secret, None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true)
            .http_client(http)
            .build(),
    )
}

fn client() -> (Client, String) {
    (client_of(&setting("S3_SECRET_KEY")), setting("S3_BUCKET"))
}

async fn content(s3: &Client, bucket: &str, key: &str) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(s3.get_object().bucket(bucket).key(key).send().await?.body.collect().await?.to_vec())
}

async fn round() -> Outcome {
    let (s3, bucket) = client();
    for data in [b"hello".to_vec(), Vec::new(), bytes_of(20 * MIB, 1)] {
        let put = s3.put_object().bucket(&bucket).key("k").content_type("text/odd").metadata("one", "1");
        put.body(ByteStream::from(data.clone())).send().await?;
        let head = s3.head_object().bucket(&bucket).key("k").send().await?;
        same!("size", head.content_length(), Some(data.len() as i64));
        same!("type", head.content_type(), Some("text/odd"));
        same!("metadata", head.metadata().and_then(|pairs| pairs.get("one")).map(String::as_str), Some("1"));
        same!("content", content(&s3, &bucket, "k").await? == data, true);
    }
    Ok(())
}

/// Files go as signed chunks with a trailer where the connection is not TLS.
async fn from_file() -> Outcome {
    let (s3, bucket) = client();
    let path = std::env::temp_dir().join(format!("s3-clients-{}", std::process::id()));
    for size in [0, 5, 65_536, 20 * MIB + 3] {
        tokio::fs::write(&path, bytes_of(size, 1)).await?;
        let body = ByteStream::from_path(&path).await?;
        let put = s3.put_object().bucket(&bucket).key("k").body(body).send().await;
        tokio::fs::remove_file(&path).await?;
        put?;
        same!("content", content(&s3, &bucket, "k").await? == bytes_of(size, 1), true);
    }
    Ok(())
}

async fn multipart() -> Outcome {
    let (s3, bucket) = client();
    let data = bytes_of(30 * MIB, 1);
    let upload = s3.create_multipart_upload().bucket(&bucket).key("k").checksum_algorithm(ChecksumAlgorithm::Crc32C);
    let upload = upload.send().await?.upload_id().unwrap_or_default().to_owned();
    let sent = data.chunks(5 * MIB).enumerate().map(|(number, piece)| {
        let part = s3.upload_part().bucket(&bucket).key("k").upload_id(&upload).part_number(number as i32 + 1);
        part.checksum_algorithm(ChecksumAlgorithm::Crc32C).body(ByteStream::from(piece.to_vec())).send()
    });
    let sent = futures::future::try_join_all(sent).await?;
    let parts = sent.iter().enumerate().map(|(number, part)| {
        CompletedPart::builder()
            .part_number(number as i32 + 1)
            .set_e_tag(part.e_tag().map(str::to_owned))
            .set_checksum_crc32_c(part.checksum_crc32_c().map(str::to_owned))
            .build()
    });
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
    s3.complete_multipart_upload().bucket(&bucket).key("k").upload_id(&upload).multipart_upload(parts).send().await?;
    same!("content", content(&s3, &bucket, "k").await? == data, true);
    Ok(())
}

async fn names() -> Outcome {
    let (s3, bucket) = client();
    let mut names = vec![
        "a b",
        "a+b",
        "100%",
        "a%20b",
        "what?",
        "a#b",
        "a&b=c;d",
        "'a' \"b\"",
        "grüße/日本語",
        "🦀",
        "e\u{301}",
        "a//b",
        "/a",
        "a/",
        "[x]{y}",
    ];
    for name in &names {
        s3.put_object().bucket(&bucket).key(*name).body(name.as_bytes().to_vec().into()).send().await?;
        same!(format!("content of {name}"), content(&s3, &bucket, name).await?, name.as_bytes().to_vec());
    }
    let listed = s3.list_objects_v2().bucket(&bucket).send().await?;
    let listed: Vec<&str> = listed.contents().iter().filter_map(|object| object.key()).collect();
    names.sort_unstable();
    same!("listed", listed, names);
    Ok(())
}

async fn pages() -> Outcome {
    let (s3, _) = client();
    let mut pages = s3.list_objects_v2().bucket(setting("S3_LISTED")).into_paginator().page_size(700).send();
    let mut keys = 0;
    while let Some(page) = pages.next().await {
        keys += page?.contents().len();
    }
    same!("keys", keys, LISTED);
    Ok(())
}

async fn conditions() -> Outcome {
    let (s3, bucket) = client();
    let put = || s3.put_object().bucket(&bucket).key("k").body(b"x".to_vec().into());
    put().if_none_match("*").send().await?;
    let again = put().if_none_match("*").send().await.map_err(|error| error.code().map(str::to_owned)).err();
    same!("second creation", again, Some(Some("PreconditionFailed".to_owned())));
    Ok(())
}

async fn copies() -> Outcome {
    let (s3, bucket) = client();
    s3.put_object().bucket(&bucket).key("k").metadata("a", "1").body(b"x".to_vec().into()).send().await?;
    let copy = s3.copy_object().bucket(&bucket).key("k").copy_source(format!("{bucket}/k"));
    copy.metadata_directive(MetadataDirective::Replace).metadata("b", "2").send().await?;
    let head = s3.head_object().bucket(&bucket).key("k").send().await?;
    same!("metadata", head.metadata().map(|pairs| pairs.contains_key("b") && !pairs.contains_key("a")), Some(true));
    Ok(())
}

async fn checksums() -> Outcome {
    let (s3, bucket) = client();
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let put = s3.put_object().bucket(&bucket).key("k").checksum_algorithm(algorithm.clone());
        put.body(b"hello".to_vec().into()).send().await?;
        let get = s3.get_object().bucket(&bucket).key("k").checksum_mode(ChecksumMode::Enabled).send().await?;
        let told = [
            get.checksum_crc32(),
            get.checksum_crc32_c(),
            get.checksum_crc64_nvme(),
            get.checksum_sha1(),
            get.checksum_sha256(),
        ];
        same!(format!("checksums told of {algorithm}"), told.iter().flatten().count(), 1);
        // The library compares.
        same!("content", get.body.collect().await?.to_vec(), b"hello".to_vec());
    }
    Ok(())
}

async fn delete_thousand() -> Outcome {
    let (s3, bucket) = client();
    for number in 0..50 {
        s3.put_object().bucket(&bucket).key(format!("k{number}")).body(Vec::new().into()).send().await?;
    }
    let keys: Result<Vec<_>, _> =
        (0..1000).map(|number| ObjectIdentifier::builder().key(format!("k{number}")).build()).collect();
    let delete = Delete::builder().set_objects(Some(keys?)).build()?;
    let answer = s3.delete_objects().bucket(&bucket).delete(delete).send().await?;
    same!("deleted", (answer.deleted().len(), answer.errors().len()), (1000, 0));
    Ok(())
}

async fn versions() -> Outcome {
    let (s3, bucket) = client();
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    s3.put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled).send().await?;
    let one = s3.put_object().bucket(&bucket).key("k").body(b"one".to_vec().into()).send().await?;
    s3.put_object().bucket(&bucket).key("k").body(b"two".to_vec().into()).send().await?;
    let get =
        s3.get_object().bucket(&bucket).key("k").set_version_id(one.version_id().map(str::to_owned)).send().await?;
    same!("one", get.body.collect().await?.to_vec(), b"one".to_vec());
    let listed = s3.list_object_versions().bucket(&bucket).send().await?;
    same!("versions", listed.versions().len(), 2);
    Ok(())
}

async fn presigned() -> Outcome {
    let (s3, bucket) = client();
    let request =
        s3.get_object().bucket(&bucket).key("a b").presigned(PresigningConfig::expires_in(Duration::from_secs(60))?);
    same!("query", request.await?.uri().contains("X-Amz-Signature="), true);
    Ok(())
}

async fn errors() -> Outcome {
    let (s3, bucket) = client();
    let absent = s3.get_object().bucket(&bucket).key("none").send().await.err();
    same!("absent", absent.as_ref().and_then(|error| error.code()), Some("NoSuchKey"));
    let bucketless = s3.list_objects_v2().bucket("no-such-bucket-at-all").send().await.err();
    same!("bucketless", bucketless.as_ref().and_then(|error| error.code()), Some("NoSuchBucket"));
    let wrong = client_of(&"0".repeat(40)).list_objects_v2().bucket(&bucket).send().await.err();
    same!("wrong secret", wrong.as_ref().and_then(|error| error.code()), Some("SignatureDoesNotMatch"));
    Ok(())
}
