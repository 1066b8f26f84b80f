#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only this workspace uses this crate")]

mod answer_rpc;
mod answers;
mod budget;
mod changes;
mod config;
mod conversation_rpc;
mod conversations;
mod convert;
mod creation;
mod export;
mod fields;
mod insights;
mod ledger;
mod messages;
mod model_rpc;
mod outbox;
mod personas;
mod policy;
mod removal;
mod room_convert;
mod room_rpc;
mod rooms;
mod search;
mod serve;
mod service;
mod title;
mod topic_rpc;
mod topics;
mod translation;
mod upstream;
mod usage;

pub use config::{Config, Limits, Models, Server, Timeouts};
pub use policy::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
