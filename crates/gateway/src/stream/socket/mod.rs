//! WebSockets.

pub(crate) mod context;
mod handshake;
mod intake;
pub(crate) mod multiplexed;
mod protocol;
mod request;
pub(crate) mod response;
mod session;
mod upgrade;
