//! WebSockets.

pub(crate) mod context;
mod delivery;
mod handshake;
mod heartbeat;
mod intake;
pub(crate) mod multiplexed;
mod protocol;
mod request;
pub(crate) mod response;
mod session;
mod wire;
