//! Protocols of other services for live speech, for clients that were written for those services. A socket has one caption session,
//! which it opens with its first audio and which ends with the socket.

pub(crate) mod deepgram;
pub(super) mod fuzzing;
mod serve;
mod session;
pub(crate) mod vosk;

use bytes::Bytes;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;
use turnpike_fault::Fault;
use turnpike_proto::captions::v1 as pb;

use self::serve::accept;

/// A protocol: how messages of its clients are read, and captions are written.
trait Dialect: Send {
    /// Reads a message of the client.
    fn read(&mut self, message: Message) -> Result<Read, Fault>;

    /// The session to open. Called with the first audio.
    fn opening(&self) -> pb::OpenSessionRequest;

    /// The session is open.
    fn opened(&mut self, _session: &pb::Session) {}

    /// Something was heard. Returns the message to send now.
    fn hear(&mut self, heard: Heard) -> Option<String>;

    /// The client has sent audio. Returns the message that answers it.
    fn answer(&mut self) -> Option<String> {
        None
    }

    /// The session has ended. Returns the last message.
    fn end(&mut self) -> Option<String>;

    /// The socket fails. Returns the message that says so.
    fn fail(&self, fault: &Fault) -> Option<String>;
}

/// What a client wants.
#[derive(Debug, PartialEq)]
enum Read {
    /// Samples, in the format of the session; perhaps none.
    Audio(Bytes),
    /// The end of the live segment.
    Finalize,
    /// The captions of all audio, and the end.
    Stop,
    /// The client is there.
    KeepAlive,
    Nothing,
}

/// What was heard.
#[derive(Debug)]
enum Heard {
    Partial(Caption),
    Final(Caption),
}

/// The fields of a frame that these protocols have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Caption {
    text: String,
    start_ms: u64,
    end_ms: u64,
    confidence: f64,
    reason: String,
    words: Vec<Word>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Word {
    word: String,
    start_ms: u64,
    end_ms: u64,
    confidence: f64,
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

impl Heard {
    /// Parses a frame of the session's topic. `None`: an event that these protocols do not have.
    fn parse(frame: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Named {
            event: String,
            #[serde(flatten)]
            caption: Caption,
        }
        let Named { event, caption } = serde_json::from_slice(frame).ok()?;
        match event.as_str() {
            "partial" => Some(Self::Partial(caption)),
            "final" => Some(Self::Final(caption)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_parsed_and_other_events_are_not() {
        let last = br#"{"event":"final","topic":"captions:x","offset":"1-2","segment":1,"text":"Yes.","start_ms":40,"end_ms":90,
            "confidence":0.5,"reason":"silence","words":[{"word":"Yes.","start_ms":40,"end_ms":90,"confidence":0.5}]}"#;
        let Some(Heard::Final(caption)) = Heard::parse(last) else { panic!("a final") };
        assert_eq!((caption.text.as_str(), caption.start_ms, caption.words[0].end_ms), ("Yes.", 40, 90));
        let partial =
            br#"{"event":"partial","segment":1,"text":"Ye","committed":"","tentative":"Ye","start_ms":1,"end_ms":2}"#;
        assert!(matches!(Heard::parse(partial), Some(Heard::Partial(caption)) if caption.text == "Ye"));
        assert!(Heard::parse(br#"{"event":"status","status":"running"}"#).is_none() && Heard::parse(b"{").is_none());
    }
}
