//! Where access tokens come from.

use std::{future::Future, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// A source of access tokens, or an API key.
pub trait Credential: Send {
    /// A token. With `refused`, the gateway did not accept the last one, or it is about to expire: another one is needed. The future may
    /// be dropped and the call repeated.
    fn token(&mut self, refused: bool) -> impl Future<Output = Result<SecretString, CredentialError>> + Send;
}

/// There is no token.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Another attempt is useless: somebody must sign in.
    #[error("{0}")]
    SignedOut(String),
    /// A later attempt can succeed.
    #[error("{0}")]
    Unavailable(String),
}

/// One token that is never replaced: an API key, or an access token for a short time.
pub struct Fixed(pub SecretString);

impl Credential for Fixed {
    async fn token(&mut self, refused: bool) -> Result<SecretString, CredentialError> {
        match refused {
            false => Ok(self.0.clone()),
            true => Err(CredentialError::SignedOut("the gateway does not accept this token".to_owned())),
        }
    }
}

/// A token is replaced this long before it expires.
const MARGIN: Duration = Duration::from_secs(60);

/// How long an access token is used, if it is one of 15 minutes: from `now`, in seconds since 1970. `None`: it does not expire, or this
/// cannot be seen.
pub(crate) fn usable_for(token: &SecretString, now: Duration) -> Option<Duration> {
    let claims = token.expose_secret().split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let expires = Duration::from_secs(claims["exp"].as_u64()?);
    // A clock that is wrong must not make the client renew without a pause.
    Some(expires.saturating_sub(now).saturating_sub(MARGIN).max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_is_used_until_a_minute_before_its_expiry() {
        let token = |claims: &str| SecretString::from(format!("head.{}.sign", BASE64_URL_SAFE_NO_PAD.encode(claims)));
        let used = |claims: &str| usable_for(&token(claims), Duration::from_secs(1000));
        assert_eq!(used(r#"{"exp":1900}"#), Some(Duration::from_secs(840)));
        assert_eq!(used(r#"{"exp":900}"#), Some(Duration::from_secs(1)));
        assert_eq!(used("{}"), None);
        assert_eq!(usable_for(&SecretString::from("tp_key"), Duration::ZERO), None);
    }
}
