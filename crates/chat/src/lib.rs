#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

#[allow(dead_code, reason = "the answers and ModelService will call it")]
mod budget;
#[allow(dead_code, reason = "the answers set titles")]
mod changes;
mod config;
mod conversation_rpc;
mod conversations;
mod convert;
mod creation;
mod fields;
mod messages;
mod outbox;
mod personas;
mod policy;
mod removal;
mod search;
mod serve;
mod service;
#[allow(dead_code, reason = "the answers set titles")]
mod title;
mod topic_rpc;
mod topics;
#[allow(dead_code, reason = "the answers and ModelService will call it")]
mod upstream;
#[allow(dead_code, reason = "the answers and ModelService will call it")]
mod usage;

pub use config::{Config, Limits, Models, Server, Timeouts};
pub use policy::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
