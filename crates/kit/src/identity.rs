//! How a process knows its callers: the token's signature by the published keys, and that its session has not ended.

use std::{
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Mutex;
use tracing::warn;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::auth::v1 as pb;
use turnpike_token::{Claims, KeySet, Refused};

use crate::{
    Revocations, Transport,
    verified::{self, Verified},
};

/// A caller whose token was verified.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What the token says.
    pub claims: Claims,
    /// The token itself, to pass on to the next service.
    pub token: AccessToken,
}

/// A token that does not print itself.
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

    /// A gRPC request that carries it.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        // A verified token is base64 and dots; anything else goes out without, and is refused at the other end.
        if let Ok(value) = format!("Bearer {}", self.0).parse() {
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessToken(***)")
    }
}

/// The caller of a gRPC method that [`crate::Access::Role`] guards.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<&Caller, Fault> {
    request.extensions().get().ok_or_else(|| Fault::from(Refusal::Missing))
}

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no credential.
    #[error("Missing authentication token")]
    Missing,
    /// It proves nothing.
    #[error("Invalid authentication token")]
    Invalid,
    /// It did once.
    #[error("The access token has expired")]
    Expired,
    /// Its session is over.
    #[error("The session has ended")]
    SessionEnded,
    /// Its account is switched off.
    #[error("User account is inactive")]
    Inactive,
    /// Nobody can tell: the keys can't be had.
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

/// Verifies access tokens without asking anyone: the keys are fetched from auth once, and again when a token names a key
/// that is not known.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keys: RwLock<Arc<KeySet>>,
    verified: Verified,
    source: Option<Source>,
    revocations: Option<Revocations>,
}

struct Source {
    auth: Transport,
    last_fetch: Mutex<Option<Instant>>,
}

/// A stranger can invent key ids as fast as he likes; auth is asked no more often than this.
const REFETCH: Duration = Duration::from_secs(10);
/// While there is no key at all, nothing works: ask more often.
const FIRST_FETCH: Duration = Duration::from_millis(500);

impl Verifier {
    /// With the keys at hand: auth itself.
    pub fn local(keys: KeySet) -> Self {
        let keys = RwLock::new(Arc::new(keys));
        Self(Arc::new(Inner { keys, verified: Verified::default(), source: None, revocations: None }))
    }

    /// With keys from auth, refusing what `revocations` knows to have ended.
    pub fn remote(auth: Transport, revocations: Revocations) -> Self {
        let source = Some(Source { auth, last_fetch: Mutex::new(None) });
        let keys = RwLock::default();
        Self(Arc::new(Inner { keys, verified: Verified::default(), source, revocations: Some(revocations) }))
    }

    /// Other keys from now on.
    pub fn replace_keys(&self, keys: KeySet) {
        *self.0.keys.write().expect("no panic while it is held") = Arc::new(keys);
        self.0.verified.clear();
    }

    /// Who the bearer of this token is.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let fingerprint = verified::fingerprint(token);
        let claims = match self.0.verified.get(&fingerprint) {
            Some(claims) if claims.expires_at <= now => Err(Refused::Expired),
            Some(claims) => Ok(claims),
            None => self.verify_signature(token, fingerprint, now).await?,
        };
        let claims = claims.map_err(|refused| match refused {
            Refused::Expired => Refusal::Expired,
            Refused::Invalid | Refused::UnknownKey { .. } => Refusal::Invalid,
        })?;
        if let Some(revocations) = &self.0.revocations {
            revocations.check(&claims)?;
        }
        Ok(Caller { claims, token: AccessToken::new(token) })
    }

    async fn verify_signature(
        &self,
        token: &str,
        fingerprint: [u8; 32],
        now: Timestamp,
    ) -> Result<Result<Claims, Refused>, Refusal> {
        let mut keys = self.keys();
        let mut judged = keys.verify(token, now);
        if matches!(judged, Err(Refused::UnknownKey { .. })) && self.0.source.is_some() {
            self.fetch_keys().await?;
            keys = self.keys();
            judged = keys.verify(token, now);
        }
        if let Ok(claims) = &judged {
            self.0.verified.insert(fingerprint, claims.clone(), || Arc::ptr_eq(&keys, &self.keys()));
        }
        Ok(judged)
    }

    fn keys(&self) -> Arc<KeySet> {
        self.0.keys.read().expect("no panic while it is held").clone()
    }

    /// A good key is never dropped on a failed fetch. Concurrent callers wait for one fetch and share its result.
    async fn fetch_keys(&self) -> Result<(), Refusal> {
        let Some(source) = &self.0.source else { return Ok(()) };
        let mut last = source.last_fetch.lock().await;
        let pause = if self.keys().is_empty() { FIRST_FETCH } else { REFETCH };
        let empty = |keys: &KeySet| if keys.is_empty() { Err(Refusal::Unavailable) } else { Ok(()) };
        if last.is_some_and(|at| at.elapsed() < pause) {
            return empty(&self.keys());
        }
        *last = Some(Instant::now());
        let answer =
            pb::auth_service_client::AuthServiceClient::new(source.auth.clone()).get_jwks(pb::GetJwksRequest {}).await;
        match answer.map(|answer| KeySet::from_jwks(&answer.into_inner().jwks_json)) {
            Ok(Ok(keys)) if !keys.is_empty() => self.replace_keys(keys),
            Ok(_) => warn!("auth published a key set without keys"),
            Err(status) => warn!(code = ?status.code(), "the keys could not be fetched from auth"),
        }
        empty(&self.keys())
    }
}
