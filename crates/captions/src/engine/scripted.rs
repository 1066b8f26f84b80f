//! An engine that says what a test wants, for faults that a real engine does not have on request. No configuration selects it.

use std::time::Duration;

use super::{Engine, EngineError, Heard, Hypothesis, RATE, Stream};

/// What the engine does with a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Hears one word for each half second of audio.
    Speak,
    /// Panics.
    Panic,
    /// Returns an error.
    Fail,
    /// Takes this long for each hypothesis.
    Slow(Duration),
    /// Has no hypothesis before the segment ends.
    Late,
}

/// Between two looks at whether a hypothesis is superseded.
const STEP: Duration = Duration::from_millis(5);

/// Hears `w1 w2 w3…`, or has the fault.
pub struct Scripted {
    /// Applies to every hypothesis of every session.
    pub act: Act,
}

impl Engine for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn knows(&self, language: &str) -> bool {
        language == "en"
    }

    fn open(&self, _: &str) -> Box<dyn Stream> {
        Box::new(Session { act: self.act })
    }
}

struct Session {
    act: Act,
}

impl Session {
    #[expect(clippy::disallowed_methods, reason = "a slow engine keeps its thread busy")]
    fn hear(&self, pcm: &[f32]) -> Result<Hypothesis, EngineError> {
        match self.act {
            Act::Speak | Act::Late => {}
            Act::Panic => panic!("the script says so"),
            Act::Fail => return Err(EngineError("the script says so".to_owned())),
            Act::Slow(pause) => std::thread::sleep(pause),
        }
        let words = (0..pcm.len() * 2 / RATE as usize).map(|n| {
            let start = n as f32 / 2.0;
            Heard { text: format!("w{}", n + 1), start, end: start + 0.4, confidence: 1.0 }
        });
        Ok(Hypothesis { words: words.collect() })
    }
}

impl Stream for Session {
    fn begin_segment(&mut self) {}

    #[expect(clippy::disallowed_methods, reason = "a slow engine keeps its thread busy")]
    fn hypothesize(
        &mut self,
        pcm: &[f32],
        _: usize,
        superseded: &dyn Fn() -> bool,
    ) -> Result<Option<Hypothesis>, EngineError> {
        if self.act == Act::Late {
            while !superseded() {
                std::thread::sleep(STEP);
            }
            return Ok(None);
        }
        self.hear(pcm).map(Some)
    }

    fn finalize(&mut self, pcm: &[f32], _: usize) -> Result<Hypothesis, EngineError> {
        self.hear(pcm)
    }
}
