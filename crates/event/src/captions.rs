//! Events of a caption session, on the topic `captions:{session_id}`.

use serde::{Serialize, ser::SerializeMap};
use turnpike_proto::event::v1::{self as pb, event::Body};
use turnpike_topic::CaptionsSessionId;

use crate::named_enum::named_enum;

/// An event of a caption session.
#[derive(Clone, Debug, PartialEq)]
pub enum CaptionsEvent {
    /// The text of the live segment. It replaces the earlier partials of the segment.
    Partial {
        /// The session.
        session_id: CaptionsSessionId,
        /// 1, 2, 3… within the session.
        segment: u64,
        /// Does not change any more.
        committed: String,
        /// May still change.
        tentative: String,
        /// The audio, in milliseconds from the first sample of the session.
        span: Span,
    },
    /// The segment has ended.
    Final {
        /// The session.
        session_id: CaptionsSessionId,
        /// The segment, with its words.
        caption: Caption,
        /// Why the segment ended.
        reason: SegmentEnd,
    },
    /// The state of the session changed.
    Status {
        /// The session.
        session_id: CaptionsSessionId,
        /// The state from now on.
        state: CaptionsState,
        /// A word that says why; can be empty.
        reason: String,
        /// Samples that have arrived.
        samples: u64,
        /// Samples whose words are published.
        stored_samples: u64,
    },
    /// Every few seconds while audio arrives.
    Metrics {
        /// The session.
        session_id: CaptionsSessionId,
        /// Partials so far.
        partial_count: u64,
        /// Finals so far.
        final_count: u64,
        /// Audio that is not yet transcribed.
        lag_ms: u64,
        /// Time of the engine for each second of audio.
        real_time_factor: f64,
        /// Of the audio since the last event.
        level: AudioLevel,
    },
    /// The owner replaced the text of a final.
    Corrected {
        /// The session.
        session_id: CaptionsSessionId,
        /// The segment.
        segment: u64,
        /// Its text from now on.
        text: String,
    },
    /// The text of a segment in another language.
    Translation {
        /// The session.
        session_id: CaptionsSessionId,
        /// The segment.
        segment: u64,
        /// The language of the text.
        language: String,
        /// The translation.
        text: String,
        /// Of a partial: the next translation of the segment replaces it.
        partial: bool,
    },
}

/// A part of the audio, in milliseconds from the first sample of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Its first sample.
    pub start_ms: u64,
    /// The sample after its last one.
    pub end_ms: u64,
}

/// The words of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// 1, 2, 3… within the session.
    pub segment: u64,
    /// The words as they are read.
    pub text: String,
    /// From the first word to the last.
    pub span: Span,
    /// 0–1.
    pub confidence: f32,
    /// The words with their times.
    pub words: Vec<Word>,
}

/// A word with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// With its punctuation.
    pub text: String,
    /// Its part of the audio.
    pub span: Span,
    /// 0–1.
    pub confidence: f32,
}

/// How loud the audio is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AudioLevel {
    /// Root mean square, 0–1.
    pub rms: f64,
    /// The largest sample, 0–1.
    pub peak: f64,
    /// The share of samples at the limits.
    pub clipped: f64,
}

named_enum! {
    /// The state of a caption session.
    CaptionsState {
        /// Opened, no audio yet.
        Starting = "starting",
        /// Audio is transcribed.
        Running = "running",
        /// Audio is dropped.
        Paused = "paused",
        /// The audio that has arrived is transcribed; the session then ends.
        Draining = "draining",
        /// Ended. The final event of its topic.
        Stopped = "stopped",
        /// Ended by a failure. The final event of its topic.
        Failed = "failed",
    }
}

named_enum! {
    /// Why a segment ended.
    SegmentEnd {
        /// Silence.
        Silence = "silence",
        /// Silence after the end of a sentence.
        Punctuation = "punctuation",
        /// It was as long as a segment may be.
        Timeout = "timeout",
        /// The client asked for it, or the session ended.
        Forced = "forced",
    }
}

