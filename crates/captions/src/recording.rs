//! Whole recordings, without a session.

use std::sync::Arc;

use turnpike_fault::{Fault, Kind};

use crate::{
    audio::Wav,
    engine::{Engine, EngineError, RATE},
    session::Kept,
    speech::{Captioner, Output},
};

/// The largest file, in bytes: as for other servers of this interface.
pub(crate) const MAX_FILE: usize = 25 << 20;
/// The longest recording, in milliseconds.
const LONGEST_MS: u64 = 1_800_000;
/// The silence behind a recording, in samples: 400 ms end its last segment like every other one, and the voice detector is behind by
/// its window.
const BEHIND: usize = RATE as usize / 2;

/// Opens a WAV file.
pub(crate) fn open(file: impl AsRef<[u8]> + Send + 'static) -> Result<Wav, Fault> {
    let invalid = |message: String| Fault::new(Kind::Validation, "The recording cannot be read").field("file", message);
    if file.as_ref().len() > MAX_FILE {
        return Err(invalid(format!("must have at most {MAX_FILE} bytes")));
    }
    let wav = Wav::open(file).map_err(|error| invalid(error.to_string()))?;
    if wav.duration_ms() > LONGEST_MS {
        return Err(invalid(format!("must be at most {} seconds long", LONGEST_MS / 1000)));
    }
    Ok(wav)
}

/// Transcribes a recording. It takes the same path as live audio, but makes no partials. Ends early, without an error, once `hear`
/// or `is_wanted` returns false: the caller has left.
pub(crate) fn transcribe(
    engine: &Arc<dyn Engine>,
    language: &str,
    recording: Wav,
    mut hear: impl FnMut(Kept) -> bool,
    is_wanted: impl Fn() -> bool,
) -> Result<(), EngineError> {
    let duration_ms = recording.duration_ms();
    let mut captioner = Captioner::of_recording(engine.open(language));
    let mut all = |outputs: Vec<Output>| {
        outputs.into_iter().all(|output| match output {
            Output::Final { caption, reason, settled, .. } => {
                hear(Kept::new(&caption, reason, settled).within(duration_ms))
            }
            Output::Partial { .. } => true,
        })
    };
    for piece in recording.chain([vec![0.0; BEHIND]]) {
        if !is_wanted() || !all(captioner.listen(&piece)?) {
            return Ok(());
        }
    }
    all(captioner.finish()?.into_iter().collect());
    Ok(())
}
