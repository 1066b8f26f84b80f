//! One session's path from samples to captions. It knows no clock: everything depends on the audio, however it is cut into pieces,
//! and on the partials that were made, because the words that they have committed stay in the final. A busy machine makes fewer.

use turnpike_event::{Caption, SegmentEnd, Span, Word};

use super::{
    agreement::Agreement,
    filters, millis, samples,
    segment::{Activity, Change, FRAME, LEAD, quietest},
};
use crate::engine::{EngineError, Heard, RATE, Stream};

/// Audio between two hypotheses.
const STEP: u64 = samples(320);
/// Where a segment that is too long may be cut, before its end.
const CUT: u64 = samples(2_000);

/// What a session hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Replaces the earlier partials of the segment.
    Partial {
        segment: u64,
        committed: String,
        tentative: String,
        span: Span,
        /// The first sample with speech.
        onset: u64,
    },
    Final {
        caption: Caption,
        reason: SegmentEnd,
        /// The last sample with speech.
        spoken_until: u64,
        /// Audio before this sample is not needed any more.
        settled: u64,
    },
}

/// From samples to captions.
pub struct Captioner {
    stream: Box<dyn Stream>,
    activity: Activity,
    /// The audio from the sample `base`.
    audio: Vec<f32>,
    base: u64,
    /// Samples that went through the voice detector.
    heard: u64,
    /// Segments that had words.
    segments: u64,
    /// Somebody waits for the finals.
    awaited: bool,
    live: Option<Live>,
}

struct Live {
    start: u64,
    onset: u64,
    agreement: Agreement,
    /// The next hypothesis is made when this sample has been heard.
    due: u64,
    /// The words at the latest pause of the speaker.
    prepared: Option<Vec<Heard>>,
    shown: bool,
}

impl Live {
    fn new(start: u64, onset: u64, due: u64) -> Self {
        Self { start, onset, agreement: Agreement::default(), due, prepared: None, shown: false }
    }
}

impl Captioner {
    /// A session whose first sample is number `first`, after `segments` earlier segments.
    pub fn new(stream: Box<dyn Stream>, first: u64, segments: u64) -> Self {
        let (activity, audio) = (Activity::new(), Vec::new());
        Self { stream, activity, audio, base: first, heard: first, segments, awaited: true, live: None }
    }

    /// A whole recording, of which partials are not asked for. Nobody waits for its finals, so they have fewer errors.
    pub fn of_recording(stream: Box<dyn Stream>) -> Self {
        Self { awaited: false, ..Self::new(stream, 0, 0) }
    }

    /// Takes audio. Returns the segments that end in it.
    pub fn listen(&mut self, pcm: &[f32]) -> Result<Vec<Output>, EngineError> {
        self.audio.extend_from_slice(pcm);
        let mut outputs = Vec::new();
        while let Some(frame) = self.frame() {
            self.heard += FRAME as u64;
            let floor = self.base;
            match self.activity.hear(&frame, self.heard, floor) {
                Change::Begin(start) => {
                    self.stream.begin_segment();
                    let onset = self.heard.saturating_sub(4 * FRAME as u64);
                    self.live = Some(Live::new(start, onset, self.heard + STEP - samples(64)));
                }
                Change::Pause if self.awaited => self.prepare()?,
                Change::Silence => outputs.extend(self.end(SegmentEnd::Silence)?),
                Change::TooLong => outputs.extend(self.cut()?),
                Change::None | Change::Pause => {}
            }
            if self.activity.last() == self.heard
                && let Some(live) = &mut self.live
            {
                live.prepared = None; // speech goes on
            }
            if self.live.is_none() {
                self.forget(self.heard.saturating_sub(LEAD + samples(100)));
            }
        }
        Ok(outputs)
    }

    /// The partial of the live segment, if it is time for one. Left out once `superseded` is true.
    pub fn partial(&mut self, superseded: &dyn Fn() -> bool) -> Result<Option<Output>, EngineError> {
        let Some(live) = &mut self.live else { return Ok(None) };
        if self.heard < live.due {
            return Ok(None);
        }
        live.due = self.heard + STEP;
        let pcm = &self.audio[(live.start - self.base) as usize..(self.heard - self.base) as usize];
        let committed = live.agreement.committed();
        let words = match &live.prepared {
            // While the speaker pauses, there is nothing new, and these words will be the final.
            Some(words) => words.clone(),
            None => match self.stream.hypothesize(pcm, committed, superseded)? {
                Some(heard) => heard.words,
                None => return Ok(None),
            },
        };
        let words = filters::filter(live.agreement.continued(words), committed, pcm.len() as f32 / RATE as f32);
        live.agreement.add(&words, self.heard);
        if words.is_empty() && !live.shown {
            return Ok(None);
        }
        live.shown = true;
        let (committed, tentative) = words.split_at(live.agreement.committed().min(words.len()));
        Ok(Some(Output::Partial {
            segment: self.segments + 1,
            committed: joined(committed),
            tentative: joined(tentative),
            span: Span { start_ms: millis(live.onset), end_ms: millis(self.heard) },
            onset: live.onset,
        }))
    }

    /// Ends the live segment.
    pub fn finish(&mut self) -> Result<Option<Output>, EngineError> {
        // Audio that does not fill a frame belongs to the segment.
        let rest = self.base + self.audio.len() as u64;
        if self.live.is_some() && rest > self.heard {
            self.heard = rest;
            if let Some(live) = &mut self.live {
                live.prepared = None;
            }
        }
        self.end(SegmentEnd::Forced)
    }

