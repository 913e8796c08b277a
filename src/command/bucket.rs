//! `offs bucket`

use gateway::BucketsError;
use serde_json::json;

use crate::{
    arguments::BucketCommand,
    command::parse_url,
    failure::Failure,
    home::Home,
    output,
    progress::{remark, warn},
    size::Size,
};

pub(crate) fn run(home: &Home, command: &BucketCommand) -> Result<(), Failure> {
    if let BucketCommand::Restore { url } = command {
        return restore(home, url.as_deref());
    }
    let buckets = home.buckets()?;
    let of = |bucket: &str| {
        let bucket = bucket.to_owned();
        move |error| match error {
            BucketsError::NoBucket => Failure::NoBucket { bucket },
            other @ BucketsError::Failed(_) => Failure::Buckets(other),
        }
    };
    match command {
        BucketCommand::List { json } => {
            for (name, usage) in buckets.usages() {
                let (bytes, objects) = buckets.limits(&name).map_err(of(&name))?;
                if *json {
                    output::json(&json!({
                        "bucket": name,
                        "objects": usage.objects,
                        "bytes": usage.bytes,
                        "most_objects": objects,
                        "most_bytes": bytes,
                    }))?;
                } else {
                    output::line(format!("{name} {} objects, {}", usage.objects, Size(usage.bytes)))?;
                }
            }
            Ok(())
        }
        BucketCommand::Quota { bucket, bytes, objects } => {
            buckets.limit(bucket, bytes.map(|size| size.0), *objects).map_err(of(bucket))
        }
        BucketCommand::Save => output::line(buckets.save_now()?),
        // It must not open what is to be written.
        BucketCommand::Restore { .. } => Ok(()),
        BucketCommand::Snapshot { bucket, json } => {
            let snapshot = buckets.snapshot(bucket).map_err(of(bucket))?;
            if *json {
                output::json(&json!({"url": snapshot.url.to_string(), "left_out": snapshot.left_out}))?;
            } else {
                output::line(&snapshot.url)?;
            }
            for name in &snapshot.left_out {
                warn(&format!("{name:?} cannot be a file in a directory, and is not in it"));
            }
            if snapshot.left_out.is_empty() { Ok(()) } else { Err(Failure::Said { code: 1 }) }
        }
    }
}

fn restore(home: &Home, url: Option<&str>) -> Result<(), Failure> {
    if home.serves_buckets() {
        return Err(Failure::Usage { what: "buckets are restored while nobody uses them: stop the daemon first" });
    }
    let url = match url {
        Some(text) => parse_url(text)?,
        None => home.saved_buckets().ok_or(Failure::NothingSaved)?,
    };
    let entries = home.restore_buckets(&url)?;
    remark(&format!("{entries} entries of buckets are back"));
    Ok(())
}
