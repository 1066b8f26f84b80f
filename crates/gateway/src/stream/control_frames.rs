//! The frames that are not events of a topic: confirmations, resets and errors. They have no offset.

use serde_json::{Value, json};
use turnpike_bus::ResetReason;
use turnpike_fault::Fault;
use turnpike_topic::{Offset, Topic};

use crate::config::Limits;

/// The first frame of a multiplexed socket.
pub(crate) fn hello(protocol: &str, limits: &Limits, topics: usize, heartbeat_seconds: u64, session: &str) -> String {
    let limits = json!({
        "sockets_per_user": limits.sockets_per_user,
        "messages_per_minute": limits.messages_per_minute,
        "frame_bytes": limits.frame_bytes,
        "topics": topics,
    });
    text(json!({ "event": "hello", "protocol": protocol, "limits": limits,
        "heartbeat_interval": heartbeat_seconds, "session_id": session }))
}

pub(crate) fn subscribed(id: Option<&Value>, topic: Topic, head: Option<Offset>) -> String {
    answer("subscribed", id, json!({ "topic": topic.to_string(), "head": head_value(head) }))
}

pub(crate) fn unsubscribed(id: Option<&Value>, topic: Topic) -> String {
    answer("unsubscribed", id, json!({ "topic": topic.to_string() }))
}

pub(crate) fn authenticated(id: Option<&Value>, expires_at: jiff::Timestamp) -> String {
    answer("authenticated", id, json!({ "expires_at": expires_at.to_string() }))
}

pub(crate) fn pong(id: Option<&Value>) -> String {
    answer("pong", id, json!({}))
}

/// The answer to the heartbeat of a client, with the client's timestamp.
pub(crate) fn heartbeat_ack(client_timestamp: Option<Value>, now: jiff::Timestamp) -> String {
    let mut fields = json!({ "event": "heartbeat_ack", "server_timestamp": now.to_string() });
    // A time is a number or a short text. Any other value is not repeated.
    let is_time = |value: &Value| value.is_number() || value.as_str().is_some_and(|text| text.len() <= 64);
    if let Some(timestamp) = client_timestamp.filter(is_time) {
        fields["client_timestamp"] = timestamp;
    }
    text(fields)
}

/// The message that the client has published is stored.
pub(crate) fn published(id: &Value, topic: Topic, message_id: &str) -> String {
    answer("published", Some(id), json!({ "topic": topic.to_string(), "message_id": message_id }))
}

pub(crate) fn caught_up(topic: Topic, head: Option<Offset>) -> String {
    text(json!({ "event": "caught_up", "topic": topic.to_string(), "head": head_value(head) }))
}

pub(crate) fn reset(topic: Topic, reason: ResetReason, head: Option<Offset>) -> String {
    let reason = match reason {
        ResetReason::Epoch => "epoch",
        ResetReason::Trimmed => "trimmed",
    };
    text(json!({ "event": "reset", "topic": topic.to_string(), "reason": reason, "head": head_value(head) }))
}

pub(crate) fn closed(topic: Topic) -> String {
    text(json!({ "event": "closed", "topic": topic.to_string() }))
}

pub(crate) fn error(id: Option<&Value>, code: &str, detail: &str) -> String {
    error_with(id, code, detail, None)
}

/// `details` is for programs.
pub(crate) fn error_with(id: Option<&Value>, code: &str, detail: &str, details: Option<Value>) -> String {
    let mut fields = json!({ "code": code, "detail": detail });
    if let Some(details) = details {
        fields["details"] = details;
    }
    answer("error", id, fields)
}

pub(crate) fn fault(id: Option<&Value>, topic: Option<Topic>, fault: &Fault) -> String {
    let mut fields = json!({ "code": fault.code(), "detail": fault.detail() });
    if let Some(topic) = topic {
        fields["topic"] = topic.to_string().into();
    }
    if let Some(after) = fault.retry_in() {
        fields["retry_after"] = after.as_secs().into();
    }
    answer("error", id, fields)
}

/// How much audio of a caption session has arrived, and how much of it is in published captions.
pub(crate) fn audio_arrived(session_id: &str, samples: u64, stored_samples: u64) -> String {
    text(json!({ "event": "ack", "session_id": session_id, "samples": samples, "stored_samples": stored_samples }))
}

fn answer(event: &str, id: Option<&Value>, mut fields: Value) -> String {
    fields["event"] = event.into();
    if let Some(id) = id {
        fields["id"] = id.clone();
    }
    text(fields)
}

fn head_value(head: Option<Offset>) -> Value {
    head.map_or(Value::Null, |head| head.to_string().into())
}

fn text(value: Value) -> String {
    value.to_string()
}
