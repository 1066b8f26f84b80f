//! `GET /v1/listen`: Deepgram's protocol for live speech. The query has `encoding`, `sample_rate`, `language` and `interim_results`;
//! other parameters are ignored. Audio without `encoding` begins with a WAV header. The client sends binary audio and
//! `{"type":"Finalize"|"KeepAlive"|"CloseStream"}`, and receives `Results`, and `Metadata` at the end.

use std::io::Cursor;

use axum::{extract::State, response::Response};
use bytes::{Buf, Bytes};
use hound::{SampleFormat, WavReader};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_tungstenite::tungstenite::Message;
use turnpike_fault::{Fault, Kind};
use turnpike_proto::captions::v1 as pb;
use turnpike_token::Scope;

use super::{Caption, Dialect, Heard, Read, Word, accept, seconds};
use crate::{
    access::scope::{self, ApiKeys},
    app::Captions,
    families::openai::OpenAiError,
    http::{extract::Query, problem::Problem, rfc3339},
    stream::socket::{
        context::SocketContext,
        handshake::{Opening, caller},
        upgrade::Upgrade,
    },
};

/// The query of the handshake.
#[derive(Deserialize)]
pub(crate) struct Options {
    pub(super) encoding: Option<String>,
    pub(super) sample_rate: Option<u32>,
    pub(super) channels: Option<u32>,
    pub(super) language: Option<String>,
    pub(super) interim_results: Option<bool>,
    pub(super) token: Option<String>,
}

pub(crate) async fn open(
    State(context): State<SocketContext>,
    State(captions): State<Captions>,
    options: Result<Query<Options>, Problem>,
    mut headers: HeaderMap,
    upgrade: Result<Upgrade, Problem>,
) -> Result<Response, OpenAiError> {
    let refused = |Problem(fault): Problem| OpenAiError::from(fault);
    let Query(options) = options.map_err(refused)?;
    name_bearer(&mut headers);
    let opening = Opening { token: options.token.clone(), since: None };
    let caller = caller(&context, ApiKeys::Of(Scope::Captions), &opening, &headers).await?;
    scope::admit(&caller.claims, Some(ApiKeys::Of(Scope::Captions)), false)?;
    let deepgram = Deepgram::new(options)?;
    accept(context, captions, upgrade.map_err(refused)?, caller, Box::new(deepgram)).map_err(refused)
}

/// Deepgram's clients write `Authorization: Token …`.
fn name_bearer(headers: &mut HeaderMap) {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("token").then(|| format!("Bearer {token}"))
    });
    if let Some(mut value) = token.and_then(|token| HeaderValue::try_from(token).ok()) {
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
}

pub(super) struct Deepgram {
    /// `None`: a WAV header says it.
    format: Option<(pb::Encoding, u32)>,
    language: String,
    interim: bool,
    /// The client has sent `Finalize`, whose final has not come yet.
    finalizing: bool,
    session: pb::Session,
    received: u64,
    checksum: Sha256,
}

fn invalid(field: &'static str, message: &'static str) -> Fault {
    Fault::new(Kind::Validation, "The request is not valid").field(field, message)
}

impl Deepgram {
    pub(super) fn new(options: Options) -> Result<Self, Fault> {
        if options.channels.is_some_and(|channels| channels != 1) {
            return Err(invalid("channels", "must be 1"));
        }
        let encoding = match options.encoding.as_deref() {
            None => None,
            Some("linear16") => Some(pb::Encoding::PcmS16le),
            Some("linear32") => Some(pb::Encoding::PcmF32le),
            Some(_) => return Err(invalid("encoding", "must be linear16, linear32, or absent for WAV")),
        };
        let format = match (encoding, options.sample_rate) {
            (None, _) => None,
            (Some(encoding), Some(rate)) if (8_000..=96_000).contains(&rate) => Some((encoding, rate)),
            (Some(_), _) => return Err(invalid("sample_rate", "must be from 8000 to 96000")),
        };
        Ok(Self {
            format,
            language: options.language.unwrap_or_default(),
            interim: options.interim_results.unwrap_or_default(),
            finalizing: false,
            session: pb::Session::default(),
            received: 0,
            checksum: Sha256::new(),
        })
    }

