//! Editing and redacting messages: by their author, a moderator or an owner.

use jiff::Timestamp;
use sqlx::AnyConnection;
use turnpike_event::RoomEvent;
use turnpike_store::{Store, Write, micros};
use turnpike_topic::{MessageId, RoomId, Topic, UserId};

use super::{
    messages::{COLUMNS, Message, get_within, message},
    outbox::Event,
    refusal::Refused,
    room::{Role, locked},
};

const AUTHORS: &str = "Only the author, a moderator or an owner may do this";

#[derive(Clone)]
pub(crate) struct Edit {
    pub(crate) room_id: RoomId,
    pub(crate) message_id: MessageId,
    pub(crate) user_id: UserId,
    /// `None`: the text is removed.
    pub(crate) content: Option<String>,
}

type Edited = Result<Box<Message>, Refused>;

pub(crate) async fn edit(store: &Store, edit: Edit, now: Timestamp) -> Result<Edited, sqlx::Error> {
    store.write(Editing { edit, now }).await
}

struct Editing {
    edit: Edit,
    now: Timestamp,
}

impl Write for Editing {
    type Output = Edited;

    async fn perform(writes: &[Self], on: &mut AnyConnection) -> Result<Vec<Edited>, sqlx::Error> {
        let mut outputs = Vec::with_capacity(writes.len());
        for write in writes {
            outputs.push(write.perform_one(on).await?);
        }
        Ok(outputs)
    }
}

impl Editing {
    async fn perform_one(&self, on: &mut AnyConnection) -> Result<Edited, sqlx::Error> {
        let Self { edit: Edit { room_id, message_id, user_id, content }, now } = self;
        let Some(room) = locked(on, *room_id, *user_id).await? else { return Ok(Err(Refused::NoRoom)) };
        let Some(present) = get_within(on, *room_id, &message_id.to_string()).await? else {
            return Ok(Err(Refused::NoMessage));
        };
        if present.user_id != *user_id && !room.is_at_least(Role::Moderator) {
            return Ok(Err(Refused::NotAllowed(AUTHORS)));
        }
        // A redacted message stays redacted. To redact it again changes nothing.
        match (present.redacted_at, content) {
            (Some(_), Some(_)) => return Ok(Err(Refused::NoMessage)),
            (Some(_), None) => return Ok(Ok(Box::new(present))),
            (None, _) => {}
        }
        let column = if content.is_some() { "edited_at" } else { "redacted_at" };
        let sql = format!("UPDATE room_messages SET content = $2, {column} = $3 WHERE id = $1 RETURNING {COLUMNS}");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(message_id.to_string())
            .bind(content.as_deref().unwrap_or_default())
            .bind(micros(*now))
            .fetch_one(&mut *on)
            .await?;
        let (message_id, user_id) = (*message_id, *user_id);
        let event = match content.clone() {
            Some(content) => RoomEvent::Edited { message_id, user_id, content },
            None => RoomEvent::Redacted { message_id, user_id },
        };
        Event::of(Topic::Room(*room_id), event, *now).store(on).await?;
        Ok(Ok(Box::new(message(&row)?)))
    }
}
