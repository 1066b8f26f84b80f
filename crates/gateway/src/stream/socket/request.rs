//! The requests of a client on a socket, and how a text frame is parsed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use turnpike_topic::{RoomId, Topic};

use super::{health::HealthData, invalid::Invalid};
use crate::stream::{
    conn::MAX_TOPICS,
    since::{InvalidSince, Since},
};

/// A request about the session whose audio a socket sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Finalize,
    Pause,
    Resume,
    Stop,
}

#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// At least one topic, each from where the client continues.
    Subscribe(Vec<(Topic, Since)>),
    Unsubscribe {
        topic: Topic,
    },
    Authenticate {
        token: String,
    },
    /// Something for a room.
    Publish {
        room: RoomId,
        what: Publication,
    },
    /// Data about the user's health, to be analysed for the user.
    Analyze {
        room: RoomId,
        data: HealthData,
    },
    /// The client of a room's socket is alive.
    Heartbeat {
        client_timestamp: Option<Value>,
    },
    Ping,
    /// Only on sockets that take audio.
    Audio(Control),
}

/// What a client publishes in a room.
#[derive(Debug, PartialEq)]
pub(super) enum Publication {
    /// The key makes a repeated message the same one; empty: none.
    Message {
        content: String,
        key: String,
    },
    Typing(bool),
}

/// A client's frame. The response repeats the `id`, if the client sent one.
pub(super) struct Parsed {
    pub(super) id: Option<Value>,
    pub(super) request: Result<Request, Invalid>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "type")]
    action: Option<String>,
    topic: Option<String>,
    since: Option<String>,
    /// Several topics and the `since` of each.
    topics: Option<BTreeMap<String, Option<String>>>,
    token: Option<String>,
    /// What is published: `message` or `typing`.
    event: Option<String>,
    content: Option<String>,
    is_typing: Option<bool>,
    idempotency_key: Option<String>,
}

/// A client's control of its audio.
pub(super) fn control(text: &str) -> Option<Control> {
    let raw: Raw = serde_json::from_str(text).ok()?;
    match raw.action?.as_str() {
        "finalize" => Some(Control::Finalize),
        "pause" => Some(Control::Pause),
        "resume" => Some(Control::Resume),
        "stop" => Some(Control::Stop),
        _ => None,
    }
}

impl Parsed {
    pub(super) fn new(text: &str) -> Self {
        let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
            return Self { id: None, request: invalid("INVALID_JSON", "A frame is a JSON object") };
        };
        let id = client_id(object.remove("id"));
        let request = match serde_json::from_value::<Raw>(Value::Object(object)) {
            Ok(raw) => validate(raw),
            Err(_) => invalid(
                "VALIDATION",
                "action, topic, since, token, event and content are texts; topics is an object of them; is_typing is true or false",
            ),
        };
        Self { id, request }
    }
}

/// A client's id is a number or a short text. Any other value is not repeated.
pub(super) fn client_id(id: Option<Value>) -> Option<Value> {
    id.filter(|id| match id {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= 64,
        _ => false,
    })
}

fn validate(raw: Raw) -> Result<Request, Invalid> {
    let topic = || match raw.topic.as_deref() {
        None => invalid("VALIDATION", "topic is missing"),
        Some(text) => parse_topic(text),
    };
    match raw.action.as_deref() {
        Some("subscribe") => match &raw.topics {
            None => Ok(Request::Subscribe(vec![(topic()?, parse_since(raw.since.as_deref())?)])),
            Some(_) if raw.topic.is_some() => invalid("VALIDATION", "topic and topics exclude each other"),
            Some(topics) if topics.is_empty() || topics.len() > MAX_TOPICS => {
                invalid("VALIDATION", format!("topics has 1 to {MAX_TOPICS} topics"))
            }
            Some(topics) => {
                let parse = |(topic, since): (&String, &Option<String>)| {
                    Ok((parse_topic(topic)?, parse_since(since.as_deref())?))
                };
                Ok(Request::Subscribe(topics.iter().map(parse).collect::<Result<_, _>>()?))
            }
        },
        Some("unsubscribe") => Ok(Request::Unsubscribe { topic: topic()? }),
        Some("auth") => match raw.token {
            Some(token) => Ok(Request::Authenticate { token }),
            None => invalid("VALIDATION", "token is missing"),
        },
        Some("publish") => {
            let topic = topic()?;
            publication(topic, raw)
        }
        Some("ping") => Ok(Request::Ping),
        Some(_) => invalid("UNKNOWN_MESSAGE_TYPE", "action is one of subscribe, unsubscribe, publish, auth, ping"),
        None => invalid("UNKNOWN_MESSAGE_TYPE", "action is missing"),
    }
}

