//! Rate limits that all instances of a service share and that survive a restart.
//!
//! The algorithm is the generic cell rate algorithm (GCRA, ITU-T I.371, annex A.2): a key has one row with the time at which
//! its whole budget is available again. One statement takes from the budget, so parallel requests cannot exceed the limit.
//!
//! A service that has limits creates the table among its own:
//!
//! ```sql
//! CREATE TABLE limits (
//!     key     TEXT PRIMARY KEY,
//!     full_at BIGINT NOT NULL
//! );
//! CREATE INDEX limits_by_time ON limits (full_at);
//! ```

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};

use crate::{Store, micros, rows};

/// A number of uses a minute, at once or spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The cost of one use, in microseconds.
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
    /// takes the use back. A key is at most about 100 bytes and must reveal nothing: names and addresses of people need a
    /// keyed hash.
    pub async fn take(self, on: &mut AnyConnection, key: &str, now: Timestamp) -> Result<Taken, sqlx::Error> {
        let now = micros(now);
        if self.count(on, &[key], now).await?.contains(key) { Ok(Taken::Yes) } else { self.refusal(on, key, now).await }
    }

    /// As [`Limit::take`], for each of these keys in its turn, by one statement if no key comes twice. Rows are locked in the
    /// order of the keys, so two batches never wait for each other.
    pub async fn take_each(
        self,
        on: &mut AnyConnection,
        keys: &[String],
        now: Timestamp,
    ) -> Result<Vec<Taken>, sqlx::Error> {
        let now = micros(now);
        let mut uses: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            uses.entry(key).or_default().push(at);
        }
        let mut taken = vec![Taken::Yes; keys.len()];
        // The nth round counts the nth use of each key. A key that was refused once is refused for the rest.
        for round in 0.. {
            let again: Vec<&str> = uses.iter().filter(|(_, at)| at.len() > round).map(|(key, _)| *key).collect();
            if again.is_empty() {
                break;
            }
            let counted = self.count(on, &again, now).await?;
            for key in again.into_iter().filter(|key| !counted.contains(*key)) {
                let refusal = self.refusal(on, key, now).await?;
                for at in uses.remove(key).into_iter().flatten().skip(round) {
                    taken[at] = refusal;
                }
            }
        }
        Ok(taken)
    }

    /// Counts one use of each of these keys, which differ; returns those for which there was room.
    async fn count(self, on: &mut AnyConnection, keys: &[&str], now: i64) -> Result<HashSet<String>, sqlx::Error> {
        let next = keys.len() * 2 + 1;
        let sql = format!(
            "INSERT INTO limits (key, full_at) VALUES {} ON CONFLICT (key) DO UPDATE
                 SET full_at = ${} + CASE WHEN limits.full_at > ${} THEN limits.full_at ELSE ${} END
                 WHERE limits.full_at <= ${}
             RETURNING key",
            rows(keys.len(), &["", ""]),
            next,
            next + 1,
            next + 1,
            next + 2,
        );
        let mut count = sqlx::query(sqlx::AssertSqlSafe(sql));
        for key in keys {
            count = count.bind(*key).bind(now + self.interval);
        }
        let counted = count.bind(self.interval).bind(now).bind(self.latest(now)).fetch_all(on).await?;
        counted.iter().map(|row| row.try_get("key")).collect()
    }

    async fn refusal(self, on: &mut AnyConnection, key: &str, now: i64) -> Result<Taken, sqlx::Error> {
        let latest = self.latest(now);
        let row = sqlx::query("SELECT full_at FROM limits WHERE key = $1").bind(key).fetch_optional(on).await?;
        let full_at: i64 = row.map_or(Ok(latest), |row| row.try_get("full_at"))?;
        Ok(Taken::NotFor(Duration::from_micros(full_at.saturating_sub(latest).max(1).unsigned_abs())))
    }

    /// There is room for one use while the whole budget is available by then.
    fn latest(self, now: i64) -> i64 {
        now + MINUTE_MICROS - self.interval
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

/// Removes rows whose whole budget is available, at most 200; returns their number.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "DELETE FROM limits WHERE full_at <= $1 AND key IN
             (SELECT key FROM limits WHERE full_at <= $1 LIMIT 200{})",
        store.skip_locked()
    );
    let removed = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(micros(now)).execute(store.pool()).await?;
    Ok(removed.rows_affected())
}
