//! How a server learns who calls. `turnpike-identity` verifies access tokens; a service whose methods are open to every caller
//! uses [`NoCredentials`].

use std::future::Future;

use jiff::Timestamp;
use turnpike_fault::{Fault, Kind};
use turnpike_token::Role;

/// Verifies the bearer token of a call.
pub trait Authenticate: Clone + Send + Sync + 'static {
    /// What the called method finds in the request's extensions.
    type Caller: Clone + Send + Sync + 'static;

    /// The caller that this token identifies, and its role.
    fn authenticate(
        &self,
        token: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<(Role, Self::Caller), Fault>> + Send;
}

/// Knows no caller, for a service whose methods all are [`crate::Access::Anyone`].
#[derive(Clone, Copy, Debug)]
pub struct NoCredentials;

impl Authenticate for NoCredentials {
    type Caller = ();

    async fn authenticate(&self, _: &str, _: Timestamp) -> Result<(Role, ()), Fault> {
        Err(Fault::new(Kind::Unauthenticated, "This service accepts no credential"))
    }
}
