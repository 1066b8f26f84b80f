//! Exchanging an API key for an access token. A key has a session like a sign-in has, which begins with its first use: whatever
//! ends sessions (revocation, deactivation, a changed role) ends the tokens and sockets of the key in the same way.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Any, Executor, Row, any::AnyRow};
use turnpike_fault::{Fault, Kind};
use turnpike_store::{Store, from_micros, micros};
use turnpike_token::{ApiKeyClaims, LIFETIME, Scopes};

use crate::{
    api_keys::{corrupt_column, requests_per_minute, tokens_per_day},
    sessions::{self, Active, SessionError, session_id},
    users::{self, User, UserError},
};

/// The precision of `last_used_at`.
const USED: Duration = Duration::from_secs(60);

/// A valid key: its session, its limits and its expiry.
#[derive(Clone, Debug)]
pub struct Exchanged {
    pub session: Active,
    pub key: ApiKeyClaims,
    pub expires_at: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("there is no such API key")]
    Unknown,
    #[error("the API key has expired")]
    Expired,
    #[error("the account is inactive")]
    Inactive,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<ExchangeError> for Fault {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Unknown => Self::new(Kind::Unauthenticated, "The API key does not exist, or was revoked")
                .code_is("INVALID_API_KEY"),
            ExchangeError::Expired => {
                Self::new(Kind::Unauthenticated, "The API key has expired").code_is("API_KEY_EXPIRED")
            }
            ExchangeError::Inactive => SessionError::Inactive.into(),
            ExchangeError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// A key as one statement found it, so that the role and the session belong together.
struct Found {
    user: User,
    key: ApiKeyClaims,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    session: Option<Active>,
}

/// The session of the key with this stored hash. The first use begins it.
pub async fn exchange(store: &Store, hash: &str, now: Timestamp) -> Result<Exchanged, ExchangeError> {
    let found = find(store.reader(), hash, now).await?;
    let session = match found.session {
        Some(session) => {
            if found.last_used_at.is_none_or(|at| at < now - USED) {
                used(store.pool(), &found.key, now).await?;
            }
            session
        }
        None => begin(store, found.user, hash, now).await?,
    };
    Ok(Exchanged { session, key: found.key, expires_at: found.expires_at })
}

/// What has begun a session.
pub enum OfSession {
    SignIn(Active),
    ApiKey(Exchanged),
}

/// The key of a session, if a key has begun it.
pub async fn of_session(store: &Store, session: Active, now: Timestamp) -> Result<OfSession, ExchangeError> {
    let row = sqlx::query(
        "SELECT k.id AS key_id, k.scopes, k.requests_per_minute, k.tokens_per_day, k.expires_at
         FROM sessions s LEFT JOIN api_keys k ON k.id = s.api_key_id WHERE s.id = $1 AND s.api_key_id IS NOT NULL",
    )
    .bind(session.id.to_string())
    .fetch_optional(store.reader())
    .await?;
    let Some(row) = row else { return Ok(OfSession::SignIn(session)) };
    // A key that is revoked meanwhile is gone, and its session is none of a sign-in.
    row.try_get::<Option<String>, _>("key_id")?.ok_or(ExchangeError::Unknown)?;
    let (key, expires_at) = read_key(&row)?;
    match expires_at {
        Some(at) if at <= now => Err(ExchangeError::Expired),
        _ => Ok(OfSession::ApiKey(Exchanged { session, key, expires_at })),
    }
}

/// Begins the session of a key, or returns the one that another exchange has just begun.
async fn begin(store: &Store, user: User, hash: &str, now: Timestamp) -> Result<Active, ExchangeError> {
    let mut tx = store.begin().await?;
    // A change of the account and a revocation lock the same row. What they have done is seen here; otherwise they find the
    // session and end it.
    users::locked(&mut tx, &user.id.to_string()).await.map_err(|error| match error {
        UserError::Database(error) => ExchangeError::Database(error),
        _ => ExchangeError::Unknown,
    })?;
    let found = find(&mut *tx, hash, now).await?;
    if let Some(session) = found.session {
        return Ok(session);
    }
    let session = sessions::insert_of_api_key(&mut tx, found.user, found.key.id, now).await?;
    used(&mut *tx, &found.key, now).await?;
    tx.commit().await?;
    Ok(session)
}

async fn find<'e>(on: impl Executor<'e, Database = Any>, hash: &str, now: Timestamp) -> Result<Found, ExchangeError> {
    // A session that expires sooner than a token would is not used.
    let row = sqlx::query(
        "SELECT k.id AS key_id, k.scopes, k.requests_per_minute, k.tokens_per_day, k.expires_at, k.last_used_at,
             s.id AS session_id, s.created_at AS session_created_at,
             u.id, u.email, u.username, u.display_name, u.role, u.active, u.created_at
         FROM api_keys k JOIN users u ON u.id = k.user_id
             LEFT JOIN sessions s ON s.api_key_id = k.id AND s.ended_at IS NULL AND s.expires_at > $2
         WHERE k.hash = $1 ORDER BY s.id DESC LIMIT 1",
    )
    .bind(hash)
    .bind(micros(now + LIFETIME))
    .fetch_optional(on)
    .await?;
    let found = read(&row.ok_or(ExchangeError::Unknown)?)?;
    if found.expires_at.is_some_and(|at| at <= now) {
        return Err(ExchangeError::Expired);
    }
    if !found.user.active {
        return Err(ExchangeError::Inactive);
    }
    Ok(found)
}

fn read(row: &AnyRow) -> Result<Found, sqlx::Error> {
    let user = users::user(row)?;
    let session = match row.try_get::<Option<String>, _>("session_id")? {
        None => None,
        Some(_) => Some(Active {
            id: session_id(row, "session_id")?,
            user: user.clone(),
            authenticated_at: from_micros(row.try_get("session_created_at")?),
            counter: 0,
        }),
    };
    let (key, expires_at) = read_key(row)?;
    Ok(Found {
        key,
        expires_at,
        last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?.map(from_micros),
        user,
        session,
    })
}

/// A key, and when it expires.
fn read_key(row: &AnyRow) -> Result<(ApiKeyClaims, Option<Timestamp>), sqlx::Error> {
    let key = ApiKeyClaims {
        id: row.try_get::<String, _>("key_id")?.parse().map_err(|_| corrupt_column("key_id"))?,
        scopes: Scopes::from_words(&row.try_get::<String, _>("scopes")?),
        requests_per_minute: requests_per_minute(row)?,
        tokens_per_day: tokens_per_day(row)?,
    };
    Ok((key, row.try_get::<Option<i64>, _>("expires_at")?.map(from_micros)))
}

async fn used<'e>(
    on: impl Executor<'e, Database = Any>,
    key: &ApiKeyClaims,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $3)")
        .bind(micros(now))
        .bind(key.id.to_string())
        .bind(micros(now - USED))
        .execute(on)
        .await
        .map(|_| ())
}
