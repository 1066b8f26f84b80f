//! An event as the text that a client gets.

use serde::{Serialize, Serializer, ser::SerializeMap};

use turnpike_topic::Topic;

use crate::{Body, Record};

/// The JSON text of one frame: `{"event":…,"topic":…,"offset":…,"at":…, …fields of the event}`. The same for WebSocket and SSE.
pub fn frame(topic: &Topic, record: &Record) -> String {
    // Serialising into a String fails only where a Serialize implementation does, and ours do not.
    serde_json::to_string(&Frame { topic, record }).unwrap_or_default()
}

struct Frame<'a> {
    topic: &'a Topic,
    record: &'a Record,
}

impl Serialize for Frame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Record { offset, event, .. } = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", event.body.name())?;
        map.serialize_entry("topic", &Shown(self.topic))?;
        map.serialize_entry("offset", &Shown(offset))?;
        map.serialize_entry("at", &Shown(&event.at))?;
        match &event.body {
            Body::CommandStatus { command_id, state } => {
                map.serialize_entry("command_id", command_id)?;
                map.serialize_entry("status", state.as_str())?;
            }
            Body::CommandResponse { command_id, sequence_number, is_final, response } => {
                map.serialize_entry("command_id", command_id)?;
                map.serialize_entry("response", response.raw())?;
                map.serialize_entry("sequence_number", sequence_number)?;
                map.serialize_entry("is_final", is_final)?;
            }
            Body::CommandError { command_id, error_code, error_message } => {
                map.serialize_entry("command_id", command_id)?;
                map.serialize_entry("error_message", error_message)?;
                map.serialize_entry("error_code", error_code)?;
            }
            Body::VehicleChanged { vehicle_id, connection_status } => {
                map.serialize_entry("vehicle_id", vehicle_id)?;
                map.serialize_entry("connection_status", connection_status.as_str())?;
            }
            Body::SessionEnded { session_id, user_id, reason } => {
                map.serialize_entry("session_id", session_id)?;
                map.serialize_entry("user_id", user_id)?;
                map.serialize_entry("reason", reason.as_str())?;
            }
            Body::AccountChanged { user_id, active, change: _ } => {
                map.serialize_entry("user_id", user_id)?;
                map.serialize_entry("active", active)?;
            }
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
    use super::*;
    use turnpike_topic::{CommandId, Offset};

    use crate::{Event, Json};

    #[test]
    fn a_response_has_the_shape_of_the_contract() {
        let command_id = CommandId::from(uuid::Uuid::nil());
        let record = Record {
            offset: Offset { epoch: 1_763_700_000_000, n: 3 },
            is_final: false,
            event: Event {
                at: "2026-11-21T10:00:00.25Z".parse().expect("RFC 3339"),
                body: Body::CommandResponse {
                    command_id,
                    sequence_number: 1,
                    is_final: false,
                    response: Json::parse(r#"{"code":"P0420"}"#.into()).expect("an object"),
                },
            },
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
}
