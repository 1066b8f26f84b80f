#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

mod command;
mod config;
mod execution;
mod fleet;
mod link;
mod physics;
mod rpc;
mod running;
mod serve;
mod service;
mod trouble;
mod uds;
mod vehicle;
mod vin;

pub use config::Config;
pub use rpc::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
