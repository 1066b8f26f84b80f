//! Who sends a request: an access token, else the session cookie. The cookie is exchanged at auth for a short access token,
//! which is kept here while it lives; so services behind see one kind of credential.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{AccessToken, Caller, Refusal, Verifier};
use turnpike_kit::Clock;
use turnpike_proto::auth::v1::{self as pb, auth_service_client::AuthServiceClient};
use turnpike_rpc::{Transport, bearer};
use turnpike_token::Role;

use crate::http::problem::Problem;

/// The session cookie's name.
pub(crate) const COOKIE: &str = "session_token";

/// From credentials to callers.
#[derive(Clone)]
pub(crate) struct Identity {
    verifier: Verifier,
    auth: AuthServiceClient<Transport>,
    clock: Clock,
    allowed_origins: Arc<[String]>,
    exchanged: Arc<Mutex<HashMap<[u8; 32], Exchanged>>>,
}

struct Exchanged {
    token: AccessToken,
    until: Timestamp,
}

/// Cookies whose tokens are kept. Beyond it auth is asked again, which is slower and as right.
const KEPT: usize = 10_000;
/// A kept token is renewed so long before it ends.
const MARGIN: Duration = Duration::from_secs(60);

impl Identity {
    pub(crate) fn new(verifier: Verifier, auth: Transport, clock: Clock, allowed_origins: &[String]) -> Self {
        let auth = AuthServiceClient::new(auth);
        Self { verifier, auth, clock, allowed_origins: allowed_origins.into(), exchanged: Arc::default() }
    }

    /// The bearer of an access token.
    pub(crate) async fn of_token(&self, token: &str) -> Result<Caller, Refusal> {
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

    /// Who sends a request with these headers: `Authorization` counts before the cookie. A cookie comes along by itself, so
    /// it counts only where the page that sends it is ours: always for a socket (`upgrade`), else where something changes.
    pub(crate) async fn of_request(
        &self,
        method: &Method,
        headers: &HeaderMap,
        upgrade: bool,
    ) -> Result<Caller, Fault> {
        if headers.contains_key(header::AUTHORIZATION) {
            let token = bearer(headers).ok_or(Refusal::Invalid)?;
            return Ok(self.of_token(token).await?);
        }
        let cookie = session_cookie(headers).ok_or(Refusal::Missing)?;
        if (upgrade || !method.is_safe()) && !self.same_origin(headers, upgrade) {
            return Err(Fault::new(Kind::Forbidden, "A request with the session cookie must come from our own pages")
                .code_is("FOREIGN_ORIGIN"));
        }
        self.of_cookie(cookie).await
    }

    async fn of_cookie(&self, cookie: &str) -> Result<Caller, Fault> {
        // The cookie itself is not kept in memory for longer than the request.
        let key: [u8; 32] = Sha256::digest(cookie).into();
        let now = self.clock.now();
        let kept = self.exchanged.lock().get(&key).and_then(|kept| (kept.until > now).then(|| kept.token.clone()));
        if let Some(token) = kept {
            match self.of_token(token.expose()).await {
                Err(Refusal::SessionEnded | Refusal::Inactive) => {}
                verified => return Ok(verified?),
            }
        }
        let request = pb::ExchangeSessionRequest { session_token: cookie.to_owned() };
        let answer = match self.auth.clone().exchange_session(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                self.exchanged.lock().remove(&key);
                return Err(Fault::from(&status));
            }
        };
        let caller = self.of_token(&answer.access_token).await?;
        let until = now + Duration::from_secs(answer.expires_in.into()).saturating_sub(MARGIN);
        let mut exchanged = self.exchanged.lock();
        if exchanged.len() >= KEPT {
            exchanged.retain(|_, kept| kept.until > now);
            if exchanged.len() >= KEPT {
                exchanged.clear();
            }
        }
        exchanged.insert(key, Exchanged { token: caller.token.clone(), until });
        drop(exchanged);
        Ok(caller)
    }

    /// Fetch Metadata where the browser sends it, else `Origin`; a socket's handshake always has an `Origin`, and a program
    /// that sends neither is no browser and has no business with a cookie.
    fn same_origin(&self, headers: &HeaderMap, upgrade: bool) -> bool {
        match self.origin(headers) {
            Origin::Ours { named } => named || !upgrade,
            Origin::Foreign | Origin::Unsaid => false,
        }
    }

    /// Whether a page that is not ours sends this. Browsers say so with every request that changes something; who says nothing
    /// is a program, which nobody lures.
    pub(crate) fn is_foreign(&self, headers: &HeaderMap) -> bool {
        matches!(self.origin(headers), Origin::Foreign)
    }

    fn origin(&self, headers: &HeaderMap) -> Origin {
        let listed = |origin: &str| self.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let origin = origin.to_str().unwrap_or_default();
            let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
            let same = host.is_some_and(|host| headers.get(header::HOST).is_some_and(|value| value == host));
            let ours = origins.next().is_none() && (same || listed(origin));
            return if ours { Origin::Ours { named: true } } else { Origin::Foreign };
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            Some(b"same-origin" | b"none") => Origin::Ours { named: false },
            Some(_) => Origin::Foreign,
            None => Origin::Unsaid,
        }
    }
}

/// Where a request comes from.
enum Origin {
    /// From a page of ours or of a listed origin, named by `Origin`, or only by Fetch Metadata.
    Ours { named: bool },
    /// From another.
    Foreign,
    /// From a program.
    Unsaid,
}

/// The cookie's value.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE && !value.is_empty()).then_some(value)
    })
}

/// The signed-in user of a request; a handler that takes it can't be reached without.
pub(crate) struct SignedIn(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for SignedIn
where
    Identity: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Identity::from_ref(state).of_request(&parts.method, &parts.headers, false).await?))
    }
}

/// A signed-in user who may send commands. A handler takes it before the body: who may not do a thing learns nothing of how
/// it is asked for.
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

/// A signed-in admin, by the token; auth looks at the account, too.
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
