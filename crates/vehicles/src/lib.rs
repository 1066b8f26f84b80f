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
mod list;
mod record;
mod registry;
mod renewal;
mod retention;
mod rpc;
mod service;
mod submit;

pub use config::Config;
pub use rpc::POLICY;
pub use service::{Deps, Service};
