//! One event in the formats of clients.

use std::sync::OnceLock;

use axum::{body::Bytes, extract::ws::Utf8Bytes};
use turnpike_bus::Record;
use turnpike_event::{Event, frame};
use turnpike_topic::{Offset, Topic};

/// The bytes of one event in each format, shared by all readers.
pub(crate) struct Frame {
    pub(crate) offset: Offset,
    text: Utf8Bytes,
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
        Self { offset: record.offset, text: frame(topic, record).into(), sse: OnceLock::new() }
    }

    /// The text of a WebSocket frame.
    pub(crate) fn text(&self) -> Utf8Bytes {
        self.text.clone()
    }

    /// The bytes of a server-sent event, encoded when the first reader takes them.
    pub(crate) fn sse(&self) -> Bytes {
        // JSON has no line breaks outside its strings, and inside they are escaped: one data line is enough.
        self.sse.get_or_init(|| format!("id: {}\ndata: {}\n\n", self.offset, self.text.as_str()).into()).clone()
    }

    /// The bytes that it occupies in a ring.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}
