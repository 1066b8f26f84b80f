//! The topics that this service owns: `conversation:<conversation>` and `room:<room>`. Their events are not archived: a reader that comes after the
//! retention of the bus reads the messages instead.

use turnpike_fault::{Fault, Kind};
use turnpike_store::Store;
use turnpike_topic::{Topic, UserId};

use crate::rooms;

/// Why a topic cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No such conversation, or one of another user.
    #[error("there is no such conversation")]
    NoSuchConversation,
    /// No such room, or one that the user may not see.
    #[error("there is no such room")]
    NoSuchRoom,
    #[error("this service does not own topics of this kind")]
    NotOwned,
    #[error("no event was archived at this offset")]
    NotArchived,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Checks whether the user may follow a topic: the owner of a conversation, and everyone who may see a room.
pub async fn authorize(store: &Store, topic: Topic, user_id: UserId) -> Result<(), TopicError> {
    let id = match topic {
        Topic::Conversation(id) => id,
        Topic::Room(id) => {
            return rooms::get(store, id, user_id).await?.map(|_| ()).ok_or(TopicError::NoSuchRoom);
        }
        _ => return Err(TopicError::NotOwned),
    };
    let own = sqlx::query("SELECT 1 AS one FROM conversations WHERE id = $1 AND user_id = $2")
        .bind(id.to_string())
        .bind(user_id.to_string())
        .fetch_optional(store.reader())
        .await?;
    own.map(|_| ()).ok_or(TopicError::NoSuchConversation)
}

impl From<TopicError> for Fault {
    fn from(error: TopicError) -> Self {
        let not_found = |detail: &'static str| Self::new(Kind::NotFound, detail);
        match error {
            TopicError::NoSuchRoom => not_found("There is no such room"),
            TopicError::NoSuchConversation => not_found("There is no such conversation"),
            TopicError::NotOwned => not_found("Not found"),
            TopicError::NotArchived => not_found("No event was archived at this offset"),
            TopicError::Database(error) => turnpike_store::fault(error),
        }
    }
}
