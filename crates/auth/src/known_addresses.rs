//! Addresses from which an account has signed in. Only a sign-in with the right password adds one, so an attacker cannot.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::AnyConnection;
use turnpike_store::{Store, micros};
use turnpike_topic::UserId;

/// How long an address stays known without a sign-in from it.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// A sign-in updates its row if the stored time is older than this.
const NOTED: Duration = Duration::from_secs(24 * 3600);
/// Addresses of one account; the oldest are removed.
const MOST: i64 = 50;

/// Whether an account has signed in from an address. Without an account, the same statement runs and finds nothing.
pub async fn is_known(
    on: &mut AnyConnection,
    user: Option<UserId>,
    address: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let row =
        sqlx::query("SELECT 1 AS one FROM known_addresses WHERE user_id = $1 AND address = $2 AND last_used_at > $3")
            .bind(user.map(|user| user.to_string()).unwrap_or_default())
            .bind(address)
            .bind(micros(now - KEPT))
            .fetch_optional(on)
            .await?;
    Ok(row.is_some())
}

/// Stores a sign-in. `address` is a keyed hash.
pub async fn remember(on: &mut AnyConnection, user: UserId, address: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    let noted = sqlx::query(
        "INSERT INTO known_addresses (user_id, address, last_used_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id, address) DO UPDATE SET last_used_at = excluded.last_used_at
             WHERE known_addresses.last_used_at < $4",
    )
    .bind(user.to_string())
    .bind(address)
    .bind(micros(now))
    .bind(micros(now - NOTED))
    .execute(&mut *on)
    .await?;
    if noted.rows_affected() == 1 {
        sqlx::query(
            "DELETE FROM known_addresses WHERE user_id = $1 AND address IN
                 (SELECT address FROM known_addresses WHERE user_id = $1
                  ORDER BY last_used_at DESC, address LIMIT 1000 OFFSET $2)",
        )
        .bind(user.to_string())
        .bind(MOST)
        .execute(on)
        .await?;
    }
    Ok(())
}

/// Removes the addresses of a deleted account.
pub async fn forget(on: &mut AnyConnection, user: UserId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM known_addresses WHERE user_id = $1").bind(user.to_string()).execute(on).await.map(|_| ())
}

/// Removes at most 200 addresses without a recent sign-in; returns their number.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "DELETE FROM known_addresses WHERE last_used_at <= $1 AND (user_id, address) IN
             (SELECT user_id, address FROM known_addresses WHERE last_used_at <= $1 LIMIT 200{})",
        store.skip_locked()
    );
    let removed = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(micros(now - KEPT)).execute(store.pool()).await?;
    Ok(removed.rows_affected())
}
