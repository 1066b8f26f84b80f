#![doc = include_str!("../README.md")]

mod cancel;
mod catalogue;
mod commands;
mod conductor;
mod config;
mod fleet;
mod handover;
mod leases;
mod lifecycle;
mod outbox;
mod record;
mod registry;
mod rpc;
mod service;
mod text;

pub use config::Config;
pub use rpc::POLICY;
pub use service::{Deps, Service};
