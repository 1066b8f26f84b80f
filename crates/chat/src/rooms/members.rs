//! Members of rooms: joining, adding, changing roles, leaving, removing.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row, any::AnyRow};
use turnpike_event::RoomEvent;
use turnpike_store::{Store, Write, from_micros, micros};
use turnpike_topic::{RoomId, Topic, UserId};

use super::{
    outbox::Event,
    refusal::Refused,
    room::{Role, Room, Visibility, locked},
};
use crate::conversations::corrupt_column;

/// Members of one room.
pub(super) const MAX: i64 = 50_000;

const MODERATORS: &str = "Only a moderator or an owner of the room may do this";
const OWNERS: &str = "Only an owner of the room may do this";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) user_id: UserId,
    /// Empty until the user was in the room for the first time.
    pub(crate) username: String,
    pub(crate) role: Role,
    pub(crate) joined_at: Timestamp,
}

fn member(row: &AnyRow) -> Result<Member, sqlx::Error> {
    let text = |column: &str| row.try_get::<String, _>(column);
    Ok(Member {
        user_id: text("user_id")?.parse().map_err(|_| corrupt_column("user_id"))?,
        username: text("username")?,
        role: Role::from_word(&text("role")?).ok_or_else(|| corrupt_column("role"))?,
        joined_at: from_micros(row.try_get("joined_at")?),
    })
}

async fn find(on: &mut AnyConnection, room: RoomId, user: UserId) -> Result<Option<Member>, sqlx::Error> {
    let row =
        sqlx::query("SELECT user_id, username, role, joined_at FROM room_members WHERE room_id = $1 AND user_id = $2")
            .bind(room.to_string())
            .bind(user.to_string())
            .fetch_optional(on)
            .await?;
    row.as_ref().map(member).transpose()
}

/// The members behind this one, by id.
pub(crate) async fn list(
    store: &Store,
    room: RoomId,
    after: Option<UserId>,
    rows: u32,
) -> Result<Vec<Member>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT user_id, username, role, joined_at FROM room_members WHERE room_id = $1 AND user_id > $2
         ORDER BY user_id LIMIT $3",
    )
    .bind(room.to_string())
    .bind(after.map(|id| id.to_string()).unwrap_or_default())
    .bind(i64::from(rows))
    .fetch_all(store.reader())
    .await?;
    rows.iter().map(member).collect()
}

