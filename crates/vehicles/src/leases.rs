//! Leases. The instance that holds the lease of a command supervises it. A lease ends unless it is renewed. Each takeover raises
//! the fencing token; writes with an older token are refused, so an instance that has lost a command can no longer change it.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use sqlx::{AnyConnection, Error, Row};
use turnpike_store::{Store, Write, micros, rows};
use turnpike_topic::CommandId;

use crate::{
    commands::{COLUMNS, OPEN_COLUMNS, Open, open},
    registry::corrupt_column,
};

/// How long a lease holds unless it is renewed.
pub const LEASE: Duration = Duration::from_secs(5);

/// The fencing token of the instance to which a command was submitted. Each takeover adds 1.
pub const FIRST_FENCE: i64 = 1;

/// Column types of a row of command id and fencing token.
const HELD: [&str; 2] = ["TEXT", "BIGINT"];

/// Takes over open commands whose lease has ended; at most `limit`.
pub async fn claim(store: &Store, now: Timestamp, limit: u32) -> Result<Vec<Open>, Error> {
    // Usually no lease has ended. Then a query on a read-only connection is enough.
    let any = sqlx::query("SELECT id FROM commands WHERE ended = 0 AND lease_until < $1 LIMIT 1")
        .bind(micros(now))
        .fetch_optional(store.reader())
        .await?;
    if any.is_none() {
        return Ok(Vec::new());
    }
    store.write(Claim { now, limit }).await
}

struct Claim {
    now: Timestamp,
    limit: u32,
}

impl Write for Claim {
    type Output = Vec<Open>;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Vec<Open>>, Error> {
        let mut all = Vec::with_capacity(writes.len());
        for Self { now, limit } in writes {
            // If several instances try at once, the first one extends the lease, and the others find no row to update.
            let ids = sqlx::query(
                "UPDATE commands SET lease_until = $1, fence = fence + 1
                 WHERE id IN (SELECT id FROM commands WHERE ended = 0 AND lease_until < $2 ORDER BY lease_until LIMIT $3)
                     AND ended = 0 AND lease_until < $2 RETURNING id",
            )
            .bind(micros(*now + LEASE))
            .bind(micros(*now))
            .bind(i64::from(*limit))
            .fetch_all(&mut *on)
            .await?;
            let mut claimed = Vec::with_capacity(ids.len());
            for id in ids {
                let sql = format!(
                    "SELECT {COLUMNS}, {OPEN_COLUMNS} FROM commands c JOIN vehicles v ON v.id = c.vehicle_id WHERE c.id = $1"
                );
                let id: String = id.try_get("id")?;
                claimed.push(open(&sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(&mut *on).await?)?);
            }
            all.push(claimed);
        }
        Ok(all)
    }
}

/// Renews at most [`RENEWED_AT_ONCE`] leases. Returns the leases that this instance no longer holds: the command has ended, or
/// another instance has taken it over.
pub async fn renew(store: &Store, held: Vec<(CommandId, i64)>, now: Timestamp) -> Result<Vec<(CommandId, i64)>, Error> {
    store.write(Renew { held, now }).await
}

/// Maximum number of leases in one renewal, so that it does not delay other writes for long.
pub const RENEWED_AT_ONCE: usize = 256;

struct Renew {
    held: Vec<(CommandId, i64)>,
    now: Timestamp,
}

impl Write for Renew {
    type Output = Vec<(CommandId, i64)>;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Vec<(CommandId, i64)>>, Error> {
        let mut all = Vec::with_capacity(writes.len());
        for Self { held, now } in writes {
            let sql = format!(
                "WITH held (command, token) AS (VALUES {})
                 UPDATE commands SET lease_until = ${} FROM held WHERE id = command AND fence = token AND ended = 0
                 RETURNING id",
                rows(held.len(), &HELD),
                held.len() * 2 + 1
            );
            let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
            for (id, fence) in held {
                update = update.bind(id.to_string()).bind(*fence);
            }
            let renewed = ids(&update.bind(micros(*now + LEASE)).fetch_all(&mut *on).await?)?;
            all.push(held.iter().filter(|(id, _)| !renewed.contains(id)).copied().collect());
        }
        Ok(all)
    }
}

