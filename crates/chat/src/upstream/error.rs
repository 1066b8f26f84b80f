//! Why there is no answer.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use turnpike_fault::{Fault, Kind};

/// Why there is no answer, in words for users. The cause was logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpstreamError {
    /// A stable upper-snake word.
    pub code: &'static str,
    /// A sentence for users.
    pub message: String,
    /// When a later attempt makes sense, if that is known.
    pub retry_after: Option<Duration>,
}

pub const UNAVAILABLE: &str = "UPSTREAM_UNAVAILABLE";
pub const TIMEOUT: &str = "UPSTREAM_TIMEOUT";
pub const FAILED: &str = "UPSTREAM_ERROR";
pub const BUSY: &str = "UPSTREAM_BUSY";
pub const REFUSED: &str = "UPSTREAM_REFUSED";
pub const MODEL_NOT_FOUND: &str = "MODEL_NOT_FOUND";
pub const CONTEXT_TOO_LONG: &str = "CONTEXT_TOO_LONG";

impl UpstreamError {
    pub fn new(code: &'static str) -> Self {
        let message = match code {
            UNAVAILABLE => "Could not connect to the language model",
            TIMEOUT => "The language model did not answer in time",
            BUSY => "The language model has too many requests at present; try again shortly",
            REFUSED => "The language model did not accept the request",
            MODEL_NOT_FOUND => "This language model is not available",
            CONTEXT_TOO_LONG => "The conversation is longer than the language model can read",
            _ => "The language model failed; try again",
        };
        Self { code, message: message.to_owned(), retry_after: None }
    }

    /// As the error object of OpenAI's API, for an event stream that has begun.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "error": { "message": self.message, "type": "upstream_error", "param": null, "code": self.code }
        })
        .to_string()
    }
}

impl From<UpstreamError> for Fault {
    fn from(error: UpstreamError) -> Self {
        let kind = match error.code {
            TIMEOUT => Kind::Timeout,
            BUSY => Kind::RateLimited,
            REFUSED | CONTEXT_TOO_LONG => Kind::Invalid,
            MODEL_NOT_FOUND => Kind::NotFound,
            _ => Kind::Unavailable,
        };
        let fault = Self::new(kind, error.message).code_is(error.code);
        match error.retry_after {
            Some(after) => fault.retry_after(after),
            None => fault,
        }
    }
}

/// A failed attempt at one server, before the first piece of an answer.
#[derive(Debug)]
pub struct Failure {
    pub kind: FailureKind,
    /// For the log.
    pub cause: String,
    /// What the server said, if it did.
    pub response: Option<Box<ErrorResponse>>,
    /// When a later attempt makes sense, if that is known.
    pub retry_after: Option<Duration>,
}

/// What a failure means for the next attempt, from the least informative to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection. Another server may answer.
    Unreachable,
    /// The connection ended before the response; a second attempt at the same server makes sense.
    Closed,
    /// A bound passed.
    TimedOut,
    /// A response of the server that is no answer.
    Broken,
    /// The server refuses our credentials.
    Unauthorised,
    /// 429.
    Busy,
    /// The server does not have the model; another one may.
    NoModel,
    /// The request itself is at fault: every server would refuse it.
    Refused,
}

impl FailureKind {
    /// For a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::Unauthorised => "unauthorised",
            Self::Busy => "busy",
            Self::NoModel => "no_model",
            Self::Refused => "refused",
        }
    }

    /// Whether the next server is asked.
    pub fn falls_back(self) -> bool {
        self != Self::Refused
    }

    /// Whether the server itself is at fault.
    pub fn counts(self) -> bool {
        matches!(self, Self::Unreachable | Self::Closed | Self::TimedOut | Self::Broken | Self::Unauthorised)
    }
}

/// A response of a server that is an error.
#[derive(Clone, Debug)]
pub struct ErrorResponse {
    pub status: StatusCode,
    pub content_type: String,
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Failure {
    pub fn new(kind: FailureKind, cause: impl std::fmt::Display) -> Self {
        Self { kind, cause: cause.to_string(), response: None, retry_after: None }
    }

    /// The failure that an error response means.
    pub fn of_response(response: ErrorResponse) -> Self {
        let says = |words: &[&str]| {
            let text = String::from_utf8_lossy(&response.body[..response.body.len().min(4096)]).to_ascii_lowercase();
            words.iter().any(|word| text.contains(word))
        };
        let kind = match response.status.as_u16() {
            401 | 403 | 407 => FailureKind::Unauthorised,
            429 => FailureKind::Busy,
            404 if says(&["model"]) => FailureKind::NoModel,
            408 => FailureKind::TimedOut,
            400..=499 => FailureKind::Refused,
            _ => FailureKind::Broken,
        };
        let cause = format!("the server responded {}", response.status);
        // Its text may quote the key of this server, which is not the caller's.
        let retry_after = response.retry_after;
        let response = (kind != FailureKind::Unauthorised).then(|| Box::new(response));
        Self { kind, cause, response, retry_after }
    }

    /// Whether the server does not know the member that asks for the usage of a stream.
    pub fn refuses_stream_options(&self) -> bool {
        let Some(response) = self.response.as_ref().filter(|_| self.kind == FailureKind::Refused) else { return false };
        memchr::memmem::find(&response.body, b"stream_options").is_some()
    }

    /// In words for users.
    pub fn to_error(&self) -> UpstreamError {
        let too_long = || {
            let body = self.response.as_ref().map(|response| String::from_utf8_lossy(&response.body).to_lowercase());
            body.is_some_and(|body| {
                ["context_length", "context length", "context size", "maximum context", "too long", "exceed_context"]
                    .iter()
                    .any(|words| body.contains(words))
            })
        };
        let mut error = UpstreamError::new(match self.kind {
            FailureKind::Unreachable | FailureKind::Closed | FailureKind::Unauthorised => UNAVAILABLE,
            FailureKind::TimedOut => TIMEOUT,
            FailureKind::Broken | FailureKind::Refused if too_long() => CONTEXT_TOO_LONG,
            FailureKind::Broken => FAILED,
            FailureKind::Busy => BUSY,
            FailureKind::NoModel => MODEL_NOT_FOUND,
            FailureKind::Refused => REFUSED,
        });
        error.retry_after = self.retry_after;
        error
    }
}
