//! WebSockets.

pub(crate) mod captions;
pub(crate) mod context;
pub(crate) mod dialect;
pub(crate) mod echo;
pub mod fuzzing;
mod handshake;
pub(crate) mod health;
mod incoming;
mod intake;
mod invalid;
pub(crate) mod multiplexed;
mod protocol;
mod publish;
mod request;
pub(crate) mod response;
pub(crate) mod room;
mod session;
mod upgrade;
