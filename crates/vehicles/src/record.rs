//! The record: every event of a command's topic in the order in which it was read, with the offset where it stood.

use std::collections::{HashMap, HashSet};

use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_event::{Body, CommandId, Offset, Record};
use turnpike_store::{Store, Write, micros, rows};

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
pub async fn append(store: &Store, open: &Open, record: &Record, moved: Option<State>) -> Result<bool, sqlx::Error> {
    let [epoch, n] = [record.offset.epoch, record.offset.n].map(|part| i64::try_from(part).unwrap_or(i64::MAX));
    let (mut error, mut sequence_number) = (None, None);
    match &record.event.body {
        Body::CommandError { error_code, error_message, .. } => {
            error = Some((error_code.clone(), error_message.clone()));
        }
        Body::CommandResponse { sequence_number: number, .. } => sequence_number = Some(i64::from(*number)),
        _ => {}
    }
    // A clock that is wrong, or an event that cannot be read, ends no command before it began.
    let at = micros(record.event.at.max(open.command.submitted_at));
    let event = record.event.to_bytes().to_vec();
    let (id, fence, is_final) = (open.command.id, open.fence, record.is_final);
    store.write(Append { id, fence, epoch, n, is_final, sequence_number, error, moved, at, event }).await
}

struct Append {
    id: CommandId,
    fence: i64,
    epoch: i64,
    n: i64,
    is_final: bool,
    sequence_number: Option<i64>,
    error: Option<(String, String)>,
    moved: Option<State>,
    at: i64,
    event: Vec<u8>,
}

/// Of `id`, `fence`, `epoch`, `n`, `moved`, `ended`, `at`, and the error's code and message.
const APPENDED: [&str; 9] = ["TEXT", "BIGINT", "BIGINT", "BIGINT", "TEXT", "BIGINT", "BIGINT", "TEXT", "TEXT"];

impl Write for Append {
    /// Whether this instance still conducts the command.
    type Output = bool;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, sqlx::Error> {
        // A statement updates a row once. A conductor waits for each of its writes, so that two for one command are rare: one of
        // them is of a conductor that was replaced.
        let ids: HashSet<_> = writes.iter().map(|append| append.id).collect();
        if ids.len() == writes.len() {
            return Self::append(writes, on).await;
        }
        let mut outputs = Vec::with_capacity(writes.len());
        for append in writes.chunks(1) {
            outputs.extend(Self::append(append, on).await?);
        }
        Ok(outputs)
    }
}

impl Append {
    /// Appends events of different commands.
    async fn append(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, sqlx::Error> {
        let recorded = Self::advance(writes, on).await?;
        let position = |append: &Self| recorded.get(&append.id.to_string()).copied();
        let appended: Vec<_> = writes.iter().filter_map(|append| Some((append, position(append)?))).collect();
        if !appended.is_empty() {
            Self::insert(&appended, on).await?;
        }
        Ok(writes.iter().map(|append| position(append).is_some()).collect())
    }

    /// Moves the commands on. Gives the position of the new event in the record of each that this instance still conducts.
    async fn advance(writes: &[Self], on: &mut AnyConnection) -> Result<HashMap<String, i64>, sqlx::Error> {
        let sql = format!(
            "WITH appended (command, token, in_epoch, at_n, moved, ends, ended_at, code, message) AS (VALUES {})
             UPDATE commands SET recorded = recorded + 1, epoch = in_epoch, reached = at_n,
                 state = COALESCE(moved, state), ended = ends,
                 completed_at = CASE WHEN ends = 1 THEN ended_at ELSE completed_at END,
                 error_code = COALESCE(code, error_code), error_message = COALESCE(message, error_message)
             FROM appended WHERE id = command AND fence = token AND ended = 0 RETURNING id, recorded",
            rows(writes.len(), &APPENDED)
        );
        let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
        for append in writes {
            update = update
                .bind(append.id.to_string())
                .bind(append.fence)
                .bind(append.epoch)
                .bind(append.n)
                .bind(append.moved.map(State::as_str))
                .bind(i64::from(append.moved.is_some_and(State::is_end)))
                .bind(append.at)
                .bind(append.error.as_ref().map(|(code, _)| code.as_str()))
                .bind(append.error.as_ref().map(|(_, message)| message.as_str()));
        }
        let rows = update.fetch_all(&mut *on).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("recorded")?))).collect()
    }

    async fn insert(appended: &[(&Self, i64)], on: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let sql = format!(
            "INSERT INTO command_events (command_id, position, epoch, n, is_final, sequence_number, event)
             VALUES {} ON CONFLICT (command_id, epoch, n) DO NOTHING",
            rows(appended.len(), &[""; 7])
        );
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (append, position) in appended {
            insert = insert
                .bind(append.id.to_string())
                .bind(*position)
                .bind(append.epoch)
                .bind(append.n)
                .bind(i64::from(append.is_final))
                .bind(append.sequence_number)
                .bind(append.event.as_slice());
        }
        insert.execute(&mut *on).await.map(|_| ())
    }
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
        .fetch_all(store.reader())
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

/// The position at which an offset was recorded.
pub async fn position_of(store: &Store, id: CommandId, offset: Offset) -> Result<Option<u64>, sqlx::Error> {
    let [epoch, n] = [offset.epoch, offset.n].map(|part| i64::try_from(part).unwrap_or(i64::MAX));
    let row = sqlx::query("SELECT position FROM command_events WHERE command_id = $1 AND epoch = $2 AND n = $3")
        .bind(id.to_string())
        .bind(epoch)
        .bind(n)
        .fetch_optional(store.reader())
        .await?;
    row.map(|row| unsigned(&row, "position")).transpose()
}

fn unsigned(row: &AnyRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}
