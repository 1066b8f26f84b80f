//! Signing in: the same work and the same answer, whoever it is not.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;
use turnpike_fault::{Fault, Kind};
use turnpike_store::Store;

use crate::{
    limits::Logins,
    password::Hasher,
    sessions::{self, Active},
    users,
};

/// What somebody signs in with.
pub struct Attempt {
    /// An e-mail address or a username.
    pub identifier: String,
    /// The password, perhaps.
    pub password: SecretString,
    /// From where.
    pub ip: String,
    /// With what.
    pub user_agent: String,
}

/// Longer than any name of ours.
const MAX_IDENTIFIER: usize = 320;

/// The one answer to every attempt that fails.
fn refused() -> Fault {
    Fault::new(Kind::Unauthenticated, "Invalid credentials").code_is("INVALID_CREDENTIALS")
}

/// Begins a session, or refuses. An unknown, a wrong, an inactive account: each takes one look-up and one hash, and gets the
/// same bytes. Gives the session and the cookie's value.
pub async fn login(
    store: &Store,
    hasher: &Hasher,
    limits: &Logins,
    attempt: Attempt,
    now: Timestamp,
) -> Result<(Active, String), Fault> {
    limits.count(&attempt.ip, &attempt.identifier)?;
    let found = match attempt.identifier.len() {
        1..=MAX_IDENTIFIER => users::find(store, &attempt.identifier).await.map_err(turnpike_store::fault)?,
        _ => None,
    };
    let known = found.as_ref().map(|(_, hash)| hash.clone());
    let verdict = hasher.verify(attempt.password.clone(), known).await?;
    let Some((user, old)) = found.filter(|(user, _)| verdict.right && user.active) else {
        metrics::counter!("turnpike_auth_logins_total", "outcome" => "refused").increment(1);
        return Err(refused());
    };
    if verdict.outdated {
        let password = SecretString::from(attempt.password.expose_secret());
        match hasher.hash(password).await {
            Ok(new) => users::rehash(store, user.id, &old, &new).await.map_err(turnpike_store::fault)?,
            Err(fault) => warn!(%fault, "an old hash stays for now"),
        }
    }
    metrics::counter!("turnpike_auth_logins_total", "outcome" => "ok").increment(1);
    Ok(sessions::begin(store, &user, &attempt.ip, &attempt.user_agent, now).await?)
}
