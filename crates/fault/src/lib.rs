#![doc = include_str!("../README.md")]

mod rpc;

use std::{borrow::Cow, fmt, time::Duration};

/// What went wrong, as far as a caller can act on it. Every failure that leaves a service is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No credential, or one that proves nothing: 401.
    Unauthenticated,
    /// Known, and not allowed: 403.
    Forbidden,
    /// There is no such thing, or it is not the caller's to know of: 404.
    NotFound,
    /// Well-formed, and makes no sense here: 400.
    Invalid,
    /// The body does not have the shape asked for: 422.
    Validation,
    /// The state of things forbids it now: 409.
    Conflict,
    /// Too much for one request: 413.
    TooLarge,
    /// Too many requests: 429.
    RateLimited,
    /// The other side of a call took too long: 504.
    Timeout,
    /// Something that this needs is away; trying again helps: 503.
    Unavailable,
    /// Not built here: 501.
    Unimplemented,
    /// A defect of ours: 500.
    Internal,
}

impl Kind {
    /// Every kind, for tests that must not forget one.
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

    /// The stable word that clients see when the failure has none of its own.
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

/// One field of a request that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field's name as the caller wrote it, dots between levels.
    pub field: String,
    /// What it should have been.
    pub message: String,
}

/// A failure that may travel: a kind, a stable word and a sentence that is safe to show.
///
/// Its cause never travels; whoever makes a fault of an unexpected error logs the error first.
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

    /// A defect of ours; the sentence says nothing of it.
    pub fn internal() -> Self {
        Self::new(Kind::Internal, "Something went wrong on our side")
    }

    /// Another stable upper-snake word than the kind's own.
    #[must_use]
    pub fn code_is(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    /// Names a field that does not fit.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.push(FieldError { field: field.into(), message: message.into() });
        self
    }

    /// When trying again makes sense; whole seconds, at least one, travel.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(Duration::from_secs(after.as_millis().div_ceil(1000).max(1) as u64));
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The stable word.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The fields that do not fit, if it is about fields.
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }

    /// When trying again makes sense.
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
