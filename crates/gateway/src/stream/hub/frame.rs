//! One event, encoded once for all of its readers.

use std::sync::OnceLock;

use bytes::Bytes;
use turnpike_bus::Record;
use turnpike_event::{Event, frame};
use turnpike_topic::{Offset, Topic};

use crate::stream::rfc6455;

/// The bytes of one event in each format, shared by all readers.
pub(crate) struct Frame {
    pub(crate) offset: Offset,
    websocket: Bytes,
    sse: OnceLock<Bytes>,
}

impl Frame {
    /// Decodes an event and encodes it for clients: once for all readers of a topic.
    pub(crate) fn new(topic: &Topic, record: Record) -> Self {
        Self::of(topic, &record.map(Event::from_bytes))
    }

    /// Encodes a decoded event.
    pub(crate) fn of(topic: &Topic, record: &turnpike_event::Record) -> Self {
        metrics::counter!("turnpike_gateway_events_encoded_total").increment(1);
        let text = frame(topic, record);
        Self { offset: record.offset, websocket: rfc6455::text(text), sse: OnceLock::new() }
    }

    /// The complete WebSocket frame: header and text.
    pub(crate) fn websocket(&self) -> &Bytes {
        &self.websocket
    }

    /// The text of the event: a slice of the WebSocket frame.
    pub(crate) fn text(&self) -> Bytes {
        self.websocket.slice(rfc6455::header_len(&self.websocket)..)
    }

    /// The bytes of a server-sent event, encoded when the first reader takes them.
    pub(crate) fn sse(&self) -> Bytes {
        // JSON has no line breaks outside its strings, and inside they are escaped: one data line is enough.
        let encode = || [format!("id: {}\ndata: ", self.offset).as_bytes(), &self.text(), b"\n\n"].concat().into();
        self.sse.get_or_init(encode).clone()
    }

    /// The bytes that it occupies in a ring.
    pub(crate) fn len(&self) -> usize {
        self.websocket.len()
    }
}
