//! Why a caller is not known.

use std::time::Duration;

use turnpike_fault::{Fault, Kind};

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no credential.
    #[error("Missing authentication token")]
    Missing,
    /// The token is malformed, or no known key signed it.
    #[error("Invalid authentication token")]
    Invalid,
    /// The token's lifetime is over.
    #[error("The access token has expired")]
    Expired,
    /// The token's session has ended.
    #[error("The session has ended")]
    SessionEnded,
    /// The token's account is inactive.
    #[error("User account is inactive")]
    Inactive,
    /// The keys, or the list of ended sessions, are not known yet.
    #[error("Credentials cannot be checked just now; try again shortly")]
    Unavailable,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (kind, code) = match refusal {
            Refusal::Missing => (Kind::Unauthenticated, "UNAUTHENTICATED"),
            Refusal::Invalid => (Kind::Unauthenticated, "INVALID_TOKEN"),
            Refusal::Expired => (Kind::Unauthenticated, "TOKEN_EXPIRED"),
            Refusal::SessionEnded => (Kind::Unauthenticated, "SESSION_ENDED"),
            Refusal::Inactive => (Kind::Unauthenticated, "ACCOUNT_INACTIVE"),
            Refusal::Unavailable => {
                return Self::new(Kind::Unavailable, refusal.to_string()).retry_after(Duration::from_secs(1));
            }
        };
        Self::new(kind, refusal.to_string()).code_is(code)
    }
}
