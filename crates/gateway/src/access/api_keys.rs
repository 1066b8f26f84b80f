//! API keys. A key is exchanged at auth for a short access token of its owner, which is cached here, so that services receive one
//! kind of credential and auth is asked once in about 14 minutes.

use std::{sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use turnpike_fault::{Fault, Kind};
use turnpike_identity::{AccessToken, Caller, Refusal, Verifier};
use turnpike_kit::Clock;
use turnpike_proto::auth::v1::{self as pb, api_key_service_client::ApiKeyServiceClient};
use turnpike_rpc::Transport;
use turnpike_token::{ApiKey, ApiKeyClaims};
use turnpike_topic::ApiKeyId;

/// Keys whose access tokens are cached, and keys whose requests are counted. Keys that are used least are dropped.
const MAX_KEYS: usize = 10_000;
/// Refused keys that are remembered. They are not among the others, so that invented keys displace no valid one.
const MAX_REFUSED: usize = 10_000;
/// How long a refusal is remembered.
const REFUSED: Duration = Duration::from_secs(5);
/// Pause between two exchanges of a key while auth does not answer and the key's token is still valid.
const RETRY: Duration = Duration::from_secs(5);
/// A cached token is replaced this long before it expires, or after three quarters of a shorter life.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct ApiKeyCallers(Arc<Inner>);

struct Inner {
    verifier: Verifier,
    auth: ApiKeyServiceClient<Transport>,
    clock: Clock,
    /// The caches know digests of keys: a key itself is not in memory for longer than its request.
    known: Cache<Digest, Known>,
    refused: Cache<Digest, Refused>,
    in_use: Cache<ApiKeyId, Arc<InUse>>,
}

/// A key that was accepted.
struct InUse {
    digest: Digest,
    /// `None`: the key has no limit.
    limiter: Option<DefaultDirectRateLimiter>,
}

type Digest = [u8; 32];

#[derive(Clone)]
struct Known {
    token: AccessToken,
    until: Timestamp,
}

#[derive(Clone)]
struct Refused {
    fault: Fault,
    until: Timestamp,
}

impl ApiKeyCallers {
    pub(crate) fn new(verifier: Verifier, auth: Transport, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            verifier,
            auth: ApiKeyServiceClient::new(auth),
            clock,
            known: Cache::new(MAX_KEYS),
            refused: Cache::new(MAX_REFUSED),
            in_use: Cache::new(MAX_KEYS),
        }))
    }

    /// The owner of a key, as the caller of one request, which counts against the limit of the key.
    pub(crate) async fn caller(&self, text: &str) -> Result<Caller, Fault> {
        let key = ApiKey::parse(text).ok_or_else(|| {
            Fault::new(Kind::Unauthenticated, "The API key is not complete or has a mistake: copy it again")
                .code_is("INVALID_API_KEY")
        })?;
        let caller = self.0.of_digest(key.digest()).await?;
        if let Some(claims) = &caller.claims.api_key {
            self.0.count(claims, key.digest())?;
        }
        Ok(caller)
    }

    /// The caller of a key that was used before, with a token that does not expire soon. [`Refusal::Expired`] if the key was
    /// dropped from the cache.
    pub(crate) async fn again(&self, key: ApiKeyId) -> Result<Caller, Fault> {
        let in_use = self.0.in_use.get(&key).ok_or(Refusal::Expired)?;
        self.0.of_digest(in_use.digest).await
    }
}

impl Inner {
    async fn of_digest(&self, digest: Digest) -> Result<Caller, Fault> {
        let mut stale = None;
        if let Some(known) = self.known.get(&digest) {
            match self.verify(&known).await {
                Ok(caller) if known.until > self.clock.now() => return Ok(caller),
                Ok(_) => stale = Some(known.clone()),
                // The key may begin another session: its owner got another role, or is active again.
                Err(Refusal::SessionEnded | Refusal::Inactive | Refusal::Expired) => {}
                Err(refusal) => return Err(refusal.into()),
            }
            self.known.remove_if(&digest, |newest| newest.until == known.until);
        }
        self.check_not_refused(&digest)?;
        // Of many requests with one key, one exchanges it, and the others wait for the result.
        match self.known.get_value_or_guard_async(&digest).await {
            Ok(known) => Ok(self.verify(&known).await?),
            Err(guard) => {
                self.check_not_refused(&digest)?;
                let known = match (self.exchange(digest).await, stale) {
                    (Ok(known), _) => known,
                    // Auth does not answer. The token that should have been replaced is valid for some more time.
                    (Err(fault), Some(stale)) if fault.kind() != Kind::Unauthenticated => {
                        Known { until: self.clock.now() + RETRY, ..stale }
                    }
                    (Err(fault), _) => return Err(fault),
                };
                let caller = self.verify(&known).await?;
                // Fails only if the entry was removed meanwhile; the next request exchanges the key again.
                let _ = guard.insert(known);
                Ok(caller)
            }
        }
    }

    async fn verify(&self, known: &Known) -> Result<Caller, Refusal> {
        self.verifier.verify(known.token.expose(), self.clock.now()).await
    }

    fn check_not_refused(&self, digest: &Digest) -> Result<(), Fault> {
        match self.refused.get(digest) {
            Some(refused) if refused.until > self.clock.now() => Err(refused.fault),
            Some(_) | None => Ok(()),
        }
    }

    async fn exchange(&self, digest: Digest) -> Result<Known, Fault> {
        let now = self.clock.now();
        let request = pb::ExchangeApiKeyRequest { key_sha256: digest.to_vec() };
        let answer = self.auth.clone().exchange_api_key(request).await.map_err(|status| {
            let fault = Fault::from(&status);
            if fault.kind() == Kind::Unauthenticated {
                self.refused.insert(digest, Refused { fault: fault.clone(), until: now + REFUSED });
            }
            fault
        })?;
        let answer = answer.into_inner();
        let lifetime = Duration::from_secs(answer.expires_in.into());
        let until = now + (lifetime - RENEWAL_MARGIN.min(lifetime / 4));
        Ok(Known { token: AccessToken::new(answer.access_token), until })
    }

    /// Counts a request. The requests of a whole minute may arrive at once.
    fn count(&self, key: &ApiKeyClaims, digest: Digest) -> Result<(), Fault> {
        let limiter = || key.requests_per_minute.map(|times| RateLimiter::direct(Quota::per_minute(times)));
        let in_use = self
            .in_use
            .get_or_insert_with(&key.id, || Ok::<_, Fault>(Arc::new(InUse { digest, limiter: limiter() })))?;
        let (Some(limiter), Some(times)) = (&in_use.limiter, key.requests_per_minute) else { return Ok(()) };
        limiter.check().map_err(|until| {
            let wait = until.wait_time_from(limiter.clock().now());
            let detail = format!("The API key may send {times} requests a minute");
            Fault::new(Kind::RateLimited, detail).retry_after(wait)
        })
    }
}
