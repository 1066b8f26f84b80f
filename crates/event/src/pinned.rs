//! Compares an event with the bytes and the frame that earlier versions have written.

use std::fmt::Write;

use bytes::Bytes;
use jiff::Timestamp;
use turnpike_topic::{CommandId, Offset, Topic};

use crate::{Body, Event, Record, frame};

/// `bytes` in hexadecimal, without the time of the event, which comes first; `fields` as in the frame, behind the time.
pub(crate) fn assert_pinned(body: Body, bytes: &str, fields: &str) {
    let at = Timestamp::from_second(1_763_700_000).expect("in range");
    let event = Event { at, body };
    let written = event.to_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    });
    assert_eq!(written, format!("0a0608a0daffc806{bytes}"));
    assert_eq!(Event::from_bytes(Bytes::from(event.to_bytes().to_vec())), event);

    let name = event.body.name();
    let topic = Topic::Response(CommandId::from(uuid::Uuid::nil()));
    let start = format!(r#"{{"event":"{name}","topic":"{topic}","offset":"7-1","at":"2025-11-21T04:40:00Z","#);
    let record = Record { offset: Offset { epoch: 7, n: 1 }, is_final: false, event };
    assert_eq!(frame(&topic, &record), format!("{start}{fields}}}"));
}
