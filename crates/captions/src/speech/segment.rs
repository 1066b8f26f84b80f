//! Where segments begin and end, by voice activity.

use super::samples;

/// The detector's frame: 16 ms.
pub(super) const FRAME: usize = 256;
/// A frame with at least this score begins speech, …
const BEGINS: f32 = 0.5;
/// … and with this one continues it.
const CONTINUES: f32 = 0.35;
/// Frames of speech in a row that begin a segment.
const ONSET: u64 = 4;
/// Audio before the first frame of speech that belongs to the segment.
pub(super) const LEAD: u64 = samples(400);
/// Silence that ends a segment. A shorter one cuts sentences and makes errors.
const SILENCE: u64 = samples(400);
/// Silence after which the words of the segment are prepared, so that its final is ready when the silence is long enough.
const PAUSE: u64 = samples(240);
/// The longest segment.
const LONGEST: u64 = samples(10_000);
/// A segment with less speech is a noise.
const LEAST: u64 = samples(120);

/// What a frame changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// A segment begins at this sample.
    Begin(u64),
    /// The speaker pauses.
    Pause,
    /// The segment ends.
    Silence,
    /// The segment is as long as it may be.
    TooLong,
}

/// Voice activity of one session.
pub(super) struct Activity {
    detector: Box<earshot::Detector>,
    /// Frames of speech in a row.
    run: u64,
    live: Option<Speech>,
}

struct Speech {
    start: u64,
    /// Behind the latest frame of speech.
    last: u64,
    /// Samples in frames of speech.
    amount: u64,
    paused: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { detector: earshot::Detector::default_boxed(), run: 0, live: None }
    }

    /// Takes a frame that ends at the sample `now`; no segment begins before `floor`.
    pub(super) fn hear(&mut self, frame: &[f32; FRAME], now: u64, floor: u64) -> Change {
        let score = self.detector.predict_f32(frame);
        let Some(speech) = &mut self.live else {
            self.run = if score >= BEGINS { self.run + 1 } else { 0 };
            if self.run < ONSET {
                return Change::None;
            }
            let onset = now.saturating_sub(self.run * FRAME as u64);
            let start = onset.saturating_sub(LEAD).max(floor);
            self.live = Some(Speech { start, last: now, amount: now - onset, paused: false });
            return Change::Begin(start);
        };
        if score >= CONTINUES {
            speech.last = now;
            speech.amount += FRAME as u64;
            speech.paused = false;
        }
        if now - speech.last >= SILENCE {
            return Change::Silence;
        }
        if now - speech.start >= LONGEST {
            return Change::TooLong;
        }
        if now - speech.last >= PAUSE && !speech.paused {
            speech.paused = true;
            return Change::Pause;
        }
        Change::None
    }

    /// Behind the latest frame of speech.
    pub(super) fn last(&self) -> u64 {
        self.live.as_ref().map_or(0, |speech| speech.last)
    }

    /// Whether the segment has so little speech that it is a noise.
    pub(super) fn is_noise(&self) -> bool {
        self.live.as_ref().is_none_or(|speech| speech.amount < LEAST)
    }

    /// The segment has ended.
    pub(super) fn end(&mut self) {
        self.live = None;
        self.run = 0;
    }

    /// The segment has ended at `cut`, and the next one begins there.
    pub(super) fn cut(&mut self, cut: u64) {
        if let Some(speech) = &mut self.live {
            speech.start = cut;
            speech.paused = false;
        }
    }
}

/// The quietest place of `audio`, as an index: the middle of the 80 ms with the least energy.
pub(super) fn quietest(audio: &[f32]) -> usize {
    const WINDOW: usize = samples(80) as usize;
    const STEP: usize = samples(10) as usize;
    let energy = |at: usize| audio[at..at + WINDOW].iter().map(|sample| sample * sample).sum::<f32>();
    let places = (0..audio.len().saturating_sub(WINDOW)).step_by(STEP);
    let best = places.map(|at| (at, energy(at))).min_by(|a, b| a.1.total_cmp(&b.1));
    best.map_or(audio.len(), |(at, _)| at + WINDOW / 2)
}
