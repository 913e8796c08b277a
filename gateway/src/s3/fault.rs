//! What goes wrong at the door for S3, and the code that says so.

use std::sync::Arc;

use s3s::{S3Error, S3ErrorCode};

use crate::trouble::Trouble;

/// Why a request of an S3 client is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// What the protocol has a code for.
    #[error("{message}")]
    Code { code: S3ErrorCode, message: &'static str },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] cas::Error),
    /// The catalogue could not be written; others waited for the same write.
    #[error("{0}")]
    Commit(Arc<cas::Error>),
    /// A file could not be stored or read.
    #[error(transparent)]
    File(#[from] offs::Error),
    /// There are buckets already.
    #[error("there are buckets already")]
    NotEmpty,
    /// A saved catalogue was brought back in part only.
    #[error("the buckets were brought back in part only; bring them back again with `offs bucket restore`")]
    HalfRestored,
    /// There was never a bucket.
    #[error("there are no buckets to be saved")]
    NothingToSave,
    /// A file is no saved catalogue.
    #[error("that file is no list of buckets")]
    NotSaved,
    /// A bucket cannot be made a directory.
    #[error("{0}")]
    Snapshot(Arc<Trouble>),
    /// An entry of the catalogue is not what was written.
    #[error("an entry of the bucket index cannot be read: {0}")]
    Entry(#[from] serde_json::Error),
    /// An entry of the catalogue that must be there is not.
    #[error("the bucket index lacks {0}")]
    Lost(&'static str),
    /// A thread died.
    #[error("the request failed")]
    Worker,
}

/// A fault that the protocol has a code for.
pub(crate) const fn fault(code: S3ErrorCode, message: &'static str) -> Fault {
    Fault::Code { code, message }
}

pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

impl From<Fault> for S3Error {
    fn from(fault: Fault) -> Self {
        use cas::Error::{DiskFull, Full};
        match &fault {
            Fault::Code { code, message } => {
                let error = Self::with_message(code.clone(), *message);
                match code.as_str() {
                    "QuotaExceeded" => error.with_status(403),
                    "BadRequest" => error.with_status(400),
                    "InsufficientStorage" => error.with_status(507),
                    _ => error,
                }
            }
            Fault::Store(Full { .. } | DiskFull { .. })
            | Fault::File(offs::Error::Store(Full { .. } | DiskFull { .. })) => {
                Self::with_message(S3ErrorCode::Custom("InsufficientStorage".into()), fault.to_string())
                    .with_status(507)
            }
            Fault::Store(_)
            | Fault::Commit(_)
            | Fault::File(_)
            | Fault::Entry(_)
            | Fault::Lost(_)
            | Fault::Snapshot(_)
            | Fault::NotEmpty
            | Fault::HalfRestored
            | Fault::NotSaved
            | Fault::NothingToSave
            | Fault::Worker => {
                tracing::warn!(error = %fault, "a request of an S3 client failed");
                Self::with_message(S3ErrorCode::InternalError, fault.to_string())
            }
        }
    }
}

trait WithStatus {
    fn with_status(self, status: u16) -> Self;
}

impl WithStatus for S3Error {
    fn with_status(mut self, status: u16) -> Self {
        if let Ok(status) = hyper::StatusCode::from_u16(status) {
            self.set_status_code(status);
        }
        self
    }
}
