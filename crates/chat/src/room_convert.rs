//! Between the types of rooms and generated ones.

use turnpike_fault::Fault;
use turnpike_proto::{chat::v1 as pb, timestamp};
use turnpike_topic::{Topic, UserId};

use crate::{
    fields::invalid,
    rooms::{Member, Message, PresentUser, Refused, Role, Room, Visibility},
};

/// Characters of a message.
const MAX_CONTENT: usize = 2_000;

pub(crate) fn to_pb_room(room: Room) -> pb::Room {
    pb::Room {
        id: room.id.to_string(),
        visibility: room.visibility.as_str().to_owned(),
        insights: room.insights,
        created_by: room.created_by.to_string(),
        members: u32::try_from(room.members).unwrap_or_default(),
        role: room.role.map(|role| role.as_str().to_owned()).unwrap_or_default(),
        unread: u64::try_from(room.unread()).unwrap_or_default(),
        created_at: Some(timestamp::to_protobuf(room.created_at)),
        updated_at: Some(timestamp::to_protobuf(room.updated_at)),
        name: room.name,
        description: room.description,
    }
}

pub(crate) fn to_pb_member(member: Member) -> pb::RoomMember {
    pb::RoomMember {
        user_id: member.user_id.to_string(),
        username: member.username,
        role: member.role.as_str().to_owned(),
        joined_at: Some(timestamp::to_protobuf(member.joined_at)),
    }
}

pub(crate) fn to_pb_room_message(message: Message) -> pb::RoomMessage {
    pb::RoomMessage {
        id: message.id.to_string(),
        room_id: message.room_id.to_string(),
        user_id: message.user_id.to_string(),
        username: message.username,
        content: message.content,
        created_at: Some(timestamp::to_protobuf(message.created_at)),
        edited_at: message.edited_at.map(timestamp::to_protobuf),
        redacted_at: message.redacted_at.map(timestamp::to_protobuf),
        offset: message.offset.map(|offset| offset.to_string()).unwrap_or_default(),
        source: message.source,
    }
}

pub(crate) fn to_pb_present(user: PresentUser) -> pb::PresentUser {
    pb::PresentUser {
        user_id: user.user_id.to_string(),
        username: user.username,
        connected_at: Some(timestamp::to_protobuf(user.connected_at)),
        last_seen: Some(timestamp::to_protobuf(user.last_seen)),
        connections: user.connections,
    }
}

pub(crate) fn visibility(word: &str) -> Result<Visibility, Fault> {
    Visibility::from_word(word).ok_or_else(|| invalid("visibility", "must be public or private"))
}

/// Empty: none.
pub(crate) fn role(word: &str) -> Result<Option<Role>, Fault> {
    match word {
        "" => Ok(None),
        word => Role::from_word(word).map(Some).ok_or_else(|| invalid("role", "must be owner, moderator or member")),
    }
}

/// Empty: the caller.
pub(crate) fn user(text: &str, caller: UserId) -> Result<UserId, Fault> {
    match text {
        "" => Ok(caller),
        id => id.parse().map_err(|_| invalid("user_id", "must be the id of a user")),
    }
}

/// An id that is not well-formed identifies nothing.
pub(crate) fn id<T: std::str::FromStr>(text: &str, missing: Refused) -> Result<T, Fault> {
    text.parse().map_err(|_| missing.into())
}

/// The topic that a text is from. Empty: the user wrote it.
pub(crate) fn source(text: &str) -> Result<String, Fault> {
    match (text, text.parse()) {
        ("", _) | (_, Ok(Topic::Captions(_))) => Ok(text.to_owned()),
        _ => Err(invalid("source", "must be the topic of a caption session, or empty")),
    }
}

/// The text of a message.
pub(crate) fn content(text: &str) -> Result<String, Fault> {
    let text = text.trim();
    if text.is_empty() || text.contains('\0') || text.chars().nth(MAX_CONTENT).is_some() {
        return Err(invalid("content", format!("must be 1 to {MAX_CONTENT} characters, without U+0000")));
    }
    Ok(text.to_owned())
}
