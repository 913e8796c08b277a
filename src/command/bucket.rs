//! `offs bucket`

use gateway::{BucketsError, Usage};
use serde_json::json;

use crate::{
    arguments::BucketCommand, command::parse_url, date, failure::Failure, home::Home, output, progress::warn, report,
    size::Size,
};

pub(crate) fn run(home: &Home, command: &BucketCommand) -> Result<(), Failure> {
    if let BucketCommand::Restore { url, give_up } = command {
        return if *give_up { give_up_buckets(home) } else { restore(home, url.as_deref()) };
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
                let (bytes, objects) = match buckets.limits(&name) {
                    // It was deleted in this moment.
                    Err(BucketsError::NoBucket) => continue,
                    limits => limits?,
                };
                if *json {
                    output::json(&json!({
                        "bucket": name,
                        "objects": usage.objects,
                        "bytes": usage.bytes,
                        "most_objects": objects,
                        "most_bytes": bytes,
                    }))?;
                } else {
                    output::line(in_words(&name, usage, bytes, objects))?;
                }
            }
            Ok(())
        }
        BucketCommand::Quota { bucket, bytes, objects, none } => {
            if *none {
                return buckets.limit(bucket, None, None).map_err(of(bucket));
            }
            let (old_bytes, old_objects) = buckets.limits(bucket).map_err(of(bucket))?;
            if bytes.is_none() && objects.is_none() {
                let usage = buckets.usages().into_iter().find(|(name, _)| name == bucket);
                let usage = usage.map(|(_, usage)| usage).unwrap_or_default();
                return output::line(in_words(bucket, usage, old_bytes, old_objects));
            }
            let bytes = bytes.map(|size| size.0).or(old_bytes);
            buckets.limit(bucket, bytes, objects.or(old_objects)).map_err(of(bucket))
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

fn give_up_buckets(home: &Home) -> Result<(), Failure> {
    let given_up = home.give_up_buckets()?;
    output::line(format!("lists of buckets that are no longer kept: {given_up}"))?;
    warn("until the next `offs gc`, `offs bucket restore URL` still brings one back; `offs ls` names them");
    Ok(())
}

fn in_words(name: &str, usage: Usage, bytes: Option<u64>, objects: Option<u64>) -> String {
    let most_objects = objects.map(|most| format!(" of at most {most}")).unwrap_or_default();
    let most_bytes = bytes.map(|most| format!(" of at most {}", Size(most))).unwrap_or_default();
    format!("{name} {} objects{most_objects}, {}{most_bytes}", usage.objects, Size(usage.bytes))
}

fn restore(home: &Home, url: Option<&str>) -> Result<(), Failure> {
    if home.serves_buckets() {
        return Err(Failure::Usage { what: "buckets are restored while nobody uses them: stop the daemon first" });
    }
    let url = match url {
        Some(text) => parse_url(text)?,
        None => home.saved_buckets().ok_or(Failure::NothingSaved)?,
    };
    let saved = home.urls().list().into_iter().find(|listed| listed.url.reference == url.reference);
    home.restore_buckets(&url)?;
    let usages = match home.buckets() {
        Ok(buckets) => buckets.usages(),
        // That is another matter.
        Err(failure) => {
            report::tell(&failure);
            return output::line("the buckets are back");
        }
    };
    let objects: u64 = usages.iter().map(|(_, usage)| usage.objects).sum();
    let time = saved.map_or_else(String::new, |saved| format!(" as of {}", date::in_words(saved.time)));
    output::line(format!("brought back{time}: buckets {}, objects {objects}", usages.len()))?;
    warn("what was written after that is not in it, and the next `offs gc` drops it");
    Ok(())
}
