//! Events to protobuf bytes and back.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use turnpike_proto::{event::v1 as pb, timestamp};

use crate::{
    AccountEvent, Body, CaptionsEvent, ChatEvent, CommandEvent, Event, GatewayNotice, RoomEvent, RoomNotice,
    VehicleEvent,
};

impl Event {
    /// The bytes of a `turnpike.event.v1.Event`.
    pub fn to_bytes(&self) -> Bytes {
        let body = match &self.body {
            Body::Command(event) => event.to_pb(),
            Body::Vehicle(event) => event.to_pb(),
            Body::Chat(event) => event.to_pb(),
            Body::Room(event) => event.to_pb(),
            Body::Notice(notice) => notice.to_pb(),
            Body::Captions(event) => event.to_pb(),
            Body::Account(event) => event.to_pb(),
            Body::Gateway(notice) => notice.to_pb(),
            Body::Unknown(bytes) => return bytes.clone(),
        };
        pb::Event { at: Some(timestamp::to_protobuf(self.at)), body: Some(body) }.encode_to_vec().into()
    }

    /// Decodes an event. Bytes that are not understood become [`Body::Unknown`] instead of an error, because a follower must be
    /// able to read past every event of a topic.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let Ok(event) = pb::Event::decode(bytes.as_ref()) else {
            return Self { at: Timestamp::UNIX_EPOCH, body: Body::Unknown(bytes) };
        };
        let at = event.at.and_then(timestamp::from_protobuf).unwrap_or(Timestamp::UNIX_EPOCH);
        let body = event.body.and_then(|body| from_pb_body(&body)).unwrap_or(Body::Unknown(bytes));
        Self { at, body }
    }
}

fn from_pb_body(body: &pb::event::Body) -> Option<Body> {
    None.or_else(|| CommandEvent::from_pb(body).map(Body::Command))
        .or_else(|| VehicleEvent::from_pb(body).map(Body::Vehicle))
        .or_else(|| ChatEvent::from_pb(body).map(Body::Chat))
        .or_else(|| RoomEvent::from_pb(body).map(Body::Room))
        .or_else(|| RoomNotice::from_pb(body).map(Body::Notice))
        .or_else(|| CaptionsEvent::from_pb(body).map(Body::Captions))
        .or_else(|| AccountEvent::from_pb(body).map(Body::Account))
        .or_else(|| GatewayNotice::from_pb(body).map(Body::Gateway))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use turnpike_topic::CommandId;

    use super::*;
    use crate::{CommandState, account, captions, chat, command, gateway, notice, room, vehicle};

    fn any_event() -> impl Strategy<Value = Event> {
        let at = (-377_705_023_201_i64..253_402_207_200, 0..1_000_000_000_i32)
            .prop_map(|(s, ns)| Timestamp::new(s, ns).expect("in range"));
        let body = prop_oneof![
            command::tests::any_event().prop_map(Body::Command),
            vehicle::tests::any_event().prop_map(Body::Vehicle),
            chat::tests::any_event().prop_map(Body::Chat),
            room::tests::any_event().prop_map(Body::Room),
            notice::tests::any_notice().prop_map(Body::Notice),
            captions::tests::any_event().prop_map(Body::Captions),
            account::tests::any_event().prop_map(Body::Account),
            gateway::tests::any_notice().prop_map(Body::Gateway),
        ];
        (at, body).prop_map(|(at, body)| Event { at, body })
    }

    proptest! {
        #[test]
        fn a_decoded_event_is_the_one_that_was_encoded(event in any_event()) {
            prop_assert_eq!(Event::from_bytes(event.to_bytes()), event);
        }

        #[test]
        fn an_event_is_the_message_of_the_schema(event in any_event()) {
            let read = pb::Event::decode(event.to_bytes()).expect("a turnpike.event.v1.Event");
            prop_assert_eq!(read.at.and_then(timestamp::from_protobuf), Some(event.at));
            prop_assert!(read.body.is_some());
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes: Vec<u8>) {
            let _ = Event::from_bytes(bytes.into());
        }
    }

    /// What a later version of the schema may write: `body` member 99, a string.
    #[derive(Clone, PartialEq, Message)]
    struct Newer {
        #[prost(message, tag = "1")]
        at: Option<prost_types::Timestamp>,
        #[prost(string, tag = "99")]
        news: String,
    }

    #[test]
    fn an_event_of_a_newer_producer_keeps_its_time_and_its_bytes() {
        let at = Timestamp::from_second(1_763_700_000).expect("in range");
        let bytes =
            Bytes::from(Newer { at: Some(timestamp::to_protobuf(at)), news: "a new event".into() }.encode_to_vec());
        let event = Event::from_bytes(bytes.clone());
        assert_eq!(event, Event { at, body: Body::Unknown(bytes.clone()) });
        assert_eq!(event.to_bytes(), bytes, "the bytes are passed on unchanged");
    }

    /// The schema until the field `traceparent` was removed.
    #[derive(Clone, PartialEq, Message)]
    struct Older {
        #[prost(message, tag = "1")]
        at: Option<prost_types::Timestamp>,
        #[prost(string, tag = "2")]
        traceparent: String,
        #[prost(message, tag = "10")]
        command_status: Option<pb::CommandStatus>,
    }

    #[test]
    fn a_stored_event_with_the_removed_trace_field_is_still_understood() {
        let at = Timestamp::from_second(1_763_700_000).expect("in range");
        let command_id = CommandId::new(at);
        let state = pb::command_status::State::InProgress.into();
        let older = Older {
            at: Some(timestamp::to_protobuf(at)),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            command_status: Some(pb::CommandStatus { command_id: command_id.to_string(), state }),
        };
        let status = CommandEvent::Status { command_id, state: CommandState::InProgress };
        assert_eq!(Event::from_bytes(older.encode_to_vec().into()), Event { at, body: Body::Command(status) });
    }
}
