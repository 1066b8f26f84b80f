//! `GET /ws/rooms/{room_id}`: one room. The first frame is `connection_ack`, at the moment from which no event is missed.

use std::time::Duration;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use turnpike_token::{Claims, Scope};
use turnpike_topic::{Offset, RoomId, Topic};

use super::{
    context::SocketContext,
    handshake::{Opening, accept, caller, is_status, refuse},
    health::HealthData,
    invalid::Invalid,
    protocol::{Protocol, Start},
    request::{Parsed, Publication, Request, client_id},
    upgrade::Upgrade,
};
use crate::{
    access::scope::ApiKeys,
    http::{extract::Query, problem::Problem},
    stream::{conn::TopicFrames, ending::Close, since::Since},
};

/// As for `/ws/responses/{command_id}`, a refusal is a close frame with a reason. Without `since`, events follow from now on.
pub(crate) async fn open(
    State(context): State<SocketContext>,
    room_id: Result<Path<RoomId>, PathRejection>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let upgrade = upgrade?;
    let caller = match caller(&context, ApiKeys::Of(Scope::Chat), &opening, &headers).await {
        Ok(caller) => caller,
        Err(fault) if is_status(&fault) => return Err(fault.into()),
        Err(fault) => return Ok(refuse(&context, upgrade, Close::refused(&fault))),
    };
    let Ok(Path(room)) = room_id else { return Ok(refuse(&context, upgrade, Close::Refused("Not found"))) };
    let Ok(since) = opening.since.as_deref().map_or(Ok(Since::Live), str::parse) else {
        return Ok(refuse(&context, upgrade, Close::Refused("since is not an offset")));
    };
    let protocol = Room { room, since, heartbeat: context.heartbeat, opened_at: context.rooms.now() };
    Ok(accept(context, upgrade, &caller, Box::new(protocol)))
}

struct Room {
    room: RoomId,
    since: Since,
    heartbeat: Duration,
    opened_at: Timestamp,
}

/// A client's frame. Fields about the client's identity are not among them.
#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "type")]
    action: Option<String>,
    content: Option<String>,
    is_typing: Option<bool>,
    client_timestamp: Option<Value>,
    data: Option<Value>,
    idempotency_key: Option<String>,
    token: Option<String>,
}

impl Protocol for Room {
    fn start(&self, claims: &Claims) -> Start {
        let ack = json!({
            "event": "connection_ack",
            "room_id": self.room.to_string(),
            "user_id": claims.user_id.to_string(),
            "username": &*claims.username,
            "session_id": claims.session_id.to_string(),
            "server_info": {
                "server_time": self.opened_at.to_string(),
                "heartbeat_interval": self.heartbeat.as_secs(),
            },
        });
        Start::Topic(Topic::Room(self.room), self.since, Some(ack))
    }

    fn parse(&self, text: &str) -> Parsed {
        parse(self.room, text)
    }

    fn room(&self) -> Option<RoomId> {
        Some(self.room)
    }

    fn topic_frames(&self) -> &'static dyn TopicFrames {
        &RoomFrames
    }
}

/// Reads a text frame of a client of this room.
pub(super) fn parse(room: RoomId, text: &str) -> Parsed {
    let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
        return Parsed { id: None, request: invalid("INVALID_JSON", "A frame is a JSON object") };
    };
    let id = client_id(object.remove("id"));
    let verb = object.get("action").or_else(|| object.get("type"));
    let is_known = |verb: &str| matches!(verb, "message" | "typing" | "health_insight" | "heartbeat" | "auth" | "ping");
    if !verb.and_then(Value::as_str).is_some_and(is_known) {
        let detail = "type is one of message, typing, health_insight, heartbeat, auth, ping";
        return Parsed { id, request: invalid("UNKNOWN_MESSAGE_TYPE", detail) };
    }
    let request = match serde_json::from_value::<Raw>(Value::Object(object)) {
        Ok(raw) => validate(room, raw),
        Err(_) => invalid("MESSAGE_PARSE_ERROR", "content is a text, is_typing is true or false"),
    };
    Parsed { id, request }
}

