//! The bytes of an event, as the bus delivers them: whatever they are, a gateway can send them on.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use turnpike_event::{Event, Record, frame, frame_without_offset};
use turnpike_topic::{Offset, RoomId, Topic};
use uuid::Uuid;

fuzz_target!(|bytes: &[u8]| {
    let event = Event::from_bytes(Bytes::copy_from_slice(bytes));
    // Compared as bytes: an event can have a number that is not equal to itself.
    let encoded = event.to_bytes();
    assert_eq!(Event::from_bytes(encoded.clone()).to_bytes(), encoded);
    let topic = Topic::Room(RoomId::from(Uuid::nil()));
    let record = Record { offset: Offset { epoch: 1, n: 2 }, is_final: false, event };
    for text in [frame(&topic, &record), frame_without_offset(&topic, &record.event)] {
        let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
        assert!(frame["event"].is_string() && frame["topic"].is_string() && frame["at"].is_string(), "{frame}");
    }
});