    /// The samples of the first message, which begins with a WAV header.
    fn unpack(&mut self, mut audio: Bytes) -> Result<Bytes, Fault> {
        let invalid = |detail: &'static str| Fault::new(Kind::Invalid, detail);
        let wav = WavReader::new(Cursor::new(&audio[..]))
            .map_err(|_| invalid("Audio without encoding and sample_rate must begin with a WAV header"))?;
        let spec = wav.spec();
        let encoding = match (spec.channels, spec.sample_format, spec.bits_per_sample) {
            (1, SampleFormat::Int, 16) => pb::Encoding::PcmS16le,
            (1, SampleFormat::Float, 32) => pb::Encoding::PcmF32le,
            _ => return Err(invalid("Live WAV audio must have one channel of 16-bit integers or 32-bit floats")),
        };
        if !(8_000..=96_000).contains(&spec.sample_rate) {
            return Err(invalid("WAV audio must have a rate from 8000 to 96000"));
        }
        self.format = Some((encoding, spec.sample_rate));
        let header = wav.into_inner().position() as usize;
        audio.advance(header.min(audio.len()));
        Ok(audio)
    }

    fn width(&self) -> u64 {
        if matches!(self.format, Some((pb::Encoding::PcmF32le, _))) { 4 } else { 2 }
    }

    fn results(&self, caption: &Caption, is_final: bool) -> String {
        let forced = caption.reason == "forced";
        let word = |word: &Word| {
            let plain: String = word.word.chars().filter(|c| c.is_alphanumeric() || *c == '\'').collect();
            json!({ "word": plain.to_lowercase(), "punctuated_word": word.word, "start": seconds(word.start_ms),
                "end": seconds(word.end_ms), "confidence": word.confidence })
        };
        let words: Vec<Value> = caption.words.iter().map(word).collect();
        let alternative = json!({ "transcript": caption.text, "confidence": caption.confidence, "words": words });
        json!({
            "type": "Results",
            "channel_index": [0, 1],
            "start": seconds(caption.start_ms),
            "duration": seconds(caption.end_ms.saturating_sub(caption.start_ms)),
            "is_final": is_final,
            // A segment that was cut because it was too long continues in the next one.
            "speech_final": is_final && caption.reason != "timeout",
            "from_finalize": is_final && forced && self.finalizing,
            "channel": { "alternatives": [alternative] },
            "metadata": {
                "request_id": self.session.session_id,
                "model_info": { "name": self.session.engine, "version": "1", "arch": self.session.engine },
                "model_uuid": uuid::Uuid::nil().to_string(),
            },
        })
        .to_string()
    }
}

impl Dialect for Deepgram {
    fn read(&mut self, message: Message) -> Result<Read, Fault> {
        match message {
            // An empty message ends the stream in older clients.
            Message::Binary(audio) if audio.is_empty() => Ok(Read::Stop),
            Message::Binary(audio) => {
                self.checksum.update(&audio);
                let audio = if self.format.is_some() { audio } else { self.unpack(audio)? };
                self.received += audio.len() as u64;
                Ok(Read::Audio(audio))
            }
            Message::Text(text) => {
                #[derive(Deserialize)]
                struct Control {
                    r#type: String,
                }
                let control: Result<Control, _> = serde_json::from_str(&text);
                match control.as_ref().map(|control| control.r#type.as_str()) {
                    Ok("Finalize") => {
                        self.finalizing = true;
                        Ok(Read::Finalize)
                    }
                    Ok("KeepAlive") => Ok(Read::KeepAlive),
                    Ok("CloseStream") => Ok(Read::Stop),
                    _ => Err(Fault::new(Kind::Invalid, "type must be Finalize, KeepAlive or CloseStream")),
                }
            }
            _ => Ok(Read::Nothing),
        }
    }

    fn opening(&self) -> pb::OpenSessionRequest {
        let (encoding, sample_rate) = self.format.unwrap_or((pb::Encoding::PcmS16le, 16_000));
        let audio = Some(pb::Audio { encoding: encoding.into(), sample_rate });
        pb::OpenSessionRequest { audio, language: self.language.clone(), ..pb::OpenSessionRequest::default() }
    }

    fn opened(&mut self, session: &pb::Session) {
        self.session = session.clone();
    }

    fn hear(&mut self, heard: Heard) -> Option<String> {
        match heard {
            Heard::Partial(caption) => self.interim.then(|| self.results(&caption, false)),
            Heard::Final(caption) => {
                let results = self.results(&caption, true);
                self.finalizing &= caption.reason != "forced";
                Some(results)
            }
        }
    }

