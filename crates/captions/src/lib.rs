#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only the programs of this workspace use this crate")]

mod audio;
mod chat;
mod config;
mod convert;
pub mod engine;
mod passing;
mod policy;
mod recording;
mod rpc;
mod search;
mod self_test;
mod serve;
mod service;
mod session;
pub mod speech;
mod topic_rpc;
mod transcribing;

pub use config::Config;
pub use policy::POLICY;
pub use serve::serve;
pub use service::{Deps, Service};
pub use session::Retention;
