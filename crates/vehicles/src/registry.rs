//! The vehicles, as their connectors describe them.

use std::{collections::HashSet, sync::Arc};

use jiff::Timestamp;
use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_event::ConnectionStatus;
use turnpike_store::{Read, Store, Write, from_micros, micros, parts, rows};
use turnpike_topic::VehicleId;

use crate::text::folded;

#[derive(Clone, Debug, PartialEq)]
pub struct Vehicle {
    /// Assigned when a connector first reports the vehicle; it never changes.
    pub id: VehicleId,
    /// Vehicle identification number (ISO 3779).
    pub vin: String,
    pub make: String,
    pub model: String,
    pub year: u32,
    /// Name of the connector that reaches it.
    pub connector: String,
    pub connection_status: ConnectionStatus,
    /// When a connector last reported it.
    pub last_seen_at: Timestamp,
}

/// A vehicle as a connector describes it.
#[derive(Clone, Debug)]
pub struct Sighting {
    pub vin: String,
    pub make: String,
    pub model: String,
    pub year: u32,
    pub connection_status: ConnectionStatus,
}

const COLUMNS: &str = "id, vin, make, model, year, connector, connection_status, last_seen_at";

/// Vehicles that one write stores at most, so that it does not delay other writes for long.
const NOTED_AT_ONCE: usize = 256;

/// Stores the report of a connector, which names each vehicle once. Returns whether a status changed; such a vehicle is marked as
/// not yet published. If several instances see the same change, one of them stores it.
pub async fn note(store: &Store, connector: &str, seen: Vec<Sighting>, now: Timestamp) -> Result<bool, sqlx::Error> {
    let mut changed = false;
    for part in parts(&seen, NOTED_AT_ONCE) {
        changed |= store.write(Note { connector: connector.to_owned(), seen: part.to_vec(), now }).await?;
    }
    Ok(changed)
}

struct Note {
    connector: String,
    seen: Vec<Sighting>,
    now: Timestamp,
}

impl Sighting {
    fn search(&self) -> String {
        search(&self.vin, &self.make, &self.model)
    }
}

/// The text that a search compares.
fn search(vin: &str, make: &str, model: &str) -> String {
    folded(&format!("{vin} {make} {model}"))
}

impl Write for Note {
    type Output = bool;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Self::Output>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for note in writes {
            let known = note.confirm(on).await?;
            let others: Vec<_> = note.seen.iter().filter(|seen| !known.contains(&seen.vin)).collect();
            outputs.push(!others.is_empty() && note.change(&others, on).await?);
        }
        Ok(outputs)
    }
}

impl Note {
    /// Updates vehicles whose connector and status have not changed. Returns their VINs.
    async fn confirm(&self, on: &mut AnyConnection) -> Result<HashSet<String>, sqlx::Error> {
        let now = self.seen.len() * 6 + 1;
        // Instances can store reports of the same vehicle in any order: the time never goes back.
        let sql = format!(
            "WITH seen (seen_vin, seen_make, seen_model, seen_year, seen_search, seen_status) AS (VALUES {})
             UPDATE vehicles SET make = seen_make, model = seen_model, year = seen_year, search = seen_search,
                 last_seen_at = CASE WHEN last_seen_at < ${now} THEN ${now} ELSE last_seen_at END
             FROM seen WHERE vin = seen_vin AND connector = ${} AND connection_status = seen_status RETURNING vin",
            rows(self.seen.len(), &["TEXT", "TEXT", "TEXT", "BIGINT", "TEXT", "TEXT"]),
            now + 1,
        );
        let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
        for seen in &self.seen {
            update = update.bind(seen.vin.as_str()).bind(seen.make.as_str()).bind(seen.model.as_str());
            update = update.bind(i64::from(seen.year)).bind(seen.search()).bind(seen.connection_status.as_str());
        }
        let rows = update.bind(micros(self.now)).bind(self.connector.as_str()).fetch_all(&mut *on).await?;
        rows.iter().map(|row| row.try_get("vin")).collect()
    }

