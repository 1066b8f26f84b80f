#![doc = include_str!("../README.md")]

mod append;
mod bus;
mod delivery;
mod error;
mod followed;
mod follower;
mod history;
mod limits;
mod memory;
mod open;
mod position;
mod record;
mod redis;
mod status;

pub use bus::{Bus, TIMEOUT, UNTIL_DROPPED};
pub use delivery::{Delivery, From};
pub use error::{InvalidUrl, PublishError, Unavailable};
pub use follower::Follower;
pub use history::{Page, ResetReason, TopicState};
pub use limits::Limits;
pub use open::{BusConfig, OpenError, open, open_shared};
pub use record::Record;
pub use status::{DownReason, Status};
