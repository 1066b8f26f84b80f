//! Commands as they are kept: submitted, claimed, recorded, looked at.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_event::{Body, CommandId, Offset, Record, UserId, VehicleId};
use turnpike_store::{
    Store, from_micros,
    idempotency::{Key, Known},
    micros,
};

use crate::{
    catalogue::Request,
    lifecycle::{Effect, State},
    registry::odd,
};

/// How long a connector has to accept a command.
pub const ACCEPT: Duration = Duration::from_secs(5);
/// How long an instance may be silent before another takes its commands over.
pub const LEASE: Duration = Duration::from_secs(5);

/// A command as it stands.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its id.
    pub id: CommandId,
    /// Who sent it.
    pub user_id: UserId,
    /// To which vehicle.
    pub vehicle_id: VehicleId,
    /// Its name in the catalogue.
    pub name: String,
    /// Its parameters, a JSON object.
    pub params: String,
    /// What happens if it is run twice.
    pub effect: Effect,
    /// Where it is.
    pub state: State,
    /// How long it was given.
    pub timeout_seconds: u32,
    /// When it came.
    pub submitted_at: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Why it was not done.
    pub error: Option<(String, String)>,
}

/// A command that this instance conducts.
#[derive(Clone, Debug)]
pub struct Open {
    /// The command.
    pub command: Command,
    /// The vehicle's VIN, by which connectors know it.
    pub vin: String,
    /// Who reaches the vehicle.
    pub connector: String,
    /// Until then a connector must have accepted it.
    pub accept_by: Timestamp,
    /// Until then it must have ended.
    pub run_by: Timestamp,
    /// Which life of the connector accepted it.
    pub instance_id: Option<String>,
    /// How far its topic is recorded.
    pub reached: Option<Offset>,
    /// Writes without it fail: another instance has taken over.
    pub fence: i64,
}

/// A command to be submitted.
#[derive(Clone, Debug)]
pub struct New {
    /// By whom.
    pub user_id: UserId,
    /// To which vehicle.
    pub vehicle_id: VehicleId,
    /// What.
    pub request: Request,
    /// 1–3600.
    pub timeout_seconds: u32,
    /// The caller's key and a hash of what it stands for.
    pub key: Option<Key>,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// It is new, and this instance's to conduct.
    New(Box<Open>),
    /// It had been submitted under the same key.
    Before(Box<Command>),
}

/// Why a command can't be submitted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// There is no such vehicle.
    #[error("there is no such vehicle")]
    UnknownVehicle,
    /// Another unsafe command runs on the same control unit.
    #[error("another command that must not run twice is running on this control unit")]
    Busy,
    /// The key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

const COLUMNS: &str = "c.id, c.user_id, c.vehicle_id, c.name, c.params, c.effect, c.state, c.timeout_seconds, \
                       c.submitted_at, c.completed_at, c.error_code, c.error_message";
const OPEN_COLUMNS: &str = "c.accept_by, c.run_by, c.instance_id, c.epoch, c.reached, c.fence, v.vin, v.connector";

/// Writes a command down, to be conducted by this instance.
pub async fn submit(store: &Store, new: &New, now: Timestamp) -> Result<Submitted, SubmitError> {
    let id = CommandId::new(now);
    let mut tx = store.begin().await?;
    if let Some(key) = &new.key {
        match key.take(&mut tx, &id.to_string(), now).await? {
            Known::New => {}
            Known::Before(id) => {
                let sql = format!("SELECT {COLUMNS} FROM commands c WHERE c.id = $1");
                let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(&mut *tx).await?;
                return Ok(Submitted::Before(Box::new(command(&row)?)));
            }
            Known::Other => return Err(SubmitError::KeyReused),
        }
    }
    let vehicle = sqlx::query("SELECT vin, connector FROM vehicles WHERE id = $1")
        .bind(new.vehicle_id.to_string())
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(SubmitError::UnknownVehicle)?;
    let accept_by = now + ACCEPT.min(Duration::from_secs(new.timeout_seconds.into()));
    let run_by = now + Duration::from_secs(new.timeout_seconds.into());
    let params = serde_json::Value::Object(new.request.params.clone()).to_string();
    // The one conflict there can be is the partial index over unsafe commands.
    let inserted = sqlx::query(
        "INSERT INTO commands (id, user_id, vehicle_id, name, params, ecu, effect, state, ended, timeout_seconds,
             submitted_at, accept_by, run_by, recorded, lease_until, fence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', 0, $8, $9, $10, $11, 0, $12, 1)
         ON CONFLICT DO NOTHING",
    )
    .bind(id.to_string())
    .bind(new.user_id.to_string())
    .bind(new.vehicle_id.to_string())
    .bind(new.request.name)
    .bind(&params)
    .bind(&new.request.ecu)
    .bind(new.request.effect.as_str())
    .bind(i64::from(new.timeout_seconds))
    .bind(micros(now))
    .bind(micros(accept_by))
    .bind(micros(run_by))
    .bind(micros(now + LEASE))
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(SubmitError::Busy);
    }
    tx.commit().await?;
    Ok(Submitted::New(Box::new(Open {
        command: Command {
            id,
            user_id: new.user_id,
            vehicle_id: new.vehicle_id,
            name: new.request.name.to_owned(),
            params,
            effect: new.request.effect,
            state: State::Pending,
            timeout_seconds: new.timeout_seconds,
            submitted_at: now,
            completed_at: None,
            error: None,
        },
        vin: vehicle.try_get("vin")?,
        connector: vehicle.try_get("connector")?,
        accept_by,
        run_by,
        instance_id: None,
        reached: None,
        fence: 1,
    })))
}

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

