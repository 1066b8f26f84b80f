#![doc = include_str!("../README.md")]

mod config;
mod http;
mod hub;
mod identity;
mod limit;
mod service;
mod socket;
mod source;

pub use config::{Config, Limits};
pub(crate) use service::App;
pub use service::{Deps, Service};
