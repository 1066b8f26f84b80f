#![doc = include_str!("../README.md")]

mod bootstrap;
mod changes;
mod config;
mod dice;
mod known_addresses;
mod limits;
mod login;
mod network;
mod one_time;
mod outbox;
mod password;
mod refresh;
mod retention;
mod revocations;
mod rpc;
mod secret;
mod service;
mod sessions;
mod tickets;
mod topic_rpc;
mod topics;
mod users;

pub use bootstrap::FirstAdmin;
pub use config::Config;
pub use one_time::OneTimeCode;
pub use rpc::POLICY;
pub use service::Service;
