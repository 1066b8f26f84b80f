//! The differences between the protocols of the WebSocket routes. Every protocol has the same session.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use turnpike_token::Claims;
use turnpike_topic::{RoomId, Topic};

use super::request::{Control, Parsed};
use crate::stream::{
    conn::{Conn, TopicFrames},
    connections::Handle,
    since::Since,
};

pub(super) trait Protocol: Send + Sync + 'static {
    fn start(&self, claims: &Claims) -> Start;

    /// Reads a text frame of the client. A request that this protocol does not have is invalid.
    fn parse(&self, text: &str) -> Parsed;

    /// Called once, when the socket is open. Where audio and what concerns it goes; `None`: the socket takes no audio.
    fn audio(&self, _conn: &Arc<Conn>, _handle: &Arc<Handle>) -> Option<mpsc::Sender<Audio>> {
        None
    }

    /// The room in which the frames of the client count as activity.
    fn room(&self) -> Option<RoomId> {
        None
    }

    /// The frames that report something about a topic.
    fn topic_frames(&self) -> &'static dyn TopicFrames;
}

/// Audio of a client, and what is to happen after it.
pub(super) enum Audio {
    Samples(Bytes),
    Control(Control),
}

/// How a socket starts.
pub(super) enum Start {
    /// With a frame. The client then requests its topics.
    Frame(String),
    /// With a topic that the socket follows until its end. If the caller may not follow the topic, the socket is refused.
    /// The value is given to [`TopicFrames::subscribed`].
    Topic(Topic, Since, Option<Value>),
}
