#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

mod api_key_rpc;
mod api_keys;
mod bootstrap;
mod changes;
mod config;
mod convert;
mod exchange;
mod known_addresses;
mod limits;
mod login;
mod names;
mod network;
mod one_time;
mod one_time_codes;
mod outbox;
mod password;
mod random;
mod refresh;
mod retention;
mod revocations;
mod rpc;
mod secret;
mod serve;
mod service;
mod sessions;
mod tickets;
mod tokens;
mod topic_rpc;
mod topics;
mod users;

pub use bootstrap::FirstAdmin;
pub use config::Config;
pub use one_time::OneTimeCode;
pub use rpc::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
