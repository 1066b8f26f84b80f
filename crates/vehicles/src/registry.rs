//! The vehicles there are, as their connectors tell.

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_event::{ConnectionStatus, VehicleId};
use turnpike_store::{Store, from_micros, micros};

/// A vehicle in the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Vehicle {
    /// Given at first sight, and kept.
    pub id: VehicleId,
    /// Vehicle identification number (ISO 3779).
    pub vin: String,
    /// Who made it.
    pub make: String,
    /// What they call it.
    pub model: String,
    /// Model year.
    pub year: u32,
    /// The connector that reaches it.
    pub connector: String,
    /// How it can be reached.
    pub connection_status: ConnectionStatus,
    /// When a connector last spoke of it.
    pub last_seen_at: Timestamp,
}

/// A vehicle as a connector describes it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Vehicle identification number.
    pub vin: String,
    /// Who made it.
    pub make: String,
    /// What they call it.
    pub model: String,
    /// Model year.
    pub year: u32,
    /// How it can be reached.
    pub connection_status: ConnectionStatus,
}

const COLUMNS: &str = "id, vin, make, model, year, connector, connection_status, last_seen_at";

/// Writes down what a connector saw. Says the vehicle's id if its status is news: of several instances that see the same,
/// one gets the news.
pub async fn note(
    store: &Store,
    connector: &str,
    seen: &Sighting,
    now: Timestamp,
) -> Result<Option<VehicleId>, sqlx::Error> {
    let known = sqlx::query(
        "UPDATE vehicles SET make = $1, model = $2, year = $3, last_seen_at = $4
         WHERE vin = $5 AND connector = $6 AND connection_status = $7 RETURNING id",
    )
    .bind(&seen.make)
    .bind(&seen.model)
    .bind(i64::from(seen.year))
    .bind(micros(now))
    .bind(&seen.vin)
    .bind(connector)
    .bind(seen.connection_status.as_str())
    .fetch_optional(store.pool())
    .await?;
    if known.is_some() {
        return Ok(None);
    }
    let row = sqlx::query(
        "INSERT INTO vehicles (id, vin, make, model, year, connector, connection_status, last_seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (vin) DO UPDATE SET make = excluded.make, model = excluded.model, year = excluded.year,
             connector = excluded.connector, connection_status = excluded.connection_status,
             last_seen_at = excluded.last_seen_at
         WHERE vehicles.connection_status <> excluded.connection_status OR vehicles.connector <> excluded.connector
         RETURNING id",
    )
    .bind(VehicleId::new(now).to_string())
    .bind(&seen.vin)
    .bind(&seen.make)
    .bind(&seen.model)
    .bind(i64::from(seen.year))
    .bind(connector)
    .bind(seen.connection_status.as_str())
    .bind(micros(now))
    .fetch_optional(store.pool())
    .await?;
    row.map(|row| id(&row)).transpose()
}

/// Writes down that a connector no longer sees anything but `still`. Says which vehicles that is news of.
pub async fn lose_others(store: &Store, connector: &str, still: &[String]) -> Result<Vec<VehicleId>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, vin FROM vehicles WHERE connector = $1 AND connection_status <> 'disconnected'")
        .bind(connector)
        .fetch_all(store.pool())
        .await?;
    let mut lost = Vec::new();
    for row in rows {
        let vin: String = row.try_get("vin")?;
        if still.contains(&vin) {
            continue;
        }
        let changed = sqlx::query(
            "UPDATE vehicles SET connection_status = 'disconnected'
             WHERE id = $1 AND connection_status <> 'disconnected' AND connector = $2 RETURNING id",
        )
        .bind(row.try_get::<String, _>("id")?)
        .bind(connector)
        .fetch_optional(store.pool())
        .await?;
        lost.extend(changed.map(|row| id(&row)).transpose()?);
    }
    Ok(lost)
}

/// Which vehicles are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only with this status.
    pub status: Option<ConnectionStatus>,
    /// Only with this text in VIN, make or model, in any case.
    pub search: String,
    /// Only after this one.
    pub after: Option<VehicleId>,
}

/// At most `limit` vehicles, oldest in the registry first.
pub async fn list(store: &Store, filter: &Filter, limit: u32) -> Result<Vec<Vehicle>, sqlx::Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM vehicles
         WHERE ($1 = '' OR connection_status = $1) AND id > $2
           AND ($3 = '' OR lower(vin || ' ' || make || ' ' || model) LIKE $3 ESCAPE '\\')
         ORDER BY id LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(filter.status.map_or("", ConnectionStatus::as_str))
        .bind(filter.after.map(|id| id.to_string()).unwrap_or_default())
        .bind(like(&filter.search))
        .bind(i64::from(limit))
        .fetch_all(store.pool())
        .await?;
    rows.iter().map(vehicle).collect()
}

/// One vehicle.
pub async fn get(store: &Store, id: VehicleId) -> Result<Option<Vehicle>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM vehicles WHERE id = $1")))
        .bind(id.to_string())
        .fetch_optional(store.pool())
        .await?;
    row.as_ref().map(vehicle).transpose()
}

/// A text as a pattern that finds it anywhere; its own wildcards mean themselves.
fn like(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let escaped = text.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

fn vehicle(row: &AnyRow) -> Result<Vehicle, sqlx::Error> {
    let status: String = row.try_get("connection_status")?;
    Ok(Vehicle {
        id: id(row)?,
        vin: row.try_get("vin")?,
        make: row.try_get("make")?,
        model: row.try_get("model")?,
        year: u32::try_from(row.try_get::<i64, _>("year")?).unwrap_or_default(),
        connector: row.try_get("connector")?,
        connection_status: ConnectionStatus::from_word(&status).ok_or_else(|| odd("connection_status"))?,
        last_seen_at: from_micros(row.try_get("last_seen_at")?),
    })
}

fn id(row: &AnyRow) -> Result<VehicleId, sqlx::Error> {
    row.try_get::<String, _>("id")?.parse().map_err(|_| odd("id"))
}

/// A column holds what this code never writes.
pub(crate) fn odd(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not a value of ours".into() }
}
