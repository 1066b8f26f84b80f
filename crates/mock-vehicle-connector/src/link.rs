//! The link between a vehicle and the connector: the answer of a control unit becomes numbered frames with delays, and faults
//! change them.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::uds;

/// One frame as it arrives.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// 1, 2, 3… for the messages of the answer; 0 for "response pending", which is not part of the answer.
    pub(crate) index: u32,
    /// The answer's last frame.
    pub(crate) last: bool,
    pub(crate) message: Vec<u8>,
}

/// An event on the link.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arrival {
    Frame(Frame),
    /// The connection is lost.
    Lost,
}

/// Faults of a vehicle. Probabilities are 0–1; every choice is drawn from the random generator of the vehicle.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Faults {
    /// Mean and spread of the milliseconds between frames.
    pub(crate) latency: Option<(u32, u32)>,
    /// A negative answer with this code, with this probability.
    pub(crate) nrc: Option<(u8, f64)>,
    /// Number of "response pending" frames before the answer.
    pub(crate) pending: u32,
    /// No frame arrives.
    pub(crate) silent: bool,
    /// The connection is lost instead of this frame (1…).
    pub(crate) disconnect_at: Option<u32>,
    pub(crate) duplicate: f64,
    pub(crate) reorder: f64,
    pub(crate) malformed: f64,
    pub(crate) lose_final: bool,
}

/// Returns what arrives, in order, each with the delay before it in milliseconds. Lost frames are left out.
pub(crate) fn transmit(
    service: u8,
    messages: Vec<Vec<u8>>,
    faults: &Faults,
    delay_ms: u32,
    dice: &mut ChaCha8Rng,
) -> Vec<(u64, Arrival)> {
    let (mean, spread) = faults.latency.unwrap_or((delay_ms, delay_ms / 2));
    let messages = match faults.nrc {
        Some((code, p)) if dice.random_bool(p) => vec![uds::negative(service, code)],
        _ => messages,
    };
    if faults.silent {
        return Vec::new();
    }
    let count = messages.len() as u32;
    let mut frames: Vec<Frame> = Vec::new();
    for (index, mut message) in (1..).zip(messages) {
        if dice.random_bool(faults.malformed) {
            // Cut within the header, so that no decoder accepts it.
            message.truncate(1);
            message[0] ^= 0x80;
        }
        let frame = Frame { index, last: index == count, message };
        if dice.random_bool(faults.duplicate) {
            frames.push(frame.clone());
        }
        frames.push(frame);
    }
    let mut place = 0;
    while place + 1 < frames.len() {
        if dice.random_bool(faults.reorder) {
            frames.swap(place, place + 1);
            place += 1; // a frame is late by one place only
        }
        place += 1;
    }
    let pending = Frame { index: 0, last: false, message: uds::negative(service, uds::nrc::PENDING) };
    let pending = std::iter::repeat_n(pending, faults.pending as usize);
    let mut arrivals = Vec::new();
    for frame in pending.chain(frames) {
        let low = mean.saturating_sub(spread);
        let delay = if mean + spread == 0 { 0 } else { u64::from(dice.random_range(low..=mean + spread)) };
        if faults.disconnect_at.is_some_and(|at| frame.index >= at) {
            arrivals.push((delay, Arrival::Lost));
            return arrivals;
        }
        if faults.lose_final && frame.last {
            continue;
        }
        arrivals.push((delay, Arrival::Frame(frame)));
    }
    arrivals
}

/// Reassembles an answer: removes duplicates, restores the order, and finds the end.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Index of the last returned message.
    reached: u32,
    /// Frames that arrived before an earlier one, by index.
    early: std::collections::BTreeMap<u32, Frame>,
}

/// How far the index of a frame may be ahead of the last returned message. A frame further ahead is refused as invalid, so that a
/// faulty vehicle cannot fill the memory.
const WINDOW: u32 = 64;

#[derive(Debug, PartialEq)]
pub(crate) enum Assembled {
    /// The next messages, in order. The flag is true for the last message of the answer.
    Messages(Vec<(Vec<u8>, bool)>),
    /// The frame is not valid.
    Nonsense,
}

impl Assembler {
    pub(crate) fn take(&mut self, frame: Frame) -> Assembled {
        if frame.index == 0 || frame.index <= self.reached {
            return Assembled::Messages(Vec::new());
        }
        if frame.index - self.reached > WINDOW {
            return Assembled::Nonsense;
        }
        self.early.insert(frame.index, frame);
        let mut ready = Vec::new();
        while let Some(next) = self.early.remove(&(self.reached + 1)) {
            self.reached += 1;
            ready.push((next.message, next.last));
        }
        Assembled::Messages(ready)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn duplicates_and_disorder_leave_no_trace(seed: u64, count in 1_usize..40, duplicate in 0.0..1.0, reorder in 0.0..1.0) {
            let messages: Vec<Vec<u8>> = (0..count).map(|n| vec![0x59, n as u8]).collect();
            let faults = Faults { duplicate, reorder, ..Faults::default() };
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let mut assembler = Assembler::default();
            let mut got = Vec::new();
            for (_, arrival) in transmit(0x19, messages.clone(), &faults, 0, &mut dice) {
                let Arrival::Frame(frame) = arrival else { panic!("nothing is lost") };
                match assembler.take(frame) {
                    Assembled::Messages(ready) => got.extend(ready),
                    Assembled::Nonsense => panic!("an orderly answer"),
                }
            }
            let whole: Vec<_> = (1..).zip(messages).map(|(n, message)| (message, n == count)).collect();
            prop_assert_eq!(got, whole);
        }

        #[test]
        fn any_frames_are_borne(frames in prop::collection::vec((any::<u32>(), any::<bool>()), 0..200)) {
            let mut assembler = Assembler::default();
            for (index, last) in frames {
                let _ = assembler.take(Frame { index, last, message: Vec::new() });
                prop_assert!(assembler.early.len() <= WINDOW as usize);
            }
        }
    }

    #[test]
    fn without_a_delay_nothing_waits() {
        let mut dice = ChaCha8Rng::seed_from_u64(1);
        let arrivals = transmit(0x19, vec![vec![0x59]; 5], &Faults::default(), 0, &mut dice);
        assert!(arrivals.iter().all(|(delay, _)| *delay == 0));
    }
}
