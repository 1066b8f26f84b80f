#![doc = include_str!("../README.md")]
#![expect(clippy::disallowed_methods, reason = "tests ask the environment where their servers are, and spawn freely")]

mod database;
mod host;
mod person;
mod plans;
mod process;
mod servers;
mod stack;
mod wait;
mod watch;
mod wire;

pub use database::Database;
pub use host::Host;
pub use person::{Answer, Person};
pub use plans::Statements;
pub use process::{Running, binary};
pub use servers::{RedisServer, postgres_url, redis_url};
pub use stack::{ADMIN_PASSWORD, One, Stack};
pub use wait::{eventually, within};
pub use watch::{Closed, Watch};
pub use wire::Wire;
