//! Commands as they are kept: submitted, cancelled, looked at.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_event::{CommandId, Offset, UserId, VehicleId};
use turnpike_store::{
    Store, from_micros,
    idempotency::{Key, Known},
    limits::{Limit, Taken},
    micros,
};

use crate::{
    catalogue::Request,
    leases::LEASE,
    lifecycle::{Effect, State},
    registry::odd,
};

/// How long a connector has to accept a command.
pub const ACCEPT: Duration = Duration::from_secs(5);

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
    /// The user has sent too many commands within a minute. The next one is accepted after this time.
    #[error("too many commands")]
    TooMany(Duration),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a command is read from; `commands c`.
pub const COLUMNS: &str = "c.id, c.user_id, c.vehicle_id, c.name, c.params, c.effect, c.state, c.timeout_seconds, \
                       c.submitted_at, c.completed_at, c.error_code, c.error_message";
/// What its conductor needs besides; `vehicles v`.
pub const OPEN_COLUMNS: &str = "c.accept_by, c.run_by, c.instance_id, c.epoch, c.reached, c.fence, v.vin, v.connector";

/// Writes a command down, to be conducted by this instance. A repeated request, and one that is refused, does not count against
/// the limit.
pub async fn submit(store: &Store, new: &New, limit: Option<Limit>, now: Timestamp) -> Result<Submitted, SubmitError> {
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
    if let Some(limit) = limit
        && let Taken::NotFor(after) = limit.take(&mut tx, &format!("commands {}", new.user_id), now).await?
    {
        return Err(SubmitError::TooMany(after));
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

/// Reads a row that has [`COLUMNS`] and [`OPEN_COLUMNS`].
pub fn open(row: &AnyRow) -> Result<Open, sqlx::Error> {
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
