//! A response before its body is read, and the paths of requests for the management of models.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::upstream::{body::Body, error::ErrorResponse};

/// The head of a response, and its body.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub content_type: String,
    pub retry_after: Option<Duration>,
    pub body: Body,
}

impl Response {
    /// As an error, with its body.
    pub fn error(&self, body: Bytes) -> ErrorResponse {
        let (content_type, retry_after) = (self.content_type.clone(), self.retry_after);
        ErrorResponse { status: self.status, content_type, retry_after, body }
    }
}

/// A path for the management of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    InBase(&'static str),
    OutsideBase(&'static str),
}
