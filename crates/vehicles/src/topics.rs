//! The topics that this service owns: `response:<command>`, which is archived, and `vehicle:<vehicle>`, which is not.

use turnpike_fault::{Fault, Kind};
use turnpike_store::Store;
use turnpike_topic::{Offset, Topic, UserId};

use crate::{
    archive::{self, ArchivedEvent, Summary},
    registry,
};

/// The caller of an operation on a topic.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub user_id: UserId,
    /// Admins may follow the commands of every user.
    pub is_admin: bool,
}

/// Why a topic cannot be opened, or its archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No such command, or a command of another user.
    #[error("there is no such command")]
    NoSuchCommand,
    #[error("there is no such vehicle")]
    NoSuchVehicle,
    #[error("this service does not own topics of this kind")]
    NotOwned,
    #[error("no event was archived at this offset")]
    NotArchived,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A part of an archive.
#[derive(Debug, Default)]
pub struct Page {
    pub events: Vec<ArchivedEvent>,
    /// Offset of the newest archived event.
    pub head: Option<Offset>,
    /// The topic has ended, and all of its events are archived.
    pub complete: bool,
}

/// Checks whether the caller may follow a topic. Returns a summary of its archive; `None`: the topic has no archive.
pub async fn authorize(store: &Store, topic: Topic, caller: Caller) -> Result<Option<Summary>, TopicError> {
    match topic {
        Topic::Response(id) => {
            let command = archive::summary(store, id).await?.ok_or(TopicError::NoSuchCommand)?;
            if command.user_id != caller.user_id && !caller.is_admin {
                return Err(TopicError::NoSuchCommand);
            }
            Ok(Some(command))
        }
        Topic::Vehicle(id) => {
            registry::get(store, id).await?.ok_or(TopicError::NoSuchVehicle)?;
            Ok(None)
        }
        _ => Err(TopicError::NotOwned),
    }
}

/// Reads the archived events after an offset, at most `limit`.
pub async fn read(
    store: &Store,
    topic: Topic,
    caller: Caller,
    after: Option<Offset>,
    limit: u32,
) -> Result<Page, TopicError> {
    // The summary is read before the events: if the command had ended by then, all of its events are archived.
    let summary = authorize(store, topic, caller).await?;
    let (Some(summary), Topic::Response(id)) = (summary, topic) else {
        return if after.is_none() { Ok(Page::default()) } else { Err(TopicError::NotArchived) };
    };
    let position = match after {
        None => 0,
        Some(offset) => archive::position_of(store, id, offset).await?.ok_or(TopicError::NotArchived)?,
    };
    let events = archive::read(store, id, position, false, limit).await?;
    Ok(Page { events, head: summary.head, complete: summary.ended })
}

impl From<TopicError> for Fault {
    fn from(error: TopicError) -> Self {
        let not_found = |detail: &'static str| Self::new(Kind::NotFound, detail);
        match error {
            TopicError::NoSuchCommand => not_found("There is no such command"),
            TopicError::NoSuchVehicle => not_found("There is no such vehicle"),
            TopicError::NotOwned => not_found("Not found"),
            TopicError::NotArchived => not_found("No event was archived at this offset"),
            TopicError::Database(error) => turnpike_store::fault(error),
        }
    }
}
