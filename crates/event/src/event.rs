//! One event: its time and its body.

use bytes::Bytes;
use jiff::Timestamp;

use crate::{AccountEvent, CaptionsEvent, ChatEvent, CommandEvent, GatewayNotice, RoomEvent, RoomNotice, VehicleEvent};

/// One event, as its producer made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When the event happened, by the clock of its producer.
    pub at: Timestamp,
    /// What happened.
    pub body: Body,
}

/// The event of one of the families.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Of a vehicle command.
    Command(CommandEvent),
    /// Of a vehicle.
    Vehicle(VehicleEvent),
    /// Of a conversation with a language model.
    Chat(ChatEvent),
    /// Of a room of people.
    Room(RoomEvent),
    /// Of a room of people, not stored.
    Notice(RoomNotice),
    /// Of a caption session.
    Captions(CaptionsEvent),
    /// Of an account and its sessions.
    Account(AccountEvent),
    /// From a gateway to the others, not stored.
    Gateway(GatewayNotice),
    /// An event that this version does not know, from a newer producer. The bytes are the whole event, unchanged.
    Unknown(Bytes),
}

impl Body {
    /// The name of the event in frames.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Command(event) => event.name(),
            Self::Vehicle(event) => event.name(),
            Self::Chat(event) => event.name(),
            Self::Room(event) => event.name(),
            Self::Notice(notice) => notice.name(),
            Self::Captions(event) => event.name(),
            Self::Account(event) => event.name(),
            Self::Gateway(notice) => notice.name(),
            Self::Unknown(_) => "unknown",
        }
    }
}
