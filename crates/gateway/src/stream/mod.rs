//! Topics on their way to clients.

pub(crate) mod conn;
pub(crate) mod connections;
pub(crate) mod control_frames;
pub(crate) mod ending;
pub(crate) mod format;
pub(crate) mod hub;
pub(crate) mod owners;
pub(crate) mod peers;
mod protobuf;
pub(crate) mod reader;
pub(crate) mod rfc6455;
pub(crate) mod rooms;
pub(crate) mod since;
pub(crate) mod socket;
pub(crate) mod sse;
pub(crate) mod topics;
pub(crate) mod wheel;
