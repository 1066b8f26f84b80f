//! Storing a message of a room, together with the events that report it.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use turnpike_event::RoomEvent;
use turnpike_store::{
    Store, Write, from_micros,
    idempotency::{Key, Known},
    micros, rows,
};
use turnpike_topic::{MessageId, RoomId, Topic, UserId};

use super::{
    members,
    mentions::names,
    messages::{Message, get_within},
    outbox::Event,
    refusal::Refused,
    room::{Role, locked},
};

/// Why what a user says elsewhere is not published in a room.
const MEMBERS: &str = "Only members of the room publish captions in it";

/// A valid message.
pub(crate) struct Post {
    pub(crate) room_id: RoomId,
    pub(crate) user_id: UserId,
    pub(crate) username: Arc<str>,
    pub(crate) content: String,
    /// The topic that the text is from; empty: the user wrote it. Such a text makes nobody a member.
    pub(crate) source: String,
    pub(crate) key: Option<Key>,
}

/// The message, whether an earlier request has stored it, and whether the room allows insights.
type Posted = Result<(Box<Message>, bool, bool), Refused>;

pub(crate) async fn post(store: &Store, post: Post, now: Timestamp) -> Result<Posted, sqlx::Error> {
    store.write(Posting { id: MessageId::new(now), post, now }).await
}

struct Posting {
    id: MessageId,
    post: Post,
    now: Timestamp,
}

impl Write for Posting {
    type Output = Posted;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Posted>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Posting {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Posted, sqlx::Error> {
        let Self { id, post: Post { room_id, user_id, username, content, source, key }, now } = self;
        let Some(room) = locked(on, *room_id, *user_id).await? else { return Ok(Err(Refused::NoRoom)) };
        if room.role.is_none() && !source.is_empty() {
            return Ok(Err(Refused::NotAllowed(MEMBERS)));
        }
        if let Some(key) = key {
            match key.take(on, &id.to_string(), *now).await? {
                Known::New => {}
                Known::Other => return Ok(Err(Refused::KeyReused)),
                Known::Before(id) => {
                    let before = get_within(on, *room_id, &id).await?;
                    return Ok(before.map_or(Err(Refused::Deleted), |message| Ok((Box::new(message), true, false))));
                }
            }
        }
        if room.role.is_none() {
            if room.members >= members::MAX {
                if let Some(key) = key {
                    key.give_back(on).await?;
                }
                return Ok(Err(Refused::TooManyMembers));
            }
            members::insert(on, &room, *user_id, username, Role::Member, *now).await?;
        }
        let seq = room.last_seq + 1;
        sqlx::query("UPDATE rooms SET last_seq = $2 WHERE id = $1")
            .bind(room_id.to_string())
            .bind(seq)
            .execute(&mut *on)
            .await?;
        sqlx::query(
            "INSERT INTO room_messages (id, room_id, seq, user_id, username, content, created_at, source)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id.to_string())
        .bind(room_id.to_string())
        .bind(seq)
        .bind(user_id.to_string())
        .bind(&**username)
        .bind(content)
        .bind(micros(*now))
        .bind(source)
        .execute(&mut *on)
        .await?;
        // Authors have read what they wrote.
        sqlx::query("UPDATE room_members SET read_seq = $3, username = $4 WHERE room_id = $1 AND user_id = $2")
            .bind(room_id.to_string())
            .bind(user_id.to_string())
            .bind(seq)
            .bind(&**username)
            .execute(&mut *on)
            .await?;
        let message = RoomEvent::Message {
            room_id: *room_id,
            message_id: *id,
            user_id: *user_id,
            username: username.to_string(),
            content: content.clone(),
            source: source.clone(),
        };
        Event::of(Topic::Room(*room_id), message, *now).of_message(*id).store(on).await?;
        self.store_mentions(on).await?;
        let message = Message {
            id: *id,
            room_id: *room_id,
            user_id: *user_id,
            username: username.to_string(),
            content: content.clone(),
            created_at: from_micros(micros(*now)),
            edited_at: None,
            redacted_at: None,
            offset: None,
            source: source.clone(),
        };
        Ok(Ok((Box::new(message), false, room.insights)))
    }

    /// Only members of the room are mentioned.
    async fn store_mentions(&self, on: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let Self { id, post, now } = self;
        let names = names(&post.content);
        if names.is_empty() {
            return Ok(());
        }
        let list = rows(names.len(), &[""]);
        let sql = format!(
            "SELECT user_id FROM room_members WHERE username IN ({}) AND room_id = ${} AND user_id <> ${}",
            list.replace(['(', ')'], ""),
            names.len() + 1,
            names.len() + 2
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for name in names {
            query = query.bind(name);
        }
        let found = query.bind(post.room_id.to_string()).bind(post.user_id.to_string()).fetch_all(&mut *on).await?;
        for row in found {
            let Ok(mentioned) = row.try_get::<String, _>("user_id")?.parse() else { continue };
            let mention = RoomEvent::Mention {
                room_id: post.room_id,
                message_id: *id,
                user_id: post.user_id,
                username: post.username.to_string(),
                content: post.content.clone(),
            };
            Event::of(Topic::User(mentioned), mention, *now).store(on).await?;
        }
        Ok(())
    }
}
