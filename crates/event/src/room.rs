//! Events of a room, on the topic `room:{room_id}`; and mentions, on `user:{user_id}`.

use serde::ser::SerializeMap;
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::{MessageId, RoomId, UserId};

/// An event of a room.
#[derive(Clone, Debug, PartialEq)]
pub enum RoomEvent {
    /// A member wrote a message, which is stored.
    Message {
        /// The room.
        room_id: RoomId,
        /// The message.
        message_id: MessageId,
        /// Its author.
        user_id: UserId,
        /// The author's name.
        username: String,
        /// Its text; not empty.
        content: String,
        /// The topic that the text is from; empty: the user wrote it.
        source: String,
    },
    /// The message has another text now.
    Edited {
        /// The message.
        message_id: MessageId,
        /// The user who changed it.
        user_id: UserId,
        /// The new text; not empty.
        content: String,
    },
    /// The text of the message was removed.
    Redacted {
        /// The message.
        message_id: MessageId,
        /// The user who removed it.
        user_id: UserId,
    },
    /// The user's first connection to the room was opened, or the last one ended.
    Presence {
        /// The user.
        user_id: UserId,
        /// The user's name.
        username: String,
        /// Whether there is a connection.
        present: bool,
    },
    /// The user has this role in the room now.
    Member {
        /// The user.
        user_id: UserId,
        /// The user's name; empty until the user was in the room for the first time.
        username: String,
        /// The role; `None`: no member any more.
        role: Option<String>,
        /// The user may no longer follow the room.
        excluded: bool,
    },
    /// The room has these values now.
    Changed {
        /// Its name.
        name: String,
        /// Its description; can be empty.
        description: String,
        /// `public` or `private`.
        visibility: String,
    },
    /// The room was deleted. The final event of its topic.
    Deleted {
        /// The room.
        room_id: RoomId,
    },
    /// A message of a room names the user of this topic.
    Mention {
        /// The room.
        room_id: RoomId,
        /// The message.
        message_id: MessageId,
        /// The author of the message.
        user_id: UserId,
        /// The author's name.
        username: String,
        /// The text of the message.
        content: String,
    },
}

impl RoomEvent {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Edited { .. } => "message_edited",
            Self::Redacted { .. } => "message_redacted",
            Self::Presence { present: true, .. } => "user_joined",
            Self::Presence { present: false, .. } => "user_left",
            Self::Member { .. } => "member",
            Self::Changed { .. } => "room",
            Self::Deleted { .. } => "room_deleted",
            Self::Mention { .. } => "mention",
        }
    }

    pub(crate) fn to_pb(&self) -> Body {
        match self.clone() {
            Self::Message { room_id, message_id, user_id, username, content, source } => {
                Body::RoomMessage(pb::RoomMessage {
                    room_id: room_id.to_string(),
                    message_id: message_id.to_string(),
                    user_id: user_id.to_string(),
                    username,
                    content,
                    source,
                })
            }
            Self::Edited { message_id, user_id, content } => Body::RoomMessageEdited(pb::RoomMessageEdited {
                message_id: message_id.to_string(),
                user_id: user_id.to_string(),
                content,
            }),
            Self::Redacted { message_id, user_id } => Body::RoomMessageRedacted(pb::RoomMessageRedacted {
                message_id: message_id.to_string(),
                user_id: user_id.to_string(),
            }),
            Self::Presence { user_id, username, present } => {
                Body::RoomPresence(pb::RoomPresence { user_id: user_id.to_string(), username, present })
            }
            Self::Member { user_id, username, role, excluded } => Body::RoomMember(pb::RoomMember {
                user_id: user_id.to_string(),
                username,
                role: role.unwrap_or_default(),
                excluded,
            }),
            Self::Changed { name, description, visibility } => {
                Body::RoomChanged(pb::RoomChanged { name, description, visibility })
            }
            Self::Deleted { room_id } => Body::RoomDeleted(pb::RoomDeleted { room_id: room_id.to_string() }),
            Self::Mention { room_id, message_id, user_id, username, content } => Body::RoomMention(pb::RoomMention {
                room_id: room_id.to_string(),
                message_id: message_id.to_string(),
                user_id: user_id.to_string(),
                username,
                content,
            }),
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body.clone() {
            Body::RoomMessage(e) => Self::Message {
                room_id: e.room_id.parse().ok()?,
                message_id: e.message_id.parse().ok()?,
                user_id: e.user_id.parse().ok()?,
                username: e.username,
                content: e.content,
                source: e.source,
            },
            Body::RoomMessageEdited(e) => Self::Edited {
                message_id: e.message_id.parse().ok()?,
                user_id: e.user_id.parse().ok()?,
                content: e.content,
            },
            Body::RoomMessageRedacted(e) => {
                Self::Redacted { message_id: e.message_id.parse().ok()?, user_id: e.user_id.parse().ok()? }
            }
            Body::RoomPresence(e) => {
                Self::Presence { user_id: e.user_id.parse().ok()?, username: e.username, present: e.present }
            }
            Body::RoomMember(e) => Self::Member {
                user_id: e.user_id.parse().ok()?,
                username: e.username,
                role: Some(e.role).filter(|role| !role.is_empty()),
                excluded: e.excluded,
            },
            Body::RoomChanged(e) => {
                Self::Changed { name: e.name, description: e.description, visibility: e.visibility }
            }
            Body::RoomDeleted(e) => Self::Deleted { room_id: e.room_id.parse().ok()? },
            Body::RoomMention(e) => Self::Mention {
                room_id: e.room_id.parse().ok()?,
                message_id: e.message_id.parse().ok()?,
                user_id: e.user_id.parse().ok()?,
                username: e.username,
                content: e.content,
            },
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Message { room_id, message_id, user_id, username, content, .. }
            | Self::Mention { room_id, message_id, user_id, username, content } => {
                frame.serialize_entry("room_id", room_id)?;
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("username", username)?;
                frame.serialize_entry("content", content)?;
                match self {
                    Self::Message { source, .. } if !source.is_empty() => frame.serialize_entry("source", source),
                    _ => Ok(()),
                }
            }
            Self::Edited { message_id, user_id, content } => {
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("content", content)
            }
            Self::Redacted { message_id, user_id } => {
                frame.serialize_entry("message_id", message_id)?;
                frame.serialize_entry("user_id", user_id)
            }
            Self::Presence { user_id, username, present } => {
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("username", username)?;
                frame.serialize_entry("status", if *present { "online" } else { "offline" })
            }
            Self::Member { user_id, username, role, .. } => {
                frame.serialize_entry("user_id", user_id)?;
                frame.serialize_entry("username", username)?;
                frame.serialize_entry("role", role)
            }
            Self::Changed { name, description, visibility } => {
                frame.serialize_entry("name", name)?;
                frame.serialize_entry("description", description)?;
                frame.serialize_entry("visibility", visibility)
            }
            Self::Deleted { room_id } => frame.serialize_entry("room_id", room_id),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
