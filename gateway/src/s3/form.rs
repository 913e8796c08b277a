//! Forms that browsers send: `${filename}` in the name of the object stands for the file's own name.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame};
use s3s::{S3ErrorCode, S3Result};

use crate::s3::{body::Watched, fault::fault};

/// All fields but the file are at most so long.
pub(crate) const LONGEST_FIELDS: usize = 128 << 10;

const FILE: &[u8] = b"name=\"file\"";
const STANDS_FOR: &[u8] = b"${filename}";

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// The fields with the file's name put in, once all of them are there.
fn named(fields: &[u8]) -> Option<Vec<u8>> {
    let file = find(fields, FILE)?;
    let line = &fields[file..];
    let line = &line[..find(line, b"\r\n")?];
    let start = find(line, b"filename=\"").map_or(line.len(), |at| at + 10);
    let name = line[start..].split(|byte| *byte == b'"').next().unwrap_or_default();
    // Some browsers tell the whole path.
    let name = name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
    let key = find(&fields[..file], b"name=\"key\"")?;
    let at = key + find(&fields[key..file], STANDS_FOR)?;
    // Only in the value of that field.
    let value = key + find(&fields[key..file], b"\r\n\r\n")? + 4;
    let end = value + find(&fields[value..], b"\r\n")?;
    (value <= at && at < end).then(|| [&fields[..at], name, &fields[at + STANDS_FOR.len()..]].concat())
}

/// A form with the file's name put in.
pub(crate) struct Form {
    begun: VecDeque<Bytes>,
    rest: Watched,
}

impl Form {
    /// Reads the fields.
    pub(crate) async fn read(mut rest: Watched) -> S3Result<Self> {
        let mut fields = BytesMut::new();
        let mut begun = VecDeque::new();
        // What comes with the last of the fields belongs to the file already.
        let (mut file, mut searched) = (None, 0_usize);
        loop {
            // What was searched is not searched again.
            let from = searched.saturating_sub(FILE.len());
            file = file.or_else(|| find(&fields[from..], FILE).map(|at| from + at));
            if file.is_some_and(|at| find(&fields[at.max(searched.saturating_sub(4))..], b"\r\n\r\n").is_some()) {
                break;
            }
            searched = fields.len();
            if fields.len() > LONGEST_FIELDS {
                let message = "Your POST request fields preceding the upload file were too large.";
                return Err(fault(S3ErrorCode::MaxPostPreDataLengthExceededError, message).into());
            }
            let Some(frame) = rest.frame().await else { break };
            let frame =
                frame.map_err(|_| fault(S3ErrorCode::IncompleteBody, "The request body terminated unexpectedly"))?;
            if let Ok(bytes) = frame.into_data() {
                fields.extend_from_slice(&bytes);
            }
        }
        if find(&fields, b"name=\"key\"").is_none() && file.is_some() {
            let message = "Bucket POST must contain a field named 'key'.";
            return Err(fault(S3ErrorCode::InvalidArgument, message).into());
        }
        if find(&fields, b"name=\"signature\"").is_some() {
            let message = "signatures of version 2 are not taken; use AWS4-HMAC-SHA256";
            return Err(fault(S3ErrorCode::InvalidRequest, message).into());
        }
        begun.push_back(named(&fields).map_or_else(|| fields.freeze(), Bytes::from));
        Ok(Self { begun, rest })
    }
}

impl HttpBody for Form {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.begun.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "--e\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nup/${filename}\r\n--e\r\nContent-Disposition: \
        form-data; name=\"file\"; filename=\"C:\\dir\\a b.txt\"\r\n\r\n${filename}";

    #[test]
    fn the_files_name_is_put_into_the_key_alone() {
        let named = named(FORM.as_bytes()).expect("a name");
        let named = String::from_utf8(named).expect("text");
        assert!(named.contains("\r\n\r\nup/a b.txt\r\n"), "{named}");
        assert!(named.ends_with("\r\n\r\n${filename}"), "{named}");
    }

    #[test]
    fn other_forms_stay() {
        assert_eq!(named(FORM.replace("up/${filename}", "up/k").as_bytes()), None);
        assert_eq!(named(b"--e--\r\n"), None);
    }
}
