//! Whether speech is understood: a moment of audio through an engine.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use turnpike_event::AudioLevel;

use crate::{
    audio::{Meter, Wav},
    engine::{Engine, EngineError, RATE},
    speech::{Captioner, Output, millis},
};

/// The audio that is heard: 1.5 s.
const LENGTH: usize = RATE as usize * 3 / 2;

/// What the test has shown.
pub(crate) struct SelfTest {
    pub(crate) engine: &'static str,
    pub(crate) open: Duration,
    pub(crate) hear: Duration,
    pub(crate) audio_ms: u64,
    pub(crate) level: AudioLevel,
    /// Empty: no speech.
    pub(crate) text: String,
}

/// Opens a stream of the engine and hears the beginning of the recording; without one, silence.
pub(crate) fn run(engine: &Arc<dyn Engine>, recording: Option<Wav>) -> Result<SelfTest, EngineError> {
    let pcm: Vec<f32> = match recording {
        Some(recording) => recording.flatten().take(LENGTH).collect(),
        None => vec![0.0; LENGTH],
    };
    let mut meter = Meter::default();
    meter.add(&pcm);
    let level = meter.take();
    let begun = Instant::now();
    let mut captioner = Captioner::of_recording(engine.open("en"));
    let open = begun.elapsed();
    let begun = Instant::now();
    let mut outputs = captioner.listen(&pcm)?;
    outputs.extend(captioner.finish()?);
    let hear = begun.elapsed();
    let texts = outputs.into_iter().filter_map(|output| match output {
        Output::Final { caption, .. } => Some(caption.text),
        Output::Partial { .. } => None,
    });
    let text = texts.collect::<Vec<_>>().join(" ");
    Ok(SelfTest { engine: engine.name(), open, hear, audio_ms: millis(pcm.len() as u64), level, text })
}
