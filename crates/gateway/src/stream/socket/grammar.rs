//! What is said on a socket besides the events of topics: what clients ask for, and what they are answered.

use axum::extract::ws::Utf8Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use turnpike_bus::ResetReason;
use turnpike_fault::Fault;
use turnpike_topic::{Offset, Topic};

use crate::{config::Limits, stream::hub::Since};

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Ask {
    Subscribe { topic: Topic, since: Since },
    Unsubscribe { topic: Topic },
    Auth { token: String },
    Ping,
}

/// Something that is no request of ours: a word for programs and a sentence for people.
#[derive(Debug, PartialEq)]
pub(crate) struct Misunderstood {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "type")]
    action: Option<String>,
    topic: Option<String>,
    since: Option<String>,
    token: Option<String>,
}

/// Reads a client's frame. The `id`, where there is one, comes back with whatever is answered.
pub(crate) fn parse(text: &str) -> (Option<Value>, Result<Ask, Misunderstood>) {
    let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
        return (None, misunderstood("INVALID_JSON", "A frame is a JSON object"));
    };
    // A client's id is a number or a short text; anything else is not echoed.
    let id = object.remove("id").filter(|id| match id {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= 64,
        _ => false,
    });
    let Ok(raw) = serde_json::from_value::<Raw>(Value::Object(object)) else {
        return (id, misunderstood("VALIDATION", "action, topic, since and token are texts"));
    };
    (id, judge(raw))
}

fn judge(raw: Raw) -> Result<Ask, Misunderstood> {
    let topic = || match raw.topic.as_deref() {
        None => misunderstood("VALIDATION", "topic is missing"),
        Some(text) => text.parse::<Topic>().or_else(|error| misunderstood("VALIDATION", format!("topic: {error}"))),
    };
    match raw.action.as_deref() {
        Some("subscribe") => {
            Ok(Ask::Subscribe { topic: topic()?, since: since(raw.since.as_deref().unwrap_or("start"))? })
        }
        Some("unsubscribe") => Ok(Ask::Unsubscribe { topic: topic()? }),
        Some("auth") => match raw.token {
            Some(token) => Ok(Ask::Auth { token }),
            None => misunderstood("VALIDATION", "token is missing"),
        },
        Some("ping") => Ok(Ask::Ping),
        Some(_) => misunderstood("UNKNOWN_MESSAGE_TYPE", "action is one of subscribe, unsubscribe, auth, ping"),
        None => misunderstood("UNKNOWN_MESSAGE_TYPE", "action is missing"),
    }
}

/// `start`, `live`, or an offset.
pub(crate) fn since(text: &str) -> Result<Since, Misunderstood> {
    match text {
        "start" => Ok(Since::Start),
        "live" => Ok(Since::Live),
        offset => match offset.parse() {
            Ok(offset) => Ok(Since::After(offset)),
            Err(_) => misunderstood("VALIDATION", "since is start, live or an offset such as 1763700000000-42"),
        },
    }
}

fn misunderstood<T>(code: &'static str, detail: impl Into<String>) -> Result<T, Misunderstood> {
    Err(Misunderstood { code, detail: detail.into() })
}

pub(crate) fn hello(limits: &Limits, heartbeat_seconds: u64, session: &str) -> Utf8Bytes {
    let limits = json!({
        "sockets_per_user": limits.sockets_per_user,
        "messages_per_minute": limits.messages_per_minute,
        "frame_bytes": limits.frame_bytes,
        "topics": super::session::MAX_TOPICS,
    });
    text(json!({ "event": "hello", "protocol": super::PROTOCOL, "limits": limits,
        "heartbeat_interval": heartbeat_seconds, "session_id": session }))
}

pub(crate) fn subscribed(id: Option<&Value>, topic: Topic, head: Option<Offset>) -> Utf8Bytes {
    answer("subscribed", id, json!({ "topic": topic.to_string(), "head": shown(head) }))
}

pub(crate) fn unsubscribed(id: Option<&Value>, topic: Topic) -> Utf8Bytes {
    answer("unsubscribed", id, json!({ "topic": topic.to_string() }))
}

pub(crate) fn authenticated(id: Option<&Value>, expires_at: jiff::Timestamp) -> Utf8Bytes {
    answer("authenticated", id, json!({ "expires_at": expires_at.to_string() }))
}

pub(crate) fn pong(id: Option<&Value>) -> Utf8Bytes {
    answer("pong", id, json!({}))
}

pub(crate) fn caught_up(topic: Topic, head: Option<Offset>) -> Utf8Bytes {
    text(json!({ "event": "caught_up", "topic": topic.to_string(), "head": shown(head) }))
}

pub(crate) fn reset(topic: Topic, reason: ResetReason, head: Option<Offset>) -> Utf8Bytes {
    let reason = match reason {
        ResetReason::Epoch => "epoch",
        ResetReason::Trimmed => "trimmed",
    };
    text(json!({ "event": "reset", "topic": topic.to_string(), "reason": reason, "head": shown(head) }))
}

pub(crate) fn closed(topic: Topic) -> Utf8Bytes {
    text(json!({ "event": "closed", "topic": topic.to_string() }))
}

pub(crate) fn error(id: Option<&Value>, code: &str, detail: &str) -> Utf8Bytes {
    answer("error", id, json!({ "code": code, "detail": detail }))
}

pub(crate) fn fault(id: Option<&Value>, topic: Option<Topic>, fault: &Fault) -> Utf8Bytes {
    let mut fields = json!({ "code": fault.code(), "detail": fault.detail() });
    if let Some(topic) = topic {
        fields["topic"] = topic.to_string().into();
    }
    if let Some(after) = fault.retry_in() {
        fields["retry_after"] = after.as_secs().into();
    }
    answer("error", id, fields)
}

fn answer(event: &str, id: Option<&Value>, mut fields: Value) -> Utf8Bytes {
    fields["event"] = event.into();
    if let Some(id) = id {
        fields["id"] = id.clone();
    }
    text(fields)
}

fn shown(head: Option<Offset>) -> Value {
    head.map_or(Value::Null, |head| head.to_string().into())
}

fn text(value: Value) -> Utf8Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood_by_either_word() {
        let topic = "user:01890000-0000-7000-8000-000000000000";
        let parsed: Topic = topic.parse().expect("a topic");
        for verb in ["action", "type"] {
            let frame = json!({ verb: "subscribe", "id": 1, "topic": topic, "since": "7-3" }).to_string();
            let since = Since::After(Offset { epoch: 7, n: 3 });
            assert_eq!(parse(&frame), (Some(json!(1)), Ok(Ask::Subscribe { topic: parsed, since })));
        }
        assert_eq!(parse(r#"{"action":"ping"}"#), (None, Ok(Ask::Ping)));
    }

    #[test]
    fn mistakes_are_named() {
        let code = |frame: &str| parse(frame).1.expect_err(frame).code;
        assert_eq!(code("{"), "INVALID_JSON");
        assert_eq!(code("[]"), "INVALID_JSON");
        assert_eq!(code("{}"), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"action":"fly"}"#), "UNKNOWN_MESSAGE_TYPE");
        assert_eq!(code(r#"{"action":"subscribe"}"#), "VALIDATION");
        assert_eq!(code(r#"{"action":"subscribe","topic":"x"}"#), "VALIDATION");
        assert_eq!(code(r#"{"action":7}"#), "VALIDATION");
    }
}
