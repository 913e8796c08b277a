//! What goes wrong at a door, and the status that says so.

use hyper::StatusCode;
use offs::OffUrlError;

use crate::backend::BackendError;

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The path is no URL.
    #[error("{0}")]
    Url(#[from] OffUrlError),
    /// There is nothing at that path.
    #[error("there is nothing here")]
    NoRoute,
    /// A directory has no such entry.
    #[error("the directory has no {0}")]
    NoEntry(String),
    /// Links in a directory lead nowhere.
    #[error("{0} is a link that leads out of the directory or in a circle")]
    Link(String),
    /// A file could not be read or stored.
    #[error(transparent)]
    File(#[from] offs::Error),
    /// What was put could not be written down.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Who asks may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A method that this path does not have.
    #[error("this takes {0} only")]
    Method(&'static str),
    /// What was sent cannot be understood.
    #[error("{0}")]
    Request(&'static str),
    /// What is sent is too long.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// The body of a request stopped, or was cut off.
    #[error("the body did not come, or not wholly")]
    Body,
    /// Too many at once.
    #[error("too many requests at once; try again in a moment")]
    Busy,
    /// A thread died.
    #[error("the request failed")]
    Worker,
}

impl Trouble {
    /// The status that stands for it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Url(OffUrlError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Url(OffUrlError::Version2 | OffUrlError::Version3 | OffUrlError::Version) => {
                StatusCode::NOT_IMPLEMENTED
            }
            Self::Url(_) | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NoRoute | Self::NoEntry(_) | Self::Link(_) | Self::Backend(BackendError::NotListed) => {
                StatusCode::NOT_FOUND
            }
            Self::File(error) => of_file(error),
            Self::Backend(_) | Self::Worker => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

fn of_file(error: &offs::Error) -> StatusCode {
    match error {
        offs::Error::NoRoot { .. } | offs::Error::Lost { .. } => StatusCode::NOT_FOUND,
        // The root is here, and the key or the length in the URL are not its own; or a stranger made it wrong.
        offs::Error::Root { .. }
        | offs::Error::Length { .. }
        | offs::Error::Kind { .. }
        | offs::Error::Directory(_)
        | offs::Error::Reference(_)
        | offs::Error::EntryLength { .. }
        | offs::Error::Repeats { .. }
        | offs::Error::Inconsistent { .. }
        | offs::Error::ContentHash { .. } => StatusCode::BAD_REQUEST,
        offs::Error::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
        offs::Error::Read(_) => StatusCode::REQUEST_TIMEOUT,
        offs::Error::Store(cas::Error::Full { .. } | cas::Error::DiskFull { .. }) => StatusCode::INSUFFICIENT_STORAGE,
        offs::Error::Store(_) | offs::Error::Write(_) | offs::Error::Erasure(_) | offs::Error::Worker => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
