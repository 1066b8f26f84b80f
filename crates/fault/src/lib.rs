#![doc = include_str!("../README.md")]

mod rpc;

use std::{borrow::Cow, fmt, time::Duration};

/// The kind of a failure, as far as a caller can act on it. Every failure that leaves a service has one of these kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Missing, invalid or expired credential: 401.
    Unauthenticated,
    /// The caller is known and lacks the permission: 403.
    Forbidden,
    /// The resource does not exist, or the caller may not know of it: 404.
    NotFound,
    /// A well-formed request that cannot be performed: 400.
    Invalid,
    /// The body does not have the required form: 422.
    Validation,
    /// The present state does not allow the request: 409.
    Conflict,
    /// The request is too large: 413.
    TooLarge,
    /// Too many requests: 429.
    RateLimited,
    /// A called service did not answer in time: 504.
    Timeout,
    /// A needed service is unavailable; a later attempt can succeed: 503.
    Unavailable,
    /// Not implemented: 501.
    Unimplemented,
    /// A defect of this program: 500.
    Internal,
}

impl Kind {
    /// Every kind, for tests.
    pub const ALL: [Self; 12] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Invalid,
        Self::Validation,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimited,
        Self::Timeout,
        Self::Unavailable,
        Self::Unimplemented,
        Self::Internal,
    ];

    /// The code that clients see when the failure has none of its own.
    pub const fn default_code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Invalid => "INVALID",
            Self::Validation => "VALIDATION",
            Self::Conflict => "CONFLICT",
            Self::TooLarge => "TOO_LARGE",
            Self::RateLimited => "RATE_LIMITED",
            Self::Timeout => "UPSTREAM_TIMEOUT",
            Self::Unavailable => "UPSTREAM_UNAVAILABLE",
            Self::Unimplemented => "NOT_IMPLEMENTED",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status of this kind.
    pub const fn http_status(self) -> http::StatusCode {
        match self {
            Self::Unauthenticated => http::StatusCode::UNAUTHORIZED,
            Self::Forbidden => http::StatusCode::FORBIDDEN,
            Self::NotFound => http::StatusCode::NOT_FOUND,
            Self::Invalid => http::StatusCode::BAD_REQUEST,
            Self::Validation => http::StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict => http::StatusCode::CONFLICT,
            Self::TooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited => http::StatusCode::TOO_MANY_REQUESTS,
            Self::Timeout => http::StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Unimplemented => http::StatusCode::NOT_IMPLEMENTED,
            Self::Internal => http::StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// One field of a request that is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name as the caller wrote it, with dots between levels.
    pub field: String,
    /// What a valid value is.
    pub message: String,
}

/// A failure that callers may see: a kind, a stable code and a sentence that is safe to show.
///
/// The cause is not part of it: code that turns an unexpected error into a fault logs the error first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Fault {
    /// A failure with its kind's own code. `detail` is shown to the caller.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, code: kind.default_code().into(), detail: detail.into(), fields: Vec::new(), retry_after: None }
    }

    /// A defect of this program; the sentence reveals nothing about it.
    pub fn internal() -> Self {
        Self::new(Kind::Internal, "Something went wrong on our side")
    }

    /// Sets a code other than the kind's own, in upper snake case.
    #[must_use]
    pub fn code_is(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// Adds a field that is not valid.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.push(FieldError { field: field.into(), message: message.into() });
        self
    }

    /// When a later attempt makes sense. It is sent as whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(Duration::from_secs(after.as_millis().div_ceil(1000).max(1) as u64));
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields that are not valid.
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }

    /// When a later attempt makes sense.
    pub fn retry_in(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Fault {}
