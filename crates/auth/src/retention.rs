//! Removes ended sessions, expired tickets and expired idempotency keys.

use std::time::Duration;

use jiff::Timestamp;
use turnpike_kit::Process;
use turnpike_store::{Store, idempotency, micros, sweep};
use turnpike_token::LIFETIME;

/// Pause between two sweeps.
const EVERY: Duration = Duration::from_secs(600);
/// Tickets are valid for 30 s, and a session can request many.
const TICKETS_EVERY: Duration = Duration::from_secs(60);

pub fn start(process: &Process, store: &Store) {
    let of = store.clone();
    sweep(process, "sessions", EVERY, move |now| {
        let store = of.clone();
        async move { sessions(&store, now).await }
    });
    let of = store.clone();
    sweep(process, "tickets", TICKETS_EVERY, move |now| {
        let store = of.clone();
        async move { tickets(&store, now).await }
    });
    let of = store.clone();
    sweep(process, "idempotency keys of accounts", EVERY, move |now| {
        let store = of.clone();
        async move { idempotency::forget(&store, now).await }
    });
}

/// Removes at most 200 sessions that ended so long ago that none of their access tokens is valid.
async fn sessions(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let mut removed = 0;
    for column in ["ended_at", "expires_at"] {
        let sql = format!(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE {column} < $1 ORDER BY {column} LIMIT 100)"
        );
        let delete = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(micros(now - LIFETIME * 2));
        removed += delete.execute(store.pool()).await?.rows_affected();
    }
    Ok(removed)
}

/// Removes at most 200 expired tickets.
async fn tickets(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let sql = "DELETE FROM tickets WHERE hash IN
                   (SELECT hash FROM tickets WHERE expires_at < $1 ORDER BY expires_at LIMIT 200)";
    Ok(sqlx::query(sql).bind(micros(now)).execute(store.pool()).await?.rows_affected())
}
