//! The vehicles, as their connectors describe them.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_event::{ConnectionStatus, VehicleId};
use turnpike_store::{Store, from_micros, micros};

use crate::text::folded;

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

/// Stores what a connector saw. Returns whether the status changed; then the row is marked as not yet published. Of several
/// instances that see the same change, one finds it.
pub async fn note(store: &Store, connector: &str, seen: &Sighting, now: Timestamp) -> Result<bool, sqlx::Error> {
    let search = folded(&format!("{} {} {}", seen.vin, seen.make, seen.model));
    // Two instances note the same vehicle in any order: the time never goes back.
    let known = sqlx::query(
        "UPDATE vehicles SET make = $1, model = $2, year = $3, search = $4,
             last_seen_at = CASE WHEN last_seen_at < $5 THEN $5 ELSE last_seen_at END
         WHERE vin = $6 AND connector = $7 AND connection_status = $8",
    )
    .bind(&seen.make)
    .bind(&seen.model)
    .bind(i64::from(seen.year))
    .bind(&search)
    .bind(micros(now))
    .bind(&seen.vin)
    .bind(connector)
    .bind(seen.connection_status.as_str())
    .execute(store.pool())
    .await?;
    if known.rows_affected() > 0 {
        return Ok(false);
    }
    let changed = sqlx::query(
        "INSERT INTO vehicles (id, vin, make, model, year, search, connector, connection_status, last_seen_at,
             changes, changed_at, unpublished)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $9, 1)
         ON CONFLICT (vin) DO UPDATE SET make = excluded.make, model = excluded.model, year = excluded.year,
             search = excluded.search, connector = excluded.connector,
             connection_status = excluded.connection_status,
             last_seen_at = CASE WHEN vehicles.last_seen_at < excluded.last_seen_at THEN excluded.last_seen_at
                            ELSE vehicles.last_seen_at END,
             changes = vehicles.changes + 1, changed_at = excluded.changed_at, unpublished = 1
         WHERE vehicles.connection_status <> excluded.connection_status OR vehicles.connector <> excluded.connector",
    )
    .bind(VehicleId::new(now).to_string())
    .bind(&seen.vin)
    .bind(&seen.make)
    .bind(&seen.model)
    .bind(i64::from(seen.year))
    .bind(&search)
    .bind(connector)
    .bind(seen.connection_status.as_str())
    .bind(micros(now))
    .execute(store.pool())
    .await?;
    Ok(changed.rows_affected() > 0)
}

/// Stores that a connector no longer sees any vehicle but `still`. Returns whether a status changed.
pub async fn lose_others(
    store: &Store,
    connector: &str,
    still: &[String],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let still: HashSet<&str> = still.iter().map(String::as_str).collect();
    let rows = sqlx::query("SELECT id, vin FROM vehicles WHERE connector = $1 AND connection_status <> 'disconnected'")
        .bind(connector)
        .fetch_all(store.pool())
        .await?;
    let mut any = false;
    for row in rows {
        let vin: String = row.try_get("vin")?;
        if still.contains(vin.as_str()) {
            continue;
        }
        let changed = sqlx::query(
            "UPDATE vehicles SET connection_status = 'disconnected', changes = changes + 1, changed_at = $1, unpublished = 1
             WHERE id = $2 AND connection_status <> 'disconnected' AND connector = $3",
        )
        .bind(micros(now))
        .bind(row.try_get::<String, _>("id")?)
        .bind(connector)
        .execute(store.pool())
        .await?;
        any |= changed.rows_affected() > 0;
    }
    Ok(any)
}

/// Fills the searched text of vehicles that were stored before there was one; at most `limit`. Returns how many.
pub async fn fill_search(store: &Store, limit: u32) -> Result<usize, sqlx::Error> {
    let rows = sqlx::query("SELECT id, vin, make, model FROM vehicles WHERE search = '' LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(store.pool())
        .await?;
    let mut tx = store.begin().await?;
    for row in &rows {
        let text = |column: &str| row.try_get::<String, _>(column);
        // The spaces make it not empty, whatever the vehicle is called.
        let search = folded(&format!("{} {} {}", text("vin")?, text("make")?, text("model")?));
        sqlx::query("UPDATE vehicles SET search = $1 WHERE id = $2 AND search = ''")
            .bind(search)
            .bind(text("id")?)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(rows.len())
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
           AND ($3 = '' OR search LIKE $3 ESCAPE '\\')
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

/// A LIKE pattern that finds the text anywhere; wildcards in the text are escaped.
fn like(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let escaped = folded(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
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
