//! An event as the text that a client gets.

use serde::{Serialize, Serializer, ser::SerializeMap};
use turnpike_topic::{Offset, Topic};

use crate::{Body, Event, Record};

/// The JSON text of one frame: `{"event":…,"topic":…,"offset":…,"at":…, …fields of the event}`. The same for WebSocket and SSE.
pub fn frame(topic: &Topic, record: &Record) -> String {
    text(&Frame { topic, offset: Some(record.offset), event: &record.event })
}

/// The frame of an event that is not on the topic: a notice, or an event while the bus is not available. It has no `offset`.
pub fn frame_without_offset(topic: &Topic, event: &Event) -> String {
    text(&Frame { topic, offset: None, event })
}

fn text(frame: &Frame<'_>) -> String {
    // Serialising into a String fails only where a Serialize implementation does, and ours do not.
    serde_json::to_string(frame).unwrap_or_default()
}

struct Frame<'a> {
    topic: &'a Topic,
    offset: Option<Offset>,
    event: &'a Event,
}

impl Serialize for Frame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { topic, offset, event } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", event.body.name())?;
        map.serialize_entry("topic", &Shown(topic))?;
        if let Some(offset) = offset {
            map.serialize_entry("offset", &Shown(offset))?;
        }
        map.serialize_entry("at", &Shown(&event.at))?;
        match &event.body {
            Body::Command(event) => event.fields(&mut map)?,
            Body::Vehicle(event) => event.fields(&mut map)?,
            Body::Chat(event) => event.fields(&mut map)?,
            Body::Room(event) => event.fields(&mut map)?,
            Body::Notice(notice) => notice.fields(&mut map)?,
            Body::Captions(event) => event.fields(&mut map)?,
            Body::Account(event) => event.fields(&mut map)?,
            Body::Gateway(notice) => notice.fields(&mut map)?,
            Body::Unknown(_) => {}
        }
        map.end()
    }
}

/// A value by its `Display` text, without a String in between.
struct Shown<'a, T>(&'a T);

impl<T: std::fmt::Display> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use turnpike_topic::CommandId;

    use super::*;
    use crate::{CommandEvent, Json};

    #[test]
    fn a_response_has_the_shape_of_the_contract() {
        let command_id = CommandId::from(uuid::Uuid::nil());
        let response = Json::parse(r#"{"code":"P0420"}"#.into()).expect("an object");
        let body = Body::Command(CommandEvent::Response { command_id, sequence_number: 1, is_final: false, response });
        let record = Record {
            offset: Offset { epoch: 1_763_700_000_000, n: 3 },
            is_final: false,
            event: Event { at: "2026-11-21T10:00:00.25Z".parse().expect("RFC 3339"), body },
        };
        assert_eq!(
            frame(&Topic::Response(command_id), &record),
            concat!(
                r#"{"event":"response","topic":"response:00000000-0000-0000-0000-000000000000","#,
                r#""offset":"1763700000000-3","at":"2026-11-21T10:00:00.25Z","#,
                r#""command_id":"00000000-0000-0000-0000-000000000000","#,
                r#""response":{"code":"P0420"},"sequence_number":1,"is_final":false}"#,
            )
        );
    }

    #[test]
    fn an_unknown_event_has_a_frame_without_fields() {
        let topic = Topic::Response(CommandId::from(uuid::Uuid::nil()));
        let event = Event::from_bytes(Bytes::from_static(b"\xff"));
        let record = Record { offset: Offset { epoch: 7, n: 3 }, is_final: false, event };
        assert_eq!(
            frame(&topic, &record),
            r#"{"event":"unknown","topic":"response:00000000-0000-0000-0000-000000000000","offset":"7-3","at":"1970-01-01T00:00:00Z"}"#
        );
    }
}
