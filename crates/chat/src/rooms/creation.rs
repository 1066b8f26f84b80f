//! Creating rooms.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use turnpike_store::{
    Store, Write,
    idempotency::{Key, Known},
    micros,
};
use turnpike_topic::{RoomId, UserId};

use super::{
    refusal::Refused,
    room::{Room, Visibility, seen},
};

/// Rooms that one user may have created.
const MAX_ROOMS: i64 = 1_000;

/// A valid request.
pub(crate) struct New {
    pub(crate) user_id: UserId,
    pub(crate) username: Arc<str>,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) visibility: Visibility,
    pub(crate) insights: bool,
    pub(crate) key: Option<Key>,
}

type Created = Result<(Box<Room>, bool), Refused>;

/// Creates a room. Returns whether an earlier request with the same key has created it.
pub(crate) async fn create(store: &Store, new: New, now: Timestamp) -> Result<Created, sqlx::Error> {
    store.write(Create { id: RoomId::new(now), new, now }).await
}

struct Create {
    id: RoomId,
    new: New,
    now: Timestamp,
}

impl Write for Create {
    type Output = Created;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Created>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Create {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Created, sqlx::Error> {
        let Self { id, new, now } = self;
        if let Some(key) = &new.key {
            match key.take(on, &id.to_string(), *now).await? {
                Known::New => {}
                Known::Other => return Ok(Err(Refused::KeyReused)),
                Known::Before(id) => {
                    let Ok(id) = id.parse() else { return Ok(Err(Refused::KeyReused)) };
                    let before = seen(on, id, new.user_id).await?;
                    return Ok(before.map_or(Err(Refused::Deleted), |room| Ok((Box::new(room), true))));
                }
            }
        }
        let rooms: i64 = sqlx::query("SELECT COUNT(*) AS rooms FROM rooms WHERE created_by = $1")
            .bind(new.user_id.to_string())
            .fetch_one(&mut *on)
            .await?
            .try_get("rooms")?;
        if rooms >= MAX_ROOMS {
            if let Some(key) = &new.key {
                key.give_back(on).await?;
            }
            return Ok(Err(Refused::TooManyRooms));
        }
        sqlx::query(
            "INSERT INTO rooms (id, name, description, visibility, insights, created_by, members, last_seq, created_at,
                 updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, 1, 0, $7, $7)",
        )
        .bind(id.to_string())
        .bind(&new.name)
        .bind(&new.description)
        .bind(new.visibility.as_str())
        .bind(i64::from(new.insights))
        .bind(new.user_id.to_string())
        .bind(micros(*now))
        .execute(&mut *on)
        .await?;
        sqlx::query(
            "INSERT INTO room_members (room_id, user_id, username, role, read_seq, joined_at)
             VALUES ($1, $2, $3, 'owner', 0, $4)",
        )
        .bind(id.to_string())
        .bind(new.user_id.to_string())
        .bind(&*new.username)
        .bind(micros(*now))
        .execute(&mut *on)
        .await?;
        let created = seen(on, *id, new.user_id).await?;
        Ok(created.map_or(Err(Refused::NoRoom), |room| Ok((Box::new(room), false))))
    }
}
