//! Events to protobuf bytes and back.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use turnpike_proto::event::v1 as pb;

use crate::{Body, CommandState, ConnectionStatus, EndReason, Event, Json};

impl Event {
    /// The bytes of a `turnpike.event.v1.Event`.
    pub fn to_bytes(&self) -> Bytes {
        if let Body::Unknown(bytes) = &self.body {
            return bytes.clone(); // passed on as it came
        }
        pb::Event { at: Some(to_pb_time(self.at)), body: to_pb_body(&self.body) }.encode_to_vec().into()
    }

    /// Reads an event. What cannot be understood is [`Body::Unknown`], never an error: whoever follows a topic must be able
    /// to go past anything that is on it.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let Ok(event) = pb::Event::decode(bytes.as_ref()) else {
            return Self { at: Timestamp::UNIX_EPOCH, body: Body::Unknown(bytes) };
        };
        let at = event.at.and_then(from_pb_time).unwrap_or(Timestamp::UNIX_EPOCH);
        let body = event.body.and_then(from_pb_body).unwrap_or(Body::Unknown(bytes));
        Self { at, body }
    }
}

fn to_pb_time(at: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000); // protobuf counts nanoseconds forward, also before 1970
    }
    prost_types::Timestamp { seconds, nanos }
}

fn from_pb_time(at: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

fn to_pb_body(body: &Body) -> Option<pb::event::Body> {
    use pb::event::Body as To;
    Some(match body {
        Body::CommandStatus { command_id, state } => To::CommandStatus(pb::CommandStatus {
            command_id: command_id.to_string(),
            state: to_pb_state(*state).into(),
        }),
        Body::CommandResponse { command_id, sequence_number, is_final, response } => {
            To::CommandResponse(pb::CommandResponse {
                command_id: command_id.to_string(),
                sequence_number: *sequence_number,
                is_final: *is_final,
                response_json: response.as_str().to_owned(),
            })
        }
        Body::CommandError { command_id, error_code, error_message } => To::CommandError(pb::CommandError {
            command_id: command_id.to_string(),
            error_code: error_code.clone(),
            error_message: error_message.clone(),
        }),
        Body::VehicleChanged { vehicle_id, connection_status } => To::VehicleChanged(pb::VehicleChanged {
            vehicle_id: vehicle_id.to_string(),
            connection_status: connection_status.as_str().to_owned(),
        }),
        Body::SessionEnded { session_id, user_id, reason } => To::SessionEnded(pb::SessionEnded {
            session_id: session_id.to_string(),
            user_id: user_id.to_string(),
            reason: reason.as_str().to_owned(),
        }),
        Body::AccountChanged { user_id, active, change } => {
            let (user_id, active, change) = (user_id.to_string(), *active, *change);
            To::AccountChanged(pb::AccountChanged { user_id, active, change })
        }
        Body::Unknown(_) => return None,
    })
}

/// `None` for anything that this build has no word for.
fn from_pb_body(body: pb::event::Body) -> Option<Body> {
    use pb::event::Body as From;
    Some(match body {
        From::CommandStatus(e) => {
            Body::CommandStatus { command_id: e.command_id.parse().ok()?, state: from_pb_state(e.state())? }
        }
        From::CommandResponse(e) => Body::CommandResponse {
            command_id: e.command_id.parse().ok()?,
            sequence_number: e.sequence_number,
            is_final: e.is_final,
            response: Json::parse(e.response_json).ok()?,
        },
        From::CommandError(e) => Body::CommandError {
            command_id: e.command_id.parse().ok()?,
            error_code: e.error_code,
            error_message: e.error_message,
        },
        From::VehicleChanged(e) => Body::VehicleChanged {
            vehicle_id: e.vehicle_id.parse().ok()?,
            connection_status: ConnectionStatus::from_word(&e.connection_status)?,
        },
        From::SessionEnded(e) => Body::SessionEnded {
            session_id: e.session_id.parse().ok()?,
            user_id: e.user_id.parse().ok()?,
            reason: EndReason::from_word(&e.reason)?,
        },
        From::AccountChanged(e) => {
            Body::AccountChanged { user_id: e.user_id.parse().ok()?, active: e.active, change: e.change }
        }
    })
}

fn to_pb_state(state: CommandState) -> pb::command_status::State {
    use pb::command_status::State as To;
    match state {
        CommandState::Pending => To::Pending,
        CommandState::InProgress => To::InProgress,
        CommandState::Completed => To::Completed,
        CommandState::Failed => To::Failed,
        CommandState::Cancelled => To::Cancelled,
        CommandState::TimedOut => To::TimedOut,
        CommandState::Unknown => To::Unknown,
    }
}

fn from_pb_state(state: pb::command_status::State) -> Option<CommandState> {
    use pb::command_status::State as From;
    Some(match state {
        From::Unspecified => return None,
        From::Pending => CommandState::Pending,
        From::InProgress => CommandState::InProgress,
        From::Completed => CommandState::Completed,
        From::Failed => CommandState::Failed,
        From::Cancelled => CommandState::Cancelled,
        From::TimedOut => CommandState::TimedOut,
        From::Unknown => CommandState::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use turnpike_topic::{CommandId, SessionId, UserId, VehicleId};

    fn any_body() -> impl Strategy<Value = Body> {
        let id = any::<u128>().prop_map(uuid::Uuid::from_u128);
        prop_oneof![
            (id.clone(), prop::sample::select(CommandState::ALL))
                .prop_map(|(id, state)| Body::CommandStatus { command_id: CommandId::from(id), state }),
            (id.clone(), any::<u32>(), any::<bool>(), any::<String>()).prop_map(
                |(id, sequence_number, is_final, text)| {
                    let response = Json::parse(serde_json::json!({ "text": text }).to_string()).expect("an object");
                    Body::CommandResponse { command_id: CommandId::from(id), sequence_number, is_final, response }
                }
            ),
            (id.clone(), any::<String>(), any::<String>()).prop_map(|(id, error_code, error_message)| {
                Body::CommandError { command_id: CommandId::from(id), error_code, error_message }
            }),
            (id.clone(), prop::sample::select(ConnectionStatus::ALL)).prop_map(|(id, connection_status)| {
                Body::VehicleChanged { vehicle_id: VehicleId::from(id), connection_status }
            }),
            (id.clone(), prop::sample::select(EndReason::ALL)).prop_map(|(id, reason)| Body::SessionEnded {
                session_id: SessionId::from(id),
                user_id: UserId::from(id),
                reason
            }),
            (id, any::<bool>(), any::<u64>()).prop_map(|(id, active, change)| Body::AccountChanged {
                user_id: UserId::from(id),
                active,
                change
            }),
        ]
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let at = (-377_705_023_201_i64..253_402_207_200, 0..1_000_000_000_i32)
            .prop_map(|(s, ns)| Timestamp::new(s, ns).expect("in range"));
        (at, any_body()).prop_map(|(at, body)| Event { at, body })
    }

    proptest! {
        #[test]
        fn a_decoded_event_is_the_one_that_was_encoded(event in any_event()) {
            prop_assert_eq!(Event::from_bytes(event.to_bytes()), event);
        }

        #[test]
        fn an_event_is_the_message_of_the_schema(event in any_event()) {
            let read = pb::Event::decode(event.to_bytes()).expect("a turnpike.event.v1.Event");
            prop_assert_eq!(read.at.and_then(from_pb_time), Some(event.at));
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
    fn an_old_reader_meets_a_new_event_calmly() {
        let at = Timestamp::from_second(1_763_700_000).expect("in range");
        let bytes = Bytes::from(Newer { at: Some(to_pb_time(at)), news: "a word of tomorrow".into() }.encode_to_vec());
        let event = Event::from_bytes(bytes.clone());
        assert_eq!(event.at, at);
        assert_eq!(event.body, Body::Unknown(bytes.clone()));
        assert_eq!(event.to_bytes(), bytes, "the bytes are passed on as they came");
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
        let status = pb::CommandStatus { command_id: command_id.to_string(), state };
        let older = Older {
            at: Some(to_pb_time(at)),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            command_status: Some(status),
        };
        let event = Event { at, body: Body::CommandStatus { command_id, state: CommandState::InProgress } };
        assert_eq!(Event::from_bytes(older.encode_to_vec().into()), event);
    }

    #[test]
    fn a_new_word_in_a_known_event_is_unknown_too() {
        let status = pb::CommandStatus { command_id: CommandId::new(Timestamp::UNIX_EPOCH).to_string(), state: 4711 };
        let event = pb::Event { body: Some(pb::event::Body::CommandStatus(status)), ..pb::Event::default() };
        assert!(matches!(Event::from_bytes(event.encode_to_vec().into()).body, Body::Unknown(_)));
    }
}