/// Adds a member within a transaction that has locked the room.
pub(super) async fn insert(
    on: &mut AnyConnection,
    room: &Room,
    user_id: UserId,
    username: &str,
    role: Role,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO room_members (room_id, user_id, username, role, read_seq, joined_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(room.id.to_string())
    .bind(user_id.to_string())
    .bind(username)
    .bind(role.as_str())
    .bind(room.last_seq) // what was said before is not unread
    .bind(micros(now))
    .execute(&mut *on)
    .await?;
    sqlx::query("UPDATE rooms SET members = members + 1 WHERE id = $1")
        .bind(room.id.to_string())
        .execute(&mut *on)
        .await?;
    report(on, room.id, (user_id, username.to_owned()), Some(role), false, now).await
}

async fn report(
    on: &mut AnyConnection,
    room: RoomId,
    (user_id, username): (UserId, String),
    role: Option<Role>,
    excluded: bool,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let role = role.map(|role| role.as_str().to_owned());
    Event::of(Topic::Room(room), RoomEvent::Member { user_id, username, role, excluded }, now).store(on).await
}

async fn is_last_owner(on: &mut AnyConnection, room: RoomId, member: &Member) -> Result<bool, sqlx::Error> {
    if member.role != Role::Owner {
        return Ok(false);
    }
    let owners = sqlx::query("SELECT user_id FROM room_members WHERE room_id = $1 AND role = 'owner' LIMIT 2");
    Ok(owners.bind(room.to_string()).fetch_all(on).await?.len() < 2)
}

/// Someone who changes the members of a room.
pub(crate) struct By {
    pub(crate) user_id: UserId,
    pub(crate) username: Arc<str>,
}

/// Makes a user a member, or gives a member another role. `role` is `None`: member, or the present role.
pub(crate) async fn put(
    store: &Store,
    room_id: RoomId,
    by: By,
    user_id: UserId,
    role: Option<Role>,
    now: Timestamp,
) -> Result<Result<Member, Refused>, sqlx::Error> {
    store.write(Put { room_id, by, user_id, role, now }).await
}

struct Put {
    room_id: RoomId,
    by: By,
    user_id: UserId,
    role: Option<Role>,
    now: Timestamp,
}

impl Write for Put {
    type Output = Result<Member, Refused>;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Self::Output>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Put {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Result<Member, Refused>, sqlx::Error> {
        let Self { room_id, by, user_id, role, now } = self;
        let Some(room) = locked(on, *room_id, by.user_id).await? else { return Ok(Err(Refused::NoRoom)) };
        let joins = *user_id == by.user_id && room.role.is_none(); // and the room is public, or it would not be seen
        if !joins && *user_id != by.user_id && !room.is_at_least(Role::Moderator) {
            return Ok(Err(Refused::NotAllowed(MODERATORS)));
        }
        let present = find(on, *room_id, *user_id).await?;
        let role = role.or(present.as_ref().map(|member| member.role)).unwrap_or(Role::Member);
        if let Some(present) = present {
            if present.role == role {
                return Ok(Ok(present));
            }
            if !room.is_at_least(Role::Owner) {
                return Ok(Err(Refused::NotAllowed(OWNERS)));
            }
            if is_last_owner(on, *room_id, &present).await? {
                return Ok(Err(Refused::LastOwner));
            }
            sqlx::query("UPDATE room_members SET role = $3 WHERE room_id = $1 AND user_id = $2")
                .bind(room_id.to_string())
                .bind(user_id.to_string())
                .bind(role.as_str())
                .execute(&mut *on)
                .await?;
            report(on, *room_id, (*user_id, present.username.clone()), Some(role), false, *now).await?;
            return Ok(Ok(Member { role, ..present }));
        }
        if role > Role::Member && !room.is_at_least(Role::Owner) {
            return Ok(Err(Refused::NotAllowed(OWNERS)));
        }
        if room.members >= MAX {
            return Ok(Err(Refused::TooManyMembers));
        }
        // The name of another user is not known here. It becomes known when the user enters the room.
        let username = if joins { by.username.to_string() } else { String::new() };
        insert(on, &room, *user_id, &username, role, *now).await?;
        Ok(Ok(Member { user_id: *user_id, username, role, joined_at: from_micros(micros(*now)) }))
    }
}

/// Ends a membership. Who leaves a private room, or is removed from any room, may no longer follow it.
pub(crate) async fn remove(
    store: &Store,
    room_id: RoomId,
    by: UserId,
    user_id: UserId,
    now: Timestamp,
) -> Result<Result<(), Refused>, sqlx::Error> {
    store.write(Remove { room_id, by, user_id, now }).await
}

struct Remove {
    room_id: RoomId,
    by: UserId,
    user_id: UserId,
    now: Timestamp,
}

impl Write for Remove {
    type Output = Result<(), Refused>;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Self::Output>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Remove {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Result<(), Refused>, sqlx::Error> {
        let Self { room_id, by, user_id, now } = self;
        let Some(room) = locked(on, *room_id, *by).await? else { return Ok(Err(Refused::NoRoom)) };
        if user_id != by && !room.is_at_least(Role::Moderator) {
            return Ok(Err(Refused::NotAllowed(MODERATORS)));
        }
        let Some(member) = find(on, *room_id, *user_id).await? else { return Ok(Err(Refused::NoMember)) };
        if user_id != by && member.role > Role::Member && !room.is_at_least(Role::Owner) {
            return Ok(Err(Refused::NotAllowed(OWNERS)));
        }
        if is_last_owner(on, *room_id, &member).await? {
            return Ok(Err(Refused::LastOwner));
        }
        sqlx::query("DELETE FROM room_members WHERE room_id = $1 AND user_id = $2")
            .bind(room_id.to_string())
            .bind(user_id.to_string())
            .execute(&mut *on)
            .await?;
        sqlx::query("UPDATE rooms SET members = members - 1 WHERE id = $1")
            .bind(room_id.to_string())
            .execute(&mut *on)
            .await?;
        let excluded = user_id != by || room.visibility == Visibility::Private;
        report(on, *room_id, (*user_id, member.username), None, excluded, *now).await?;
        Ok(Ok(()))
    }
}
