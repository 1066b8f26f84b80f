//! Which instance conducts a command: by a lease that it renews, and a fence that counts who had it. Whatever a conductor writes,
//! it writes under its fence; what has been taken from it, it can no longer change.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row;
use turnpike_event::CommandId;
use turnpike_store::{Store, micros};

use crate::commands::{COLUMNS, OPEN_COLUMNS, Open, open};

/// How long an instance may be silent before another takes its commands over.
pub const LEASE: Duration = Duration::from_secs(5);

/// Takes over open commands whose conductor is silent; at most `limit`.
pub async fn claim(store: &Store, now: Timestamp, limit: u32) -> Result<Vec<Open>, sqlx::Error> {
    let silent =
        sqlx::query("SELECT id FROM commands WHERE ended = 0 AND lease_until < $1 ORDER BY lease_until LIMIT $2")
            .bind(micros(now))
            .bind(i64::from(limit))
            .fetch_all(store.pool())
            .await?;
    let mut claimed = Vec::new();
    for row in silent {
        let id: String = row.try_get("id")?;
        // Whoever comes first raises the lease; the others find nothing to update.
        let won = sqlx::query(
            "UPDATE commands SET lease_until = $1, fence = fence + 1
             WHERE id = $2 AND ended = 0 AND lease_until < $3",
        )
        .bind(micros(now + LEASE))
        .bind(&id)
        .bind(micros(now))
        .execute(store.pool())
        .await?;
        if won.rows_affected() == 1 {
            let sql = format!(
                "SELECT {COLUMNS}, {OPEN_COLUMNS} FROM commands c JOIN vehicles v ON v.id = c.vehicle_id WHERE c.id = $1"
            );
            let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&id).fetch_one(store.pool()).await?;
            claimed.push(open(&row)?);
        }
    }
    Ok(claimed)
}

/// Goes on conducting; `false` if another instance has taken over.
pub async fn renew(store: &Store, id: CommandId, fence: i64, now: Timestamp) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query("UPDATE commands SET lease_until = $1 WHERE id = $2 AND fence = $3 AND ended = 0")
        .bind(micros(now + LEASE))
        .bind(id.to_string())
        .bind(fence)
        .execute(store.pool())
        .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Lets another instance take over at once.
pub async fn release(store: &Store, id: CommandId, fence: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE commands SET lease_until = 0 WHERE id = $1 AND fence = $2")
        .bind(id.to_string())
        .bind(fence)
        .execute(store.pool())
        .await?;
    Ok(())
}

/// What stands in the way of dispatching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// Nothing: it is marked as dispatched.
    Go,
    /// Somebody wants it stopped.
    Cancelled,
    /// Another instance has it, or it is further on.
    NotOurs,
    /// Its deadline has passed; it was left as it is.
    TooLate,
}

/// Marks a pending command as dispatched, before anything leaves this service: after a crash it counts as possibly run.
pub async fn mark_dispatched(store: &Store, id: CommandId, fence: i64) -> Result<Dispatch, sqlx::Error> {
    let marked = sqlx::query(
        "UPDATE commands SET state = 'dispatched'
         WHERE id = $1 AND fence = $2 AND state = 'pending' AND cancel_asked_at IS NULL",
    )
    .bind(id.to_string())
    .bind(fence)
    .execute(store.pool())
    .await?;
    if marked.rows_affected() == 1 {
        return Ok(Dispatch::Go);
    }
    let asked = sqlx::query("SELECT 1 AS asked FROM commands WHERE id = $1 AND fence = $2 AND state = 'pending'")
        .bind(id.to_string())
        .bind(fence)
        .fetch_optional(store.pool())
        .await?;
    Ok(if asked.is_some() { Dispatch::Cancelled } else { Dispatch::NotOurs })
}

/// Stores which incarnation of the connector accepted a command. Returns whether somebody has asked to cancel it.
pub async fn mark_accepted(store: &Store, id: CommandId, fence: i64, instance_id: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "UPDATE commands SET instance_id = $1 WHERE id = $2 AND fence = $3
         RETURNING cancel_asked_at",
    )
    .bind(instance_id)
    .bind(id.to_string())
    .bind(fence)
    .fetch_optional(store.pool())
    .await?;
    let asked = row.map(|row| row.try_get::<Option<i64>, _>("cancel_asked_at")).transpose()?;
    Ok(asked.flatten().is_some())
}