/// Writes down which life of the connector accepted a command.
pub async fn mark_accepted(store: &Store, id: CommandId, fence: i64, instance_id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE commands SET instance_id = $1 WHERE id = $2 AND fence = $3")
        .bind(instance_id)
        .bind(id.to_string())
        .bind(fence)
        .execute(store.pool())
        .await?;
    Ok(())
}

/// Writes down that somebody wants a command stopped; `false` if it has ended.
pub async fn ask_to_cancel(store: &Store, id: CommandId, now: Timestamp) -> Result<bool, sqlx::Error> {
    let asked =
        sqlx::query("UPDATE commands SET cancel_asked_at = COALESCE(cancel_asked_at, $1) WHERE id = $2 AND ended = 0")
            .bind(micros(now))
            .bind(id.to_string())
            .execute(store.pool())
            .await?;
    Ok(asked.rows_affected() == 1)
}

/// Records one event of a command's topic, and moves the command on if the event does. `false` if another instance has taken
/// over.
pub async fn record(store: &Store, open: &Open, record: &Record, moved: Option<State>) -> Result<bool, sqlx::Error> {
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
    sqlx::query(
        "INSERT INTO command_events (command_id, position, epoch, n, is_final, sequence_number, event)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (command_id, epoch, n) DO NOTHING",
    )
    .bind(open.command.id.to_string())
    .bind(row.try_get::<i64, _>("recorded")?)
    .bind(epoch)
    .bind(n)
    .bind(i64::from(record.is_final))
    .bind(sequence_number)
    .bind(record.event.to_bytes().to_vec())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// One command.
pub async fn get(store: &Store, id: CommandId) -> Result<Option<Command>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM commands c WHERE c.id = $1")))
        .bind(id.to_string())
        .fetch_optional(store.pool())
        .await?;
    row.as_ref().map(command).transpose()
}

/// One open command, as its conductor sees it.
pub async fn get_open(store: &Store, id: CommandId) -> Result<Option<Open>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {OPEN_COLUMNS} FROM commands c JOIN vehicles v ON v.id = c.vehicle_id
         WHERE c.id = $1 AND c.ended = 0"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(store.pool()).await?;
    row.as_ref().map(open).transpose()
}

/// Which commands are wanted; each filter is off when empty.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// To this vehicle.
    pub vehicle_id: Option<VehicleId>,
    /// In one of these states.
    pub states: Vec<State>,
    /// Submitted at or after.
    pub since: Option<Timestamp>,
    /// Submitted before.
    pub until: Option<Timestamp>,
    /// Only older than this one.
    pub before: Option<CommandId>,
}

/// At most `limit` commands, newest first.
pub async fn list(store: &Store, filter: &Filter, limit: u32) -> Result<Vec<Command>, sqlx::Error> {
    let states: Vec<_> = filter.states.iter().map(|state| format!("'{}'", state.as_str())).collect();
    let states = if states.is_empty() { "1 = 1".to_owned() } else { format!("c.state IN ({})", states.join(", ")) };
    let sql = format!(
        "SELECT {COLUMNS} FROM commands c
         WHERE ($1 = '' OR c.user_id = $1) AND ($2 = '' OR c.vehicle_id = $2) AND ($3 = '' OR c.id < $3)
           AND c.submitted_at >= $4 AND c.submitted_at < $5 AND {states}
         ORDER BY c.id DESC LIMIT $6"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(filter.user_id.map(|id| id.to_string()).unwrap_or_default())
        .bind(filter.vehicle_id.map(|id| id.to_string()).unwrap_or_default())
        .bind(filter.before.map(|id| id.to_string()).unwrap_or_default())
        .bind(filter.since.map_or(i64::MIN, micros))
        .bind(filter.until.map_or(i64::MAX, micros))
        .bind(i64::from(limit))
        .fetch_all(store.pool())
        .await?;
    rows.iter().map(command).collect()
}

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

/// What was recorded after a position; at most `limit`, in order. `responses` leaves everything else out.
pub async fn recorded(
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

fn command(row: &AnyRow) -> Result<Command, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let code: Option<String> = row.try_get("error_code")?;
    let message: Option<String> = row.try_get("error_message")?;
    Ok(Command {
        id: text("id")?.parse().map_err(|_| odd("id"))?,
        user_id: text("user_id")?.parse().map_err(|_| odd("user_id"))?,
        vehicle_id: text("vehicle_id")?.parse().map_err(|_| odd("vehicle_id"))?,
        name: text("name")?,
        params: text("params")?,
        effect: Effect::from_word(&text("effect")?).ok_or_else(|| odd("effect"))?,
        state: State::from_word(&text("state")?).ok_or_else(|| odd("state"))?,
        timeout_seconds: u32::try_from(row.try_get::<i64, _>("timeout_seconds")?).unwrap_or_default(),
        submitted_at: from_micros(row.try_get("submitted_at")?),
        completed_at: row.try_get::<Option<i64>, _>("completed_at")?.map(from_micros),
        error: code.map(|code| (code, message.unwrap_or_default())),
    })
}

fn open(row: &AnyRow) -> Result<Open, sqlx::Error> {
    let reached = match (row.try_get::<Option<i64>, _>("epoch")?, row.try_get::<Option<i64>, _>("reached")?) {
        (Some(epoch), Some(n)) => Some(Offset { epoch: epoch.unsigned_abs(), n: n.unsigned_abs() }),
        _ => None,
    };
    Ok(Open {
        command: command(row)?,
        vin: row.try_get("vin")?,
        connector: row.try_get("connector")?,
        accept_by: from_micros(row.try_get("accept_by")?),
        run_by: from_micros(row.try_get("run_by")?),
        instance_id: row.try_get("instance_id")?,
        reached,
        fence: row.try_get("fence")?,
    })
}

fn unsigned(row: &AnyRow, column: &str) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}
