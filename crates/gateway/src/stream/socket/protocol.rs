//! What distinguishes the protocol of one WebSocket route from another's. The session loop serves every protocol alike.

use axum::extract::ws::Utf8Bytes;
use turnpike_token::Claims;
use turnpike_topic::{Offset, Topic};

use super::request::Parsed;
use crate::stream::{ending::Close, since::Since};

pub(super) trait Protocol: Send + Sync + 'static {
    fn start(&self, claims: &Claims) -> Start;

    /// Reads a text frame of the client. A request that this protocol does not have is invalid.
    fn parse(&self, text: &str) -> Parsed;

    /// The frame that tells the client that it has everything up to `head`, if this protocol has one.
    fn caught_up(&self, topic: Topic, head: Option<Offset>) -> Option<Utf8Bytes>;

    /// The final event of a topic was sent: the frame that says so, or the end of the socket.
    fn topic_closed(&self, topic: Topic) -> Result<Utf8Bytes, Close>;
}

/// How a socket starts.
pub(super) enum Start {
    /// With a frame. The client then requests its topics.
    Frame(Utf8Bytes),
    /// With a topic that the socket follows until its end. If the caller may not follow the topic, the socket is refused.
    Topic(Topic, Since),
}
