//! Tickets: credentials that work once and for a short time, so that no token is in a URL.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row;
use turnpike_fault::{Fault, Kind};
use turnpike_store::{
    Store, from_micros,
    limits::{Limit, Taken},
    micros,
};
use turnpike_topic::UserId;

use crate::{
    random,
    sessions::{self, Active, SessionError},
};

/// How long a ticket is valid.
pub const LIFE: Duration = Duration::from_secs(30);
/// Unused tickets of one user at most.
const MOST_OPEN: i64 = 20;
/// Tickets of one user a minute: enough to reconnect all of their sockets several times.
const PER_MINUTE: u32 = 60;

#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// The user has too many unused tickets, or requests too many. The next one can be issued after this time.
    #[error("the user has too many tickets")]
    TooMany(Duration),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<TicketError> for Fault {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::TooMany(after) => {
                Self::new(Kind::RateLimited, "Too many tickets; use the ones that were issued").retry_after(after)
            }
            TicketError::Database(error) => turnpike_store::fault(error),
        }
    }
}

/// Issues a ticket for a session.
pub async fn issue(store: &Store, session: &Active, now: Timestamp) -> Result<String, TicketError> {
    let ticket = random::token();
    let mut tx = store.begin().await?;
    let user = session.user.id;
    // Locks the user's counter: parallel requests come one after another, and each sees the tickets of those before it.
    if let Some(limit) = Limit::per_minute(PER_MINUTE)
        && let Taken::NotFor(after) = limit.take(&mut tx, &format!("tickets {user}"), now).await?
    {
        return Err(TicketError::TooMany(after));
    }
    let (open, first_expires_at) = open(&mut tx, user, now).await?;
    if open >= MOST_OPEN {
        let after = first_expires_at.map_or(LIFE, |at| now.duration_until(at).unsigned_abs());
        return Err(TicketError::TooMany(after)); // the rollback subtracts the request again
    }
    sqlx::query("INSERT INTO tickets (hash, session_id, expires_at) VALUES ($1, $2, $3)")
        .bind(random::hash(&ticket))
        .bind(session.id.to_string())
        .bind(micros(now + LIFE))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(ticket)
}

/// The number of unused tickets of a user, and when the first of them expires.
async fn open(
    on: &mut sqlx::AnyConnection,
    user: UserId,
    now: Timestamp,
) -> Result<(i64, Option<Timestamp>), sqlx::Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS open, MIN(t.expires_at) AS first FROM tickets t JOIN sessions s ON s.id = t.session_id
         WHERE s.user_id = $1 AND t.expires_at > $2",
    )
    .bind(user.to_string())
    .bind(micros(now))
    .fetch_one(on)
    .await?;
    Ok((row.try_get("open")?, row.try_get::<Option<i64>, _>("first")?.map(from_micros)))
}

/// Redeems a ticket: if several requests present it at once, one gets the session.
pub async fn redeem(store: &Store, ticket: &str, now: Timestamp) -> Result<Active, SessionError> {
    let used = sqlx::query("DELETE FROM tickets WHERE hash = $1 AND expires_at > $2 RETURNING session_id")
        .bind(random::hash(ticket))
        .bind(micros(now))
        .fetch_optional(store.pool())
        .await?
        .ok_or(SessionError::Over)?;
    let session = used.try_get::<String, _>("session_id")?.parse().map_err(|_| SessionError::Over)?;
    sessions::of_id(store, session, now).await
}
