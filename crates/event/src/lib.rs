#![doc = include_str!("../README.md")]

mod account;
mod captions;
mod chat;
mod command;
mod event;
mod frame;
mod gateway;
mod json;
mod named_enum;
mod notice;
#[cfg(test)]
mod pinned;
mod room;
mod vehicle;
mod wire;

pub use account::{AccountEvent, EndReason};
pub use captions::{AudioLevel, Caption, CaptionsEvent, CaptionsState, SegmentEnd, Span, Word};
pub use chat::{AnswerTiming, AnswerUsage, ChatEvent, STOPPED, UserMessage};
pub use command::{CommandEvent, CommandState};
pub use event::{Body, Event};
pub use frame::{frame, frame_without_offset};
pub use gateway::{Asked, GatewayNotice, OpenConnection};
pub use json::{Json, NotAnObject};
pub use notice::{AnalysisStatus, Audience, Level, RoomNotice};
pub use room::RoomEvent;
pub use vehicle::{ConnectionStatus, VehicleEvent};

/// A record whose event is decoded.
pub type Record = turnpike_topic::Record<Event>;