    /// Leaves out audio. The live segment must have been finished.
    pub fn skip(&mut self, samples: u64) {
        self.base = self.position() + samples;
        self.heard = self.base;
        self.audio.clear();
    }

    /// Samples whose words, if there are any, are in finals.
    pub fn settled(&self) -> u64 {
        match &self.live {
            Some(live) => live.start,
            None => self.heard.saturating_sub(LEAD + samples(100)).max(self.base),
        }
    }

    /// Samples that were taken.
    pub fn position(&self) -> u64 {
        self.base + self.audio.len() as u64
    }

    fn frame(&self) -> Option<[f32; FRAME]> {
        let at = (self.heard - self.base) as usize;
        self.audio.get(at..at + FRAME).and_then(|frame| frame.try_into().ok())
    }

    fn forget(&mut self, before: u64) {
        // In large steps: each one moves what is left.
        if before > self.base + samples(1_000) {
            self.audio.drain(..(before - self.base) as usize);
            self.base = before;
        }
    }

    /// Hears the words while the speaker pauses: most pauses are the end of the segment.
    fn prepare(&mut self) -> Result<(), EngineError> {
        if let Some(mut live) = self.live.take() {
            live.prepared = Some(self.words(&live, self.heard)?);
            self.live = Some(live);
        }
        Ok(())
    }

    /// The words of a segment that ends at `until`.
    fn words(&mut self, live: &Live, until: u64) -> Result<Vec<Heard>, EngineError> {
        let pcm = &self.audio[(live.start - self.base) as usize..(until - self.base) as usize];
        let heard = match self.awaited {
            true => self.stream.finalize(pcm, live.agreement.committed()),
            false => self.stream.finalize_unhurried(pcm),
        };
        heard.map(|heard| heard.words)
    }

    fn end(&mut self, reason: SegmentEnd) -> Result<Option<Output>, EngineError> {
        let Some(mut live) = self.live.take() else { return Ok(None) };
        let (spoken_until, is_noise) = (self.activity.last(), self.activity.is_noise());
        self.activity.end();
        if is_noise && live.agreement.committed() == 0 {
            let cleared = live.shown.then(|| self.cleared(&live));
            self.forget_through(self.heard);
            return Ok(cleared);
        }
        let until = self.heard;
        let words = match live.prepared.take() {
            Some(words) => words,
            None => self.words(&live, until)?,
        };
        let output = self.finished(&live, words, until, reason, spoken_until);
        self.forget_through(until);
        Ok(output)
    }

    /// Ends a segment that is too long at its quietest place behind the committed words. The next one begins there.
    fn cut(&mut self) -> Result<Option<Output>, EngineError> {
        let Some(live) = self.live.take() else { return Ok(None) };
        let from = (self.heard - CUT).max(live.agreement.committed_until);
        let place = quietest(&self.audio[(from - self.base) as usize..(self.heard - self.base) as usize]) as u64;
        let cut = from + place;
        let words = self.words(&live, cut)?;
        let output = self.finished(&live, words, cut, SegmentEnd::Timeout, self.heard);
        self.stream.begin_segment();
        self.activity.cut(cut);
        self.forget_through(cut);
        self.live = Some(Live::new(cut, cut, self.heard + STEP));
        Ok(output)
    }

    fn finished(
        &mut self,
        live: &Live,
        words: Vec<Heard>,
        until: u64,
        reason: SegmentEnd,
        spoken_until: u64,
    ) -> Option<Output> {
        let seconds = (until - live.start) as f32 / RATE as f32;
        let words = filters::filter(live.agreement.continued(words), live.agreement.committed(), seconds);
        if words.is_empty() {
            return live.shown.then(|| self.cleared(live));
        }
        self.segments += 1;
        let text = joined(&words);
        let reason = match reason {
            SegmentEnd::Silence if text.ends_with(['.', '?', '!', ';', ':']) => SegmentEnd::Punctuation,
            reason => reason,
        };
        let words = times(words, live.start, until);
        let span = Span { start_ms: words[0].span.start_ms, end_ms: words[words.len() - 1].span.end_ms };
        let confidence = words.iter().map(|word| word.confidence).sum::<f32>() / words.len() as f32;
        let caption = Caption { segment: self.segments, text, span, confidence, words };
        Some(Output::Final { caption, reason, spoken_until, settled: until })
    }

    /// Takes back the partials of a segment without words.
    fn cleared(&self, live: &Live) -> Output {
        let (committed, tentative) = (String::new(), String::new());
        let span = Span { start_ms: millis(live.onset), end_ms: millis(self.heard) };
        Output::Partial { segment: self.segments + 1, committed, tentative, span, onset: live.onset }
    }

    /// No later segment has audio from before `until`.
    fn forget_through(&mut self, until: u64) {
        self.audio.drain(..(until - self.base) as usize);
        self.base = until;
    }
}

fn joined(words: &[Heard]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Times from the beginning of the session: monotone, and each word at least a millisecond long.
fn times(words: Vec<Heard>, start: u64, until: u64) -> Vec<Word> {
    let (first, last) = (millis(start), millis(until));
    let mut at = first;
    let count = words.len() as u64;
    let word = |(n, word): (usize, Heard)| {
        let latest = last.saturating_sub(count - n as u64).max(at);
        let begin = (first + (word.start.max(0.0) * 1000.0) as u64).clamp(at, latest);
        let end = (first + (word.end.max(0.0) * 1000.0) as u64).max(begin + 1);
        at = end.min(last).max(begin + 1);
        Word {
            text: word.text,
            span: Span { start_ms: begin, end_ms: at },
            confidence: word.confidence.clamp(0.0, 1.0),
        }
    };
    words.into_iter().enumerate().map(word).collect()
}
