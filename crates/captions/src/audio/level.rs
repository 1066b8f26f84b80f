//! How loud audio is.

use turnpike_event::AudioLevel;

/// Samples at or above this are clipped.
const LIMIT: f32 = 32_700.0 / 32_768.0;

/// Measures samples until it is read.
#[derive(Default)]
pub(crate) struct Meter {
    count: u64,
    squares: f64,
    peak: f32,
    clipped: u64,
}

impl Meter {
    pub(crate) fn add(&mut self, samples: &[f32]) {
        for sample in samples {
            let size = sample.abs();
            self.squares += f64::from(size * size);
            self.peak = self.peak.max(size);
            self.clipped += u64::from(size >= LIMIT);
        }
        self.count += samples.len() as u64;
    }

    /// The level since the last call.
    pub(crate) fn take(&mut self) -> AudioLevel {
        let Self { count, squares, peak, clipped } = std::mem::take(self);
        let count = count.max(1) as f64;
        AudioLevel { rms: (squares / count).sqrt(), peak: f64::from(peak), clipped: clipped as f64 / count }
    }
}
