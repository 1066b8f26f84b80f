//! Rate limits that all instances of a service share and that survive a restart.
//!
//! The algorithm is the generic cell rate algorithm (GCRA, ITU-T I.371, annex A.2): a key has one row with the time at which
//! its whole budget is available again. One statement takes from the budget, so parallel requests cannot exceed the limit.
//!
//! Each service that has limits keeps them with its own tables:
//!
//! ```sql
//! CREATE TABLE limits (
//!     key     TEXT PRIMARY KEY,
//!     full_at BIGINT NOT NULL
//! );
//! CREATE INDEX limits_by_time ON limits (full_at);
//! ```

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};

use crate::{Store, micros};

/// How often something may be done: a number of times a minute, all at once or spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What one use costs, in microseconds.
    interval: i64,
}

/// The answer to a request for one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The use is counted.
    Yes,
    /// The budget is spent; nothing is counted. One use is available again after this time.
    NotFor(Duration),
}

/// A whole budget is available again after this time.
pub const MINUTE: Duration = Duration::from_secs(60);
const MINUTE_MICROS: i64 = 60_000_000;

impl Limit {
    /// `None` for 0, which means no limit.
    pub fn per_minute(times: u32) -> Option<Self> {
        (times > 0).then(|| Self { interval: (MINUTE_MICROS / i64::from(times)).max(1) })
    }

    /// Counts one use of a key. Within a transaction the key's row stays locked until the transaction's end, and a rollback
    /// takes the use back. A key is at most some 100 bytes, and nothing may be learnt from it: names of people and addresses
    /// need a keyed hash.
    pub async fn take(self, on: &mut AnyConnection, key: &str, now: Timestamp) -> Result<Taken, sqlx::Error> {
        let now = micros(now);
        let latest = now + MINUTE_MICROS - self.interval;
        let taken = sqlx::query(
            "INSERT INTO limits (key, full_at) VALUES ($1, $2)
             ON CONFLICT (key) DO UPDATE
                 SET full_at = $3 + CASE WHEN limits.full_at > $4 THEN limits.full_at ELSE $4 END
                 WHERE limits.full_at <= $5",
        )
        .bind(key)
        .bind(now + self.interval)
        .bind(self.interval)
        .bind(now)
        .bind(latest)
        .execute(&mut *on)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(Taken::Yes);
        }
        let row = sqlx::query("SELECT full_at FROM limits WHERE key = $1").bind(key).fetch_optional(on).await?;
        let full_at: i64 = row.map_or(Ok(latest), |row| row.try_get("full_at"))?;
        Ok(Taken::NotFor(Duration::from_micros(full_at.saturating_sub(latest).max(1).unsigned_abs())))
    }

    /// Takes one counted use back.
    pub async fn give_back(self, on: &mut AnyConnection, key: &str) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE limits SET full_at = full_at - $1 WHERE key = $2")
            .bind(self.interval)
            .bind(key)
            .execute(on)
            .await
            .map(|_| ())
    }
}

/// Removes rows whose whole budget is available, at most a thousand; returns their number.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "DELETE FROM limits WHERE full_at <= $1 AND key IN
             (SELECT key FROM limits WHERE full_at <= $1 LIMIT 1000{})",
        store.skip_locked()
    );
    let removed = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(micros(now)).execute(store.pool()).await?;
    Ok(removed.rows_affected())
}
