//! Who is connected to rooms. Gateways report changes; each has a lease, with which its entries end. The first connection of a user to
//! a room, over all gateways, and the end of the last one are events.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use sqlx::{AnyConnection, Row};
use tracing::{info, warn};
use turnpike_event::RoomEvent;
use turnpike_kit::{OnExit, Process};
use turnpike_store::{Store, Write, micros, outbox::Bell};
use turnpike_topic::{RoomId, Topic, UserId};

use super::{
    outbox::Event,
    room::{locked, seen},
};

/// A gateway that has not reported for this long has stopped.
const LEASE: Duration = Duration::from_secs(7);
/// Pause between two searches for gateways that have stopped.
const LOOK: Duration = Duration::from_secs(1);
/// If this instance could not look for this long, gateways could perhaps not report either: they get another lease.
const MISSED: Duration = Duration::from_secs(5);
/// Entries that one step removes.
const STEP: i64 = 200;

/// The connections of a user to a room on one gateway. 0: the last one ended.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) room_id: RoomId,
    pub(crate) user_id: UserId,
    pub(crate) username: Arc<str>,
    pub(crate) connections: u32,
    pub(crate) connected_at: Timestamp,
    pub(crate) last_seen: Timestamp,
}

pub(crate) struct Report {
    pub(crate) gateway_id: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) begin: bool,
    pub(crate) leaving: bool,
}

/// What became of a report.
pub(crate) enum Reported {
    /// The users who have joined a room, and the entries whose user may not see the room.
    Taken { joined: Vec<Entry>, refused: Vec<Entry> },
    /// The lease has ended; nothing was taken.
    Unknown,
}

pub(crate) async fn report(store: &Store, mut report: Report, now: Timestamp) -> Result<Reported, sqlx::Error> {
    // One order for all transactions, so that two of them rarely wait for each other.
    report.entries.sort_by_key(|entry| (entry.room_id, entry.user_id));
    store.write(Reporting { report, now }).await
}

struct Reporting {
    report: Report,
    now: Timestamp,
}

impl Write for Reporting {
    type Output = Reported;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Reported>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Reporting {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Reported, sqlx::Error> {
        let Self { report: Report { gateway_id, entries, begin, leaving }, now } = self;
        // A gateway that leaves has a lease that ended long ago.
        let until = if *leaving { 1 } else { micros(*now + LEASE) };
        let sql = match begin {
            true => {
                "INSERT INTO presence_gateways (id, lease_until) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until WHERE presence_gateways.lease_until > 1"
            }
            false => "UPDATE presence_gateways SET lease_until = $2 WHERE id = $1 AND lease_until > 1",
        };
        let alive = sqlx::query(sql).bind(gateway_id).bind(until).execute(&mut *on).await?.rows_affected();
        if alive == 0 {
            return Ok(Reported::Unknown);
        }
        let (mut joined, mut refused) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.connections {
                0 => leave(on, gateway_id, entry.room_id, entry.user_id, *now).await?,
                _ => match enter(on, gateway_id, entry, *now).await? {
                    None => refused.push(entry.clone()),
                    Some(true) => joined.push(entry.clone()),
                    Some(false) => {}
                },
            }
        }
        Ok(Reported::Taken { joined, refused })
    }
}

