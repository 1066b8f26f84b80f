//! Whole recordings, without a session.

use std::sync::Arc;

use turnpike_fault::{Fault, Kind};

use crate::{
    audio,
    engine::{Engine, RATE},
    session::Kept,
    speech::{Captioner, Output},
};

/// The largest file, in bytes: as for other servers of this interface.
pub(crate) const MAX_FILE: usize = 25 << 20;
/// The longest recording, in seconds.
const LONGEST: usize = 1800;
/// Audio between two looks at whether the caller is still there, in samples.
const PIECE: usize = RATE as usize;

/// Transcribes a WAV file. It takes the same path as live audio, but makes no partials.
pub(crate) fn transcribe(
    engine: &Arc<dyn Engine>,
    wav: &[u8],
    is_wanted: impl Fn() -> bool,
) -> Result<(Vec<Kept>, u64), Fault> {
    let invalid = |message: String| Fault::new(Kind::Validation, "The recording cannot be read").field("file", message);
    let mut pcm = audio::read(wav).map_err(|error| invalid(error.to_string()))?;
    if pcm.len() > LONGEST * RATE as usize {
        return Err(invalid(format!("must be at most {LONGEST} seconds long")));
    }
    let duration = pcm.len() as u64 * 1000 / u64::from(RATE);
    pcm.resize(pcm.len() + RATE as usize / 10, 0.0); // the voice detector is behind by its window
    let mut captioner = Captioner::new(engine.open(), 0, 0);
    let mut finals = Vec::new();
    let mut add = |output: Output| {
        if let Output::Final { caption, reason, settled, .. } = output {
            finals.push(Kept::new(&caption, reason, settled));
        }
    };
    let failed = |error| {
        tracing::error!(%error, "a recording could not be transcribed");
        Fault::internal()
    };
    for piece in pcm.chunks(PIECE) {
        if !is_wanted() {
            return Err(Fault::new(Kind::Unavailable, "The caller has left"));
        }
        captioner.listen(piece).map_err(failed)?.into_iter().for_each(&mut add);
    }
    captioner.finish().map_err(failed)?.into_iter().for_each(&mut add);
    Ok((finals, duration))
}
