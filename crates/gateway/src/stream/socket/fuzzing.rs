//! What the fuzz targets in `fuzz/` call: each function takes what a client can send, parses it as a socket does, and panics if the
//! result breaks a rule. The tests run the seeds of the targets.

use std::io::{self, Read, Write};

use bytes::Bytes;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{Role, WebSocketContext},
};
use turnpike_topic::{Offset, Topic};

pub use super::dialect::fuzzing::{deepgram, vosk};
use super::{
    captions, incoming,
    request::{Parsed, Request},
    room,
};
use crate::{
    config::MAX_FRAME,
    stream::{conn::MAX_TOPICS, control_frames, protobuf, since::Since},
};

/// A text message on `GET /ws`.
pub fn multiplexed(text: &str) {
    check(Parsed::new(text));
}

/// A binary message on `GET /ws`.
pub fn binary(bytes: &[u8]) {
    let Some(text) = protobuf::request(Bytes::copy_from_slice(bytes)) else { return };
    let parsed = Parsed::new(&text);
    let code = parsed.request.as_ref().err().map(|invalid| invalid.code);
    assert!(code != Some("INVALID_JSON"), "a binary request has no JSON form: {text}");
    check(parsed);
}

/// A text message on the socket of a room.
pub fn room(text: &str) {
    check(room::parse(uuid::Uuid::nil().into(), text));
}

/// A text message on the socket of a caption session. A socket that only reads has no control of the audio.
pub fn captions(text: &str) {
    check(captions::parse(text, false));
    let parsed = captions::parse(text, true);
    assert!(!matches!(parsed.request, Ok(Request::Audio(_))));
    check(parsed);
}

/// `?since=`, `Last-Event-ID`, the cursor of a page, and the name of a topic.
pub fn position(text: &str) {
    match text.parse() {
        Ok(Since::After(offset)) => assert_eq!(offset.to_string().parse(), Ok(offset)),
        Ok(Since::Start | Since::Live) => assert!(text.parse::<Offset>().is_err()),
        Err(_) => assert!(text.parse::<Offset>().is_err() && text != "start" && text != "live"),
    }
    if let Ok(topic) = text.parse::<Topic>() {
        assert_eq!(topic.to_string().parse(), Ok(topic));
    }
}

/// The bytes of a connection after its upgrade.
pub fn connection(bytes: &[u8]) {
    let mut context =
        WebSocketContext::from_partially_read(Vec::new(), Role::Server, Some(incoming::config(MAX_FRAME)));
    let mut stream = Stream(bytes);
    while let Ok(message) = context.read(&mut stream) {
        assert!(message.len() <= MAX_FRAME);
        match message {
            Message::Text(text) => multiplexed(&text),
            Message::Binary(bytes) => binary(&bytes),
            Message::Close(_) => return,
            _ => {}
        }
    }
}

/// What a client has sent; answers are discarded.
struct Stream<'a>(&'a [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The codes of frames that are no valid requests.
const CODES: [&str; 6] = [
    "INVALID_JSON",
    "VALIDATION",
    "UNKNOWN_MESSAGE_TYPE",
    "MESSAGE_PARSE_ERROR",
    "INVALID_HEALTH_DATA",
    "TOO_MANY_DATA_POINTS",
];

fn check(Parsed { id, request }: Parsed) {
    let is_short = |id: &Value| id.is_number() || id.as_str().is_some_and(|text| text.len() <= 64);
    assert!(id.as_ref().is_none_or(is_short), "this id is repeated: {id:?}");
    match request {
        Err(invalid) => {
            assert!(CODES.contains(&invalid.code), "{}", invalid.code);
            let text = invalid.frame(id.as_ref());
            let frame: Value = serde_json::from_str(&text).expect("an error frame is JSON");
            assert_eq!((&frame["event"], frame.get("id")), (&"error".into(), id.as_ref()));
            assert_eq!(protobuf::count(&protobuf::control(&text)), 1);
        }
        Ok(Request::Subscribe(topics)) => assert!((1..=MAX_TOPICS).contains(&topics.len())),
        Ok(Request::Heartbeat { client_timestamp, .. }) => {
            let text = control_frames::heartbeat_ack(client_timestamp, jiff::Timestamp::UNIX_EPOCH);
            assert!(text.len() < 1000, "{text}");
        }
        Ok(Request::Analyze { room, data }) => drop(data.request(room)),
        Ok(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// The seeds of a target, and the inputs that once failed.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.map(|file| fs::read(file.expect("a file").path()).expect("readable")).collect()
    }

    fn texts(target: &str) -> Vec<String> {
        seeds(target).into_iter().map(|seed| String::from_utf8(seed).expect("UTF-8")).collect()
    }

    #[test]
    fn the_seeds_of_every_target_pass() {
        texts("multiplexed").iter().for_each(|text| multiplexed(text));
        texts("room").iter().for_each(|text| room(text));
        texts("captions").iter().for_each(|text| captions(text));
        texts("position").iter().for_each(|text| position(text));
        seeds("binary").iter().for_each(|seed| binary(seed));
        seeds("connection").iter().for_each(|seed| connection(seed));
        seeds("deepgram").iter().for_each(|seed| deepgram(seed));
        seeds("vosk").iter().for_each(|seed| vosk(seed));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_pass(bytes: Vec<u8>, text: String) {
            multiplexed(&text);
            room(&text);
            captions(&text);
            position(&text);
            binary(&bytes);
            connection(&bytes);
            deepgram(&bytes);
            vosk(&bytes);
        }
    }
}