fn validate(room: RoomId, raw: Raw) -> Result<Request, Invalid> {
    match (raw.action.as_deref(), raw.content, raw.is_typing, raw.token) {
        (Some("message"), Some(content), ..) => {
            let what = Publication::Message { content, key: raw.idempotency_key.unwrap_or_default() };
            Ok(Request::Publish { room, what })
        }
        (Some("message"), None, ..) => invalid("MESSAGE_PARSE_ERROR", "content is missing"),
        (Some("typing"), _, Some(is_typing), _) => Ok(Request::Publish { room, what: Publication::Typing(is_typing) }),
        (Some("typing"), ..) => invalid("MESSAGE_PARSE_ERROR", "is_typing is missing"),
        (Some("health_insight"), ..) => Ok(Request::Analyze { room, data: HealthData::parse(raw.data)? }),
        (Some("heartbeat"), ..) => Ok(Request::Heartbeat { client_timestamp: raw.client_timestamp }),
        (Some("auth"), _, _, Some(token)) => Ok(Request::Authenticate { token }),
        (Some("auth"), ..) => invalid("MESSAGE_PARSE_ERROR", "token is missing"),
        _ => Ok(Request::Ping),
    }
}

fn invalid<T>(code: &'static str, detail: &str) -> Result<T, Invalid> {
    Err(Invalid { code, detail: detail.to_owned(), details: None })
}

/// The socket has one room and ends with it.
struct RoomFrames;

impl TopicFrames for RoomFrames {
    /// The acknowledgement was prepared in place of a client's id.
    fn subscribed(&self, ack: Option<&Value>, topic: Topic, head: Option<Offset>) -> String {
        let mut ack = ack.cloned().unwrap_or_else(|| json!({ "event": "connection_ack" }));
        ack["topic"] = topic.to_string().into();
        ack["head"] = head.map_or(Value::Null, |head| head.to_string().into());
        ack.to_string()
    }

    fn caught_up(&self, _: Topic, _: Option<Offset>) -> Option<String> {
        None
    }

    fn topic_closed(&self, _: Topic) -> Result<String, Close> {
        Err(Close::Done)
    }

    fn reading_ended(&self, _: Topic) -> Result<String, Close> {
        Err(Close::Refused("Not found"))
    }

    fn heartbeat(&self) -> Option<&'static str> {
        Some(r#"{"event":"heartbeat"}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> RoomId {
        uuid::Uuid::nil().into()
    }

    #[test]
    fn each_mistake_has_its_code() {
        let code = |frame: &str| parse(room(), frame).request.expect_err(frame).code;
        assert_eq!(code("{"), "INVALID_JSON");
        assert_eq!(code("[]"), "INVALID_JSON");
        assert_eq!(code("{}"), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"type":7}"#), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"type":"subscribe"}"#), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"type":"message"}"#), "MESSAGE_PARSE_ERROR");
        assert_eq!(code(r#"{"type":"message","content":7}"#), "MESSAGE_PARSE_ERROR");
        assert_eq!(code(r#"{"type":"typing","is_typing":"yes"}"#), "MESSAGE_PARSE_ERROR");
        assert_eq!(code(r#"{"type":"health_insight"}"#), "INVALID_HEALTH_DATA");
    }

    #[test]
    fn action_and_type_are_accepted_alike_and_an_identity_is_not() {
        let room = room();
        for name in ["action", "type"] {
            let frame = json!({ name: "message", "content": "hi", "user_id": "x", "username": 7 }).to_string();
            let what = Publication::Message { content: "hi".into(), key: String::new() };
            assert_eq!(parse(room, &frame).request, Ok(Request::Publish { room, what }));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text: String) {
            let _ = parse(room(), &text);
        }
    }
}
