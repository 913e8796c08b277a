//! What one client gets done, eight requests in flight, the payload signed: a line of JSON a step.
//!
//! BENCH_LARGE and BENCH_SMALL say how many objects of 16 MiB and of 4 KiB there are, BENCH_FLIGHT how many requests
//! are in flight. Before each step it prints the step's name and waits for a line, so that the caller may measure.

use std::{env, io, time::Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, PutPayload, aws::AmazonS3, path::Path};
use serde_json::json;

use crate::{MIB, Outcome, bytes_of, setting, store};

const LARGE: usize = 16 * MIB;
const SMALL: usize = 4 << 10;

fn number(name: &str, default: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[derive(Clone, Copy)]
enum Step {
    Put,
    Get,
    Head,
    Delete,
}

/// Content that differs from object to object: the first bytes are the number.
fn payload(data: &Bytes, at: usize) -> PutPayload {
    let number = Bytes::copy_from_slice(&(at as u64).to_le_bytes());
    PutPayload::from_iter([number, data.slice(8..)])
}

async fn one(store: &AmazonS3, step: Step, data: &Bytes, at: usize) -> Outcome {
    let path = Path::from(format!("{}/{at:06}", data.len()));
    match step {
        Step::Put => {
            store.put(&path, payload(data, at)).await?;
        }
        Step::Get => {
            let mut pieces = store.get(&path).await?.into_stream();
            let mut size = 0;
            while let Some(piece) = pieces.try_next().await? {
                size += piece.len();
            }
            if size != data.len() {
                return Err(format!("{path} has {size} bytes").into());
            }
        }
        Step::Head => {
            store.head(&path).await?;
        }
        Step::Delete => store.delete(&path).await?,
    }
    Ok(())
}

pub async fn run() -> Outcome {
    let store = store::builder(&setting("S3_BUCKET")).build()?;
    let flight = number("BENCH_FLIGHT", 8);
    let (large, small) = (number("BENCH_LARGE", 64), number("BENCH_SMALL", 2000));
    let steps = [
        ("put-large", Step::Put, LARGE, large),
        ("get-large", Step::Get, LARGE, large),
        ("put-small", Step::Put, SMALL, small),
        ("get-small", Step::Get, SMALL, small),
        ("head-small", Step::Head, SMALL, small),
        ("delete-small", Step::Delete, SMALL, small),
        ("delete-large", Step::Delete, LARGE, large),
    ];
    for (name, step, size, count) in steps {
        let data = Bytes::from(bytes_of(size, 7));
        println!("{}", json!({ "next": name }));
        io::stdin().read_line(&mut String::new())?;
        let began = Instant::now();
        stream::iter(0..count)
            .map(|at| one(&store, step, &data, at))
            .buffer_unordered(flight)
            .try_collect::<()>()
            .await?;
        println!("{}", json!({ "step": name, "seconds": began.elapsed().as_secs_f64(), "count": count, "size": size }));
    }
    Ok(())
}
