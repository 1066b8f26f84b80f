//! The binary form of frames (`turnpike.stream.v1`), and the requests of clients in this form.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use turnpike_proto::{
    event::v1 as events,
    stream::v1::{
        self as pb, ServerFrame,
        client_frame::Request,
        server_frame::Frame::{
            Authenticated, CaughtUp, Closed, Error, Hello, Json, Pong, Reset, Subscribed, Unsubscribed,
        },
    },
    timestamp,
};
use turnpike_topic::{Offset, Topic};

/// [`ServerFrame`] with an event whose bytes pass unchanged, also fields that this version does not know.
#[derive(prost::Message)]
struct EventFrame {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(message, optional, tag = "10")]
    record: Option<RawRecord>,
}

/// `turnpike.event.v1.Record`.
#[derive(prost::Message)]
struct RawRecord {
    #[prost(bytes = "bytes", tag = "1")]
    event: Bytes,
    #[prost(fixed64, tag = "2")]
    epoch: u64,
    #[prost(fixed64, tag = "3")]
    n: u64,
    #[prost(bool, tag = "4")]
    is_final: bool,
}

/// The frame of an event, with its length before it.
pub(crate) fn event(topic: &Topic, offset: Offset, is_final: bool, event: Bytes) -> Vec<u8> {
    // Bytes that are no message would make the whole frame unreadable.
    let event = if events::Event::decode(event.clone()).is_ok() { event } else { Bytes::new() };
    let record = RawRecord { event, epoch: offset.epoch, n: offset.n, is_final };
    EventFrame { topic: topic.to_string(), record: Some(record) }.encode_length_delimited_to_vec()
}

/// The number of frames in a binary message of this module.
pub(crate) fn count(mut message: &[u8]) -> u64 {
    let mut count = 0;
    while let Ok(length) = prost::decode_length_delimiter(&mut message) {
        message = message.get(length..).unwrap_or_default();
        count += 1;
    }
    count
}

/// The fields of all frames of `control_frames`.
#[derive(Deserialize)]
struct Control {
    event: String,
    #[serde(default)]
    topic: String,
    id: Option<Value>,
    head: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    retry_after: u32,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    session_id: String,
    #[serde(default)]
    heartbeat_interval: u32,
    #[serde(default)]
    limits: Limits,
}

#[derive(Default, Deserialize)]
struct Limits {
    sockets_per_user: u32,
    messages_per_minute: u32,
    frame_bytes: u32,
    topics: u32,
}

/// A frame of `control_frames`, with its length before it.
pub(crate) fn control(text: &str) -> Vec<u8> {
    let frame = match serde_json::from_str(text) {
        Ok(control) => convert(control, text),
        Err(_) => ServerFrame { frame: Some(Json(text.to_owned())), ..ServerFrame::default() },
    };
    frame.encode_length_delimited_to_vec()
}

fn convert(control: Control, text: &str) -> ServerFrame {
    let head = control.head.unwrap_or_default();
    let frame = match control.event.as_str() {
        "hello" => Hello(pb::Hello {
            protocol: control.protocol,
            session_id: control.session_id,
            heartbeat_interval_seconds: control.heartbeat_interval,
            max_topics: control.limits.topics,
            sockets_per_user: control.limits.sockets_per_user,
            messages_per_minute: control.limits.messages_per_minute,
            frame_bytes: control.limits.frame_bytes,
        }),
        "subscribed" => Subscribed(pb::Subscribed { head }),
        "unsubscribed" => Unsubscribed(pb::Unsubscribed {}),
        "caught_up" => CaughtUp(pb::CaughtUp { head }),
        "reset" => Reset(pb::Reset { reason: control.reason, head }),
        "closed" => Closed(pb::Closed {}),
        "error" => {
            Error(pb::Error { code: control.code, detail: control.detail, retry_after_seconds: control.retry_after })
        }
        "authenticated" => {
            Authenticated(pb::Authenticated { expires_at: control.expires_at.map(timestamp::to_protobuf) })
        }
        "pong" => Pong(pb::Pong {}),
        _ => Json(text.to_owned()),
    };
    let id = match control.id {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(number) => number.to_string(),
    };
    ServerFrame { topic: control.topic, id, frame: Some(frame) }
}

