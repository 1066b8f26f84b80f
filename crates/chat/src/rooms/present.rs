//! Lists and counts of the users who are present.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{Row, any::AnyRow};
use turnpike_store::{Store, from_micros};
use turnpike_topic::{RoomId, UserId};

use crate::conversations::corrupt_column;

/// A user who is connected to a room, over all gateways.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PresentUser {
    pub(crate) user_id: UserId,
    pub(crate) username: String,
    pub(crate) connected_at: Timestamp,
    pub(crate) last_seen: Timestamp,
    pub(crate) connections: u32,
}

/// The users behind this one, by id.
pub(crate) async fn list(
    store: &Store,
    room: RoomId,
    after: Option<UserId>,
    rows: u32,
) -> Result<Vec<PresentUser>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT user_id, MAX(username) AS username, CAST(SUM(connections) AS BIGINT) AS connections,
             MIN(connected_at) AS connected_at, MAX(last_seen) AS last_seen
         FROM presence WHERE room_id = $1 AND user_id > $2 GROUP BY user_id ORDER BY user_id LIMIT $3",
    )
    .bind(room.to_string())
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(i64::from(rows))
    .fetch_all(store.reader())
    .await?;
    let user = |row: &AnyRow| {
        let id: String = row.try_get("user_id")?;
        Ok(PresentUser {
            user_id: id.parse().map_err(|_| corrupt_column("user_id"))?,
            username: row.try_get("username")?,
            connected_at: from_micros(row.try_get("connected_at")?),
            last_seen: from_micros(row.try_get("last_seen")?),
            connections: u32::try_from(row.try_get::<i64, _>("connections")?).unwrap_or(u32::MAX),
        })
    };
    rows.iter().map(user).collect()
}

/// How many users are present.
pub(crate) async fn total(store: &Store, room: RoomId) -> Result<u32, sqlx::Error> {
    let row = sqlx::query("SELECT COUNT(DISTINCT user_id) AS users FROM presence WHERE room_id = $1");
    let users: i64 = row.bind(room.to_string()).fetch_one(store.reader()).await?.try_get("users")?;
    Ok(u32::try_from(users).unwrap_or(u32::MAX))
}

/// Present users and connections, in all and by room.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    pub(crate) users: u64,
    pub(crate) connections: u64,
    pub(crate) rooms: BTreeMap<String, u64>,
}

/// Rooms that are listed.
const MAX_ROOMS: i64 = 10_000;

/// The numbers of the rooms that a user may see; `None`: of all rooms.
pub(crate) async fn stats(store: &Store, user: Option<UserId>) -> Result<Stats, sqlx::Error> {
    let user = user.map(|id| id.to_string()).unwrap_or_default();
    let seen = "FROM presence p JOIN rooms r ON r.id = p.room_id WHERE r.visibility <> '' AND ($1 = '' OR \
        r.visibility = 'public' OR EXISTS (SELECT 1 FROM room_members m WHERE m.room_id = r.id AND m.user_id = $1))";
    let all = format!(
        "SELECT COUNT(DISTINCT p.user_id) AS users, CAST(COALESCE(SUM(p.connections), 0) AS BIGINT) AS connections {seen}"
    );
    let all = sqlx::query(sqlx::AssertSqlSafe(all)).bind(&user).fetch_one(store.reader()).await?;
    let by_room = format!(
        "SELECT p.room_id, COUNT(DISTINCT p.user_id) AS users {seen} GROUP BY p.room_id ORDER BY p.room_id LIMIT {MAX_ROOMS}"
    );
    let mut rooms = BTreeMap::new();
    for row in sqlx::query(sqlx::AssertSqlSafe(by_room)).bind(&user).fetch_all(store.reader()).await? {
        rooms.insert(row.try_get("room_id")?, row.try_get::<i64, _>("users")?.unsigned_abs());
    }
    let number = |column| Ok::<_, sqlx::Error>(all.try_get::<i64, _>(column)?.unsigned_abs());
    Ok(Stats { users: number("users")?, connections: number("connections")?, rooms })
}
