//! Commands as they are stored, and reading one.

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_store::{Store, from_micros};
use turnpike_topic::{CommandId, Offset, UserId, VehicleId};

use crate::{
    lifecycle::{Effect, State},
    registry::corrupt_column,
};

#[derive(Clone, Debug)]
pub struct Command {
    pub id: CommandId,
    pub user_id: UserId,
    pub vehicle_id: VehicleId,
    /// Its name in the catalogue.
    pub name: String,
    /// Its parameters, a JSON object.
    pub params: String,
    pub effect: Effect,
    pub state: State,
    pub timeout_seconds: u32,
    pub submitted_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    /// Code and message, if it did not complete.
    pub error: Option<(String, String)>,
}

impl Command {
    /// The command as every answer to its submission shows it: pending, also if it is a read, which is stored as dispatched, or
    /// if the request is repeated after a later change.
    pub fn into_submitted(self) -> Self {
        Self { state: State::Pending, completed_at: None, error: None, ..self }
    }
}

/// An open command, as its supervisor needs it.
#[derive(Clone, Debug)]
pub struct Open {
    pub command: Command,
    /// The vehicle's VIN, by which connectors know it.
    pub vin: String,
    /// Name of the connector that reaches the vehicle.
    pub connector: String,
    /// Deadline for a connector to accept it.
    pub accept_by: Timestamp,
    /// Deadline for its end.
    pub run_by: Timestamp,
    /// Incarnation of the connector that accepted it.
    pub instance_id: Option<String>,
    /// Offset of the last archived event.
    pub reached: Option<Offset>,
    /// The fencing token. Writes with an older one fail.
    pub fence: i64,
}

/// Columns of a [`Command`], from `commands c`.
pub const COLUMNS: &str = "c.id, c.user_id, c.vehicle_id, c.name, c.params, c.effect, c.state, c.timeout_seconds, \
                       c.submitted_at, c.completed_at, c.error_code, c.error_message";
/// The other columns of an [`Open`] command, from `commands c` and `vehicles v`.
pub const OPEN_COLUMNS: &str = "c.accept_by, c.run_by, c.instance_id, c.epoch, c.reached, c.fence, v.vin, v.connector";

pub async fn get(store: &Store, id: CommandId) -> Result<Option<Command>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM commands c WHERE c.id = $1")))
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.as_ref().map(command).transpose()
}

/// `None` also if the command is another user's.
pub async fn get_of(store: &Store, id: CommandId, user: UserId) -> Result<Option<Command>, sqlx::Error> {
    Ok(get(store, id).await?.filter(|command| command.user_id == user))
}

/// The command that must not run twice and has not ended on a vehicle's control unit.
pub async fn get_unsafe(store: &Store, vehicle_id: VehicleId, ecu: &str) -> Result<Option<Command>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM commands c
         WHERE c.vehicle_id = $1 AND c.ecu = $2 AND c.ended = 0 AND c.effect = 'unsafe'"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(vehicle_id.to_string()).bind(ecu.to_owned());
    query.fetch_optional(store.reader()).await?.as_ref().map(command).transpose()
}

/// `None` if the command has ended.
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
        id: text("id")?.parse().map_err(|_| corrupt_column("id"))?,
        user_id: text("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?,
        vehicle_id: text("vehicle_id")?.parse().map_err(|_| corrupt_column("vehicle_id"))?,
        name: text("name")?,
        params: text("params")?,
        effect: Effect::from_word(&text("effect")?).ok_or_else(|| corrupt_column("effect"))?,
        state: State::from_word(&text("state")?).ok_or_else(|| corrupt_column("state"))?,
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
