//! `GET /ws/vosk`: the protocol of vosk-server. The client sends `{"config":{"sample_rate":…}}`, audio of one channel and 16 bits, and
//! `{"eof":1}`. Each message of audio gets one answer: the next final as `{"result":[…],"text":…}`, or else `{"partial":…}`; the
//! answer to `eof` has the words of all finals that were not sent yet.

use std::collections::VecDeque;

use axum::{extract::State, response::Response};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::captions::v1 as pb;
use turnpike_token::Scope;

use super::{Caption, Dialect, Heard, Read, Word, accept, seconds};
use crate::{
    access::scope::ApiKeys,
    app::Captions,
    http::{extract::Query, problem::Problem},
    stream::socket::{
        context::SocketContext,
        handshake::{Opening, caller},
        upgrade::Upgrade,
    },
};

/// The rate of clients that send no configuration, as at vosk-server.
const RATE: u32 = 8_000;
/// Finals that wait for the next message of audio. With more, they are joined.
const WAITING: usize = 64;

pub(crate) async fn open(
    State(context): State<SocketContext>,
    State(captions): State<Captions>,
    Query(opening): Query<Opening>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, Problem> {
    let caller = caller(&context, ApiKeys::Of(Scope::Captions), &opening, &headers).await?;
    crate::access::scope::admit(&caller.claims, Some(ApiKeys::Of(Scope::Captions)), false)?;
    accept(context, captions, upgrade?, caller, Box::new(Vosk::new()))
}

pub(super) struct Vosk {
    rate: u32,
    /// Answers have the times of words.
    words: bool,
    /// Not sent yet.
    finals: VecDeque<Caption>,
    partial: String,
}

#[derive(Deserialize)]
struct Control {
    config: Option<Config>,
    eof: Option<Value>,
}

#[derive(Deserialize)]
struct Config {
    sample_rate: Option<f64>,
    words: Option<bool>,
}

impl Vosk {
    pub(super) fn new() -> Self {
        Self { rate: RATE, words: true, finals: VecDeque::new(), partial: String::new() }
    }

    fn result(&self, finals: impl Iterator<Item = Caption>) -> String {
        let finals: Vec<Caption> = finals.collect();
        let text = finals.iter().map(|last| last.text.as_str()).collect::<Vec<_>>().join(" ");
        let word = |word: &Word| {
            json!({ "conf": word.confidence, "start": seconds(word.start_ms),
            "end": seconds(word.end_ms), "word": word.word })
        };
        let words: Vec<Value> = finals.iter().flat_map(|last| &last.words).map(word).collect();
        match self.words && !words.is_empty() {
            true => json!({ "result": words, "text": text }).to_string(),
            false => json!({ "text": text }).to_string(),
        }
    }
}

impl Dialect for Vosk {
    fn read(&mut self, message: Message) -> Result<Read, Fault> {
        let text = match message {
            Message::Binary(audio) => return Ok(Read::Audio(audio)),
            Message::Text(text) => text,
            _ => return Ok(Read::Nothing),
        };
        let invalid = |detail: &'static str| Fault::new(Kind::Invalid, detail);
        let control: Control = serde_json::from_str(&text)
            .map_err(|_| invalid("A text is an object with config or eof, and sample_rate is a number"))?;
        if let Some(config) = control.config {
            if let Some(rate) = config.sample_rate {
                if !(8_000.0..=96_000.0).contains(&rate) {
                    return Err(invalid("sample_rate must be from 8000 to 96000"));
                }
                self.rate = rate as u32;
            }
            self.words = config.words.unwrap_or(self.words);
        }
        Ok(if control.eof.is_some() { Read::Stop } else { Read::Nothing })
    }

    fn opening(&self) -> pb::OpenSessionRequest {
        let audio = pb::Audio { encoding: pb::Encoding::PcmS16le.into(), sample_rate: self.rate };
        pb::OpenSessionRequest { audio: Some(audio), ..pb::OpenSessionRequest::default() }
    }

    fn hear(&mut self, heard: Heard) -> Option<String> {
        match heard {
            Heard::Partial(caption) => self.partial = caption.text,
            Heard::Final(caption) => {
                self.partial.clear();
                let is_full = self.finals.len() == WAITING;
                match self.finals.back_mut().filter(|_| is_full) {
                    Some(last) => {
                        last.text = format!("{} {}", last.text, caption.text);
                        last.words.extend(caption.words);
                    }
                    None => self.finals.push_back(caption),
                }
            }
        }
        None
    }

    fn answer(&mut self) -> Option<String> {
        Some(match self.finals.pop_front() {
            Some(last) => self.result([last].into_iter()),
            None => json!({ "partial": self.partial }).to_string(),
        })
    }

    fn end(&mut self) -> Option<String> {
        let finals = std::mem::take(&mut self.finals);
        Some(self.result(finals.into_iter()))
    }

    /// The protocol has no message for errors.
    fn fail(&self, _: &Fault) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption(text: &str) -> Caption {
        let word = Word { word: text.to_owned(), start_ms: 500, end_ms: 1000, confidence: 0.5 };
        Caption { text: text.to_owned(), words: vec![word], ..Caption::default() }
    }

    #[test]
    fn each_message_of_audio_has_one_answer_and_the_last_one_has_the_rest() {
        let mut vosk = Vosk { rate: RATE, words: true, finals: VecDeque::new(), partial: String::new() };
        let read = |vosk: &mut Vosk, text: &str| vosk.read(Message::text(text));
        assert_eq!(read(&mut vosk, r#"{ "config" : { "sample_rate" : 16000.0 } }"#), Ok(Read::Nothing));
        assert_eq!(vosk.opening().audio.expect("audio").sample_rate, 16_000);
        assert_eq!(vosk.answer(), Some(r#"{"partial":""}"#.to_owned()));
        assert_eq!(vosk.hear(Heard::Partial(caption("He"))), None);
        assert_eq!(vosk.answer(), Some(r#"{"partial":"He"}"#.to_owned()));
        for text in ["a", "b", "c"] {
            vosk.hear(Heard::Final(caption(text)));
        }
        let first: Value = serde_json::from_str(&vosk.answer().expect("an answer")).expect("JSON");
        let word = json!({ "conf": 0.5, "start": 0.5, "end": 1.0, "word": "a" });
        assert_eq!(first, json!({ "result": [word], "text": "a" }));
        assert_eq!(read(&mut vosk, r#"{"eof" : 1}"#), Ok(Read::Stop));
        let last: Value = serde_json::from_str(&vosk.end().expect("an answer")).expect("JSON");
        assert_eq!((last["text"].as_str(), last["result"].as_array().map(Vec::len)), (Some("b c"), Some(2)));
        assert_eq!(vosk.end(), Some(r#"{"text":""}"#.to_owned()));
        assert!(read(&mut vosk, "hello").is_err() && read(&mut vosk, r#"{"config":{"sample_rate":1}}"#).is_err());
    }

    #[test]
    fn finals_that_nobody_takes_are_bounded() {
        let mut vosk = Vosk { rate: RATE, words: true, finals: VecDeque::new(), partial: String::new() };
        for _ in 0..1000 {
            vosk.hear(Heard::Final(caption("x")));
        }
        assert_eq!(vosk.finals.len(), WAITING);
    }
}
