//! One-time sign-in codes. The process that runs everything issues one at its start and leaves it where only its own operating
//! system user can read it. A client that presents the code gets a session of the account `admin` without a password.

use std::{sync::LazyLock, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use turnpike_fault::Fault;
use turnpike_store::{Store, micros};
use turnpike_token::Role;

use crate::{
    bootstrap,
    limits::Logins,
    login, one_time_codes, random,
    sessions::{self, Active, SessionError},
    users::{self, UserError},
};

/// How long the code in the data directory can be used.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long the code of a printed link can be used. A terminal shows it to everybody who looks at it.
const LINK_LIFE: Duration = Duration::from_secs(15 * 60);

/// The account name under which attempts are counted. It is random, so that attempts under a known name cannot use up this limit.
static COUNTED_AS: LazyLock<String> = LazyLock::new(random::token);

/// An issued code. It is known only here: the database has its hash.
pub struct OneTimeCode {
    /// 32 random bytes as text.
    pub code: SecretString,
    /// The username of the account that it signs in.
    pub username: String,
    pub expires_at: Timestamp,
}

/// Issues a code for the account `admin`, which replaces the code issued before. `None` if that account is not an active admin
/// any more; no other account takes its place.
pub async fn issue(store: &Store, now: Timestamp) -> Result<Option<OneTimeCode>, sqlx::Error> {
    insert(store, LIFE, true, now).await
}

/// Issues a code for the link that the first start prints, beside the code issued before. It works for 15 minutes.
pub async fn issue_link(store: &Store, now: Timestamp) -> Result<Option<OneTimeCode>, sqlx::Error> {
    insert(store, LINK_LIFE, false, now).await
}

async fn insert(
    store: &Store,
    life: Duration,
    replaces: bool,
    now: Timestamp,
) -> Result<Option<OneTimeCode>, sqlx::Error> {
    let Some((found, _)) = users::find(store, bootstrap::USERNAME).await? else { return Ok(None) };
    let mut tx = store.begin().await?;
    let user = match users::locked(&mut tx, &found.id.to_string()).await {
        Ok(user) if user.active && user.role == Role::Admin => user,
        Err(UserError::Database(error)) => return Err(error),
        Ok(_) | Err(_) => return Ok(None),
    };
    if replaces {
        one_time_codes::withdraw(&mut tx, user.id).await?;
    }
    let (code, expires_at) = (SecretString::from(random::token()), now + life);
    sqlx::query("INSERT INTO one_time_codes (hash, user_id, expires_at) VALUES ($1, $2, $3)")
        .bind(random::hash(code.expose_secret()))
        .bind(user.id.to_string())
        .bind(micros(expires_at))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Some(OneTimeCode { code, username: user.username, expires_at }))
}

/// Exchanges a code for a session: if several requests present it at once, one gets the session. Every failure (unknown, used,
/// expired, account inactive) returns the same response as a wrong password. Attempts count against the same limits as passwords.
pub async fn redeem(
    store: &Store,
    limits: &Logins,
    code: &SecretString,
    ip: &str,
    user_agent: &str,
    now: Timestamp,
) -> Result<(Active, String), Fault> {
    let admitted = limits.admit(ip, &COUNTED_AS, None, now).await?;
    let count = |outcome| metrics::counter!("turnpike_auth_logins_total", "outcome" => outcome).increment(1);
    match exchange(store, code, ip, user_agent, now).await {
        Ok(begun) => {
            count("ok");
            admitted.right(now).await;
            Ok(begun)
        }
        Err(SessionError::Database(error)) => {
            count("not checked");
            admitted.not_checked().await;
            Err(turnpike_store::fault(error))
        }
        Err(SessionError::Over | SessionError::Inactive | SessionError::NotFound) => {
            count("refused");
            Err(admitted.wrong(login::refused()))
        }
    }
}

async fn exchange(
    store: &Store,
    code: &SecretString,
    ip: &str,
    user_agent: &str,
    now: Timestamp,
) -> Result<(Active, String), SessionError> {
    let hash = random::hash(code.expose_secret());
    let known = sqlx::query("SELECT user_id FROM one_time_codes WHERE hash = $1 AND expires_at > $2")
        .bind(&hash)
        .bind(micros(now))
        .fetch_optional(store.pool())
        .await?
        .ok_or(SessionError::Over)?;
    // The account is locked first, as in every transaction that changes it; so that two of them cannot wait for each other.
    let mut tx = store.begin().await?;
    let user = match users::locked(&mut tx, &known.try_get::<String, _>("user_id")?).await {
        Ok(user) if user.active => user,
        Err(UserError::Database(error)) => return Err(error.into()),
        Ok(_) | Err(_) => return Err(SessionError::Inactive),
    };
    let used = sqlx::query("DELETE FROM one_time_codes WHERE hash = $1").bind(&hash).execute(&mut *tx).await?;
    if used.rows_affected() == 0 {
        return Err(SessionError::Over); // another request has used the code
    }
    let begun = sessions::insert(&mut tx, user, ip, user_agent, now).await?;
    tx.commit().await?;
    Ok(begun)
}