fn ids(rows: &[sqlx::any::AnyRow]) -> Result<HashSet<CommandId>, Error> {
    rows.iter().map(|row| row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))).collect()
}

/// Ends a lease, so that another instance can take over at once.
pub async fn release(store: &Store, id: CommandId, fence: i64) -> Result<(), Error> {
    store.write(Release { id, fence }).await
}

struct Release {
    id: CommandId,
    fence: i64,
}

impl Write for Release {
    type Output = ();

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<()>, Error> {
        let sql = format!(
            "WITH held (command, token) AS (VALUES {})
             UPDATE commands SET lease_until = 0 FROM held WHERE id = command AND fence = token",
            rows(writes.len(), &HELD)
        );
        let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
        for Self { id, fence } in writes {
            update = update.bind(id.to_string()).bind(*fence);
        }
        update.execute(&mut *on).await?;
        Ok(vec![(); writes.len()])
    }
}

/// The result of marking a command as dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    Dispatched,
    /// A cancellation was requested; the command was left pending.
    Cancelled,
    /// Another instance has taken the command over, or the command is no longer pending.
    NotOurs,
    /// The deadline has passed; the command was left pending.
    TooLate,
}

/// Marks a pending command as dispatched. This is done before the command is sent, so that it counts as possibly run after a
/// crash.
pub async fn mark_dispatched(store: &Store, id: CommandId, fence: i64) -> Result<Marked, Error> {
    store.write(MarkDispatched { id, fence }).await
}

struct MarkDispatched {
    id: CommandId,
    fence: i64,
}

impl Write for MarkDispatched {
    type Output = Marked;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Marked>, Error> {
        let sql = format!(
            "WITH held (command, token) AS (VALUES {})
             UPDATE commands SET state = 'dispatched' FROM held
             WHERE id = command AND fence = token AND state = 'pending' AND cancel_asked_at IS NULL RETURNING id",
            rows(writes.len(), &HELD)
        );
        let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
        for Self { id, fence } in writes {
            update = update.bind(id.to_string()).bind(*fence);
        }
        let marked = ids(&update.fetch_all(&mut *on).await?)?;
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { id, fence } in writes {
            if marked.contains(id) {
                outputs.push(Marked::Dispatched);
                continue;
            }
            let asked =
                sqlx::query("SELECT 1 AS asked FROM commands WHERE id = $1 AND fence = $2 AND state = 'pending'")
                    .bind(id.to_string())
                    .bind(*fence)
                    .fetch_optional(&mut *on)
                    .await?;
            outputs.push(if asked.is_some() { Marked::Cancelled } else { Marked::NotOurs });
        }
        Ok(outputs)
    }
}

/// Stores which incarnation of the connector accepted a command. Returns whether a cancellation was requested.
pub async fn mark_accepted(store: &Store, id: CommandId, fence: i64, instance_id: &str) -> Result<bool, Error> {
    store.write(MarkAccepted { id, fence, instance_id: instance_id.to_owned() }).await
}

struct MarkAccepted {
    id: CommandId,
    fence: i64,
    instance_id: String,
}

impl Write for MarkAccepted {
    /// The connector runs the command already.
    const DEFERRABLE: bool = true;

    type Output = bool;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, Error> {
        let sql = format!(
            "WITH held (command, token, accepted) AS (VALUES {})
             UPDATE commands SET instance_id = accepted FROM held WHERE id = command AND fence = token
             RETURNING id, fence, cancel_asked_at",
            rows(writes.len(), &["TEXT", "BIGINT", "TEXT"])
        );
        let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
        for Self { id, fence, instance_id } in writes {
            update = update.bind(id.to_string()).bind(*fence).bind(instance_id);
        }
        let mut cancelled = HashSet::new();
        for row in update.fetch_all(&mut *on).await? {
            if row.try_get::<Option<i64>, _>("cancel_asked_at")?.is_some() {
                cancelled.insert((row.try_get::<String, _>("id")?, row.try_get::<i64, _>("fence")?));
            }
        }
        Ok(writes.iter().map(|write| cancelled.contains(&(write.id.to_string(), write.fence))).collect())
    }
}
