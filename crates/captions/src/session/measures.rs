//! What is measured about a session: the last 100 values of each kind.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use turnpike_event::{AudioLevel, SegmentEnd};

const KEPT: usize = 100;

/// The measurements of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) partial_count: u64,
    pub(crate) ends: BTreeMap<SegmentEndWord, u64>,
    pub(crate) partial_intervals: Values,
    pub(crate) final_latency: Values,
    pub(crate) first_caption: Values,
    pub(crate) finalize: Values,
    pub(crate) level: AudioLevel,
    pub(crate) real_time_factor: f64,
    partials: VecDeque<Instant>,
    finals: VecDeque<Instant>,
    captioned: u64,
}

/// The name of a reason.
pub(crate) type SegmentEndWord = &'static str;

impl Measured {
    /// A partial was published, whose speech began in audio that arrived then.
    pub(super) fn partial(&mut self, segment: u64, began: Option<Instant>, now: Instant) {
        self.partial_count += 1;
        let continues = self.captioned == segment;
        if let Some(last) = self.partials.back().filter(|_| continues) {
            self.partial_intervals.add(now - *last);
        }
        if let Some(began) = began.filter(|_| !continues) {
            metrics::histogram!("turnpike_captions_first_caption_seconds").record(now - began);
            self.first_caption.add(now - began);
        }
        self.captioned = segment;
        push(&mut self.partials, now);
    }

    /// A final was published, whose speech ended in audio that arrived then.
    pub(super) fn last(&mut self, reason: SegmentEnd, spoken: Option<Instant>, now: Instant) {
        *self.ends.entry(reason.as_str()).or_default() += 1;
        metrics::counter!("turnpike_captions_finals_total", "reason" => reason.as_str()).increment(1);
        if let Some(spoken) = spoken.filter(|_| reason != SegmentEnd::Timeout) {
            metrics::histogram!("turnpike_captions_final_seconds").record(now - spoken);
            self.final_latency.add(now - spoken);
        }
        push(&mut self.finals, now);
    }

    /// Over the time of the values that are kept.
    pub(crate) fn per_second(&self, now: Instant) -> (f64, f64) {
        let rate = |times: &VecDeque<Instant>| match times.front() {
            Some(first) => times.len() as f64 / (now - *first).as_secs_f64().max(1.0),
            None => 0.0,
        };
        (rate(&self.partials), rate(&self.finals))
    }
}

fn push<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == KEPT {
        values.pop_front();
    }
    values.push_back(value);
}

/// The last 100 durations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(VecDeque<f64>);

/// What a list of durations amounts to, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) avg: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
}

impl Values {
    pub(super) fn add(&mut self, duration: Duration) {
        push(&mut self.0, duration.as_secs_f64() * 1000.0);
    }

    pub(crate) fn spread(&self) -> Spread {
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return Spread::default() };
        // Nearest rank.
        let rank = |share: f64| sorted[((sorted.len() as f64 * share).ceil() as usize).max(1) - 1];
        let avg = sorted.iter().sum::<f64>() / sorted.len() as f64;
        Spread { count: sorted.len() as u64, avg, min: *min, max: *max, p50: rank(0.5), p95: rank(0.95) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_hundred_values() {
        let mut values = Values::default();
        (1..=200).for_each(|ms| values.add(Duration::from_millis(ms)));
        let spread = values.spread();
        assert_eq!((spread.count, spread.min, spread.max, spread.p50, spread.p95), (100, 101.0, 200.0, 150.0, 195.0));
        assert_eq!(Values::default().spread(), Spread::default());
    }
}
