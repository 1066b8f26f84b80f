//! Moonshine tiny-en (27 million parameters), run by rten on this machine's processor.
//!
//! The model hears a whole segment at a time. A hypothesis of the segment begins with the tokens of the previous one: one pass of
//! the decoder verifies them all, and only what has changed or is new is decoded token by token.

mod decoder;
mod model;
mod times;
mod tokenizer;

use std::{path::Path, sync::Arc};

use self::{
    decoder::{Decoded, Purpose, decode},
    model::Model,
};
use super::{Engine, EngineError, Heard, Hypothesis, RATE, Stream};

/// The shortest audio that the model gets.
const SHORTEST: usize = RATE as usize / 10;
/// Silence behind the audio, without which the model leaves out the last word.
const PADDING: usize = RATE as usize * 3 / 10;
/// With less [`certainty`](Decoded::certainty), that of 95 % for each token, the words of a segment are doubtful.
const DOUBTFUL: f32 = -0.05;
/// Silence before a segment with doubtful words when it is heard again, in samples: 80 and 160 ms. The model divides the audio into
/// frames of 24 ms; with other frames it often hears a doubtful word right.
const AGAIN: [usize; 2] = [RATE as usize * 8 / 100, RATE as usize * 16 / 100];
/// More tokens than this for each second of audio are an invention of the model, not speech.
const TOKENS_PER_SECOND: f32 = 6.5;

/// The engine, with the model loaded.
pub struct Moonshine {
    model: Arc<Model>,
}

impl Moonshine {
    /// Loads the files that `scripts/captions-model` makes. Takes about a tenth of a second.
    pub fn load(folder: &Path) -> Result<Self, EngineError> {
        Ok(Self { model: Arc::new(Model::load(folder)?) })
    }
}

impl Engine for Moonshine {
    fn name(&self) -> &'static str {
        "moonshine"
    }

    fn knows(&self, language: &str) -> bool {
        language == "en"
    }

    fn open(&self, _: &str) -> Box<dyn Stream> {
        Box::new(Session { model: self.model.clone(), tokens: Vec::new(), words: Vec::new() })
    }
}

/// One session: the previous hypothesis of its segment.
struct Session {
    model: Arc<Model>,
    tokens: Vec<i32>,
    /// How many of the tokens belong to the first word, the first two, …
    words: Vec<usize>,
}

impl Session {
    /// The words, and how certain they are; `None`: superseded.
    fn hear(
        &mut self,
        pcm: &[f32],
        committed: usize,
        purpose: Purpose<'_>,
    ) -> Result<Option<(Hypothesis, f32)>, EngineError> {
        if pcm.len() < SHORTEST {
            return Ok(Some((Hypothesis::default(), 0.0)));
        }
        let seconds = pcm.len() as f32 / RATE as f32;
        let most = (seconds * TOKENS_PER_SECOND).ceil() as usize;
        let forced = committed.checked_sub(1).and_then(|last| self.words.get(last)).copied().unwrap_or(0);
        let mut padded = Vec::with_capacity(pcm.len() + PADDING);
        padded.extend_from_slice(pcm);
        padded.resize(pcm.len() + PADDING, 0.0);
        let Some(decoded) = decode(&self.model, padded, &self.tokens, forced, most, purpose)? else { return Ok(None) };
        let hypothesis = self.words_of(&decoded, seconds);
        let certainty = decoded.certainty();
        self.tokens = decoded.tokens;
        Ok(Some((hypothesis, certainty)))
    }

    /// Joins tokens to words.
    fn words_of(&mut self, decoded: &Decoded, seconds: f32) -> Hypothesis {
        self.words.clear();
        let mut words: Vec<(Vec<u8>, Heard)> = Vec::new();
        let scale = (seconds + PADDING as f32 / RATE as f32) / decoded.frames.max(1) as f32;
        for (n, token) in decoded.tokens.iter().enumerate() {
            let (begins, bytes) = self.model.tokenizer.piece(*token);
            let (first, last) = decoded.spans.get(n).copied().unwrap_or_default();
            let (start, end) = ((first as f32 * scale).min(seconds), ((last + 1) as f32 * scale).min(seconds));
            let confidence = decoded.probabilities[n];
            match words.last_mut() {
                Some((text, word)) if !begins => {
                    text.extend_from_slice(bytes);
                    word.end = end;
                    word.confidence = word.confidence.min(confidence);
                }
                _ => {
                    if !words.is_empty() {
                        self.words.push(n);
                    }
                    words.push((bytes.to_vec(), Heard { text: String::new(), start, end, confidence }));
                }
            }
        }
        if !words.is_empty() {
            self.words.push(decoded.tokens.len());
        }
        let text =
            |(bytes, word): (Vec<u8>, Heard)| Heard { text: String::from_utf8_lossy(&bytes).into_owned(), ..word };
        Hypothesis { words: words.into_iter().map(text).collect() }
    }
}

impl Stream for Session {
    fn begin_segment(&mut self) {
        self.tokens.clear();
        self.words.clear();
    }

    fn hypothesize(
        &mut self,
        pcm: &[f32],
        committed: usize,
        superseded: &dyn Fn() -> bool,
    ) -> Result<Option<Hypothesis>, EngineError> {
        Ok(self.hear(pcm, committed, Purpose::Partial { superseded })?.map(|(hypothesis, _)| hypothesis))
    }

    fn finalize(&mut self, pcm: &[f32], committed: usize) -> Result<Hypothesis, EngineError> {
        Ok(self.hear(pcm, committed, Purpose::Final)?.unwrap_or_default().0)
    }

    /// Hears doubtful words again, and returns the most probable ones. Whisper's reference implementation does so, too, with other
    /// random numbers instead of other frames.
    fn finalize_unhurried(&mut self, pcm: &[f32]) -> Result<Hypothesis, EngineError> {
        let (mut best, mut certainty) = self.hear(pcm, 0, Purpose::Final)?.unwrap_or_default();
        for silence in AGAIN {
            if certainty >= DOUBTFUL {
                break;
            }
            self.begin_segment();
            let mut later = vec![0.0; silence];
            later.extend_from_slice(pcm);
            let (mut other, of_other) = self.hear(&later, 0, Purpose::Final)?.unwrap_or_default();
            if of_other > certainty {
                let seconds = silence as f32 / RATE as f32;
                for word in &mut other.words {
                    (word.start, word.end) = ((word.start - seconds).max(0.0), (word.end - seconds).max(0.0));
                }
                (best, certainty) = (other, of_other);
            }
        }
        Ok(best)
    }
}
