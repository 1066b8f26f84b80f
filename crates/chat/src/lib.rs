#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

mod budget;
mod config;
mod ledger;
mod model_rpc;
mod policy;
mod serve;
mod service;
mod topic_rpc;
mod topics;
mod upstream;
#[allow(dead_code, reason = "the answers and ModelService will call it")]
mod usage;

pub use config::{Config, Limits, Models, Server, Timeouts};
pub use policy::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
