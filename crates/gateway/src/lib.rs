#![doc = include_str!("../README.md")]
#![allow(missing_docs, reason = "only the programs of this workspace use this crate")]

mod access;
mod app;
mod config;
mod families;
mod http;
mod router;
mod serve;
mod service;
mod stream;

pub use access::slots::PerAddress;
pub use config::{Config, Limits};
pub use serve::serve;
pub use service::{Deps, Service};
pub use stream::socket::echo::serve_echo;
#[doc(hidden)]
pub use stream::socket::fuzzing;
