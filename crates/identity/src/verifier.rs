//! Verification of access tokens: first the signature, with auth's published keys, then that the session has not ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tracing::warn;
use turnpike_fault::Fault;
use turnpike_proto::auth::v1 as pb;
use turnpike_rpc::{Authenticate, Transport};
use turnpike_token::{Claims, KeySet, Refused, Role};

use crate::{
    AccessToken, Caller, Refusal, Revocations,
    verified::{self, Verified},
};

/// Verifies access tokens in this process. The keys are fetched from auth once, and again when a token names a key that is not
/// known.
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

/// The shortest time between two fetches: a client can send tokens with invented key ids as fast as it likes.
const REFETCH: Duration = Duration::from_secs(10);
/// The same while no key is known. No token can be verified then, so auth is asked more often.
const FIRST_FETCH: Duration = Duration::from_millis(500);

impl Verifier {
    /// A verifier with these keys, for auth itself.
    pub fn local(keys: KeySet) -> Self {
        let keys = RwLock::new(Arc::new(keys));
        Self(Arc::new(Inner { keys, verified: Verified::default(), source: None, revocations: None }))
    }

    /// A verifier that fetches the keys from auth and refuses tokens of sessions and accounts in `revocations`.
    pub fn remote(auth: Transport, revocations: Revocations) -> Self {
        let source = Some(Source { auth, last_fetch: Mutex::new(None) });
        let keys = RwLock::default();
        Self(Arc::new(Inner { keys, verified: Verified::default(), source, revocations: Some(revocations) }))
    }

    /// Replaces the keys, and forgets the tokens that were verified with the old ones.
    pub fn replace_keys(&self, keys: KeySet) {
        *self.0.keys.write() = Arc::new(keys);
        self.0.verified.clear();
    }

    /// The caller that this token identifies.
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
        let mut verified = keys.verify(token, now);
        if matches!(verified, Err(Refused::UnknownKey { .. })) && self.0.source.is_some() {
            self.fetch_keys().await?;
            keys = self.keys();
            verified = keys.verify(token, now);
        }
        if let Ok(claims) = &verified {
            self.0.verified.insert(fingerprint, claims.clone(), || Arc::ptr_eq(&keys, &self.keys()));
        }
        Ok(verified)
    }

    fn keys(&self) -> Arc<KeySet> {
        self.0.keys.read().clone()
    }

    /// A failed fetch keeps the known keys. Concurrent callers wait for one fetch and share its result.
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

impl Authenticate for Verifier {
    type Caller = Caller;

    async fn authenticate(&self, token: &str, now: Timestamp) -> Result<(Role, Caller), Fault> {
        let caller = self.verify(token, now).await?;
        Ok((caller.claims.role, caller))
    }
}
