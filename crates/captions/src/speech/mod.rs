//! From audio to captions, for every engine alike: voice activity, segments, which words are settled, and what is left out.

mod agreement;
mod captioner;
mod filters;
mod segment;

pub use captioner::{Captioner, Output};

use crate::engine::RATE;

/// Samples of this many milliseconds.
pub(crate) const fn samples(ms: u64) -> u64 {
    ms * RATE as u64 / 1000
}

/// Milliseconds of this many samples.
pub(crate) const fn millis(samples: u64) -> u64 {
    samples * 1000 / RATE as u64
}
