//! The caller of a gRPC method.

use std::{fmt, sync::Arc};

use turnpike_fault::Fault;
use turnpike_token::Claims;

use crate::Refusal;

/// A caller whose token was verified.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The claims of the token.
    pub claims: Claims,
    /// The token itself, to pass on to the next service.
    pub token: AccessToken,
}

/// An access token. `Debug` does not print it.
#[derive(Clone)]
pub struct AccessToken(Arc<str>);

impl AccessToken {
    /// Wraps a token.
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// The token, for a header.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A gRPC request that carries the token.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        // A verified token is base64 and dots. Any other text is left out, and the server refuses the request.
        if let Ok(value) = format!("Bearer {}", self.0).parse() {
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

/// The caller of a gRPC method that [`turnpike_rpc::Access::Role`] guards.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<&Caller, Fault> {
    request.extensions().get().ok_or_else(|| Fault::from(Refusal::Missing))
}
