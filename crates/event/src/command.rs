//! Events of a vehicle command, on the topic `response:{command_id}`.

use serde::ser::SerializeMap;
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::CommandId;

use crate::{Json, named_enum::named_enum};

/// An event of a vehicle command.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandEvent {
    /// The command reached a state. An end state is the final event of the topic.
    Status {
        /// The command.
        command_id: CommandId,
        /// The state that it reached.
        state: CommandState,
    },
    /// One piece of the vehicle's answer.
    Response {
        /// The command that is answered.
        command_id: CommandId,
        /// 1, 2, 3… within the command.
        sequence_number: u32,
        /// The last piece of a completed command.
        is_final: bool,
        /// The answer; each connector and command has its own shape.
        response: Json,
    },
    /// The reason why the command failed. A final status follows.
    Error {
        /// The command that failed.
        command_id: CommandId,
        /// A stable upper-snake word.
        error_code: String,
        /// A sentence for people.
        error_message: String,
    },
}

named_enum! {
    /// The state of a command, as clients see it.
    CommandState {
        /// Accepted, not yet begun.
        Pending = "pending",
        /// The vehicle works on it.
        InProgress = "in_progress",
        /// Done; the answer is complete.
        Completed = "completed",
        /// Not done; an error event gives the reason.
        Failed = "failed",
        /// Stopped because a caller asked for it.
        Cancelled = "cancelled",
        /// The answer was not complete at the deadline.
        TimedOut = "timed_out",
        /// The vehicle may have executed the command, or not. It can't be found out.
        Unknown = "unknown",
    }
}

impl CommandState {
    /// An end state: no other state follows.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Pending | Self::InProgress)
    }

    const fn to_pb(self) -> pb::command_status::State {
        use pb::command_status::State as To;
        match self {
            Self::Pending => To::Pending,
            Self::InProgress => To::InProgress,
            Self::Completed => To::Completed,
            Self::Failed => To::Failed,
            Self::Cancelled => To::Cancelled,
            Self::TimedOut => To::TimedOut,
            Self::Unknown => To::Unknown,
        }
    }

    fn from_pb(state: pb::command_status::State) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.to_pb() == state)
    }
}

impl CommandEvent {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Response { .. } => "response",
            Self::Error { .. } => "error",
        }
    }

    pub(crate) fn to_pb(&self) -> Body {
        match self {
            Self::Status { command_id, state } => Body::CommandStatus(pb::CommandStatus {
                command_id: command_id.to_string(),
                state: state.to_pb().into(),
            }),
            Self::Response { command_id, sequence_number, is_final, response } => {
                Body::CommandResponse(pb::CommandResponse {
                    command_id: command_id.to_string(),
                    sequence_number: *sequence_number,
                    is_final: *is_final,
                    response_json: response.as_str().to_owned(),
                })
            }
            Self::Error { command_id, error_code, error_message } => Body::CommandError(pb::CommandError {
                command_id: command_id.to_string(),
                error_code: error_code.clone(),
                error_message: error_message.clone(),
            }),
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body {
            Body::CommandStatus(e) => {
                Self::Status { command_id: e.command_id.parse().ok()?, state: CommandState::from_pb(e.state())? }
            }
            Body::CommandResponse(e) => Self::Response {
                command_id: e.command_id.parse().ok()?,
                sequence_number: e.sequence_number,
                is_final: e.is_final,
                response: Json::parse(e.response_json.clone()).ok()?,
            },
            Body::CommandError(e) => Self::Error {
                command_id: e.command_id.parse().ok()?,
                error_code: e.error_code.clone(),
                error_message: e.error_message.clone(),
            },
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Status { command_id, state } => {
                frame.serialize_entry("command_id", command_id)?;
                frame.serialize_entry("status", state.as_str())
            }
            Self::Response { command_id, sequence_number, is_final, response } => {
                frame.serialize_entry("command_id", command_id)?;
                frame.serialize_entry("response", response.raw())?;
                frame.serialize_entry("sequence_number", sequence_number)?;
                frame.serialize_entry("is_final", is_final)
            }
            Self::Error { command_id, error_code, error_message } => {
                frame.serialize_entry("command_id", command_id)?;
                frame.serialize_entry("error_message", error_message)?;
                frame.serialize_entry("error_code", error_code)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::{Event, pinned::assert_pinned};

    pub(crate) fn any_event() -> impl Strategy<Value = CommandEvent> {
        let id = any::<u128>().prop_map(|id| CommandId::from(uuid::Uuid::from_u128(id)));
        prop_oneof![
            (id.clone(), prop::sample::select(CommandState::ALL))
                .prop_map(|(command_id, state)| CommandEvent::Status { command_id, state }),
            (id.clone(), any::<u32>(), any::<bool>(), any::<String>()).prop_map(
                |(command_id, sequence_number, is_final, text)| {
                    let response = Json::parse(serde_json::json!({ "text": text }).to_string()).expect("an object");
                    CommandEvent::Response { command_id, sequence_number, is_final, response }
                }
            ),
            (id, any::<String>(), any::<String>()).prop_map(|(command_id, error_code, error_message)| {
                CommandEvent::Error { command_id, error_code, error_message }
            }),
        ]
    }

    #[test]
    fn an_unknown_state_makes_an_unknown_event() {
        let status = pb::CommandStatus { command_id: uuid::Uuid::nil().to_string(), state: 4711 };
        let event = pb::Event { body: Some(Body::CommandStatus(status)), ..pb::Event::default() };
        assert!(matches!(Event::from_bytes(event.encode_to_vec().into()).body, crate::Body::Unknown(_)));
    }

    #[test]
    fn bytes_and_frames_are_pinned() {
        let command_id = CommandId::from(uuid::Uuid::from_u128(1));
        let response = Json::parse(r#"{"code":"P0420"}"#.into()).expect("an object");
        let (error_code, error_message) = ("NEGATIVE_RESPONSE".to_owned(), "The vehicle refused.".to_owned());
        assert_pinned(
            crate::Body::Command(CommandEvent::Status { command_id, state: CommandState::Pending }),
            "52280a2430303030303030302d303030302d303030302d303030302d3030303030303030303030311001",
            r#""command_id":"00000000-0000-0000-0000-000000000001","status":"pending""#,
        );
        assert_pinned(
            crate::Body::Command(CommandEvent::Status { command_id, state: CommandState::TimedOut }),
            "52280a2430303030303030302d303030302d303030302d303030302d3030303030303030303030311006",
            r#""command_id":"00000000-0000-0000-0000-000000000001","status":"timed_out""#,
        );
        assert_pinned(
            crate::Body::Command(CommandEvent::Response { command_id, sequence_number: 3, is_final: true, response }),
            concat!(
                "5a3c0a2430303030303030302d303030302d303030302d303030302d3030303030303030303030311003180122107b22636f",
                "6465223a225030343230227d",
            ),
            r#""command_id":"00000000-0000-0000-0000-000000000001","response":{"code":"P0420"},"sequence_number":3,"is_final":true"#,
        );
        assert_pinned(
            crate::Body::Command(CommandEvent::Error { command_id, error_code, error_message }),
            concat!(
                "624f0a2430303030303030302d303030302d303030302d303030302d30303030303030303030303112114e45474154495645",
                "5f524553504f4e53451a145468652076656869636c6520726566757365642e",
            ),
            r#""command_id":"00000000-0000-0000-0000-000000000001","error_message":"The vehicle refused.","error_code":"NEGATIVE_RESPONSE""#,
        );
    }
}
