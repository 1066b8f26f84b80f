//! Changing and deleting rooms.

use jiff::Timestamp;
use sqlx::AnyConnection;
use turnpike_event::RoomEvent;
use turnpike_store::{Store, Write, micros};
use turnpike_topic::{RoomId, Topic, UserId};

use super::{
    outbox::Event,
    refusal::Refused,
    room::{Role, Room, Visibility, locked, seen},
};

const OWNERS: &str = "Only an owner of the room may do this";

/// The fields that change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) visibility: Option<Visibility>,
    pub(crate) insights: Option<bool>,
}

type Updated = Result<Box<Room>, Refused>;

/// Changes a room.
pub(crate) async fn update(
    store: &Store,
    id: RoomId,
    user_id: UserId,
    changes: Changes,
    now: Timestamp,
) -> Result<Updated, sqlx::Error> {
    store.write(Update { id, user_id, changes, now }).await
}

struct Update {
    id: RoomId,
    user_id: UserId,
    changes: Changes,
    now: Timestamp,
}

impl Write for Update {
    type Output = Updated;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Updated>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Update {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Updated, sqlx::Error> {
        let Self { id, user_id, changes, now } = self;
        match locked(on, *id, *user_id).await? {
            None => return Ok(Err(Refused::NoRoom)),
            Some(room) if !room.is_at_least(Role::Owner) => return Ok(Err(Refused::NotAllowed(OWNERS))),
            Some(_) => {}
        }
        sqlx::query(
            "UPDATE rooms SET name = COALESCE($2, name), description = COALESCE($3, description),
                 visibility = COALESCE($4, visibility), insights = COALESCE($5, insights), updated_at = $6
             WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(changes.name.as_deref())
        .bind(changes.description.as_deref())
        .bind(changes.visibility.map(Visibility::as_str))
        .bind(changes.insights.map(i64::from))
        .bind(micros(*now))
        .execute(&mut *on)
        .await?;
        let Some(room) = seen(&mut *on, *id, *user_id).await? else { return Ok(Err(Refused::NoRoom)) };
        let event = RoomEvent::Changed {
            name: room.name.clone(),
            description: room.description.clone(),
            visibility: room.visibility.as_str().to_owned(),
        };
        Event::of(Topic::Room(*id), event, *now).store(on).await?;
        Ok(Ok(Box::new(room)))
    }
}

/// Deletes a room: it disappears at once, and a sweep removes its members and messages in steps.
pub(crate) async fn delete(
    store: &Store,
    id: RoomId,
    user_id: UserId,
    now: Timestamp,
) -> Result<Result<(), Refused>, sqlx::Error> {
    store.write(Delete { id, user_id, now }).await
}

struct Delete {
    id: RoomId,
    user_id: UserId,
    now: Timestamp,
}

impl Write for Delete {
    type Output = Result<(), Refused>;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Self::Output>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for Self { id, user_id, now } in writes {
            outputs.push(match locked(on, *id, *user_id).await? {
                None => Err(Refused::NoRoom),
                Some(room) if !room.is_at_least(Role::Owner) => Err(Refused::NotAllowed(OWNERS)),
                Some(_) => {
                    sqlx::query(
                        "UPDATE rooms SET visibility = '', name = '', description = '', created_by = '' WHERE id = $1",
                    )
                    .bind(id.to_string())
                    .execute(&mut *on)
                    .await?;
                    let event = Event::of(Topic::Room(*id), RoomEvent::Deleted { room_id: *id }, *now);
                    event.that_is_final().store(on).await?;
                    Ok(())
                }
            });
        }
        Ok(outputs)
    }
}