fn publication(topic: Topic, raw: Raw) -> Result<Request, Invalid> {
    let Topic::Room(room) = topic else { return invalid("VALIDATION", "topic: clients publish in rooms only") };
    let what = match (raw.event.as_deref(), raw.content, raw.is_typing) {
        (Some("message"), Some(content), _) => {
            Publication::Message { content, key: raw.idempotency_key.unwrap_or_default() }
        }
        (Some("message"), None, _) => return invalid("MESSAGE_PARSE_ERROR", "content is missing"),
        (Some("typing"), _, Some(is_typing)) => Publication::Typing(is_typing),
        (Some("typing"), _, None) => return invalid("MESSAGE_PARSE_ERROR", "is_typing is missing"),
        _ => return invalid("UNKNOWN_MESSAGE_TYPE", "event is one of message, typing"),
    };
    Ok(Request::Publish { room, what })
}

fn parse_topic(text: &str) -> Result<Topic, Invalid> {
    text.parse().or_else(|error| invalid("VALIDATION", format!("topic: {error}")))
}

fn parse_since(text: Option<&str>) -> Result<Since, Invalid> {
    text.unwrap_or("start").parse().or_else(|error: InvalidSince| invalid("VALIDATION", error.to_string()))
}

fn invalid<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { code, detail: detail.into(), details: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use turnpike_topic::Offset;

    use super::*;

    #[test]
    fn action_and_type_are_accepted_alike() {
        let topic = "user:01890000-0000-7000-8000-000000000000";
        let parsed: Topic = topic.parse().expect("a topic");
        for name in ["action", "type"] {
            let frame = json!({ name: "subscribe", "id": 1, "topic": topic, "since": "7-3" }).to_string();
            let since = Since::After(Offset { epoch: 7, n: 3 });
            let Parsed { id, request } = Parsed::new(&frame);
            assert_eq!((id, request), (Some(json!(1)), Ok(Request::Subscribe(vec![(parsed, since)]))));
        }
        let Parsed { id, request } = Parsed::new(r#"{"action":"ping"}"#);
        assert_eq!((id, request), (None, Ok(Request::Ping)));
    }

    #[test]
    fn one_frame_subscribes_to_several_topics() {
        let [first, second] = [1, 2].map(|n| format!("user:01890000-0000-7000-8000-00000000000{n}"));
        let frame = json!({ "action": "subscribe", "topics": { &first: "7-3", &second: null } }).to_string();
        let topics = [(first, Since::After(Offset { epoch: 7, n: 3 })), (second, Since::Start)];
        let topics = topics.map(|(topic, since)| (topic.parse().expect("a topic"), since));
        assert_eq!(Parsed::new(&frame).request, Ok(Request::Subscribe(topics.into())));
        let topic = "user:01890000-0000-7000-8000-000000000001";
        for topics in [json!({}), json!({ "x": "live" }), json!({ topic: "x" }), json!({ topic: 7 }), json!([topic])] {
            let frame = json!({ "action": "subscribe", "topics": topics }).to_string();
            assert_eq!(Parsed::new(&frame).request.expect_err("invalid").code, "VALIDATION", "{frame}");
        }
        let both = json!({ "action": "subscribe", "topic": topic, "topics": { topic: "live" } }).to_string();
        assert_eq!(Parsed::new(&both).request.expect_err("invalid").code, "VALIDATION");
    }

    #[test]
    fn each_mistake_has_its_code() {
        let code = |frame: &str| Parsed::new(frame).request.expect_err(frame).code;
        assert_eq!(code("{"), "INVALID_JSON");
        assert_eq!(code("[]"), "INVALID_JSON");
        assert_eq!(code("{}"), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"action":"fly"}"#), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"action":"subscribe"}"#), "VALIDATION");
        assert_eq!(code(r#"{"action":"subscribe","topic":"x"}"#), "VALIDATION");
        assert_eq!(code(r#"{"action":7}"#), "VALIDATION");
    }
}
