//! Cells of `object_store`.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion, WriteMultipart,
    aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut},
    path::Path,
};

use crate::{LISTED, MIB, Outcome, bytes_of, cells, same, setting};

cells![
    small_and_empty,
    large,
    multipart,
    unsigned,
    names,
    pages,
    ranges,
    conditions,
    copies,
    attributes,
    delete_thousand,
    absent,
    refused
];

pub fn builder(bucket: &str) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_endpoint(setting("S3_ENDPOINT"))
        .with_access_key_id(setting("S3_ACCESS_KEY"))
        .with_secret_access_key(setting("S3_SECRET_KEY"))
        .with_region(setting("S3_REGION"))
        .with_bucket_name(bucket)
        .with_allow_http(true)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(RetryConfig { max_retries: 0, retry_timeout: Duration::from_secs(1), ..RetryConfig::default() })
}

fn store() -> Result<AmazonS3, Error> {
    builder(&setting("S3_BUCKET")).build()
}

async fn round(store: &AmazonS3, name: &str, data: Vec<u8>) -> Outcome {
    let path = Path::from(name);
    store.put(&path, PutPayload::from(data.clone())).await?;
    same!(format!("size of {name}"), store.head(&path).await?.size, data.len() as u64);
    let got = store.get(&path).await?.bytes().await?;
    same!(format!("content of {name}"), got[..] == data[..], true);
    Ok(())
}

async fn small_and_empty() -> Outcome {
    let store = store()?;
    round(&store, "small", b"hello".to_vec()).await?;
    round(&store, "empty", Vec::new()).await
}

async fn large() -> Outcome {
    round(&store()?, "large", bytes_of(20 * MIB, 1)).await
}

async fn multipart() -> Outcome {
    let (store, data, path) = (store()?, bytes_of(30 * MIB, 1), Path::from("k"));
    let mut writer = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await?, 5 * MIB);
    for piece in data.chunks(MIB) {
        writer.wait_for_capacity(4).await?;
        writer.write(piece);
    }
    writer.finish().await?;
    let got = store.get(&path).await?;
    same!("end of the ETag", got.meta.e_tag.as_deref().is_some_and(|tag| tag.trim_matches('"').ends_with("-6")), true);
    same!("content", got.bytes().await?[..] == data[..], true);
    let mut upload = store.put_multipart(&Path::from("aborted")).await?;
    upload.put_part(PutPayload::from(data[..5 * MIB].to_vec())).await?;
    upload.abort().await?;
    same!("aborted", matches!(store.head(&Path::from("aborted")).await, Err(Error::NotFound { .. })), true);
    Ok(())
}

async fn unsigned() -> Outcome {
    let store = builder(&setting("S3_BUCKET")).with_unsigned_payload(true).build()?;
    round(&store, "k", bytes_of(3 * MIB, 1)).await
}

async fn names() -> Outcome {
    let store = store()?;
    let names =
        ["a b", "a+b", "100%", "what?", "a#b", "a&b=c;d", "'a'", "grüße/日本語", "🦀", "e\u{301}", "a:b@c", "(x)!"];
    for name in names {
        let path = Path::parse(name)?;
        store.put(&path, PutPayload::from(name.as_bytes().to_vec())).await?;
        same!(format!("content of {name}"), store.get(&path).await?.bytes().await?[..], *name.as_bytes());
    }
    let mut got: Vec<String> = store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await?;
    got.sort();
    let mut wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    wanted.sort();
    same!("listed", got, wanted);
    Ok(())
}

async fn pages() -> Outcome {
    let store = builder(&setting("S3_LISTED")).build()?;
    let all: Vec<_> = store.list(None).try_collect().await?;
    same!("keys", all.len(), LISTED);
    let top = store.list_with_delimiter(None).await?;
    same!("prefixes", top.common_prefixes.len(), 10);
    same!("objects", top.objects.len(), 0);
    let below: Vec<_> = store.list(Some(&Path::from("dir03/sub2"))).try_collect().await?;
    same!("below", below.iter().all(|meta| meta.location.as_ref().starts_with("dir03/sub2/")), true);
    let after: Vec<_> = store.list_with_offset(None, &Path::from("dir08")).try_collect().await?;
    same!("after", after.len(), 600);
    Ok(())
}

