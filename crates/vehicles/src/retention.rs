//! Removes rows after their retention: ended commands with their archived events, idempotency keys, and expired limits.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use turnpike_kit::Process;
use turnpike_store::{Store, Write, idempotency, limits, micros, rows};

/// Pause between two sweeps.
const EVERY: Duration = Duration::from_secs(600);
/// Rows that one step removes at most, so that it does not delay other writes for long.
const ROWS: i64 = 500;
/// Commands that one step removes at most.
const COMMANDS: i64 = 50;

pub fn sweep(process: &Process, store: &Store, kept: Option<Duration>) {
    let keys = store.clone();
    turnpike_store::sweep(process, "idempotency keys of commands", EVERY, move |now| {
        let store = keys.clone();
        async move { idempotency::forget(&store, now).await }
    });
    let counters = store.clone();
    turnpike_store::sweep(process, "limits of commands", EVERY, move |now| {
        let store = counters.clone();
        async move { limits::sweep(&store, now).await }
    });
    let Some(kept) = kept else { return };
    let commands = store.clone();
    turnpike_store::sweep(process, "commands", EVERY, move |now| {
        let store = commands.clone();
        async move { remove(&store, now - kept).await }
    });
}

/// Removes some of the commands that ended before this time. Returns the number of removed rows.
async fn remove(store: &Store, before: Timestamp) -> Result<u64, sqlx::Error> {
    let oldest = sqlx::query(
        "SELECT id, recorded FROM commands WHERE ended = 1 AND completed_at < $1 ORDER BY completed_at LIMIT $2",
    )
    .bind(micros(before))
    .bind(COMMANDS)
    .fetch_all(store.reader())
    .await?;
    let (mut commands, mut events) = (Vec::new(), 0);
    for row in oldest {
        events += row.try_get::<i64, _>("recorded")?;
        if events > ROWS && !commands.is_empty() {
            break;
        }
        commands.push(row.try_get("id")?);
    }
    if commands.is_empty() { Ok(0) } else { store.write(Remove { commands }).await }
}

/// Removes ended commands. Of a single command with too many events, only some events are removed in one step.
struct Remove {
    commands: Vec<String>,
}

impl Write for Remove {
    type Output = u64;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<u64>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { commands } in writes {
            let mut removed = 0;
            for id in commands {
                let events = sqlx::query(
                    "DELETE FROM command_events WHERE command_id = $1 AND position IN
                         (SELECT position FROM command_events WHERE command_id = $1 ORDER BY position LIMIT $2)",
                );
                removed += events.bind(id).bind(ROWS).execute(&mut *on).await?.rows_affected();
            }
            if removed < ROWS.unsigned_abs() || commands.len() > 1 {
                let sql =
                    format!("DELETE FROM commands WHERE ended = 1 AND id IN {}", rows(1, &vec![""; commands.len()]));
                let mut delete = sqlx::query(sqlx::AssertSqlSafe(sql));
                for id in commands {
                    delete = delete.bind(id);
                }
                removed += delete.execute(&mut *on).await?.rows_affected();
            }
            outputs.push(removed);
        }
        Ok(outputs)
    }
}
