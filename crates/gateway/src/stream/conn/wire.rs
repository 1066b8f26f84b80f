//! For tests: frames as a client takes them from its bytes.

use prost::Message;
use serde_json::{Value, json};
use turnpike_event::{Event, Record, frame};
use turnpike_proto::stream::v1::{ServerFrame, server_frame::Frame};
use turnpike_topic::{Offset, Topic};

/// What a binary message says, as the frames that a client of JSON gets.
pub(super) fn frames(mut message: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    while !message.is_empty() {
        frames.push(text(ServerFrame::decode_length_delimited(&mut message).expect("a frame")));
    }
    frames
}

fn text(ServerFrame { topic, id, frame: content }: ServerFrame) -> String {
    let head = |head: String| if head.is_empty() { Value::Null } else { head.into() };
    let mut json = match content.expect("a frame") {
        Frame::Record(record) => {
            let event = Event::from_bytes(record.event.expect("an event").encode_to_vec().into());
            let offset = Offset { epoch: record.epoch, n: record.n };
            let topic: Topic = topic.parse().expect("a topic");
            return frame(&topic, &Record { offset, is_final: record.r#final, event });
        }
        Frame::Subscribed(subscribed) => json!({ "event": "subscribed", "head": head(subscribed.head) }),
        Frame::Unsubscribed(_) => json!({ "event": "unsubscribed" }),
        Frame::CaughtUp(caught_up) => json!({ "event": "caught_up", "head": head(caught_up.head) }),
        Frame::Reset(reset) => json!({ "event": "reset", "reason": reset.reason, "head": head(reset.head) }),
        Frame::Closed(_) => json!({ "event": "closed" }),
        Frame::Pong(_) => json!({ "event": "pong" }),
        other => panic!("{other:?}"),
    };
    if !topic.is_empty() {
        json["topic"] = topic.into();
    }
    if !id.is_empty() {
        json["id"] = id.parse::<u64>().expect("a number").into();
    }
    json.to_string()
}

/// The lengths of header and payload, if the whole frame is there.
pub(super) fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= header + length).then_some((header, length))
}
