//! From a credential to a verified caller. The session cookie is exchanged at auth for a short access token, which is cached
//! here, so that services receive one kind of credential. API keys are exchanged in the same way.

use std::{collections::HashMap, ops::Deref, sync::Arc, time::Duration};

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, Method, header, request::Parts};
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{AccessToken, Caller, Refusal, Verifier};
use turnpike_kit::Clock;
use turnpike_proto::auth::v1::{self as pb, auth_service_client::AuthServiceClient};
use turnpike_rpc::Transport;
use turnpike_token::{ApiKey, Role};
use turnpike_topic::ApiKeyId;

use super::{
    api_keys::ApiKeyCallers,
    credentials::{bearer, session_cookie},
    origin::AllowedOrigins,
    scope::{self, ApiKeys},
};
use crate::http::problem::Problem;

/// A clone costs one atomic operation: every request has one.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Callers>);

pub(crate) struct Callers {
    verifier: Verifier,
    auth: AuthServiceClient<Transport>,
    api_keys: ApiKeyCallers,
    clock: Clock,
    allowed_origins: AllowedOrigins,
    cached: Mutex<HashMap<[u8; 32], Cached>>,
}

struct Cached {
    token: AccessToken,
    until: Timestamp,
}

/// Cookies whose access tokens are cached. Further cookies are exchanged again.
const MAX_CACHED: usize = 10_000;
/// A cached token is replaced this long before it expires.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);

impl Deref for Identity {
    type Target = Callers;

    fn deref(&self) -> &Callers {
        &self.0
    }
}

impl Identity {
    pub(crate) fn new(verifier: Verifier, auth: Transport, clock: Clock, allowed_origins: AllowedOrigins) -> Self {
        let api_keys = ApiKeyCallers::new(verifier.clone(), auth.clone(), clock.clone());
        let auth = AuthServiceClient::new(auth);
        Self(Arc::new(Callers { verifier, auth, api_keys, clock, allowed_origins, cached: Mutex::default() }))
    }

    /// The bearer of an access token or an API key.
    pub(crate) async fn of_bearer(&self, credential: &str) -> Result<Caller, Fault> {
        match ApiKey::is_meant(credential) {
            true => self.api_keys.caller(credential).await,
            false => Ok(self.of_token(credential).await?),
        }
    }

    /// The caller of a key that was used before, with a new token if the last one expires soon. No request is counted.
    pub(crate) async fn of_api_key_again(&self, key: ApiKeyId) -> Result<Caller, Fault> {
        self.api_keys.again(key).await
    }

    /// The bearer of an access token.
    async fn of_token(&self, token: &str) -> Result<Caller, Refusal> {
        self.verifier.verify(token, self.clock.now()).await
    }

    /// The holder of a single-use ticket.
    pub(crate) async fn of_ticket(&self, ticket: &str) -> Result<Caller, Fault> {
        let request = pb::RedeemTicketRequest { ticket: ticket.to_owned() };
        let answer = self.auth.clone().redeem_ticket(request).await.map_err(|status| match Fault::from(&status) {
            fault if fault.kind() == Kind::Unavailable => fault,
            _ => Refusal::Invalid.into(),
        })?;
        Ok(self.of_token(&answer.into_inner().access_token).await?)
    }

    /// The caller of a request with these headers. `Authorization` counts before the cookie. A browser adds the cookie by itself,
    /// also for pages of other sites, so the origin is checked for sockets (`upgrade`) and for requests that change something.
    pub(crate) async fn of_request(
        &self,
        method: &Method,
        headers: &HeaderMap,
        upgrade: bool,
    ) -> Result<Caller, Fault> {
        if headers.contains_key(header::AUTHORIZATION) {
            let token = bearer(headers).ok_or(Refusal::Invalid)?;
            return self.of_bearer(&token).await;
        }
        let cookie = session_cookie(headers).ok_or(Refusal::Missing)?;
        if (upgrade || !method.is_safe()) && !self.allowed_origins.allow_cookie(headers, upgrade) {
            return Err(Fault::new(Kind::Forbidden, "A request with the session cookie must come from our own pages")
                .code_is("FOREIGN_ORIGIN"));
        }
        self.of_cookie(&cookie).await
    }

    async fn of_cookie(&self, cookie: &str) -> Result<Caller, Fault> {
        // The cache holds a hash: the cookie itself is not in memory for longer than the request.
        let key: [u8; 32] = Sha256::digest(cookie).into();
        let now = self.clock.now();
        let cached = self.cached.lock().get(&key).and_then(|cached| (cached.until > now).then(|| cached.token.clone()));
        if let Some(token) = cached {
            match self.of_token(token.expose()).await {
                Err(Refusal::SessionEnded | Refusal::Inactive) => {}
                verified => return Ok(verified?),
            }
        }
        let request = pb::ExchangeSessionRequest { session_token: cookie.to_owned() };
        let answer = match self.auth.clone().exchange_session(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                self.cached.lock().remove(&key);
                return Err(Fault::from(&status));
            }
        };
        let caller = self.of_token(&answer.access_token).await?;
        let until = now + Duration::from_secs(answer.expires_in.into()).saturating_sub(RENEWAL_MARGIN);
        let mut cached = self.cached.lock();
        if cached.len() >= MAX_CACHED {
            cached.retain(|_, cached| cached.until > now);
            if cached.len() >= MAX_CACHED {
                cached.clear();
            }
        }
        cached.insert(key, Cached { token: caller.token.clone(), until });
        drop(cached);
        Ok(caller)
    }
}

/// The signed-in user of a request. A handler with this argument needs a valid credential. An API key must be among those that the
/// family of the route admits.
pub(crate) struct SignedIn(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for SignedIn
where
    Identity: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Identity::from_ref(state).of_request(&parts.method, &parts.headers, false).await?;
        scope::admit(&caller.claims, parts.extensions.get::<ApiKeys>().copied(), parts.method.is_safe())?;
        Ok(Self(caller))
    }
}

/// A signed-in user who may send commands. Handlers check the role before the body.
pub(crate) struct Operator(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Operator
where
    Identity: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        at_least(Role::Operator, parts, state).await.map(Self)
    }
}

/// A signed-in admin, by the role in the token. Auth checks the account as well.
pub(crate) struct Admin(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Admin
where
    Identity: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        at_least(Role::Admin, parts, state).await.map(Self)
    }
}

async fn at_least<S: Sync>(role: Role, parts: &mut Parts, state: &S) -> Result<Caller, Problem>
where
    Identity: FromRef<S>,
{
    let SignedIn(caller) = SignedIn::from_request_parts(parts, state).await?;
    if caller.claims.role < role {
        return Err(Fault::new(Kind::Forbidden, format!("This needs the role {role}")).into());
    }
    Ok(caller)
}
