#![doc = include_str!("../README.md")]

mod event;
mod frame;
mod wire;

pub use event::{Body, CommandState, ConnectionStatus, EndReason, Event, Json, NotAnObject};
pub use frame::frame;

/// A record whose event is decoded.
pub type Record = turnpike_topic::Record<Event>;