/// The JSON text of a request in binary form. `None`: the bytes are no request.
pub(crate) fn request(bytes: Bytes) -> Option<String> {
    let pb::ClientFrame { id, request } = pb::ClientFrame::decode(bytes).ok()?;
    let mut json = match request? {
        Request::Subscribe(subscribe) => {
            let since = |since: String| if since.is_empty() { Value::Null } else { since.into() };
            let topics: serde_json::Map<_, _> =
                subscribe.topics.into_iter().map(|(topic, after)| (topic, since(after))).collect();
            json!({ "action": "subscribe", "topics": topics })
        }
        Request::Unsubscribe(request) => json!({ "action": "unsubscribe", "topic": request.topic }),
        Request::Publish(request) => json!({ "action": "publish", "topic": request.topic, "event": request.event,
            "content": request.content, "is_typing": request.is_typing }),
        Request::Authenticate(request) => json!({ "action": "auth", "token": request.token }),
        Request::Ping(_) => json!({ "action": "ping" }),
    };
    if !id.is_empty() {
        json["id"] = id.into();
    }
    Some(json.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use turnpike_bus::ResetReason;
    use turnpike_fault::{Fault, Kind};
    use turnpike_proto::stream::v1::server_frame::Frame;
    use turnpike_topic::UserId;

    use super::*;
    use crate::stream::control_frames;

    fn decoded(frame: &[u8]) -> ServerFrame {
        ServerFrame::decode_length_delimited(frame).expect("a frame")
    }

    #[test]
    fn every_control_frame_has_a_binary_form() {
        let (id, topic) = (json!(7), Topic::User(UserId::from(uuid::Uuid::nil())));
        let head = Some(Offset { epoch: 5, n: 3 });
        let fault = Fault::new(Kind::RateLimited, "slow down").retry_after(std::time::Duration::from_secs(9));
        for text in [
            control_frames::subscribed(Some(&id), topic, head),
            control_frames::unsubscribed(Some(&id), topic),
            control_frames::authenticated(Some(&id), Timestamp::UNIX_EPOCH),
            control_frames::pong(Some(&id)),
            control_frames::caught_up(topic, None),
            control_frames::reset(topic, ResetReason::Trimmed, head),
            control_frames::closed(topic),
            control_frames::error(Some(&json!("x")), "CODE", "detail"),
            control_frames::fault(None, Some(topic), &fault),
        ] {
            let frame = decoded(&control(&text)).frame.expect("a known frame");
            assert!(!matches!(frame, Frame::Json(_)), "{text}");
        }
        let subscribed = decoded(&control(&control_frames::subscribed(Some(&id), topic, head)));
        assert_eq!((subscribed.id.as_str(), subscribed.topic), ("7", topic.to_string()));
        assert_eq!(subscribed.frame, Some(Subscribed(pb::Subscribed { head: "5-3".to_owned() })));
        let refused = decoded(&control(&control_frames::fault(None, Some(topic), &fault))).frame;
        let Some(Error(error)) = refused else { panic!("{refused:?}") };
        assert_eq!((error.code.as_str(), error.retry_after_seconds), ("RATE_LIMITED", 9));
        let other = r#"{"event":"of a later version"}"#;
        assert_eq!(decoded(&control(other)).frame, Some(Json(other.to_owned())));
    }

    #[test]
    fn events_pass_unchanged_and_are_counted() {
        let topic = Topic::User(UserId::from(uuid::Uuid::nil()));
        let body =
            events::event::Body::AnswerDelta(events::AnswerDelta { content: "x".repeat(300), ..Default::default() });
        let sent = events::Event { at: None, body: Some(body) };
        let offset = Offset { epoch: 1_763_700_000_000, n: 3 };
        let frame = event(&topic, offset, true, sent.encode_to_vec().into());
        let Some(Frame::Record(record)) = decoded(&frame).frame else { panic!("a record") };
        assert_eq!((record.event, record.epoch, record.n, record.r#final), (Some(sent), offset.epoch, 3, true));
        assert_eq!(count(&[frame.as_slice(), &frame, &frame].concat()), 3);
        assert_eq!(count(&[]), 0);
    }

    #[test]
    fn requests_are_those_of_json() {
        let json = |request, id: &str| {
            let bytes = pb::ClientFrame { id: id.to_owned(), request: Some(request) }.encode_to_vec();
            serde_json::from_str::<Value>(&request_text(bytes)).expect("JSON")
        };
        let topics = HashMap::from([("a".to_owned(), "7-3".to_owned()), ("b".to_owned(), String::new())]);
        let subscribe = json(Request::Subscribe(pb::Subscribe { topics }), "1");
        assert_eq!(subscribe, json!({ "action": "subscribe", "id": "1", "topics": { "a": "7-3", "b": null } }));
        assert_eq!(json(Request::Ping(pb::Ping {}), ""), json!({ "action": "ping" }));
        assert_eq!(request(Bytes::from_static(b"\xff")), None);
        assert_eq!(request(Bytes::new()), None, "no request");
    }

    fn request_text(bytes: Vec<u8>) -> String {
        request(bytes.into()).expect("a request")
    }
}
