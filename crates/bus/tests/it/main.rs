//! The bus from outside: what holds for both backends, and what only Redis can fail at.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely, and ask the environment where Redis is")]

mod backend;
mod following;
mod harness;
mod model;
mod opening;
mod proxy;
mod publishing;
mod redis_commands;
mod redis_connections;
mod redis_data;
mod redis_lost_tail;
mod redis_outage;
mod redis_retry;
mod resets;
