#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only tests of this workspace use this crate")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the addresses of their servers from the environment, and spawn tasks without a tracker"
)]

mod database;
mod host;
mod node;
mod person;
mod plans;
mod process;
mod proxy;
mod servers;
mod signal;
mod socket;
mod speech;
mod stack;
mod wait;

pub use database::Database;
pub use host::Host;
pub use node::{node, node_packages};
pub use person::{ADMIN_PASSWORD, Answer, Person};
pub use plans::Statements;
pub use process::{ServiceProcess, binary};
pub use proxy::Proxy;
pub use servers::{RedisServer, postgres_url, redis_url};
pub use socket::{Closed, Socket};
pub use speech::{Recording, captions_model, pcm, recordings, wav, word_errors};
pub use stack::{SingleProcess, Stack};
pub use wait::{eventually, within};
