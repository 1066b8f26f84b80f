//! Tickets: a credential that works once and soon, so that no token stands in a URL.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row;
use turnpike_event::SessionId;
use turnpike_store::{Store, micros};

use crate::{
    dice,
    sessions::{self, Active, SessionError},
};

/// How long a ticket waits to be used.
pub const LIFE: Duration = Duration::from_secs(30);

/// A ticket of a session.
pub async fn issue(store: &Store, session: SessionId, now: Timestamp) -> Result<String, sqlx::Error> {
    let ticket = dice::token();
    sqlx::query("INSERT INTO tickets (hash, session_id, expires_at) VALUES ($1, $2, $3)")
        .bind(dice::hash(&ticket))
        .bind(session.to_string())
        .bind(micros(now + LIFE))
        .execute(store.pool())
        .await?;
    Ok(ticket)
}

/// Uses a ticket up: of many that present it at once, one gets its session.
pub async fn redeem(store: &Store, ticket: &str, now: Timestamp) -> Result<Active, SessionError> {
    let used = sqlx::query("DELETE FROM tickets WHERE hash = $1 AND expires_at > $2 RETURNING session_id")
        .bind(dice::hash(ticket))
        .bind(micros(now))
        .fetch_optional(store.pool())
        .await?
        .ok_or(SessionError::Over)?;
    let session = used.try_get::<String, _>("session_id")?.parse().map_err(|_| SessionError::Over)?;
    sessions::of_id(store, session, now).await
}
