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

pub struct Attempt {
    /// An e-mail address or a username.
    pub identifier: String,
    pub password: SecretString,
    pub ip: String,
    pub user_agent: String,
}

/// Longer than any e-mail address or username.
const MAX_IDENTIFIER: usize = 320;

/// The one response to every attempt that fails.
pub fn refused() -> Fault {
    Fault::new(Kind::Unauthenticated, "Invalid credentials").code_is("INVALID_CREDENTIALS")
}

/// Begins a session, or refuses the attempt. Unknown and inactive accounts and wrong passwords take one look-up and one hash
/// each, and get the same response. Returns the session and the value of its cookie.
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
    match check(store, hasher, attempt, found, now).await {
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
            count("not checked");
            admitted.not_checked().await;
            Err(fault)
        }
    }
}

async fn check(
    store: &Store,
    hasher: &Hasher,
    attempt: Attempt,
    mut found: Option<(User, String)>,
    now: Timestamp,
) -> Result<(Active, String), Fault> {
    // The account can change between the look-up and the start of the session. If another login has just renewed the hash, the
    // password is still right; the second look-up finds every other change.
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

/// Whether an account can have this name. Databases differ in the other texts that they can compare.
fn possible(identifier: &str) -> bool {
    (1..=MAX_IDENTIFIER).contains(&identifier.len()) && !identifier.contains(char::is_control)
}

/// The hash to store: a new one if the present one was made with outdated parameters.
async fn renewed(hasher: &Hasher, password: &SecretString, verdict: Verdict, checked: &str) -> String {
    if verdict.outdated {
        match hasher.hash(password.clone()).await {
            Ok(new) => return new,
            Err(fault) => warn!(%fault, "an outdated password hash could not be renewed"),
        }
    }
    checked.to_owned()
}
