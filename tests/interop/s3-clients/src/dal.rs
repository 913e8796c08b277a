//! Cells of `opendal`.

use futures::TryStreamExt;
use opendal::{ErrorKind, Operator, services::S3};

use crate::{LISTED, MIB, Outcome, bytes_of, cells, same, setting};

cells![round, multipart, names, pages, ranges, conditions, copies, folders, remove_all, presigned, refused];

fn builder(bucket: &str) -> S3 {
    opendal::install_default();
    S3::default()
        .endpoint(&setting("S3_ENDPOINT"))
        .access_key_id(&setting("S3_ACCESS_KEY"))
        .secret_access_key(&setting("S3_SECRET_KEY"))
        .region(&setting("S3_REGION"))
        .bucket(bucket)
        .disable_config_load()
}

fn operator() -> opendal::Result<Operator> {
    Operator::new(builder(&setting("S3_BUCKET")))
}

async fn round() -> Outcome {
    let store = operator()?;
    store.check().await?;
    for data in [b"hello".to_vec(), Vec::new(), bytes_of(20 * MIB, 1)] {
        store
            .write_with("k", data.clone())
            .content_type("text/odd")
            .user_metadata([("one".to_owned(), "1".to_owned())])
            .await?;
        let meta = store.stat("k").await?;
        same!("size", meta.content_length(), data.len() as u64);
        same!("type", meta.content_type(), Some("text/odd"));
        same!("metadata", meta.user_metadata().and_then(|pairs| pairs.get("one")), Some("1"));
        same!("content", store.read("k").await?.to_vec() == data, true);
    }
    store.delete("k").await?;
    same!("gone", store.exists("k").await?, false);
    Ok(())
}

async fn multipart() -> Outcome {
    let (store, data) = (operator()?, bytes_of(30 * MIB, 1));
    let mut writer = store.writer_with("k").chunk(5 * MIB).concurrent(4).await?;
    for piece in data.chunks(MIB) {
        writer.write(piece.to_vec()).await?;
    }
    writer.close().await?;
    same!("content", store.read_with("k").chunk(4 * MIB).concurrent(4).await?.to_vec() == data, true);
    let mut writer = store.writer_with("aborted").chunk(5 * MIB).await?;
    writer.write(data[..11 * MIB].to_vec()).await?;
    writer.abort().await?;
    same!("aborted", store.exists("aborted").await?, false);
    Ok(())
}

async fn names() -> Outcome {
    let store = operator()?;
    let mut names = vec![
        "a b",
        "a+b",
        "100%",
        "a%20b",
        "what?",
        "a#b",
        "a&b=c;d",
        "'a'",
        "grüße/日本語",
        "🦀",
        "e\u{301}",
        "a:b@c",
    ];
    for name in &names {
        store.write(name, name.as_bytes().to_vec()).await?;
        same!(format!("content of {name}"), store.read(name).await?.to_vec(), name.as_bytes().to_vec());
    }
    let listed = store.list_with("/").recursive(true).await?;
    let mut listed: Vec<&str> = listed.iter().map(|entry| entry.path()).filter(|path| !path.ends_with('/')).collect();
    listed.sort_unstable();
    names.sort_unstable();
    same!("listed", listed, names);
    Ok(())
}

async fn pages() -> Outcome {
    let store = Operator::new(builder(&setting("S3_LISTED")))?;
    let all: Vec<_> = store.lister_with("").recursive(true).await?.try_collect().await?;
    same!("keys", all.iter().filter(|entry| !entry.path().ends_with('/')).count(), LISTED);
    let top = store.list("").await?;
    same!("folders", top.iter().filter(|entry| entry.path() != "/").count(), 10);
    let after = store.list_with("").recursive(true).start_after("dir08").await?;
    same!("after", after.len(), 600);
    Ok(())
}

async fn ranges() -> Outcome {
    let (store, data) = (operator()?, bytes_of(MIB + 17, 1));
    store.write("k", data.clone()).await?;
    same!("range", store.read_with("k").range(65_535..65_537).await?.to_vec(), data[65_535..65_537].to_vec());
    same!("end", store.read_with("k").range(1_048_590..).await?.to_vec(), data[1_048_590..].to_vec());
    Ok(())
}

async fn conditions() -> Outcome {
    let store = operator()?;
    store.write_with("k", "one").if_not_exists(true).await?;
    let again = store.write_with("k", "two").if_not_exists(true).await;
    same!("second creation", again.map_err(|error| error.kind()).err(), Some(ErrorKind::ConditionNotMatch));
    let tag = store.stat("k").await?.etag().unwrap_or_default().to_owned();
    store.write_with("k", "two").if_match(&tag).await?;
    let stale = store.read_with("k").if_match(&tag).await;
    same!("stale", stale.map_err(|error| error.kind()).err(), Some(ErrorKind::ConditionNotMatch));
    Ok(())
}

async fn copies() -> Outcome {
    let store = operator()?;
    store.write("a b+c", "hello").await?;
    store.copy("a b+c", "d/é").await?;
    same!("copy", store.read("d/é").await?.to_vec(), b"hello".to_vec());
    Ok(())
}

async fn folders() -> Outcome {
    let store = operator()?;
    store.create_dir("made/").await?;
    store.write("other/k", "x").await?;
    same!("made", store.stat("made/").await?.is_dir(), true);
    same!("of a key", store.stat("other/").await?.is_dir(), true);
    same!("no object", store.exists("other").await?, false);
    Ok(())
}

async fn remove_all() -> Outcome {
    let store = operator()?;
    for number in 0..60 {
        store.write(&format!("a/{}/{number}", number % 3), "x").await?;
    }
    store.write("ab", "x").await?;
    store.delete_with("a/").recursive(true).await?;
    let left = store.list_with("").recursive(true).await?;
    same!("left", left.iter().map(|entry| entry.path()).filter(|path| *path != "/").collect::<Vec<_>>(), vec!["ab"]);
    Ok(())
}

async fn presigned() -> Outcome {
    let request = operator()?.presign_read("a b", std::time::Duration::from_secs(60)).await?;
    same!("query", request.uri().query().is_some_and(|query| query.contains("X-Amz-Signature=")), true);
    Ok(())
}

async fn refused() -> Outcome {
    let wrong = Operator::new(builder(&setting("S3_BUCKET")).secret_access_key(&"0".repeat(40)))?;
    same!("wrong secret", wrong.read("k").await.map_err(|error| error.kind()).err(), Some(ErrorKind::PermissionDenied));
    let absent = operator()?.read("none").await;
    same!("absent", absent.map_err(|error| error.kind()).err(), Some(ErrorKind::NotFound));
    Ok(())
}