async fn ranges() -> Outcome {
    let (store, data, path) = (store()?, bytes_of(MIB + 17, 1), Path::from("k"));
    store.put(&path, PutPayload::from(data.clone())).await?;
    same!("first", store.get_range(&path, 0..1).await?[..], data[..1]);
    let many = store.get_ranges(&path, &[5..9, 65_535..65_537, 1_000_000..1_000_100]).await?;
    same!("many", many[1][..], data[65_535..65_537]);
    let tail = store.get_opts(&path, GetOptions::new().with_range(Some(object_store::GetRange::Suffix(7)))).await?;
    same!("tail", tail.bytes().await?[..], data[data.len() - 7..]);
    same!("beyond", store.get_range(&path, 2_000_000..2_000_001).await.is_err(), true);
    Ok(())
}

async fn conditions() -> Outcome {
    let (store, path) = (store()?, Path::from("k"));
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    let one = store.put_opts(&path, PutPayload::from_static(b"one"), create()).await?;
    let again = store.put_opts(&path, PutPayload::from_static(b"two"), create()).await;
    same!("second creation", matches!(again, Err(Error::AlreadyExists { .. })), true);
    let update = |tag: Option<String>| PutOptions {
        mode: PutMode::Update(UpdateVersion { e_tag: tag, version: None }),
        ..PutOptions::default()
    };
    let old = store.put_opts(&path, PutPayload::from_static(b"x"), update(Some("\"0\"".to_owned()))).await;
    same!("false update", matches!(old, Err(Error::Precondition { .. })), true);
    store.put_opts(&path, PutPayload::from_static(b"two"), update(one.e_tag.clone())).await?;
    same!("content", store.get(&path).await?.bytes().await?[..], *b"two");
    let head = store.head(&path).await?;
    let fresh = store.get_opts(&path, GetOptions::new().with_if_none_match(head.e_tag.clone())).await;
    same!("not modified", matches!(fresh, Err(Error::NotModified { .. })), true);
    let stale = store.get_opts(&path, GetOptions::new().with_if_match(one.e_tag)).await;
    same!("precondition", matches!(stale, Err(Error::Precondition { .. })), true);
    // One of many creations wins.
    let made = stream::iter(0..8u8)
        .map(|number| {
            let store = &store;
            async move {
                store.put_opts(&Path::from("race"), PutPayload::from(vec![number; 100_000]), create()).await.is_ok()
            }
        })
        .buffer_unordered(8)
        .filter(|won| futures::future::ready(*won))
        .count()
        .await;
    same!("winners", made, 1);
    Ok(())
}

async fn copies() -> Outcome {
    let (store, from, to) = (store()?, Path::parse("a b+c")?, Path::parse("d/é")?);
    store.put(&from, PutPayload::from_static(b"hello")).await?;
    store.copy(&from, &to).await?;
    same!("copy", store.get(&to).await?.bytes().await?[..], *b"hello");
    store.rename(&to, &Path::from("moved")).await?;
    same!("moved away", matches!(store.head(&to).await, Err(Error::NotFound { .. })), true);
    Ok(())
}

async fn attributes() -> Outcome {
    let (store, path) = (store()?, Path::from("k"));
    let wanted = Attributes::from_iter([
        (Attribute::ContentType, "text/odd"),
        (Attribute::CacheControl, "max-age=3"),
        (Attribute::Metadata("one".into()), "1"),
    ]);
    store.put_opts(&path, PutPayload::from_static(b"x"), wanted.clone().into()).await?;
    same!("attributes", store.get(&path).await?.attributes, wanted);
    Ok(())
}

async fn delete_thousand() -> Outcome {
    let store = store()?;
    let paths: Vec<Path> = (0..1000).map(|number| Path::from(format!("k{number}"))).collect();
    stream::iter(paths.iter().take(100))
        .map(|path| store.put(path, PutPayload::from_static(b"x")))
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await?;
    let gone: Vec<Path> = store.delete_stream(stream::iter(paths).map(Ok).boxed()).try_collect().await?;
    same!("deleted", gone.len(), 1000);
    same!("left", store.list(None).count().await, 0);
    Ok(())
}

async fn absent() -> Outcome {
    let (store, path) = (store()?, Path::from("none"));
    same!("get", matches!(store.get(&path).await, Err(Error::NotFound { .. })), true);
    same!("head", matches!(store.head(&path).await, Err(Error::NotFound { .. })), true);
    store.delete(&path).await?;
    Ok(())
}

async fn refused() -> Outcome {
    let bucket = setting("S3_BUCKET");
    let wrong = builder(&bucket).with_secret_access_key("0".repeat(40)).build()?.get(&Path::from("k")).await;
    same!("wrong secret", matches!(wrong, Err(Error::PermissionDenied { .. })), true);
    let nobody = builder(&bucket).with_skip_signature(true).build()?.get(&Path::from("k")).await;
    same!("anonymous", matches!(nobody, Err(Error::PermissionDenied { .. })), true);
    Ok(())
}
