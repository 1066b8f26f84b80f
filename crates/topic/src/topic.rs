//! Topics and their names.

use std::{fmt, str::FromStr};

use crate::{CaptionsSessionId, CommandId, ConversationId, RoomId, UserId, VehicleId};

/// A topic. Its text is its name for clients, its Pub/Sub channel, and part of its Redis keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The status and the answer of one vehicle command.
    Response(CommandId),
    /// One conversation with a language model.
    Conversation(ConversationId),
    /// One room of people.
    Room(RoomId),
    /// The captions of one audio session.
    Captions(CaptionsSessionId),
    /// The connection status of one vehicle.
    Vehicle(VehicleId),
    /// Events for one user.
    User(UserId),
    /// Ended sessions, activated and deactivated accounts. Internal: no client may follow it.
    Sessions,
    /// Requests to stop the answers of language models. Internal: no client may follow it.
    Answers,
    /// What gateways ask one another. Internal: no client may follow it.
    Gateways,
}

/// Text that is not the name of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic looks like response:<id>, conversation:<id>, room:<id>, captions:<id>, vehicle:<id> or user:<id>")]
pub struct InvalidTopic;

const SESSIONS: &str = "sessions";
const ANSWERS: &str = "answers";
const GATEWAYS: &str = "gateways";

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response(id) => write!(f, "response:{id}"),
            Self::Conversation(id) => write!(f, "conversation:{id}"),
            Self::Room(id) => write!(f, "room:{id}"),
            Self::Captions(id) => write!(f, "captions:{id}"),
            Self::Vehicle(id) => write!(f, "vehicle:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
            Self::Sessions => f.write_str(SESSIONS),
            Self::Answers => f.write_str(ANSWERS),
            Self::Gateways => f.write_str(GATEWAYS),
        }
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        match text {
            SESSIONS => return Ok(Self::Sessions),
            ANSWERS => return Ok(Self::Answers),
            GATEWAYS => return Ok(Self::Gateways),
            _ => {}
        }
        let (kind, id) = text.split_once(':').ok_or(InvalidTopic)?;
        let topic = match kind {
            "response" => id.parse().map(Self::Response),
            "conversation" => id.parse().map(Self::Conversation),
            "room" => id.parse().map(Self::Room),
            "captions" => id.parse().map(Self::Captions),
            "vehicle" => id.parse().map(Self::Vehicle),
            "user" => id.parse().map(Self::User),
            _ => return Err(InvalidTopic),
        };
        topic.map_err(|_| InvalidTopic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_parsed_from_its_name() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let topics = [
            Topic::Response(CommandId::new(now)),
            Topic::Conversation(ConversationId::new(now)),
            Topic::Room(RoomId::new(now)),
            Topic::Captions(CaptionsSessionId::new(now)),
            Topic::Vehicle(VehicleId::new(now)),
            Topic::User(UserId::new(now)),
            Topic::Sessions,
            Topic::Answers,
            Topic::Gateways,
        ];
        for topic in topics {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
    }

    #[test]
    fn other_spellings_of_a_name_are_refused() {
        let name = Topic::Response(CommandId::new(jiff::Timestamp::UNIX_EPOCH)).to_string();
        for text in
            [name.to_uppercase(), name.replace('-', ""), format!("{name} "), "response:".to_owned(), "".to_owned()]
        {
            assert_eq!(text.parse::<Topic>(), Err(InvalidTopic), "{text:?}");
        }
    }
}
