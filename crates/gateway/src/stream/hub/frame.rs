//! One event, encoded once for all of its readers.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use turnpike_bus::Record;
use turnpike_event::{Event, frame};
use turnpike_topic::{Offset, Topic};

use crate::stream::{format::Format, protobuf, rfc6455};

/// The bytes of one event in each format, shared by all readers.
pub(crate) struct Frame {
    pub(crate) offset: Offset,
    is_final: bool,
    topic: Topic,
    event: Bytes,
    text: Bytes,
    binary: OnceLock<Bytes>,
    sse: OnceLock<Bytes>,
}

impl Frame {
    /// Decodes an event and encodes it for clients: once for all readers of a topic.
    pub(crate) fn new(topic: &Topic, record: Record) -> Self {
        let event = record.event.clone();
        Self::encode(topic, &record.map(Event::from_bytes), event)
    }

    /// Encodes a decoded event.
    pub(crate) fn of(topic: &Topic, record: &turnpike_event::Record) -> Self {
        Self::encode(topic, record, record.event.to_bytes())
    }

    fn encode(topic: &Topic, record: &turnpike_event::Record, event: Bytes) -> Self {
        metrics::counter!("turnpike_gateway_events_encoded_total").increment(1);
        let text = rfc6455::text(frame(topic, record));
        let (binary, sse) = (OnceLock::new(), OnceLock::new());
        Self { offset: record.offset, is_final: record.is_final, topic: *topic, event, text, binary, sse }
    }

    /// The complete WebSocket frame: header and payload. The binary one is encoded when the first reader takes it.
    pub(crate) fn websocket(&self, format: Format) -> &Bytes {
        match format {
            Format::Json => &self.text,
            Format::Protobuf => self.binary.get_or_init(|| {
                let event = protobuf::event(&self.topic, self.offset, self.is_final, self.event.clone());
                rfc6455::binary(event)
            }),
        }
    }

    /// The text of the event: a slice of the WebSocket frame.
    pub(crate) fn text(&self) -> Bytes {
        self.text.slice(rfc6455::header_len(&self.text)..)
    }

    /// The bytes of a server-sent event, encoded when the first reader takes them.
    pub(crate) fn sse(&self) -> Bytes {
        // JSON has no line breaks outside its strings, and inside they are escaped: one data line is enough.
        let encode = || [format!("id: {}\ndata: ", self.offset).as_bytes(), &self.text(), b"\n\n"].concat().into();
        self.sse.get_or_init(encode).clone()
    }

    /// The bytes that it occupies in a ring.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

/// The most that one binary message has, unless a single event is longer. A client that does not read costs the rest of one message.
const MESSAGE_BYTES: usize = 4 << 10;

/// Joins the complete WebSocket frames of consecutive events. Binary frames become messages of several events.
pub(crate) fn join<'a>(frames: impl Iterator<Item = &'a Arc<Frame>>, format: Format) -> Bytes {
    let mut joined = BytesMut::new();
    if format == Format::Json {
        frames.for_each(|frame| joined.extend_from_slice(frame.websocket(format)));
        return joined.freeze();
    }
    let mut message = Vec::new();
    for frame in frames {
        let frame = frame.websocket(format);
        let payload = &frame[rfc6455::header_len(frame)..];
        if !message.is_empty() && message.len() + payload.len() > MESSAGE_BYTES {
            joined.extend_from_slice(&rfc6455::binary(std::mem::take(&mut message)));
        }
        message.extend_from_slice(payload);
    }
    if !message.is_empty() {
        joined.extend_from_slice(&rfc6455::binary(message));
    }
    joined.freeze()
}
