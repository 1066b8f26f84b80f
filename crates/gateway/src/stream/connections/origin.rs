//! Where a connection comes from, as the registry reports it.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRef, FromRequestParts, MatchedPath};
use http::request::Parts;

use turnpike_identity::Caller;

use crate::{
    access::{
        caller::{Identity, SignedIn},
        client::{Client, TrustedProxies},
    },
    http::problem::Problem,
};

/// Characters of a user agent that the registry keeps for each connection.
const AGENT: usize = 128;

#[derive(Clone)]
pub(crate) struct Origin {
    /// The route on which the connection was opened.
    route: Option<MatchedPath>,
    pub(super) address: IpAddr,
    pub(super) user_agent: Box<str>,
}

impl Origin {
    /// Of a connection that no request has opened.
    pub(crate) fn unknown() -> Self {
        Self { route: None, address: Ipv4Addr::UNSPECIFIED.into(), user_agent: Box::default() }
    }

    pub(super) fn route(&self) -> &str {
        self.route.as_ref().map_or("", MatchedPath::as_str)
    }
}

impl<S: Sync> FromRequestParts<S> for Origin
where
    TrustedProxies: FromRef<S>,
{
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let client = Client::from_request_parts(parts, state).await?;
        let route = parts.extensions.get::<MatchedPath>().cloned();
        let user_agent = client.user_agent.chars().take(AGENT).collect();
        Ok(Self { route, address: client.ip, user_agent })
    }
}

/// The signed-in user of a request that is answered with a stream, like [`SignedIn`].
pub(crate) struct StreamTo(pub(crate) Caller, pub(crate) Origin);

impl<S: Sync> FromRequestParts<S> for StreamTo
where
    Identity: FromRef<S>,
    TrustedProxies: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let SignedIn(caller) = SignedIn::from_request_parts(parts, state).await?;
        let Ok(origin) = Origin::from_request_parts(parts, state).await;
        Ok(Self(caller, origin))
    }
}
