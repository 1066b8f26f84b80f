#![doc = include_str!("../README.md")]

mod bus;
mod cursor;
mod feeds;
mod follower;
mod history;
mod limits;
mod memory;
mod open;
mod record;
mod redis;

pub use bus::{BOUND, Bus, DownReason, InvalidUrl, PublishError, Status, UNTIL_DROPPED, Unavailable};
pub use follower::{Delivery, Follower, From};
pub use history::{Page, ResetReason, TopicState};
pub use limits::Limits;
pub use open::{BusConfig, OpenError, open, open_shared};

/// A record whose event is encoded.
pub type Record = turnpike_topic::Record<bytes::Bytes>;
