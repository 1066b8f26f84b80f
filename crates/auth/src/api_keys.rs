//! API keys: creating, listing and revoking.
//!
//! The text of a key is derived from a nonce and the secret of the server, and only its keyed hash is stored. The nonce is stored
//! only with the result of a request that had an `Idempotency-Key`, for 24 hours: the repeated request gets the same key again.

use std::{num::NonZeroU32, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use sqlx::{Any, Row, Transaction, any::AnyRow};
use turnpike_event::EndReason;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store, from_micros,
    idempotency::{self, Key, Known},
    micros,
};
use turnpike_token::{ApiKey, Scope, Scopes};
use turnpike_topic::{ApiKeyId, UserId};

use crate::{
    random,
    secret::ServerSecret,
    sessions,
    users::{self, Replayed, UserError},
};

/// Keys of one user, expired ones included.
const MOST: i64 = 50;
const DAY: Duration = Duration::from_secs(24 * 3600);
const MAX_NAME: usize = 100;
const MAX_DAYS: u32 = 3650;
const MAX_REQUESTS_PER_MINUTE: u32 = 1_000_000;
const MAX_TOKENS_PER_DAY: u64 = 1_000_000_000_000;

/// An API key as its owner sees it.
#[derive(Clone, Debug)]
pub struct Description {
    pub id: ApiKeyId,
    pub name: String,
    pub prefix: String,
    pub scopes: Scopes,
    pub requests_per_minute: Option<NonZeroU32>,
    pub tokens_per_day: Option<u64>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// When a gateway last exchanged the key.
    pub last_used_at: Option<Timestamp>,
}

/// A valid request for a key.
#[derive(Debug)]
pub struct New {
    name: String,
    lifetime: Option<Duration>,
    scopes: Scopes,
    requests_per_minute: Option<NonZeroU32>,
    tokens_per_day: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    #[error("the user has too many API keys")]
    TooMany,
    #[error("the Idempotency-Key was used for another request")]
    KeyReused,
    #[error("there is no such API key")]
    NotFound,
    #[error(transparent)]
    User(#[from] UserError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<ApiKeyError> for Fault {
    fn from(error: ApiKeyError) -> Self {
        match error {
            ApiKeyError::TooMany => {
                Self::new(Kind::Conflict, format!("A user has at most {MOST} API keys; revoke one"))
                    .code_is("TOO_MANY_API_KEYS")
            }
            ApiKeyError::KeyReused => idempotency::reused(),
            ApiKeyError::NotFound => Self::new(Kind::NotFound, "There is no such API key"),
            ApiKeyError::User(error) => error.into(),
            ApiKeyError::Database(error) => turnpike_store::fault(error),
        }
    }
}

impl New {
    /// Validates a request. No scope is [`Scope::All`].
    pub fn validated(
        name: &str,
        expires_in_days: Option<u32>,
        scopes: &[String],
        requests_per_minute: Option<u32>,
        tokens_per_day: Option<u64>,
    ) -> Result<Self, Fault> {
        let mut fault = Fault::new(Kind::Validation, "The API key is not valid");
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            fault = fault.field("name", format!("must be 1 to {MAX_NAME} characters on one line"));
        }
        if expires_in_days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            fault = fault.field("expires_in_days", format!("must be from 1 to {MAX_DAYS}"));
        }
        if scopes.iter().any(|word| Scope::from_word(word).is_none()) {
            fault = fault.field("scopes", format!("must be some of {}", Scope::ALL.map(Scope::as_str).join(", ")));
        }
        if requests_per_minute.is_some_and(|times| !(1..=MAX_REQUESTS_PER_MINUTE).contains(&times)) {
            fault = fault.field("requests_per_minute", format!("must be from 1 to {MAX_REQUESTS_PER_MINUTE}"));
        }
        if tokens_per_day.is_some_and(|tokens| !(1..=MAX_TOKENS_PER_DAY).contains(&tokens)) {
            fault = fault.field("tokens_per_day", format!("must be from 1 to {MAX_TOKENS_PER_DAY}"));
        }
        if !fault.fields().is_empty() {
            return Err(fault);
        }
        let scopes: Scopes = scopes.iter().filter_map(|word| Scope::from_word(word)).collect();
        Ok(Self {
            name: name.to_owned(),
            lifetime: expires_in_days.map(|days| DAY * days),
            scopes: if scopes.is_empty() { [Scope::All].into_iter().collect() } else { scopes },
            requests_per_minute: requests_per_minute.and_then(NonZeroU32::new),
            tokens_per_day,
        })
    }

    fn described(&self, id: ApiKeyId, key: &ApiKey, created_at: Timestamp) -> Description {
        Description {
            id,
            name: self.name.clone(),
            prefix: key.prefix().to_owned(),
            scopes: self.scopes,
            requests_per_minute: self.requests_per_minute,
            tokens_per_day: self.tokens_per_day,
            created_at,
            expires_at: self.lifetime.map(|lifetime| created_at + lifetime),
            last_used_at: None,
        }
    }
}

/// The stored hash of a key with this digest.
pub fn hash(secret: &ServerSecret, digest: &[u8; 32]) -> String {
    secret.digest(b"api key hash", &[&BASE64_URL_SAFE_NO_PAD.encode(digest)])
}

