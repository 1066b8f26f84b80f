//! A repeated request is performed once: the table behind `Idempotency-Key`.
//!
//! A service that needs the table creates it among its own:
//!
//! ```sql
//! CREATE TABLE idempotency_keys (
//!     user_id      TEXT NOT NULL,
//!     key          TEXT NOT NULL,
//!     request_hash TEXT NOT NULL,
//!     result       TEXT NOT NULL,
//!     created_at   BIGINT NOT NULL,
//!     PRIMARY KEY (user_id, key)
//! );
//! CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
//! ```

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Any, AnyConnection, Executor, Row};
use turnpike_fault::{Fault, Kind};

use crate::{Store, micros};

/// How long a key is kept.
pub const HELD: Duration = Duration::from_secs(24 * 3600);

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// A user's key, and the request that it was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    user: String,
    key: String,
    request_hash: String,
}

/// The result of looking up a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    New,
    /// The result of the same request.
    Before(String),
    /// Another request.
    Other,
}

impl Key {
    /// The key that came with a request; `None` if it is empty. `request_hash` identifies the request. It is stored and must
    /// reveal nothing: a request that holds a secret needs a keyed hash. A key that is too long or has other
    /// characters than visible ASCII is a fault of the field `Idempotency-Key`.
    pub fn new(user: impl ToString, key: &str, request_hash: String) -> Result<Option<Self>, Fault> {
        if key.len() > MAX_KEY_BYTES || !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            let fault = Fault::new(Kind::Validation, "The request is not valid");
            return Err(
                fault.field("Idempotency-Key", format!("must be 1 to {MAX_KEY_BYTES} visible ASCII characters"))
            );
        }
        Ok((!key.is_empty()).then(|| Self { user: user.to_string(), key: key.to_owned(), request_hash }))
    }

    /// Gives the result that is stored under the key, without taking the key.
    pub async fn look_up(&self, store: &Store, now: Timestamp) -> Result<Known, sqlx::Error> {
        self.find(store.reader(), now).await
    }

    /// Stores a result under the key, unless the key is taken. Of parallel requests with the same key, one takes it, and the
    /// others wait here until its transaction has ended.
    pub async fn take(&self, on: &mut AnyConnection, result: &str, now: Timestamp) -> Result<Known, sqlx::Error> {
        let taken = sqlx::query(
            "INSERT INTO idempotency_keys (user_id, key, request_hash, result, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id, key) DO UPDATE SET request_hash = excluded.request_hash, result = excluded.result,
                 created_at = excluded.created_at
             WHERE idempotency_keys.created_at < $6",
        )
        .bind(&self.user)
        .bind(&self.key)
        .bind(&self.request_hash)
        .bind(result)
        .bind(micros(now))
        .bind(micros(now - HELD))
        .execute(&mut *on)
        .await?;
        if taken.rows_affected() == 1 { Ok(Known::New) } else { self.find(on, now).await }
    }

    /// Removes a key that [`Key::take`] has just taken in the same transaction: the request was refused.
    pub async fn give_back(&self, on: &mut AnyConnection) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM idempotency_keys WHERE user_id = $1 AND key = $2")
            .bind(&self.user)
            .bind(&self.key)
            .execute(&mut *on)
            .await
            .map(|_| ())
    }

    async fn find<'e>(&self, on: impl Executor<'e, Database = Any>, now: Timestamp) -> Result<Known, sqlx::Error> {
        let row = sqlx::query(
            "SELECT request_hash, result FROM idempotency_keys WHERE user_id = $1 AND key = $2 AND created_at >= $3",
        )
        .bind(&self.user)
        .bind(&self.key)
        .bind(micros(now - HELD))
        .fetch_optional(on)
        .await?;
        let Some(row) = row else { return Ok(Known::New) };
        Ok(match row.try_get::<String, _>("request_hash")? == self.request_hash {
            true => Known::Before(row.try_get("result")?),
            false => Known::Other,
        })
    }
}

/// The answer to a request whose key was used for another request.
pub fn reused() -> Fault {
    Fault::new(Kind::Conflict, "This Idempotency-Key was used for another request").code_is("IDEMPOTENCY_KEY_REUSED")
}

/// Removes keys after their retention, at most 200; returns their number.
pub async fn forget(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let forgotten = sqlx::query(
        "DELETE FROM idempotency_keys WHERE created_at < $1 AND (user_id, key) IN
             (SELECT user_id, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 200)",
    )
    .bind(micros(now - HELD))
    .execute(store.pool())
    .await?;
    Ok(forgotten.rows_affected())
}
