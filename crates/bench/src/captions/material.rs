//! What is spoken: Debian's five recordings, with pauses, and where speech begins and ends in them.

use std::sync::Arc;

use turnpike_testkit::{Recording, recordings};

pub(super) const RATE: usize = 16_000;
/// A frame of a client: 32 ms.
pub(super) const FRAME: usize = 512;
/// A frame that is louder has speech: root mean square, of 1.
const LOUD: f64 = 0.004;
/// Frames in a row with which speech begins.
const RUN: usize = 3;

#[derive(Clone)]
pub(super) struct Material {
    pub(super) samples: Arc<Vec<i16>>,
    pub(super) utterances: Arc<Vec<Utterance>>,
    pub(super) clips: Arc<Vec<Recording>>,
}

/// One sentence.
pub(super) struct Utterance {
    /// Seconds from the beginning.
    pub(super) onset: f64,
    pub(super) end: f64,
    pub(super) text: String,
}

impl Material {
    pub(super) fn new(rounds: usize) -> Self {
        let clips = recordings();
        let mut noise = quiet();
        let (mut samples, mut utterances) = (Vec::new(), Vec::new());
        samples.extend(noise(0.5));
        for clip in std::iter::repeat_n(&clips, rounds.max(1)).flatten() {
            let (from, to) = speech(&clip.samples);
            let at = |sample: usize| (samples.len() + sample) as f64 / RATE as f64;
            utterances.push(Utterance { onset: at(from), end: at(to), text: clip.text.clone() });
            samples.extend(&clip.samples);
            samples.extend(noise(0.9));
        }
        Self { samples: Arc::new(samples), utterances: Arc::new(utterances), clips: Arc::new(clips) }
    }

    pub(super) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / RATE as f64
    }

    pub(super) fn said(&self) -> String {
        self.utterances.iter().map(|utterance| utterance.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The utterance that has begun last at this time.
    pub(super) fn at(&self, seconds: f64) -> Option<usize> {
        self.utterances.iter().rposition(|utterance| utterance.onset <= seconds)
    }
}

/// The first and the last sample with speech.
pub(super) fn speech(samples: &[i16]) -> (usize, usize) {
    let loud: Vec<bool> = samples
        .chunks_exact(FRAME)
        .map(|frame| {
            let squares: f64 = frame.iter().map(|sample| (f64::from(*sample) / 32_768.0).powi(2)).sum();
            (squares / FRAME as f64).sqrt() > LOUD
        })
        .collect();
    let first = loud.windows(RUN).position(|run| run.iter().all(|loud| *loud)).unwrap_or_default();
    let last = loud.iter().rposition(|loud| *loud).unwrap_or_default();
    (first * FRAME, (last + 1) * FRAME)
}

/// The noise of a quiet room.
fn quiet() -> impl FnMut(f64) -> Vec<i16> {
    let mut state = 1_u32;
    move |seconds| {
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16 % 8
        };
        (0..(seconds * RATE as f64) as usize).map(|_| noise()).collect()
    }
}
