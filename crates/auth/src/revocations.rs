//! Sessions and accounts that ended before their access tokens expired, for readers that come late to the topic `sessions`.

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_store::{Store, from_micros, micros};
use turnpike_token::LIFETIME;
use turnpike_topic::{SessionId, UserId};

use crate::sessions::session_id;

/// Sessions, and accounts, in one answer: about 60 bytes each, so that all fit into a gRPC message (4 MiB).
const MOST: i64 = 30_000;

/// Sessions that ended within the lifetime of an access token, newest first.
pub async fn sessions(store: &Store, now: Timestamp) -> Result<Vec<(SessionId, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, ended_at FROM sessions WHERE ended_at > $1 ORDER BY ended_at DESC LIMIT $2")
        .bind(micros(now - LIFETIME))
        .bind(MOST)
        .fetch_all(store.reader())
        .await?;
    rows.iter().map(|row| Ok((session_id(row, "id")?, from_micros(row.try_get("ended_at")?)))).collect()
}

/// Accounts that became inactive within the lifetime of an access token, newest first.
pub async fn accounts(store: &Store, now: Timestamp) -> Result<Vec<(UserId, Timestamp)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, deactivated_at FROM users WHERE active = 0 AND deactivated_at > $1
         ORDER BY deactivated_at DESC LIMIT $2",
    )
    .bind(micros(now - LIFETIME))
    .bind(MOST)
    .fetch_all(store.reader())
    .await?;
    let corrupt_column = |_| sqlx::Error::ColumnDecode { index: "id".to_owned(), source: "not an id".into() };
    let read = |row: &AnyRow| {
        let id = row.try_get::<String, _>("id")?.parse().map_err(corrupt_column)?;
        Ok((id, from_micros(row.try_get("deactivated_at")?)))
    };
    rows.iter().map(read).collect()
}