/// Returns whether the user was not present before; `None`: the user may not see the room.
async fn enter(
    on: &mut AnyConnection,
    gateway_id: &str,
    entry: &Entry,
    now: Timestamp,
) -> Result<Option<bool>, sqlx::Error> {
    let (room_id, user_id) = (entry.room_id.to_string(), entry.user_id.to_string());
    let Some(room) = seen(&mut *on, entry.room_id, entry.user_id).await? else { return Ok(None) };
    let updated = sqlx::query(
        "UPDATE presence SET connections = $4, last_seen = $5 WHERE gateway_id = $1 AND room_id = $2 AND user_id = $3",
    )
    .bind(gateway_id)
    .bind(&room_id)
    .bind(&user_id)
    .bind(i64::from(entry.connections))
    .bind(micros(entry.last_seen))
    .execute(&mut *on)
    .await?
    .rows_affected();
    if updated == 1 {
        return Ok(Some(false));
    }
    if locked(on, entry.room_id, entry.user_id).await?.is_none() {
        return Ok(None);
    }
    let first = !is_present(on, &room_id, &user_id).await?;
    sqlx::query(
        "INSERT INTO presence (gateway_id, room_id, user_id, username, connections, connected_at, last_seen)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(gateway_id)
    .bind(&room_id)
    .bind(&user_id)
    .bind(&*entry.username)
    .bind(i64::from(entry.connections))
    .bind(micros(entry.connected_at))
    .bind(micros(entry.last_seen))
    .execute(&mut *on)
    .await?;
    if room.role.is_some() {
        // A member who was added by another one has no name yet.
        sqlx::query("UPDATE room_members SET username = $3 WHERE room_id = $1 AND user_id = $2 AND username = ''")
            .bind(&room_id)
            .bind(&user_id)
            .bind(&*entry.username)
            .execute(&mut *on)
            .await?;
    }
    if first {
        let event = RoomEvent::Presence { user_id: entry.user_id, username: entry.username.to_string(), present: true };
        Event::of(Topic::Room(entry.room_id), event, now).store(on).await?;
    }
    Ok(Some(first))
}

async fn leave(
    on: &mut AnyConnection,
    gateway_id: &str,
    room: RoomId,
    user: UserId,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (room_id, user_id) = (room.to_string(), user.to_string());
    locked(on, room, user).await?;
    let removed =
        sqlx::query("DELETE FROM presence WHERE gateway_id = $1 AND room_id = $2 AND user_id = $3 RETURNING username")
            .bind(gateway_id)
            .bind(&room_id)
            .bind(&user_id)
            .fetch_optional(&mut *on)
            .await?;
    let Some(removed) = removed else { return Ok(()) };
    if is_present(on, &room_id, &user_id).await? {
        return Ok(());
    }
    let event = RoomEvent::Presence { user_id: user, username: removed.try_get("username")?, present: false };
    Event::of(Topic::Room(room), event, now).store(on).await
}

async fn is_present(on: &mut AnyConnection, room_id: &str, user_id: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT 1 AS one FROM presence WHERE room_id = $1 AND user_id = $2 LIMIT 1");
    Ok(row.bind(room_id).bind(user_id).fetch_optional(on).await?.is_some())
}

/// Removes the entries of gateways whose lease has ended, until the process stops.
pub(crate) fn expire(process: &Process, store: &Store, bell: &Bell) {
    let (store, bell, clock) = (store.clone(), bell.clone(), process.clock.clone());
    let (looked, stopping) = (Mutex::new(None::<Timestamp>), process.tasks.stopping().clone());
    process.tasks.spawn("presence leases", OnExit::StopProcess, async move {
        let look = async || {
            let now = clock.now();
            let missed = looked.lock().is_none_or(|at| now.duration_since(at).unsigned_abs() > MISSED);
            let removed = match missed {
                true => extend(&store, now).await,
                false => remove_expired(&store, now).await,
            };
            match removed {
                Ok(removed) => {
                    *looked.lock() = Some(now);
                    if removed > 0 {
                        bell.ring();
                    }
                    removed
                }
                Err(error) => {
                    warn!(%error, "the leases of gateways could not be checked; they are checked again");
                    0
                }
            }
        };
        loop {
            let removed = tokio::select! {
                () = stopping.cancelled() => return,
                removed = look() => removed,
            };
            if removed > 0 {
                continue;
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = clock.tick(LOOK) => {}
            }
        }
    });
}

async fn extend(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let until = micros(now + LEASE);
    let sql = "UPDATE presence_gateways SET lease_until = $1 WHERE lease_until > 1 AND lease_until < $1";
    sqlx::query(sql).bind(until).execute(store.pool()).await.map(|_| 0)
}

async fn remove_expired(store: &Store, now: Timestamp) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT id FROM presence_gateways WHERE lease_until < $1 LIMIT 1")
        .bind(micros(now))
        .fetch_optional(store.reader())
        .await?;
    match row {
        Some(row) => store.write(Expire { gateway_id: row.try_get("id")?, now }).await,
        None => Ok(0),
    }
}

/// One step of the removal of a gateway whose lease has ended. Returns the number of rows.
struct Expire {
    gateway_id: String,
    now: Timestamp,
}

impl Write for Expire {
    type Output = u64;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<u64>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Expire {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<u64, sqlx::Error> {
        let Self { gateway_id, now } = self;
        // From now on the gateway cannot report under this id.
        let ended = sqlx::query("UPDATE presence_gateways SET lease_until = 0 WHERE id = $1 AND lease_until < $2")
            .bind(gateway_id)
            .bind(micros(*now))
            .execute(&mut *on)
            .await?
            .rows_affected();
        if ended == 0 {
            return Ok(0); // it has reported meanwhile
        }
        let rows = sqlx::query(
            "SELECT room_id, user_id FROM presence WHERE gateway_id = $1 ORDER BY room_id, user_id LIMIT $2",
        )
        .bind(gateway_id)
        .bind(STEP)
        .fetch_all(&mut *on)
        .await?;
        for row in &rows {
            let (room, user) = (row.try_get::<String, _>("room_id")?, row.try_get::<String, _>("user_id")?);
            if let (Ok(room), Ok(user)) = (room.parse(), user.parse()) {
                leave(on, gateway_id, room, user, *now).await?;
            }
        }
        if rows.is_empty() {
            let gone = sqlx::query("DELETE FROM presence_gateways WHERE id = $1").bind(gateway_id);
            info!(gateway = %gateway_id, "a gateway has stopped: its connections to rooms have ended");
            return gone.execute(&mut *on).await.map(|gone| gone.rows_affected());
        }
        Ok(rows.len() as u64)
    }
}
