//! Errors in OpenAI's form, and the credential of its clients.

use axum::{
    Json,
    extract::{FromRef, FromRequestParts},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use tonic::Status;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::Caller;
use utoipa::ToSchema;

use crate::{
    access::{caller::Identity, client::TrustedProxies},
    http::problem::Problem,
    stream::{
        connections::{Origin, StreamTo},
        ending::Ending,
    },
};

/// The body of every error below `/v1`.
#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiErrorBody)]
pub(crate) struct ErrorBody {
    error: ErrorFields,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiErrorFields)]
struct ErrorFields {
    message: String,
    /// `invalid_request_error`, `rate_limit_exceeded`, `insufficient_quota` or `server_error`.
    r#type: &'static str,
    /// The field that is not valid.
    param: Option<String>,
    code: String,
}

/// The error of every handler of this family.
#[derive(Debug)]
pub(crate) struct OpenAiError {
    status: StatusCode,
    fault: Fault,
}

impl OpenAiError {
    pub(crate) fn with_status(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault }
    }

    pub(super) fn body(&self) -> ErrorBody {
        let fault = &self.fault;
        // A client of OpenAI knows these words.
        let (r#type, code) = match (self.status.as_u16(), fault.code()) {
            (401, _) => ("invalid_request_error", "invalid_api_key".to_owned()),
            (429, "BUDGET_EXCEEDED") => ("insufficient_quota", "insufficient_quota".to_owned()),
            (429, "RATE_LIMITED") => ("rate_limit_exceeded", "rate_limit_exceeded".to_owned()),
            (429, code) => ("rate_limit_exceeded", code.to_ascii_lowercase()),
            (400, "CONTEXT_TOO_LONG") => ("invalid_request_error", "context_length_exceeded".to_owned()),
            (..500, code) => ("invalid_request_error", code.to_ascii_lowercase()),
            (_, code) => ("server_error", code.to_ascii_lowercase()),
        };
        let mut message = fault.detail().to_owned();
        for field in fault.fields() {
            message = format!("{message}: {} {}", field.field, field.message);
        }
        let param = fault.fields().first().map(|field| field.field.clone());
        ErrorBody { error: ErrorFields { message, r#type, param, code } }
    }

    /// A server-sent event, for a response that has begun.
    pub(super) fn event(&self) -> String {
        let body = serde_json::to_string(&self.body()).unwrap_or_default();
        format!("data: {body}\n\n")
    }
}

impl From<Fault> for OpenAiError {
    fn from(fault: Fault) -> Self {
        // This API answers every request that is not valid with 400.
        let status = match fault.kind() {
            Kind::Validation => StatusCode::BAD_REQUEST,
            kind => kind.http_status(),
        };
        Self { status, fault }
    }
}

impl From<Status> for OpenAiError {
    fn from(status: Status) -> Self {
        Fault::from(&status).into()
    }
}

impl From<Ending> for OpenAiError {
    fn from(ending: Ending) -> Self {
        Fault::from(ending).into()
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.fault.retry_in() {
            headers.insert(header::RETRY_AFTER, after.as_secs().into());
        }
        if self.fault.kind() == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The signed-in user of a request that may be answered with a stream, like [`StreamTo`].
pub(crate) struct Client(pub(crate) Caller, pub(crate) Origin);

impl<S: Sync> FromRequestParts<S> for Client
where
    Identity: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    type Rejection = OpenAiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, OpenAiError> {
        match StreamTo::from_request_parts(parts, state).await {
            Ok(StreamTo(caller, origin)) => Ok(Self(caller, origin)),
            Err(Problem(fault)) => Err(fault.into()),
        }
    }
}
