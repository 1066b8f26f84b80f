#![doc = include_str!("../README.md")]

mod bus;
mod cursor;
mod feeds;
mod follower;
mod history;
mod limits;
mod memory;
mod open;
mod redis;

pub use bus::{BOUND, Bus, DownReason, InvalidUrl, PublishError, Status, UNTIL_DROPPED, Unavailable};
pub use follower::{Delivery, Follower, From};
pub use history::{Page, ResetReason, TopicState};
pub use limits::Limits;
pub use open::{BusConfig, OpenError, open, open_shared};