    fn end(&mut self) -> Option<String> {
        let rate = self.format.map_or(1, |(_, rate)| u64::from(rate));
        let checksum = std::mem::take(&mut self.checksum).finalize();
        let sha256: String = checksum.iter().map(|byte| format!("{byte:02x}")).collect();
        let metadata = json!({
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.session.session_id,
            "sha256": sha256,
            "created": rfc3339(self.session.created_at).unwrap_or_default(),
            "duration": (self.received / self.width()) as f64 / rate as f64,
            "channels": 1,
        });
        Some(metadata.to_string())
    }

    fn fail(&self, fault: &Fault) -> Option<String> {
        let error = json!({ "type": "Error", "variant": fault.code(), "message": fault.detail(), "description": fault.detail() });
        Some(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(encoding: Option<&str>, sample_rate: Option<u32>) -> Options {
        let encoding = encoding.map(str::to_owned);
        Options { encoding, sample_rate, channels: None, language: None, interim_results: Some(true), token: None }
    }

    #[test]
    fn a_wav_header_says_what_the_query_does_not() {
        let mut wav = Cursor::new(Vec::new());
        let spec =
            hound::WavSpec { channels: 1, sample_rate: 44_100, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut writer = hound::WavWriter::new(&mut wav, spec).expect("a writer");
        for sample in 0..100_i16 {
            writer.write_sample(sample).expect("written");
        }
        writer.finalize().expect("written");
        let mut deepgram = Deepgram::new(options(None, None)).expect("valid");
        let read = deepgram.read(Message::binary(wav.into_inner())).expect("audio");
        let samples: Vec<u8> = (0..100_i16).flat_map(i16::to_le_bytes).collect();
        assert_eq!(read, Read::Audio(samples.into()));
        assert_eq!(deepgram.opening().audio.expect("audio").sample_rate, 44_100);
        assert!(Deepgram::new(options(None, None)).expect("valid").read(Message::binary(vec![0; 64])).is_err());
    }

    #[test]
    fn finals_are_results_and_a_mistake_names_its_field() {
        let mut deepgram = Deepgram::new(options(Some("linear16"), Some(16_000))).expect("valid");
        assert_eq!(deepgram.read(Message::binary(vec![0; 32_000])), Ok(Read::Audio(vec![0; 32_000].into())));
        assert_eq!(deepgram.read(Message::text(r#"{"type":"Finalize"}"#)), Ok(Read::Finalize));
        let word = Word { word: "Don't,".into(), start_ms: 500, end_ms: 900, confidence: 0.5 };
        let mut caption = |reason: &str| {
            let words = vec![Word { word: word.word.clone(), ..Word::default() }];
            let caption = Caption {
                text: "Don't,".into(),
                start_ms: 500,
                end_ms: 900,
                reason: reason.into(),
                words,
                ..Caption::default()
            };
            let text = deepgram.hear(Heard::Final(caption)).expect("a message");
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        let forced = caption("forced");
        assert_eq!(
            (&forced["is_final"], &forced["speech_final"], &forced["from_finalize"]),
            (&json!(true), &json!(true), &json!(true))
        );
        let words = &forced["channel"]["alternatives"][0]["words"][0];
        assert_eq!((&words["word"], &words["punctuated_word"]), (&json!("don't"), &json!("Don't,")));
        assert_eq!(caption("timeout")["speech_final"], false);
        assert_eq!(caption("forced")["from_finalize"], false, "the end of the session");
        let metadata: Value = serde_json::from_str(&deepgram.end().expect("a message")).expect("JSON");
        assert_eq!((&metadata["type"], &metadata["duration"]), (&json!("Metadata"), &json!(1.0)));
        let field = |options| Deepgram::new(options).err().expect("refused").fields()[0].field.clone();
        assert_eq!(field(options(Some("opus"), None)), "encoding");
        assert_eq!(field(options(Some("linear16"), None)), "sample_rate");
        assert_eq!(field(Options { channels: Some(2), ..options(None, None) }), "channels");
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Token tp_x"));
        name_bearer(&mut headers);
        assert_eq!(headers[header::AUTHORIZATION], "Bearer tp_x");
    }
}
