//! Finals in the formats of OpenAI's transcriptions.

use serde::Serialize;
use turnpike_proto::captions::v1::{self as pb, Final};
use utoipa::ToSchema;

/// `json`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Transcription {
    text: String,
    usage: TranscriptionUsage,
}

/// `verbose_json`.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerboseTranscription {
    /// `transcribe`.
    task: &'static str,
    #[schema(example = "english")]
    language: String,
    /// In seconds.
    duration: f64,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<Segment>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<Word>>,
    usage: TranscriptionUsage,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TranscriptionSegment)]
struct Segment {
    id: u64,
    seek: u64,
    start: f64,
    end: f64,
    text: String,
    /// Empty: tokens are an engine's own.
    tokens: [u32; 0],
    temperature: f64,
    /// The logarithm of the mean confidence of the words.
    avg_logprob: f64,
    /// 1: repetitions are removed before.
    compression_ratio: f64,
    /// 0: the voice detector has heard speech.
    no_speech_prob: f64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TranscriptionWord)]
struct Word {
    word: String,
    start: f64,
    end: f64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TranscriptionUsage {
    /// `duration`.
    r#type: &'static str,
    seconds: f64,
}

/// What was heard.
pub(super) struct Heard {
    pub(super) recording: pb::Recording,
    pub(super) finals: Vec<Final>,
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

pub(super) fn usage(recording: &pb::Recording) -> TranscriptionUsage {
    TranscriptionUsage { r#type: "duration", seconds: seconds(recording.duration_ms) }
}

impl Heard {
    pub(super) fn text(&self) -> String {
        self.finals.iter().map(|last| last.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn json(&self) -> Transcription {
        Transcription { text: self.text(), usage: usage(&self.recording) }
    }

    pub(super) fn verbose(&self, segments: bool, words: bool) -> VerboseTranscription {
        let segment = |last: &Final| Segment {
            id: last.segment - 1,
            seek: 0,
            start: seconds(last.start_ms),
            end: seconds(last.end_ms),
            text: last.text.clone(),
            tokens: [],
            temperature: 0.0,
            avg_logprob: f64::from(last.confidence).max(1e-6).ln(),
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
        };
        let word = |word: &pb::Word| Word {
            word: word.text.clone(),
            start: seconds(word.start_ms),
            end: seconds(word.end_ms),
        };
        let language = match self.recording.language.split('-').next() {
            Some("en") => "english".to_owned(),
            _ => self.recording.language.clone(),
        };
        VerboseTranscription {
            task: "transcribe",
            language,
            duration: seconds(self.recording.duration_ms),
            text: self.text(),
            segments: segments.then(|| self.finals.iter().map(segment).collect()),
            words: words.then(|| self.finals.iter().flat_map(|last| &last.words).map(word).collect()),
            usage: usage(&self.recording),
        }
    }
}
