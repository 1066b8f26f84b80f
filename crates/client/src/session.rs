//! A session of a user: signs in with a password, and refreshes its access token.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{Credential, CredentialError};

/// For a request to the gateway.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A signed-in user. It is a [`Credential`] that lasts as long as the session.
pub struct Session {
    http: reqwest::Client,
    base: String,
    access: SecretString,
    refresh: SecretString,
}

impl Session {
    /// Signs in with a username, or an e-mail address, and a password.
    pub async fn sign_in(base: &str, user: &str, password: &SecretString) -> Result<Self, CredentialError> {
        let http = http()?;
        let base = base.trim_end_matches('/').to_owned();
        let name = if user.contains('@') { "email" } else { "username" };
        let body = json!({ name: user, "password": password.expose_secret() });
        let answer = post(&http, &format!("{base}/api/auth/login"), &body).await?;
        let mut session = Self { http, base, access: SecretString::default(), refresh: SecretString::default() };
        session.take(&answer)?;
        Ok(session)
    }

    /// A session that exists, by its tokens.
    pub fn resume(base: &str, access: SecretString, refresh: SecretString) -> Result<Self, CredentialError> {
        let http = http()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), access, refresh })
    }

    fn take(&mut self, answer: &Value) -> Result<(), CredentialError> {
        let token = |name: &str| {
            let missing = || CredentialError::Unavailable(format!("the response has no {name}"));
            answer[name].as_str().map(SecretString::from).ok_or_else(missing)
        };
        (self.access, self.refresh) = (token("access_token")?, token("refresh_token")?);
        Ok(())
    }
}

impl Credential for Session {
    /// A refresh that is dropped may have used the refresh token: the gateway accepts the same one again for 30 s.
    async fn token(&mut self, refused: bool) -> Result<SecretString, CredentialError> {
        if refused {
            let body = json!({ "refresh_token": self.refresh.expose_secret() });
            let answer = post(&self.http, &format!("{}/api/auth/refresh", self.base), &body).await?;
            self.take(&answer)?;
        }
        Ok(self.access.clone())
    }
}

fn http() -> Result<reqwest::Client, CredentialError> {
    let builder = reqwest::Client::builder().no_proxy().timeout(TIMEOUT);
    builder
        .user_agent(concat!("turnpike-client/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| unavailable(&error))
}

async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Result<Value, CredentialError> {
    let answer = http.post(url).json(body).send().await.map_err(|error| unavailable(&error))?;
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    let detail = body["detail"].as_str().unwrap_or("no details").to_owned();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => {
            Err(CredentialError::SignedOut(detail))
        }
        _ => Err(CredentialError::Unavailable(format!("{detail} ({status})"))),
    }
}

/// Without the URL, which is known, and the body, which is secret.
fn unavailable(error: &reqwest::Error) -> CredentialError {
    let what = if error.is_timeout() { "the gateway does not answer" } else { "the gateway cannot be reached" };
    CredentialError::Unavailable(what.to_owned())
}
