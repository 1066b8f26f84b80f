//! The bus from outside: what holds for both backends, and what only Redis can do to us.

#![expect(clippy::disallowed_methods, reason = "tests spawn freely, and ask the environment where Redis is")]

mod asking;
mod conformance;
mod following;
mod model;
mod proxy;
mod redis_connections;
mod redis_data;
mod redis_lost_tail;
mod redis_outage;
mod redis_retry;
