#![doc = include_str!("../README.md")]

mod event;
mod frame;
mod wire;

pub use event::{Body, CommandState, ConnectionStatus, EndReason, Event, Json, NotAnObject};
pub use frame::frame;
pub use wire::{Record, Unreadable, event_field};
