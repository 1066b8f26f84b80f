//! Speech engines. What decides when a segment begins and ends, and which of its words are shown, is in `speech` and is the same for
//! every engine.

pub mod moonshine;
pub mod remote;
pub mod scripted;

use std::sync::Arc;

use parking_lot::RwLock;

/// The rate of all audio that engines get, in samples a second.
pub const RATE: u32 = 16_000;

/// A speech engine, which is shared by all sessions.
pub trait Engine: Send + Sync {
    /// Its name in requests and snapshots.
    fn name(&self) -> &'static str;

    /// Whether it knows a language: a primary tag of BCP 47, in lower case.
    fn knows(&self, language: &str) -> bool;

    /// Opens a stream of one session, in a language that it knows.
    fn open(&self, language: &str) -> Box<dyn Stream>;
}

/// One session at an engine. Called by one thread at a time.
pub trait Stream: Send {
    /// A new segment begins: earlier audio has no meaning for it.
    fn begin_segment(&mut self);

    /// The text of the segment so far. The first `committed` words of the previous hypothesis of the segment are settled: an
    /// engine that can do so begins with them. An engine calls `superseded` between its steps; once it is true, the session
    /// waits for the end of the segment, and the engine stops and returns `None`.
    fn hypothesize(
        &mut self,
        pcm: &[f32],
        committed: usize,
        superseded: &dyn Fn() -> bool,
    ) -> Result<Option<Hypothesis>, EngineError>;

    /// The words of the whole segment, with their times.
    fn finalize(&mut self, pcm: &[f32], committed: usize) -> Result<Hypothesis, EngineError>;

    /// As [`Stream::finalize`], for a segment without partials whose words nobody waits for: an engine may take several times as
    /// long to hear fewer wrong ones.
    fn finalize_unhurried(&mut self, pcm: &[f32]) -> Result<Hypothesis, EngineError> {
        self.finalize(pcm, 0)
    }
}

/// What an engine hears.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// In order.
    pub words: Vec<Heard>,
}

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// With its punctuation.
    pub text: String,
    /// Seconds from the beginning of the segment; in a hypothesis that is not final both can be 0.
    pub start: f32,
    /// The end of the word.
    pub end: f32,
    /// 0–1.
    pub confidence: f32,
}

/// Why an engine has no hypothesis.
#[derive(Debug, thiserror::Error)]
#[error("the speech engine failed: {0}")]
pub struct EngineError(pub String);

/// The engines of this process, the default one first. Clones share them.
#[derive(Clone, Default)]
pub struct Engines(Arc<RwLock<Vec<Arc<dyn Engine>>>>);

impl Engines {
    /// Adds an engine, which becomes the default one.
    pub fn install(&self, engine: Arc<dyn Engine>) {
        self.0.write().insert(0, engine);
    }

    /// The engine of this name; an empty name is the default one.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<dyn Engine>> {
        self.0.read().iter().find(|engine| name.is_empty() || engine.name() == name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.read().iter().map(|engine| engine.name()).collect()
    }
}
