//! The topics that this service owns: `user:<user>`, which only that user may follow. They are not archived.

use turnpike_fault::{Fault, Kind};
use turnpike_topic::{Topic, UserId};

/// Another user's topic, or a topic of a kind that this service does not own. The two look the same to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such topic")]
pub struct NoSuchTopic;

/// Says whether a user may follow a topic.
pub fn authorize(topic: Topic, user_id: UserId) -> Result<(), NoSuchTopic> {
    (topic == Topic::User(user_id)).then_some(()).ok_or(NoSuchTopic)
}

impl From<NoSuchTopic> for Fault {
    fn from(_: NoSuchTopic) -> Self {
        Self::new(Kind::NotFound, "Not found")
    }
}
