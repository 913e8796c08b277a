//! Clients of S3 in Rust, for the tests and the benchmark of the gateway.
//!
//! `s3-clients CLIENT` lists the cells of a client, `s3-clients CLIENT CELL` runs one and prints a line of JSON with its
//! error, or null. `s3-clients bench` measures. The environment names the server: S3_ENDPOINT, S3_ACCESS_KEY,
//! S3_SECRET_KEY, S3_REGION, S3_BUCKET, which exists and is empty, and S3_LISTED, which holds 3,000 keys.

mod bench;
#[cfg(feature = "opendal")]
mod dal;
#[cfg(feature = "sdk")]
mod sdk;
mod store;

use std::{env, error::Error, future::Future, pin::Pin, process::ExitCode};

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;
pub type Cell = (&'static str, fn() -> Pin<Box<dyn Future<Output = Outcome>>>);

pub const MIB: usize = 1 << 20;
pub const LISTED: usize = 3000;

/// Cells out of asynchronous functions, named after them.
#[macro_export]
macro_rules! cells {
    ($($name:ident),* $(,)?) => {
        pub const CELLS: &[$crate::Cell] = &[$((stringify!($name), || Box::pin($name()))),*];
    };
}

/// Ends a cell when something is not as it must be.
#[macro_export]
macro_rules! same {
    ($what:expr, $got:expr, $wanted:expr) => {
        let (got, wanted) = (&$got, &$wanted);
        if got != wanted {
            let mut got = format!("{got:?}");
            got.truncate(got.char_indices().nth(200).map_or(got.len(), |(at, _)| at));
            let mut wanted = format!("{wanted:?}");
            wanted.truncate(wanted.char_indices().nth(200).map_or(wanted.len(), |(at, _)| at));
            return Err(format!("{} is {got}, not {wanted}", $what).into());
        }
    };
}

/// A setting from the environment.
pub fn setting(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Bytes that no server can make smaller; the same ones for the same seed.
pub fn bytes_of(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut made = Vec::with_capacity(size + 8);
    while made.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        made.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    made.truncate(size);
    made
}

/// An error with all that it comes from.
pub fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let cells = match arguments.first().copied() {
        Some("object_store") => store::CELLS,
        #[cfg(feature = "sdk")]
        Some("aws-sdk") => sdk::CELLS,
        #[cfg(feature = "opendal")]
        Some("opendal") => dal::CELLS,
        Some("bench") => {
            return match bench::run().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{}", whole(&*error));
                    ExitCode::FAILURE
                }
            };
        }
        _ => return ExitCode::from(2),
    };
    let Some(name) = arguments.get(1) else {
        for (name, _) in cells {
            println!("{}", name.replace('_', "-"));
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, cell)) = cells.iter().find(|(known, _)| known.replace('_', "-") == *name) else {
        return ExitCode::from(2);
    };
    let error = cell().await.err().map(|error| whole(&*error));
    println!("{}", serde_json::json!({ "error": error }));
    ExitCode::SUCCESS
}
