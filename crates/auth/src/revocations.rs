//! What ended before its tokens did, for whoever comes late to the topic `sessions`; and the removal of what is over.

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_event::{SessionId, UserId};
use turnpike_store::{Store, from_micros, idempotency, micros};
use turnpike_token::LIFETIME;

use crate::sessions::session_id;

/// Of sessions and of accounts, each: some 60 bytes one, so that all fit a gRPC message (4 MiB).
const MOST: i64 = 30_000;

/// Sessions that ended within the life of an access token, newest first.
pub async fn sessions(store: &Store, now: Timestamp) -> Result<Vec<(SessionId, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, ended_at FROM sessions WHERE ended_at > $1 ORDER BY ended_at DESC LIMIT $2")
        .bind(micros(now - LIFETIME))
        .bind(MOST)
        .fetch_all(store.pool())
        .await?;
    rows.iter().map(|row| Ok((session_id(row, "id")?, from_micros(row.try_get("ended_at")?)))).collect()
}

/// Accounts that became inactive within the life of an access token, newest first.
pub async fn accounts(store: &Store, now: Timestamp) -> Result<Vec<(UserId, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, deactivated_at FROM users WHERE active = 0 AND deactivated_at > $1
         ORDER BY deactivated_at DESC LIMIT $2",
    )
    .bind(micros(now - LIFETIME))
    .bind(MOST)
    .fetch_all(store.pool())
    .await?;
    let odd = |_| sqlx::Error::ColumnDecode { index: "id".to_owned(), source: "not an id".into() };
    let read = |row: &AnyRow| {
        let id = row.try_get::<String, _>("id")?.parse().map_err(odd)?;
        Ok((id, from_micros(row.try_get("deactivated_at")?)))
    };
    rows.iter().map(read).collect()
}

/// Removes sessions that are over and of no more use to anyone, old tickets and idempotency keys; at most a thousand of each at
/// once. Says how many.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let sessions = sqlx::query(
        "DELETE FROM sessions WHERE id IN
             (SELECT id FROM sessions WHERE ended_at < $1 OR expires_at < $1 LIMIT 1000)",
    )
    .bind(micros(now - LIFETIME * 2))
    .execute(store.pool())
    .await?;
    let tickets =
        sqlx::query("DELETE FROM tickets WHERE hash IN (SELECT hash FROM tickets WHERE expires_at < $1 LIMIT 1000)")
            .bind(micros(now))
            .execute(store.pool())
            .await?;
    let keys = idempotency::forget(store, now).await?;
    Ok(sessions.rows_affected().max(tickets.rows_affected()).max(keys))
}
