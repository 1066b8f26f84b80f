//! The sources of access tokens: the saved session for the server, else the password in the environment, else the one-time sign-in
//! of the process on this machine.

use std::{fmt, path::PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use turnpike::one_time::OneTime;
use turnpike_kit::{Clock, Environment, variables};

use super::{
    gateway::{Gateway, has_status, is_unauthorized},
    session::{LockedSession, Session, SessionFile},
};

#[derive(Clone)]
pub(crate) struct Credential {
    clock: Clock,
    server: String,
    /// `None` if the user has no home directory.
    file: Option<SessionFile>,
    /// The value of `--user`.
    user: Option<String>,
    /// The user and the password from the environment.
    password: Option<(String, SecretString)>,
    /// The directory that may contain a one-time sign-in.
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
        Ok(Self { clock: Clock::system(), server, file: saved_session(gateway)?, user, password, data_dir })
    }

    /// The end of the session that this access token belongs to, if the session is saved.
    pub(crate) fn saved_until(&self, token: &SecretString) -> Option<Timestamp> {
        let session = self.file.as_ref()?.load().ok()??;
        (session.access_token == token.expose_secret()).then_some(session.refresh_expires_at)
    }

    /// Returns an access token, but never `refused`.
    pub(crate) async fn token(
        &self,
        gateway: &Gateway,
        refused: Option<&SecretString>,
    ) -> anyhow::Result<SecretString> {
        let refused = refused.map(ExposeSecret::expose_secret);
        let usable = |session: &Session| {
            session.belongs_to(self.user.as_deref())
                && session.is_fresh(self.clock.now())
                && refused != Some(session.access_token.as_str())
        };
        if let Some(file) = &self.file {
            // Usually the saved session is usable and needs no lock. The one-time sign-in is read first: a client that uses it
            // saves its session before it removes the sign-in.
            let one_time = self.one_time();
            let session = file.load()?.filter(|session| session.belongs_to(self.user.as_deref()));
            match session {
                Some(session) if usable(&session) => return Ok(session.access_token.into()),
                None if one_time.is_none() => {}
                Some(_) | None => {
                    if let Some(token) = self.token_under_lock(gateway, &file.lock().await?, usable).await? {
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

    /// Uses or refreshes the saved session, else uses the one-time sign-in. The lock excludes other clients.
    async fn token_under_lock(
        &self,
        gateway: &Gateway,
        locked: &LockedSession<'_>,
        usable: impl Fn(&Session) -> bool,
    ) -> anyhow::Result<Option<SecretString>> {
        if let Some(session) = locked.load()?.filter(|session| session.belongs_to(self.user.as_deref())) {
            if usable(&session) {
                return Ok(Some(session.access_token.into())); // another client has just created or refreshed it
            }
            if let Some(token) = refresh(gateway, locked, &session, self.clock.now()).await? {
                return Ok(Some(token));
            }
        }
        match self.one_time() {
            Some(one_time) => self.redeem(gateway, locked, one_time).await,
            None => Ok(None),
        }
    }

    /// The one-time sign-in for this server and user. It is not used if the environment has a password.
    fn one_time(&self) -> Option<OneTime> {
        let of_user = |found: &OneTime| self.user.as_ref().is_none_or(|user| found.username.eq_ignore_ascii_case(user));
        let data_dir = self.data_dir.as_ref().filter(|_| self.password.is_none())?;
        OneTime::find(data_dir, &self.server, self.clock.now()).filter(of_user)
    }

    /// Exchanges the one-time sign-in for a session and saves it. `None` if the code is not accepted.
    async fn redeem(
        &self,
        gateway: &Gateway,
        locked: &LockedSession<'_>,
        one_time: OneTime,
    ) -> anyhow::Result<Option<SecretString>> {
        let Some(data_dir) = &self.data_dir else { return Ok(None) };
        let now = self.clock.now();
        let answer = match gateway.post_anonymous("/api/auth/one-time", &json!({ "code": one_time.code })).await {
            Ok(answer) => answer,
            Err(error) if is_unauthorized(&error) => {
                one_time.remove(data_dir, now); // the code was used, or belongs to another database
                return Ok(None);
            }
            // The connection is not local any more, or the server is a version without one-time codes.
            Err(error) if has_status(&error, StatusCode::FORBIDDEN) || has_status(&error, StatusCode::NOT_FOUND) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let session = Session::new(&gateway.base, &answer, now)?;
        locked.save(&session)?;
        one_time.remove(data_dir, now);
        Ok(Some(session.access_token.into()))
    }
}

/// The file of the saved session for a server; `None` if the user has no home directory.
pub(crate) fn saved_session(gateway: &Gateway) -> anyhow::Result<Option<SessionFile>> {
    turnpike_kit::config_home().map(|home| SessionFile::new(&home, &gateway.base)).transpose()
}

/// The user to sign in as if `--user` is missing.
pub(crate) fn default_user(env: &Environment) -> String {
    env.get(&variables::ADMIN_EMAIL).unwrap_or("admin").to_owned()
}

/// Signs in with a password; returns the response of the login.
pub(crate) async fn sign_in(gateway: &Gateway, user: &str, password: &SecretString) -> anyhow::Result<Value> {
    let name = if user.contains('@') { "email" } else { "username" };
    gateway.post_anonymous("/api/auth/login", &json!({ name: user, "password": password.expose_secret() })).await
}

/// Refreshes a saved session and returns the new access token. If the session has ended, removes it and returns `None`.
pub(crate) async fn refresh(
    gateway: &Gateway,
    locked: &LockedSession<'_>,
    session: &Session,
    now: Timestamp,
) -> anyhow::Result<Option<SecretString>> {
    match gateway.post_anonymous("/api/auth/refresh", &json!({ "refresh_token": session.refresh_token })).await {
        Ok(answer) => {
            let session = session.refreshed(&answer, now)?;
            locked.save(&session)?;
            Ok(Some(session.access_token.into()))
        }
        Err(error) if is_unauthorized(&error) => locked.remove().map(|()| None),
        Err(error) => Err(error),
    }
}

/// No credential is available.
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

/// Whether a retry is useless: there is no credential, or the gateway has refused it.
pub(crate) fn is_signed_out(error: &anyhow::Error) -> bool {
    error.is::<SignedOut>() || is_unauthorized(error)
}
