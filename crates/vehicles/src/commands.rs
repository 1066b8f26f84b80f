//! Commands as they are stored: what they are, and reading one.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_store::{Store, from_micros, idempotency::Key, limits::Limit};
use turnpike_topic::{CommandId, Offset, UserId, VehicleId};

use crate::{
    catalogue::Request,
    lifecycle::{Effect, State},
    registry::odd,
    submit,
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

/// Stores a command, to be conducted by this instance. A repeated request, and one that is refused, does not count against the
/// limit.
pub async fn submit(store: &Store, new: &New, limit: Option<Limit>, now: Timestamp) -> Result<Submitted, SubmitError> {
    submit::submit(store, new.clone(), limit, now).await
}

/// One command.
pub async fn get(store: &Store, id: CommandId) -> Result<Option<Command>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM commands c WHERE c.id = $1")))
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.as_ref().map(command).transpose()
}

/// One open command, as its conductor sees it.
pub async fn get_open(store: &Store, id: CommandId) -> Result<Option<Open>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {OPEN_COLUMNS} FROM commands c JOIN vehicles v ON v.id = c.vehicle_id
         WHERE c.id = $1 AND c.ended = 0"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).fetch_optional(store.reader()).await?;
    row.as_ref().map(open).transpose()
}

/// Reads a row that has [`COLUMNS`].
pub fn command(row: &AnyRow) -> Result<Command, sqlx::Error> {
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
