#![doc = include_str!("../README.md")]

mod id;
mod offset;
mod record;
mod topic;

pub use id::{
    ApiKeyId, CaptionsSessionId, CommandId, ConnectionId, ConversationId, GatewayId, InvalidId, MessageId, PersonaId,
    RoomId, SessionId, UserId, VehicleId,
};
pub use offset::{InvalidOffset, Offset};
pub use record::Record;
pub use topic::{InvalidTopic, Topic};