fn derive(secret: &ServerSecret, nonce: &[u8; 32]) -> ApiKey {
    ApiKey::new(*secret.derive(&[b"api key text", nonce]).expose_secret())
}

/// Creates a key of a user.
pub async fn create(
    store: &Store,
    secret: &ServerSecret,
    user: UserId,
    new: &New,
    once: Option<&Key>,
    now: Timestamp,
) -> Result<(Description, ApiKey, Replayed), ApiKeyError> {
    let (id, nonce) = (ApiKeyId::new(now), random::bytes());
    let key = derive(secret, &nonce);
    let mut tx = store.begin().await?;
    // Parallel requests of the user come one after another, and each counts the keys of those before it.
    users::locked(&mut tx, &user.to_string()).await?;
    if let Some(once) = once {
        let result = format!("{id} {} {}", micros(now), BASE64_URL_SAFE_NO_PAD.encode(nonce));
        match once.take(&mut tx, &result, now).await? {
            Known::New => {}
            Known::Before(result) => {
                let (id, created_at, nonce) = parse_result(&result)?;
                let key = derive(secret, &nonce);
                return Ok((new.described(id, &key, created_at), key, Replayed(true)));
            }
            Known::Other => return Err(ApiKeyError::KeyReused),
        }
    }
    let count = sqlx::query("SELECT COUNT(*) AS count FROM api_keys WHERE user_id = $1")
        .bind(user.to_string())
        .fetch_one(&mut *tx)
        .await?;
    if count.try_get::<i64, _>("count")? >= MOST {
        return Err(ApiKeyError::TooMany);
    }
    let made = new.described(id, &key, now);
    sqlx::query(
        "INSERT INTO api_keys (id, user_id, name, prefix, hash, scopes, requests_per_minute, tokens_per_day, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(id.to_string())
    .bind(user.to_string())
    .bind(&made.name)
    .bind(&made.prefix)
    .bind(hash(secret, &key.digest()))
    .bind(made.scopes.to_string())
    .bind(made.requests_per_minute.map(|times| i64::from(times.get())))
    .bind(made.tokens_per_day.map(u64::cast_signed))
    .bind(micros(now))
    .bind(made.expires_at.map(micros))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok((made, key, Replayed(false)))
}

/// The id, the time and the nonce of a key that an earlier request created.
fn parse_result(result: &str) -> Result<(ApiKeyId, Timestamp, [u8; 32]), sqlx::Error> {
    let mut parts = result.split(' ');
    let mut part = || parts.next().unwrap_or_default();
    let id = part().parse().ok();
    let at = part().parse().ok().map(from_micros);
    let nonce = BASE64_URL_SAFE_NO_PAD.decode(part()).ok().and_then(|nonce| nonce.try_into().ok());
    id.zip(at).zip(nonce).map(|((id, at), nonce)| (id, at, nonce)).ok_or_else(|| corrupt_column("result"))
}

/// The keys of a user, newest first.
pub async fn list(store: &Store, user: UserId) -> Result<Vec<Description>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, name, prefix, scopes, requests_per_minute, tokens_per_day, created_at, expires_at, last_used_at
         FROM api_keys WHERE user_id = $1 ORDER BY id DESC LIMIT 1000",
    )
    .bind(user.to_string())
    .fetch_all(store.reader())
    .await?;
    let read = |row: &AnyRow| {
        Ok(Description {
            id: row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))?,
            name: row.try_get("name")?,
            prefix: row.try_get("prefix")?,
            scopes: Scopes::from_words(&row.try_get::<String, _>("scopes")?),
            requests_per_minute: requests_per_minute(row)?,
            tokens_per_day: tokens_per_day(row)?,
            created_at: from_micros(row.try_get("created_at")?),
            expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(from_micros),
            last_used_at: row.try_get::<Option<i64>, _>("last_used_at")?.map(from_micros),
        })
    };
    rows.iter().map(read).collect()
}

/// Revokes a key of a user: deletes it, and ends its sessions in the same transaction.
pub async fn revoke(store: &Store, user: UserId, id: ApiKeyId, now: Timestamp) -> Result<(), ApiKeyError> {
    let mut tx = store.begin().await?;
    users::locked(&mut tx, &user.to_string()).await?;
    let deleted = sqlx::query("DELETE FROM api_keys WHERE id = $1 AND user_id = $2")
        .bind(id.to_string())
        .bind(user.to_string())
        .execute(&mut *tx)
        .await?;
    if deleted.rows_affected() == 0 {
        return Err(ApiKeyError::NotFound);
    }
    sessions::end_of_api_key(&mut tx, id, EndReason::Revoked, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes the keys of a user, within the transaction that ends their sessions.
pub async fn forget(tx: &mut Transaction<'_, Any>, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM api_keys WHERE user_id = $1").bind(user.to_string()).execute(&mut **tx).await.map(|_| ())
}

pub fn requests_per_minute(row: &AnyRow) -> Result<Option<NonZeroU32>, sqlx::Error> {
    let times = row.try_get::<Option<i64>, _>("requests_per_minute")?;
    Ok(times.and_then(|times| u32::try_from(times).ok()).and_then(NonZeroU32::new))
}

pub fn tokens_per_day(row: &AnyRow) -> Result<Option<u64>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>("tokens_per_day")?.map(i64::unsigned_abs))
}

pub fn corrupt_column(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not a value that this service writes".into() }
}
