//! The differences between the protocols of the WebSocket routes. The session loop serves every protocol alike.

use axum::extract::ws::Utf8Bytes;
use turnpike_token::Claims;
use turnpike_topic::{Offset, Topic};

use super::request::Parsed;
use crate::stream::{ending::Close, since::Since};

pub(super) trait Protocol: Send + Sync + 'static {
    fn start(&self, claims: &Claims) -> Start;

    /// Reads a text frame of the client. A request that this protocol does not have is invalid.
    fn parse(&self, text: &str) -> Parsed;

    /// The frame after the event at `head`, when the client has all events up to then; `None`: this protocol has no such frame.
    fn caught_up(&self, topic: Topic, head: Option<Offset>) -> Option<Utf8Bytes>;

    /// Called after the final event of a topic. Returns the frame that reports the end of the topic, or ends the socket.
    fn topic_closed(&self, topic: Topic) -> Result<Utf8Bytes, Close>;
}

/// How a socket starts.
pub(super) enum Start {
    /// With a frame. The client then requests its topics.
    Frame(Utf8Bytes),
    /// With a topic that the socket follows until its end. If the caller may not follow the topic, the socket is refused.
    Topic(Topic, Since),
}
