#![doc = include_str!("../README.md")]

mod bus;
mod clock;
mod context;
pub mod descriptors;
mod env;
pub mod grpc;
mod health;
mod home;
mod identity;
pub mod listen;
mod log;
pub mod names;
pub mod ops;
mod outbound;
mod policy;
mod process;
mod revocations;

mod tasks;
mod transport;
mod verified;

pub use bus::{BusConfig, own_bus, shared_bus};
pub use clock::{Clock, ClockHand};
pub use context::{Context, REQUEST_ID, TRACEPARENT};
pub use env::{ConfigError, Environment};
pub use health::{Component, Health, probe};
pub use home::config_home;
pub use identity::{AccessToken, Caller, Refusal, Verifier, caller};
pub use outbound::{Outbound, Refused};
pub use policy::{Access, Policy, mismatches};
pub use process::{Process, executable, run, run_service};
pub use revocations::{Revocations, Revoked};
pub use tasks::{Death, Tasks};
pub use transport::{Transport, TransportError};