    /// Inserts vehicles, or updates those whose connector or status has changed.
    async fn change(&self, seen: &[&Sighting], on: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let sql = format!(
            "INSERT INTO vehicles (id, vin, make, model, year, search, connector, connection_status, last_seen_at,
                 changed_at, changes, unpublished)
             VALUES {}
             ON CONFLICT (vin) DO UPDATE SET make = excluded.make, model = excluded.model, year = excluded.year,
                 search = excluded.search, connector = excluded.connector,
                 connection_status = excluded.connection_status,
                 last_seen_at = CASE WHEN vehicles.last_seen_at < excluded.last_seen_at THEN excluded.last_seen_at
                                ELSE vehicles.last_seen_at END,
                 changed_at = excluded.changed_at, changes = vehicles.changes + 1, unpublished = 1
             WHERE vehicles.connection_status <> excluded.connection_status OR vehicles.connector <> excluded.connector",
            rows(seen.len(), &[""; 12])
        );
        let mut insert = sqlx::query(sqlx::AssertSqlSafe(sql));
        for seen in seen {
            insert = insert
                .bind(VehicleId::new(self.now).to_string())
                .bind(seen.vin.as_str())
                .bind(seen.make.as_str())
                .bind(seen.model.as_str())
                .bind(i64::from(seen.year))
                .bind(seen.search())
                .bind(self.connector.as_str())
                .bind(seen.connection_status.as_str())
                .bind(micros(self.now))
                .bind(micros(self.now))
                .bind(1_i64)
                .bind(1_i64);
        }
        Ok(insert.execute(&mut *on).await?.rows_affected() > 0)
    }
}

/// Marks every vehicle of a connector as disconnected, except `still`. Returns whether a status changed.
pub async fn lose_others(
    store: &Store,
    connector: &str,
    still: &[String],
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let rows = sqlx::query("SELECT id, vin FROM vehicles WHERE connector = $1 AND connection_status <> 'disconnected'")
        .bind(connector)
        .fetch_all(store.reader())
        .await?;
    let still: HashSet<_> = still.iter().map(String::as_str).collect();
    let mut gone = Vec::new();
    for row in rows {
        if !still.contains(row.try_get::<String, _>("vin")?.as_str()) {
            gone.push(row.try_get::<String, _>("id")?);
        }
    }
    let mut changed = false;
    for part in parts(&gone, NOTED_AT_ONCE) {
        changed |= store.write(Lose { connector: connector.to_owned(), gone: part.to_vec(), now }).await?;
    }
    Ok(changed)
}

struct Lose {
    connector: String,
    gone: Vec<String>,
    now: Timestamp,
}

impl Write for Lose {
    type Output = bool;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<bool>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { connector, gone, now } in writes {
            let sql = format!(
                "UPDATE vehicles SET connection_status = 'disconnected', changed_at = ${}, changes = changes + 1,
                     unpublished = 1
                 WHERE id IN {} AND connection_status <> 'disconnected' AND connector = ${}",
                gone.len() + 2,
                rows(1, &vec![""; gone.len()]),
                gone.len() + 1
            );
            let mut update = sqlx::query(sqlx::AssertSqlSafe(sql));
            for id in gone {
                update = update.bind(id.as_str());
            }
            let changed = update.bind(connector.as_str()).bind(micros(*now)).execute(&mut *on).await?;
            outputs.push(changed.rows_affected() > 0);
        }
        Ok(outputs)
    }
}

