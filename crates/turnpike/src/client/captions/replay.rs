//! Audio that may have to be sent again: a service that was killed continues after the last words that it has published.

use std::collections::VecDeque;

/// Audio that is kept behind the acknowledged samples, in seconds: more than a segment and all audio that the service lets wait.
const KEPT_SECONDS: u64 = 60;
/// Audio that is sent and not acknowledged, in seconds. The service acknowledges each second.
const AHEAD_SECONDS: u64 = 40;
/// The longest frame, in samples.
const FRAME: u64 = 8_000;

/// The end of the audio.
pub(super) struct Replay {
    rate: u64,
    bytes: VecDeque<u8>,
    /// The number of the first sample in `bytes`.
    first: u64,
    /// The number of the sample that is sent next.
    next: u64,
    acknowledged: u64,
}

impl Replay {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: rate.into(), bytes: VecDeque::new(), first: 0, next: 0, acknowledged: 0 }
    }

    /// The number of the sample after the last one.
    fn end(&self) -> u64 {
        self.first + self.bytes.len() as u64 / 2
    }

    /// Whether more audio may be added.
    pub(super) fn has_room(&self) -> bool {
        self.end() < self.acknowledged + AHEAD_SECONDS * self.rate
    }

    pub(super) fn add(&mut self, samples: &[u8]) {
        self.bytes.extend(samples);
    }

    /// The service has these samples.
    pub(super) fn acknowledge(&mut self, samples: u64) {
        self.acknowledged = samples.min(self.end());
        let keep = self.acknowledged.saturating_sub(KEPT_SECONDS * self.rate);
        if keep > self.first {
            self.bytes.drain(..(keep - self.first) as usize * 2);
            self.first = keep;
        }
    }

    /// The service continues at this sample.
    pub(super) fn rewind(&mut self, sample: u64) {
        self.next = sample.min(self.end());
        self.acknowledge(sample);
    }

    /// The next frame; `None`: everything is sent.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let to = self.end().min(self.next + FRAME);
        if to == self.next {
            return None;
        }
        // Audio that is not kept had no words: those would have been published long ago.
        let silence = to.min(self.first).saturating_sub(self.next);
        let from = self.next.max(self.first).min(to) - self.first.min(to);
        let mut frame = vec![0; silence as usize * 2];
        let kept = self.bytes.range(from as usize * 2..(to.max(self.first) - self.first) as usize * 2);
        frame.extend(kept);
        self.next = to;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(replay: &mut Replay) -> Vec<u8> {
        std::iter::from_fn(|| replay.take()).flatten().collect()
    }

    #[test]
    fn audio_is_sent_again_from_where_the_service_continues() {
        let audio: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut replay = Replay::new(1_000); // 100 s
        replay.add(&audio[..100_000]);
        assert!(!replay.has_room(), "40 s may be unacknowledged");
        assert_eq!(sent(&mut replay), audio[..100_000]);
        replay.acknowledge(50_000);
        assert!(replay.has_room());
        replay.add(&audio[100_000..]);
        assert_eq!(sent(&mut replay), audio[100_000..]);
        replay.rewind(30_000);
        assert_eq!(sent(&mut replay), audio[60_000..]);
        replay.acknowledge(100_000);
        replay.rewind(20_000);
        let again = sent(&mut replay);
        assert_eq!(again.len(), 160_000);
        assert!(again[..40_000].iter().all(|byte| *byte == 0), "forgotten audio is silence");
        assert_eq!(again[40_000..], audio[80_000..]);
        assert_eq!(replay.take(), None);
    }
}
