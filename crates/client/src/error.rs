//! Why a client has ended.

use crate::CredentialError;

/// The client has ended: it does not connect again by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no credential that the gateway accepts.
    #[error("not signed in: {0}")]
    SignedOut(String),
    /// The gateway closed the connection for good (1008), for example because an admin closed it.
    #[error("the gateway refused: {0}")]
    Refused(String),
    /// As many attempts to connect have failed as [`Options::attempts`](crate::Options::attempts) allows.
    #[error("the gateway cannot be reached: {0}")]
    Unreachable(String),
    /// The address of the gateway is not `http://…`: TLS ends in front of the gateway.
    #[error("{0} is not an address such as http://127.0.0.1:8080")]
    Address(String),
    /// There is no connection at present, or too many requests wait for their answers.
    #[error("the request cannot be sent now")]
    NotNow,
}

impl From<CredentialError> for Error {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::SignedOut(text) => Self::SignedOut(text),
            CredentialError::Unavailable(text) => Self::Unreachable(text),
        }
    }
}
