//! Errors as RFC 9457 problems.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use turnpike_fault::{Fault, Kind};
use turnpike_rpc::Context;
use utoipa::ToSchema;

/// The body of every error, as `application/problem+json`.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// `about:blank`: the status is the kind of the problem, and `code` identifies it.
    r#type: &'static str,
    title: String,
    status: u16,
    detail: String,
    /// A stable identifier in upper snake case.
    code: String,
    request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemField>,
    /// Seconds until trying again makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    retry_after: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct ProblemField {
    field: String,
    message: String,
}

/// The error of every handler.
#[derive(Debug)]
pub(crate) struct Problem(pub(crate) Fault);

impl<T: Into<Fault>> From<T> for Problem {
    fn from(fault: T) -> Self {
        Self(fault.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.0.kind().http_status();
        self.with_status(status)
    }
}

impl Problem {
    /// For a status that no kind of fault has.
    pub(crate) fn with_status(self, status: StatusCode) -> Response {
        let fault = self.0;
        let retry_after = fault.retry_in().map(|after| after.as_secs());
        let fields = fault.fields().iter();
        let body = ProblemBody {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: fault.detail().to_owned(),
            code: fault.code().to_owned(),
            request_id: Context::current().request_id().to_owned(),
            errors: fields.map(|f| ProblemField { field: f.field.clone(), message: f.message.clone() }).collect(),
            retry_after,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if fault.kind() == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
