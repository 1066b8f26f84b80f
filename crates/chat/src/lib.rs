#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

mod config;
mod policy;
mod serve;
mod service;
mod topic_rpc;
mod topics;

pub use config::{Config, Limits, Models, Server, Timeouts};
pub use policy::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
