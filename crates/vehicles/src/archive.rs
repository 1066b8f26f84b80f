//! The archive of commands: the events of each command's topic in order, with their offsets.

use std::collections::{HashMap, HashSet};

use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_event::{Body, CommandEvent, Record};
use turnpike_store::{Store, Write, micros, parts, rows};
use turnpike_topic::{CommandId, Offset, UserId};

use crate::{commands::Open, lifecycle::State, registry::corrupt_column, text::clean};

/// Maximum lengths of the code and the message of an error, in characters.
pub const MAX_CODE: usize = 100;
pub const MAX_MESSAGE: usize = 2000;

/// An archived event.
#[derive(Clone, Debug)]
pub struct ArchivedEvent {
    /// 1, 2, 3… within the command.
    pub position: u64,
    pub offset: Offset,
    pub is_final: bool,
    /// A `turnpike.event.v1.Event`.
    pub event: Vec<u8>,
}

/// An event of a command's topic, and the state to which it moves the command.
pub type Moving<'a> = (&'a Record, Option<State>);

/// Archives events of a command's topic, at most [`TOGETHER`], and updates the state of the command. Returns `false` if another
/// instance has taken the command over.
///
/// The same event at the same offset is a repetition, and is archived once. A different event at an offset that is taken is
/// archived in an epoch of its own, so that no event is dropped and readers receive a reset before it. That happens only if Redis
/// lost events and the bus could not detect the loss, because the run id of Redis cannot be read.
pub async fn append(store: &Store, open: &Open, records: &[Moving<'_>]) -> Result<bool, sqlx::Error> {
    let Some((last, _)) = records.last() else { return Ok(true) };
    let (mut error, mut moved) = (None, None);
    for (record, takes) in records {
        if let Body::Command(CommandEvent::Error { error_code, error_message, .. }) = &record.event.body {
            // The event itself is stored as bytes and keeps its text.
            error = Some((clean(error_code, MAX_CODE), clean(error_message, MAX_MESSAGE)));
        }
        moved = takes.or(moved);
    }
    let (epoch, n) = parts_of(last.offset);
    // With a wrong clock, or an event that cannot be decoded, a command could seem to end before it began.
    let at = micros(last.event.at.max(open.command.submitted_at));
    let events = records.iter().map(|(record, _)| NewEvent::of(record)).collect();
    store.write(Append { id: open.command.id, fence: open.fence, epoch, n, error, moved, at, events }).await
}

/// Events of one command that one write archives at most.
pub const TOGETHER: usize = 64;

struct Append {
    id: CommandId,
    fence: i64,
    epoch: i64,
    n: i64,
    error: Option<(String, String)>,
    moved: Option<State>,
    at: i64,
    events: Vec<NewEvent>,
}

struct NewEvent {
    epoch: i64,
    n: i64,
    is_final: bool,
    sequence_number: Option<i64>,
    event: Vec<u8>,
}

impl NewEvent {
    fn of(record: &Record) -> Self {
        let (epoch, n) = parts_of(record.offset);
        let sequence_number = match &record.event.body {
            Body::Command(CommandEvent::Response { sequence_number, .. }) => Some(i64::from(*sequence_number)),
            _ => None,
        };
        Self { epoch, n, is_final: record.is_final, sequence_number, event: record.event.to_bytes().to_vec() }
    }
}

/// Epoch and number as they are stored.
fn parts_of(offset: Offset) -> (i64, i64) {
    let part = |part| i64::try_from(part).unwrap_or(i64::MAX);
    (part(offset.epoch), part(offset.n))
}

/// Of `id`, `fence`, `epoch`, `n`, the number of events, `moved`, `ended`, `at`, and the error's code and message.
const APPENDED: [&str; 10] =
    ["TEXT", "BIGINT", "BIGINT", "BIGINT", "BIGINT", "TEXT", "BIGINT", "BIGINT", "TEXT", "TEXT"];

/// Events that one statement inserts at most: the databases limit the values of a statement.
const INSERTED_AT_ONCE: usize = 512;

impl Write for Append {
    /// Clients get the events from the topic.
    const DEFERRABLE: bool = true;

    /// Whether this instance still supervises the command.
    type Output = bool;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, sqlx::Error> {
        // A statement updates a row once. A supervisor waits for each of its writes, so two writes for one command are
        // rare: one of them is of a supervisor that was replaced.
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

/// An event with its command and its position in the archive.
#[derive(Clone, Copy)]
struct Placed<'a> {
    append: &'a Append,
    event: &'a NewEvent,
    position: i64,
    epoch: i64,
}

impl Append {
    /// Appends events of different commands.
    async fn append(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, sqlx::Error> {
        let newest = Self::advance(writes, on).await?;
        let mut placed = Vec::with_capacity(writes.len());
        for append in writes {
            let Some(last) = newest.get(&append.id.to_string()) else { continue };
            let positions = last - append.events.len() as i64 + 1..;
            for (event, position) in append.events.iter().zip(positions) {
                placed.push(Placed { append, event, position, epoch: event.epoch });
            }
        }
        Self::insert(&placed, on).await?;
        Ok(writes.iter().map(|append| newest.contains_key(&append.id.to_string())).collect())
    }

    /// Updates the commands. Returns the position of the newest archived event of each that this instance still supervises.
    async fn advance(writes: &[Self], on: &mut AnyConnection) -> Result<HashMap<String, i64>, sqlx::Error> {
        let sql = format!(
            "WITH appended (command, token, in_epoch, at_n, events, moved, ends, ended_at, code, message) AS (VALUES {})
             UPDATE commands SET recorded = recorded + events, epoch = in_epoch, reached = at_n,
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
                .bind(append.events.len() as i64)
                .bind(append.moved.map(State::as_str))
                .bind(i64::from(append.moved.is_some_and(State::is_end)))
                .bind(append.at)
                .bind(append.error.as_ref().map(|(code, _)| code.as_str()))
                .bind(append.error.as_ref().map(|(_, message)| message.as_str()));
        }
        let rows = update.fetch_all(&mut *on).await?;
        rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("recorded")?))).collect()
    }

    async fn insert(placed: &[Placed<'_>], on: &mut AnyConnection) -> Result<(), sqlx::Error> {
        for part in parts(placed, INSERTED_AT_ONCE) {
            let inserted = Self::try_insert(part, on).await?;
            for taken in part.iter().filter(|event| !inserted.contains(&(event.append.id.to_string(), event.position)))
            {
                Self::insert_at_a_taken_offset(*taken, on).await?;
            }
        }
        Ok(())
    }

    /// Inserts events whose offset is free. Returns their commands and positions.
    async fn try_insert(placed: &[Placed<'_>], on: &mut AnyConnection) -> Result<HashSet<(String, i64)>, sqlx::Error> {
        let sql = format!(
            "INSERT INTO command_events (command_id, position, epoch, n, is_final, sequence_number, event)
             VALUES {} ON CONFLICT (command_id, epoch, n) DO NOTHING RETURNING command_id, position",
            rows(placed.len(), &[""; 7])
        );
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
        for Placed { append, event, position, epoch } in placed {
            insert = insert
                .bind(append.id.to_string())
                .bind(*position)
                .bind(*epoch)
                .bind(event.n)
                .bind(i64::from(event.is_final))
                .bind(event.sequence_number)
                .bind(event.event.as_slice());
        }
        let rows = insert.fetch_all(&mut *on).await?;
        rows.iter().map(|row| Ok((row.try_get("command_id")?, row.try_get("position")?))).collect()
    }

    /// A repetition is left out, and its position stays empty; another event gets an epoch of its own.
    async fn insert_at_a_taken_offset(placed: Placed<'_>, on: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let Placed { append, event, .. } = placed;
        let taken = sqlx::query(
            "SELECT is_final, event, (SELECT MAX(epoch) FROM command_events WHERE command_id = $1) AS newest
             FROM command_events WHERE command_id = $1 AND epoch = $2 AND n = $3",
        )
        .bind(append.id.to_string())
        .bind(event.epoch)
        .bind(event.n)
        .fetch_one(&mut *on)
        .await?;
        let is_final = taken.try_get::<i64, _>("is_final")? == 1;
        if is_final == event.is_final && taken.try_get::<Vec<u8>, _>("event")? == event.event {
            return Ok(());
        }
        let newest: i64 = taken.try_get("newest")?;
        Self::try_insert(&[Placed { epoch: newest + 1, ..placed }], on).await.map(|_| ())
    }
}

/// Archived events after a position, at most `limit`, in order. `responses`: only command responses.
pub async fn read(
    store: &Store,
    id: CommandId,
    after: u64,
    responses: bool,
    limit: u32,
) -> Result<Vec<ArchivedEvent>, sqlx::Error> {
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
        Ok(ArchivedEvent {
            position: unsigned(row, "position")?,
            offset: Offset { epoch: unsigned(row, "epoch")?, n: unsigned(row, "n")? },
            is_final: row.try_get::<i64, _>("is_final")? == 1,
            event: row.try_get("event")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A command as the owner of its topic sees it.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub user_id: UserId,
    /// The command has ended: all of its events are archived.
    pub ended: bool,
    /// Offset of the first archived event.
    pub first: Option<Offset>,
    /// Offset of the newest archived event.
    pub head: Option<Offset>,
}

/// The summary of one command, in one query: gateways ask for it whenever a client opens the command's topic.
pub async fn summary(store: &Store, id: CommandId) -> Result<Option<Summary>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT c.user_id, c.ended, oldest.epoch AS first_epoch, oldest.n AS first_n,
             newest.epoch AS head_epoch, newest.n AS head_n
         FROM commands c
         LEFT JOIN command_events oldest ON oldest.command_id = c.id
             AND oldest.position = (SELECT MIN(position) FROM command_events WHERE command_id = c.id)
         LEFT JOIN command_events newest ON newest.command_id = c.id
             AND newest.position = (SELECT MAX(position) FROM command_events WHERE command_id = c.id)
         WHERE c.id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(store.reader())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let offset = |epoch: &str, n: &str| match (row.try_get::<Option<i64>, _>(epoch)?, row.try_get::<Option<i64>, _>(n)?)
    {
        (Some(epoch), Some(n)) => Ok(Some(Offset { epoch: epoch.unsigned_abs(), n: n.unsigned_abs() })),
        _ => Ok::<_, sqlx::Error>(None),
    };
    Ok(Some(Summary {
        user_id: row.try_get::<String, _>("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?,
        ended: row.try_get::<i64, _>("ended")? == 1,
        first: offset("first_epoch", "first_n")?,
        head: offset("head_epoch", "head_n")?,
    }))
}

/// The position of the event at an offset.
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
