//! The record: every event of a command's topic in the order in which it was read, with the offset where it stood.

use sqlx::{Row, any::AnyRow};
use turnpike_event::{Body, CommandId, Offset, Record};
use turnpike_store::{Store, micros};

use crate::{commands::Open, lifecycle::State};

/// A recorded event with its place in the record.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// 1, 2, 3… within the command.
    pub position: u64,
    /// Where it stood in the topic.
    pub offset: Offset,
    /// It ended the topic.
    pub is_final: bool,
    /// A `turnpike.event.v1.Event`.
    pub event: Vec<u8>,
}

/// Records one event of a command's topic, and moves the command on if the event does. `false` if another instance has taken
/// over.
///
/// The same event at the same offset is a repetition, and is recorded once. Another event at an offset that is taken is recorded
/// in an epoch of its own, so that no event is dropped and readers are told of a reset before it. That happens only if Redis lost
/// events and the bus could not notice, because Redis does not tell its run id.
pub async fn append(store: &Store, open: &Open, record: &Record, moved: Option<State>) -> Result<bool, sqlx::Error> {
    let error = match &record.event.body {
        Body::CommandError { error_code, error_message, .. } => Some((error_code, error_message)),
        _ => None,
    };
    let sequence_number = match &record.event.body {
        Body::CommandResponse { sequence_number, .. } => Some(i64::from(*sequence_number)),
        _ => None,
    };
    let [epoch, n] = [record.offset.epoch, record.offset.n].map(|part| i64::try_from(part).unwrap_or(i64::MAX));
    // A clock that is wrong, or an event that cannot be read, ends no command before it began.
    let at = record.event.at.max(open.command.submitted_at);
    let mut tx = store.begin().await?;
    let row = sqlx::query(
        "UPDATE commands SET recorded = recorded + 1, epoch = $1, reached = $2, state = COALESCE($3, state), ended = $4,
             completed_at = CASE WHEN $4 = 1 THEN $5 ELSE completed_at END,
             error_code = COALESCE($6, error_code), error_message = COALESCE($7, error_message)
         WHERE id = $8 AND fence = $9 AND ended = 0 RETURNING recorded",
    )
    .bind(epoch)
    .bind(n)
    .bind(moved.map(State::as_str))
    .bind(i64::from(moved.is_some_and(State::is_end)))
    .bind(micros(at))
    .bind(error.map(|(code, _)| code.as_str()))
    .bind(error.map(|(_, message)| message.as_str()))
    .bind(open.command.id.to_string())
    .bind(open.fence)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else {
        return Ok(false);
    };
    let position: i64 = row.try_get("recorded")?;
    let event = record.event.to_bytes().to_vec();
    let id = open.command.id.to_string();
    let insert = |epoch: i64| {
        sqlx::query(
            "INSERT INTO command_events (command_id, position, epoch, n, is_final, sequence_number, event)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (command_id, epoch, n) DO NOTHING",
        )
        .bind(id.clone())
        .bind(position)
        .bind(epoch)
        .bind(n)
        .bind(i64::from(record.is_final))
        .bind(sequence_number)
        .bind(event.clone())
    };
    if insert(epoch).execute(&mut *tx).await?.rows_affected() == 0 {
        let taken = sqlx::query(
            "SELECT is_final, event, (SELECT MAX(epoch) FROM command_events WHERE command_id = $1) AS newest
             FROM command_events WHERE command_id = $1 AND epoch = $2 AND n = $3",
        )
        .bind(id.clone())
        .bind(epoch)
        .bind(n)
        .fetch_one(&mut *tx)
        .await?;
        let is_final = taken.try_get::<i64, _>("is_final")? == 1;
        if is_final == record.is_final && taken.try_get::<Vec<u8>, _>("event")? == event {
            sqlx::query("UPDATE commands SET recorded = recorded - 1 WHERE id = $1")
                .bind(id.clone())
                .execute(&mut *tx)
                .await?;
        } else {
            insert(taken.try_get::<i64, _>("newest")? + 1).execute(&mut *tx).await?;
        }
    }
    tx.commit().await?;
    Ok(true)
}

/// What was recorded after a position; at most `limit`, in order. `responses` leaves everything else out.
pub async fn read(
    store: &Store,
    id: CommandId,
    after: u64,
    responses: bool,
    limit: u32,
) -> Result<Vec<Recorded>, sqlx::Error> {
    let only = if responses { "AND sequence_number IS NOT NULL" } else { "" };
    let sql = format!(
        "SELECT position, epoch, n, is_final, event FROM command_events
         WHERE command_id = $1 AND position > $2 {only} ORDER BY position LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(i64::from(limit))
        .fetch_all(store.pool())
        .await?;
    let read = |row: &AnyRow| {
        Ok(Recorded {
            position: unsigned(row, "position")?,
            offset: Offset { epoch: unsigned(row, "epoch")?, n: unsigned(row, "n")? },
            is_final: row.try_get::<i64, _>("is_final")? == 1,
            event: row.try_get("event")?,
        })
    };
    rows.iter().map(read).collect()
}

/// The offset of the newest recorded event.
pub async fn head(store: &Store, id: CommandId) -> Result<Option<Offset>, sqlx::Error> {
    let row = sqlx::query("SELECT epoch, n FROM command_events WHERE command_id = $1 ORDER BY position DESC LIMIT 1")
        .bind(id.to_string())
        .fetch_optional(store.pool())
        .await?;
    row.map(|row| Ok(Offset { epoch: unsigned(&row, "epoch")?, n: unsigned(&row, "n")? })).transpose()
}

/// The position at which an offset was recorded.
pub async fn position_of(store: &Store, id: CommandId, offset: Offset) -> Result<Option<u64>, sqlx::Error> {
    let [epoch, n] = [offset.epoch, offset.n].map(|part| i64::try_from(part).unwrap_or(i64::MAX));
    let row = sqlx::query("SELECT position FROM command_events WHERE command_id = $1 AND epoch = $2 AND n = $3")
        .bind(id.to_string())
        .bind(epoch)
        .bind(n)
        .fetch_optional(store.pool())
        .await?;
    row.map(|row| unsigned(&row, "position")).transpose()
}

fn unsigned(row: &AnyRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}
