//! Password sign-in. Every failure takes the same time and returns the same response, so that an attacker learns nothing about
//! accounts.

use jiff::Timestamp;
use secrecy::SecretString;
use tracing::warn;
use turnpike_fault::{Fault, Kind};
use turnpike_store::Store;

use crate::{
    limits::Logins,
    password::{Hasher, Verdict},
    sessions::{self, Active, Proof, SessionError},
    users::{self, User},
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

/// The one response to every attempt that fails.
pub fn refused() -> Fault {
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
    let found = look_up(store, &attempt.identifier).await?;
    let user = found.as_ref().map(|(user, _)| user.id);
    let admitted = limits.admit(&attempt.ip, &attempt.identifier, user, now).await?;
    let count = |outcome| metrics::counter!("turnpike_auth_logins_total", "outcome" => outcome).increment(1);
    match judge(store, hasher, attempt, found, now).await {
        Ok(begun) => {
            count("ok");
            admitted.right(now).await;
            Ok(begun)
        }
        Err(fault) if fault.kind() == Kind::Unauthenticated => {
            count("refused");
            Err(admitted.wrong(fault))
        }
        Err(fault) => {
            count("not judged");
            admitted.not_checked().await;
            Err(fault)
        }
    }
}

async fn judge(
    store: &Store,
    hasher: &Hasher,
    attempt: Attempt,
    mut found: Option<(User, String)>,
    now: Timestamp,
) -> Result<(Active, String), Fault> {
    // The account may change between the look and the session. If it was the hash that another login has just renewed, the
    // password is as right as before; what else it was shows at the second look.
    for _ in 0..2 {
        let known = found.as_ref().map(|(_, hash)| hash.clone());
        let verdict = hasher.verify(attempt.password.clone(), known).await?;
        let Some((user, checked)) = found.filter(|(user, _)| verdict.right && user.active) else { break };
        let proof = Proof { renewed: renewed(hasher, &attempt.password, verdict, &checked).await, checked };
        match sessions::begin(store, user.id, &proof, &attempt.ip, &attempt.user_agent, now).await {
            Err(SessionError::Over) => found = look_up(store, &attempt.identifier).await?,
            begun => return Ok(begun?),
        }
    }
    Err(refused())
}

async fn look_up(store: &Store, identifier: &str) -> Result<Option<(User, String)>, Fault> {
    match possible(identifier) {
        true => users::find(store, identifier).await.map_err(turnpike_store::fault),
        false => Ok(None),
    }
}

/// Text that some account may have as its name. Databases differ in what other text they can even compare.
fn possible(identifier: &str) -> bool {
    (1..=MAX_IDENTIFIER).contains(&identifier.len()) && !identifier.contains(char::is_control)
}

/// The hash to keep from now on: another one if the one we have was made in a way that we no longer use.
async fn renewed(hasher: &Hasher, password: &SecretString, verdict: Verdict, checked: &str) -> String {
    if verdict.outdated {
        match hasher.hash(password.clone()).await {
            Ok(new) => return new,
            Err(fault) => warn!(%fault, "an old hash stays for now"),
        }
    }
    checked.to_owned()
}
