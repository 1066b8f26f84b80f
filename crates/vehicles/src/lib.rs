#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

mod archive;
mod archiving;
mod cancel;
mod catalogue;
mod commands;
mod config;
mod dispatch;
mod ending;
mod fleet;
mod leases;
mod lifecycle;
mod list;
mod outbox;
mod progress;
mod publisher;
mod registry;
mod renewal;
mod resources;
mod retention;
mod rpc;
mod serve;
mod service;
mod submission;
mod submit;
mod supervised;
mod supervisor;
mod text;
mod topic_rpc;
mod topics;

pub use config::Config;
pub use rpc::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