impl CaptionsState {
    /// Nothing follows.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

impl CaptionsEvent {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Partial { .. } => "partial",
            Self::Final { .. } => "final",
            Self::Status { .. } => "status",
            Self::Metrics { .. } => "metrics",
            Self::Corrected { .. } => "corrected",
            Self::Translation { .. } => "translation",
        }
    }

    pub(crate) fn to_pb(&self) -> Body {
        match self.clone() {
            Self::Partial { session_id, segment, committed, tentative, span } => {
                Body::CaptionPartial(pb::CaptionPartial {
                    session_id: session_id.to_string(),
                    segment,
                    committed,
                    tentative,
                    start_ms: span.start_ms,
                    end_ms: span.end_ms,
                })
            }
            Self::Final { session_id, caption, reason } => Body::CaptionFinal(pb::CaptionFinal {
                session_id: session_id.to_string(),
                segment: caption.segment,
                text: caption.text,
                start_ms: caption.span.start_ms,
                end_ms: caption.span.end_ms,
                confidence: caption.confidence,
                reason: reason.as_str().to_owned(),
                words: caption.words.into_iter().map(Word::into_pb).collect(),
            }),
            Self::Status { session_id, state, reason, samples, stored_samples } => {
                Body::CaptionStatus(pb::CaptionStatus {
                    session_id: session_id.to_string(),
                    state: state.as_str().to_owned(),
                    reason,
                    samples,
                    stored_samples,
                })
            }
            Self::Metrics { session_id, partial_count, final_count, lag_ms, real_time_factor, level } => {
                Body::CaptionMetrics(pb::CaptionMetrics {
                    session_id: session_id.to_string(),
                    partial_count,
                    final_count,
                    lag_ms,
                    real_time_factor,
                    rms: level.rms,
                    peak: level.peak,
                    clipped: level.clipped,
                })
            }
            Self::Corrected { session_id, segment, text } => {
                Body::CaptionCorrected(pb::CaptionCorrected { session_id: session_id.to_string(), segment, text })
            }
            Self::Translation { session_id, segment, language, text, partial } => {
                let session_id = session_id.to_string();
                Body::CaptionTranslation(pb::CaptionTranslation { session_id, segment, language, text, partial })
            }
        }
    }

    /// `None` for an event of another family, and for one with a value that this version does not know.
    pub(crate) fn from_pb(body: &Body) -> Option<Self> {
        Some(match body {
            Body::CaptionPartial(e) => Self::Partial {
                session_id: e.session_id.parse().ok()?,
                segment: e.segment,
                committed: e.committed.clone(),
                tentative: e.tentative.clone(),
                span: Span { start_ms: e.start_ms, end_ms: e.end_ms },
            },
            Body::CaptionFinal(e) => Self::Final {
                session_id: e.session_id.parse().ok()?,
                caption: Caption {
                    segment: e.segment,
                    text: e.text.clone(),
                    span: Span { start_ms: e.start_ms, end_ms: e.end_ms },
                    confidence: e.confidence,
                    words: e.words.iter().map(Word::from_pb).collect(),
                },
                reason: SegmentEnd::from_word(&e.reason)?,
            },
            Body::CaptionStatus(e) => Self::Status {
                session_id: e.session_id.parse().ok()?,
                state: CaptionsState::from_word(&e.state)?,
                reason: e.reason.clone(),
                samples: e.samples,
                stored_samples: e.stored_samples,
            },
            Body::CaptionMetrics(e) => Self::Metrics {
                session_id: e.session_id.parse().ok()?,
                partial_count: e.partial_count,
                final_count: e.final_count,
                lag_ms: e.lag_ms,
                real_time_factor: e.real_time_factor,
                level: AudioLevel { rms: e.rms, peak: e.peak, clipped: e.clipped },
            },
            Body::CaptionCorrected(e) => {
                Self::Corrected { session_id: e.session_id.parse().ok()?, segment: e.segment, text: e.text.clone() }
            }
            Body::CaptionTranslation(e) => Self::Translation {
                session_id: e.session_id.parse().ok()?,
                segment: e.segment,
                language: e.language.clone(),
                text: e.text.clone(),
                partial: e.partial,
            },
            _ => return None,
        })
    }

    pub(crate) fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        let session_id = match self {
            Self::Partial { session_id, .. }
            | Self::Final { session_id, .. }
            | Self::Status { session_id, .. }
            | Self::Metrics { session_id, .. }
            | Self::Corrected { session_id, .. }
            | Self::Translation { session_id, .. } => session_id,
        };
        frame.serialize_entry("session_id", session_id)?;
        match self {
            Self::Partial { segment, committed, tentative, span, .. } => {
                frame.serialize_entry("segment", segment)?;
                frame.serialize_entry("text", &joined(committed, tentative))?;
                frame.serialize_entry("committed", committed)?;
                frame.serialize_entry("tentative", tentative)?;
                span.fields(frame)
            }
            Self::Final { caption, reason, .. } => {
                frame.serialize_entry("segment", &caption.segment)?;
                frame.serialize_entry("text", &caption.text)?;
                caption.span.fields(frame)?;
                frame.serialize_entry("confidence", &rounded(caption.confidence))?;
                frame.serialize_entry("reason", reason.as_str())?;
                let words: Vec<_> = caption.words.iter().map(WordFields::from).collect();
                frame.serialize_entry("words", &words)
            }
            Self::Status { state, reason, samples, stored_samples, .. } => {
                // The word that a snapshot has, beside the exact state.
                frame.serialize_entry("status", if state.is_end() { "stopped" } else { "running" })?;
                frame.serialize_entry("state", state.as_str())?;
                frame.serialize_entry("reason", reason)?;
                frame.serialize_entry("samples", samples)?;
                frame.serialize_entry("stored_samples", stored_samples)
            }
            Self::Metrics { partial_count, final_count, lag_ms, real_time_factor, level, .. } => {
                frame.serialize_entry("partial_count", partial_count)?;
                frame.serialize_entry("final_count", final_count)?;
                frame.serialize_entry("lag_ms", lag_ms)?;
                frame.serialize_entry("real_time_factor", real_time_factor)?;
                frame.serialize_entry("rms", &level.rms)?;
                frame.serialize_entry("peak", &level.peak)?;
                frame.serialize_entry("clipped", &level.clipped)
            }
            Self::Corrected { segment, text, .. } => {
                frame.serialize_entry("segment", segment)?;
                frame.serialize_entry("text", text)
            }
            Self::Translation { segment, language, text, partial, .. } => {
                frame.serialize_entry("segment", segment)?;
                frame.serialize_entry("language", language)?;
                frame.serialize_entry("text", text)?;
                frame.serialize_entry("partial", partial)
            }
        }
    }
}

