#![doc = include_str!("../README.md")]

mod backoff;
mod client;
mod connection;
mod credential;
mod error;
mod session;
mod topics;
mod update;

pub use client::{Client, Options};
pub use credential::{Credential, CredentialError, Fixed};
pub use error::Error;
pub use secrecy::{ExposeSecret, SecretString};
pub use session::Session;
pub use topics::{InvalidSince, Since};
pub use turnpike_topic::{Offset, Topic};
pub use update::{Frame, Update};
