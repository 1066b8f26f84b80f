#![doc = include_str!("../README.md")]

mod config;
mod connections;
mod http;
mod hub;
mod identity;
mod limit;
mod places;
mod service;
mod socket;
mod source;

pub use config::{Config, Limits};
pub use places::PerAddress;
pub(crate) use service::App;
pub use service::{Deps, Service};
