//! The formats of frames on a WebSocket, which the client chooses by subprotocol.

use bytes::Bytes;

use super::{protobuf, rfc6455};

/// How frames are encoded. Each event is encoded at most once in each format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One frame in each text message.
    Json,
    /// One or more frames of `turnpike.stream.v1` in each binary message.
    Protobuf,
}

impl Format {
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The subprotocol by which a client chooses this format.
    pub(crate) const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "turnpike.v1",
            Self::Protobuf => "turnpike.v1.protobuf",
        }
    }

    /// The complete WebSocket frame of a frame that is not an event, which `control_frames` has written as JSON. There are few of
    /// them, so they are converted.
    pub(crate) fn control(self, text: String) -> Bytes {
        match self {
            Self::Json => rfc6455::text(text),
            Self::Protobuf => rfc6455::binary(protobuf::control(&text)),
        }
    }
}