/// Fills the search text of at most `limit` vehicles that were stored by a version without search. Returns how many.
pub async fn fill_search(store: &Store, limit: u32) -> Result<usize, sqlx::Error> {
    let rows = sqlx::query("SELECT id, vin, make, model FROM vehicles WHERE search = '' LIMIT $1")
        .bind(i64::from(limit))
        .fetch_all(store.pool())
        .await?;
    let mut tx = store.begin().await?;
    for row in &rows {
        let text = |column: &str| row.try_get::<String, _>(column);
        // Never empty: there are spaces between the parts.
        sqlx::query("UPDATE vehicles SET search = $1 WHERE id = $2 AND search = ''")
            .bind(search(&text("vin")?, &text("make")?, &text("model")?))
            .bind(text("id")?)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(rows.len())
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub status: Option<ConnectionStatus>,
    /// Part of VIN, make or model, in any case.
    pub search: String,
    /// Only vehicles after this one.
    pub after: Option<VehicleId>,
}

/// At most `limit` vehicles, oldest in the registry first.
pub async fn list(store: &Store, filter: &Filter, limit: u32) -> Result<Vec<Vehicle>, sqlx::Error> {
    // Not `LIKE $3`: SQLite would parse the statement again for each pattern.
    let sql = format!(
        "SELECT {COLUMNS} FROM vehicles
         WHERE ($1 = '' OR connection_status = $1) AND id > $2
           AND ($3 = '' OR replace(search, $3, '') <> search)
         ORDER BY id LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(filter.status.map_or("", ConnectionStatus::as_str))
        .bind(filter.after.map(|id| id.to_string()).unwrap_or_default())
        .bind(folded(&filter.search))
        .bind(i64::from(limit))
        .fetch_all(store.reader())
        .await?;
    rows.iter().map(vehicle).collect()
}

/// A list; the lists of one filter that wait at the same time are read once.
pub struct List {
    pub filter: Filter,
    pub limit: u32,
}

impl Read for List {
    type Output = Arc<[Vehicle]>;

    async fn perform(lists: &[Self], store: &Store) -> Result<Vec<Arc<[Vehicle]>>, sqlx::Error> {
        let mut read: Vec<(&Self, Arc<[Vehicle]>)> = Vec::new();
        let mut outputs = Vec::with_capacity(lists.len());
        for wanted in lists {
            let known = read.iter().find(|(list, _)| list.filter == wanted.filter && list.limit == wanted.limit);
            let vehicles = match known {
                Some((_, vehicles)) => vehicles.clone(),
                None => {
                    let vehicles: Arc<[Vehicle]> = list(store, &wanted.filter, wanted.limit).await?.into();
                    read.push((wanted, vehicles.clone()));
                    vehicles
                }
            };
            outputs.push(vehicles);
        }
        Ok(outputs)
    }
}

pub async fn get(store: &Store, id: VehicleId) -> Result<Option<Vehicle>, sqlx::Error> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM vehicles WHERE id = $1")))
        .bind(id.to_string())
        .fetch_optional(store.reader())
        .await?;
    row.as_ref().map(vehicle).transpose()
}

fn vehicle(row: &AnyRow) -> Result<Vehicle, sqlx::Error> {
    Ok(Vehicle {
        id: id(row)?,
        vin: row.try_get("vin")?,
        make: row.try_get("make")?,
        model: row.try_get("model")?,
        year: u32::try_from(row.try_get::<i64, _>("year")?).unwrap_or_default(),
        connector: row.try_get("connector")?,
        connection_status: connection_status(row)?,
        last_seen_at: from_micros(row.try_get("last_seen_at")?),
    })
}

fn connection_status(row: &AnyRow) -> Result<ConnectionStatus, sqlx::Error> {
    let word: String = row.try_get("connection_status")?;
    ConnectionStatus::from_word(&word).ok_or_else(|| corrupt_column("connection_status"))
}

fn id(row: &AnyRow) -> Result<VehicleId, sqlx::Error> {
    row.try_get::<String, _>("id")?.parse().map_err(|_| corrupt_column("id"))
}

/// A column has a value that this service never writes.
pub(crate) fn corrupt_column(column: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: "not a value that this service writes".into() }
}
