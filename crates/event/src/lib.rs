#![doc = include_str!("../README.md")]

mod event;
mod frame;
mod id;
mod offset;
mod topic;
mod wire;

pub use event::{Body, CommandState, ConnectionStatus, EndReason, Event, Json, NotAnObject};
pub use frame::frame;
pub use id::{CaptionsSessionId, CommandId, ConversationId, InvalidId, RoomId, SessionId, UserId, VehicleId};
pub use offset::{InvalidOffset, Offset};
pub use topic::{InvalidTopic, Topic};
pub use wire::{Record, Unreadable, event_field};
