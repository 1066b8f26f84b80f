#![doc = include_str!("../README.md")]

mod announce;
mod cancel;
mod catalogue;
mod commands;
mod conductor;
mod config;
mod ending;
mod fleet;
mod handover;
mod leases;
mod lifecycle;
mod list;
mod outbox;
mod progress;
mod record;
mod recording;
mod registry;
mod renewal;
mod retention;
mod retry;
mod rpc;
mod service;
mod submit;
mod text;
mod topic_rpc;
mod topics;

pub use config::Config;
pub use rpc::POLICY;
pub use service::{Deps, Service};