impl Span {
    fn fields<M: SerializeMap>(&self, frame: &mut M) -> Result<(), M::Error> {
        frame.serialize_entry("start_ms", &self.start_ms)?;
        frame.serialize_entry("end_ms", &self.end_ms)
    }
}

#[derive(Serialize)]
struct WordFields<'a> {
    word: &'a str,
    start_ms: u64,
    end_ms: u64,
    confidence: f64,
}

impl<'a> From<&'a Word> for WordFields<'a> {
    fn from(word: &'a Word) -> Self {
        let Span { start_ms, end_ms } = word.span;
        Self { word: &word.text, start_ms, end_ms, confidence: rounded(word.confidence) }
    }
}

impl Word {
    fn into_pb(self) -> pb::CaptionWord {
        let Span { start_ms, end_ms } = self.span;
        pb::CaptionWord { text: self.text, start_ms, end_ms, confidence: self.confidence }
    }

    fn from_pb(word: &pb::CaptionWord) -> Self {
        let span = Span { start_ms: word.start_ms, end_ms: word.end_ms };
        Self { text: word.text.clone(), span, confidence: word.confidence }
    }
}

/// Three decimal places, which say all that a confidence can say.
fn rounded(confidence: f32) -> f64 {
    (f64::from(confidence) * 1000.0).round() / 1000.0
}

fn joined(committed: &str, tentative: &str) -> String {
    match (committed, tentative) {
        (only, "") | ("", only) => only.to_owned(),
        _ => format!("{committed} {tentative}"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
