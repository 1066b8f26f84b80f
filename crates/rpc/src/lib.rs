#![doc = include_str!("../README.md")]

mod authenticate;
mod context;
mod on_first_call;
mod policy;
mod server;
mod transport;

pub use authenticate::{Authenticate, NoCredentials};
pub use context::{Context, REQUEST_ID};
pub use policy::{Access, Policy, mismatches};
pub use server::{bearer, serve, with_interceptors};
pub use transport::{Transport, TransportError};
