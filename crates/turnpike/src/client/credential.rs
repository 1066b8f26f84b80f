//! How a client proves who its user is: with the kept session of the server, else with the password in the environment, else with
//! the one-time sign-in that the one process on this machine has left.

use std::{fmt, path::PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use turnpike::one_time::OneTime;
use turnpike_kit::{Clock, Environment, variables};

use super::{
    gateway::{Gateway, is, is_unauthorized},
    session::{Kept, Locked, Session},
};

/// Where access tokens come from.
#[derive(Clone)]
pub(crate) struct Credential {
    clock: Clock,
    server: String,
    /// The place of the server's session; none for a user without a home.
    kept: Option<Kept>,
    /// The user that the command line names.
    user: Option<String>,
    /// The user and the password of the environment.
    password: Option<(String, SecretString)>,
    /// Where a one-time sign-in may lie.
    data_dir: Option<PathBuf>,
}

impl Credential {
    pub(crate) fn new(
        env: &Environment,
        gateway: &Gateway,
        user: Option<String>,
        data_dir: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let name = user.clone().unwrap_or_else(|| default_user(env));
        let password = env.get(&variables::ADMIN_PASSWORD).map(|password| (name, SecretString::from(password)));
        let server = gateway.base.clone();
        Ok(Self { clock: Clock::system(), server, kept: kept(gateway)?, user, password, data_dir })
    }

    /// When the session that this access token is of ends, if it is kept.
    pub(crate) fn kept_until(&self, token: &SecretString) -> Option<Timestamp> {
        let session = self.kept.as_ref()?.load().ok()??;
        (session.access_token == token.expose_secret()).then_some(session.refresh_expires_at)
    }

    /// An access token; another one than `refused`.
    pub(crate) async fn token(
        &self,
        gateway: &Gateway,
        refused: Option<&SecretString>,
    ) -> anyhow::Result<SecretString> {
        let refused = refused.map(ExposeSecret::expose_secret);
        let usable = |session: &Session| {
            session.is_of(self.user.as_deref())
                && session.is_fresh(self.clock.now())
                && refused != Some(session.access_token.as_str())
        };
        if let Some(kept) = &self.kept {
            // Mostly there is nothing to change, and nothing is locked or written. In this order: another client that has just used
            // up the one-time sign-in has kept its session before.
            let left = self.left();
            let session = kept.load()?.filter(|session| session.is_of(self.user.as_deref()));
            match session {
                Some(session) if usable(&session) => return Ok(session.access_token.into()),
                None if left.is_none() => {}
                Some(_) | None => {
                    if let Some(token) = self.under_lock(gateway, &kept.lock().await?, usable).await? {
                        return Ok(token);
                    }
                }
            }
        }
        match &self.password {
            Some((user, password)) => {
                let answer = sign_in(gateway, user, password).await?;
                Ok(answer["access_token"].as_str().context("the gateway's answer has no access_token")?.into())
            }
            None => Err(SignedOut { server: gateway.base.clone() }.into()),
        }
    }

    /// From the kept session, as it is once no other client changes it, else from the one-time sign-in.
    async fn under_lock(
        &self,
        gateway: &Gateway,
        locked: &Locked<'_>,
        usable: impl Fn(&Session) -> bool,
    ) -> anyhow::Result<Option<SecretString>> {
        if let Some(session) = locked.load()?.filter(|session| session.is_of(self.user.as_deref())) {
            if usable(&session) {
                return Ok(Some(session.access_token.into())); // another client has just begun or refreshed it
            }
            if let Some(token) = refresh(gateway, locked, &session, self.clock.now()).await? {
                return Ok(Some(token));
            }
        }
        match self.left() {
            Some(left) => self.redeem(gateway, locked, left).await,
            None => Ok(None),
        }
    }

    /// The one-time sign-in that a process on this machine has left for this client, if it needs one.
    fn left(&self) -> Option<OneTime> {
        let of_user = |left: &OneTime| self.user.as_ref().is_none_or(|user| left.username.eq_ignore_ascii_case(user));
        let data_dir = self.data_dir.as_ref().filter(|_| self.password.is_none())?;
        OneTime::find(data_dir, &self.server, self.clock.now()).filter(of_user)
    }

    /// Exchanges the one-time sign-in for a session, which is kept.
    async fn redeem(
        &self,
        gateway: &Gateway,
        locked: &Locked<'_>,
        left: OneTime,
    ) -> anyhow::Result<Option<SecretString>> {
        let Some(data_dir) = &self.data_dir else { return Ok(None) };
        let now = self.clock.now();
        let answer = match gateway.ask("/api/auth/one-time", &json!({ "code": left.code })).await {
            Ok(answer) => answer,
            Err(error) if is_unauthorized(&error) => {
                left.forget(data_dir, now); // used, or of another database
                return Ok(None);
            }
            // No longer on this machine, or of a version that knows no codes.
            Err(error) if is(&error, StatusCode::FORBIDDEN) || is(&error, StatusCode::NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let session = Session::begun(&gateway.base, &answer, now)?;
        locked.save(&session)?;
        left.forget(data_dir, now);
        Ok(Some(session.access_token.into()))
    }
}

/// The place of a server's session; none for a user without a home.
pub(crate) fn kept(gateway: &Gateway) -> anyhow::Result<Option<Kept>> {
    turnpike_kit::config_home().map(|home| Kept::at(&home, &gateway.base)).transpose()
}

/// Whom a password is of, if nobody is named.
pub(crate) fn default_user(env: &Environment) -> String {
    env.get(&variables::ADMIN_EMAIL).unwrap_or("admin").to_owned()
}

/// Signs in with a password; gives the whole answer.
pub(crate) async fn sign_in(gateway: &Gateway, user: &str, password: &SecretString) -> anyhow::Result<Value> {
    let name = if user.contains('@') { "email" } else { "username" };
    gateway.ask("/api/auth/login", &json!({ name: user, "password": password.expose_secret() })).await
}

/// Refreshes a session that is locked. `None` if it has ended; then it is not kept any longer.
pub(crate) async fn refresh(
    gateway: &Gateway,
    locked: &Locked<'_>,
    session: &Session,
    now: Timestamp,
) -> anyhow::Result<Option<SecretString>> {
    match gateway.ask("/api/auth/refresh", &json!({ "refresh_token": session.refresh_token })).await {
        Ok(answer) => {
            let session = session.refreshed(&answer, now)?;
            locked.save(&session)?;
            Ok(Some(session.access_token.into()))
        }
        Err(error) if is_unauthorized(&error) => locked.remove().map(|()| None),
        Err(error) => Err(error),
    }
}

/// There is nothing to sign in with.
#[derive(Debug)]
pub(crate) struct SignedOut {
    pub(crate) server: String,
}

impl fmt::Display for SignedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server } = self;
        write!(f, "not signed in at {server}: run `{} login --server {server}`", turnpike_kit::executable())
    }
}

impl std::error::Error for SignedOut {}

/// Whether another attempt would fail like this one: there is no credential, or the gateway has refused it.
pub(crate) fn is_signed_out(error: &anyhow::Error) -> bool {
    error.is::<SignedOut>() || is_unauthorized(error)
}
