#![doc = include_str!("../README.md")]

mod id;
mod offset;
mod topic;

pub use id::{CaptionsSessionId, CommandId, ConversationId, InvalidId, RoomId, SessionId, UserId, VehicleId};
pub use offset::{InvalidOffset, Offset};
pub use topic::{InvalidTopic, Topic};
